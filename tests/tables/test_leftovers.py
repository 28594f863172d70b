"""What killed processes left half-written goes with maintenance, and nothing that is young, whole or another's."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

from exp_platform.config.environment import Environment
from exp_platform.tables.leftovers import remove_leftovers
from exp_platform.tables.maintenance import maintain

LONG_AGO = datetime.now(UTC) - timedelta(days=9)


def made(path: Path, at: datetime = LONG_AGO) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("x")
    for touched in (path, path.parent, path.parent.parent):
        os.utime(touched, (at.timestamp(), at.timestamp()))
    return path


def test_leftovers_go_and_everything_else_stays(environment: Environment) -> None:
    raw = Path(environment.raw_dir) / "exp_platform"
    memos = Path(environment.memos_dir)
    left = [
        made(raw / "exp_a.partial-0a1b2c3d" / "exposures" / "part-00000.parquet"),
        made(raw / "exp_a.partial-0a1b2c3d.old" / "exposures" / "part-00000.parquet"),
        made(memos / "exp_a.md.4711.partial"),
        made(memos / "exp_a" / "effects.png.4711.partial"),
        made(environment.runs_dir / "exp_a" / "r1" / ".run.json.4711.partial"),
        made(environment.state_dir / "spark" / "tmpabcd1234"),
    ]
    (raw / "exp_b.partial-0a1b2c3d" / "outcomes").mkdir(parents=True)  # killed before its first file
    stay = [
        made(raw / "exp_a" / "exposures" / "part-00000.parquet"),
        made(raw / "exp_a.partial-work" / "exposures" / "part-00000.parquet"),
        made(raw / "exp_a.old" / "mine.csv"),
        made(raw / "exp_c.partial-0a1b2c3d" / "exposures" / "part-00000.parquet", datetime.now(UTC)),
        made(memos / "exp_a.md"),
        made(memos / "exp_b.md.4712.partial", datetime.now(UTC)),
        made(environment.state_dir / "spark" / "embedded-session.properties"),
    ]
    assert remove_leftovers(environment, datetime.now(UTC) - timedelta(days=3)) == len(left) + 1
    assert [
        path for path in left if path.exists() or (path.parent.name == "exposures" and path.parent.exists())
    ] == []
    assert [path for path in stay if not path.exists()] == []


def test_maintenance_removes_them_and_says_how_many(environment: Environment) -> None:
    left = made(Path(environment.memos_dir) / "exp_a.md.4711.partial")
    assert maintain(environment).leftovers == 1
    assert not left.exists()
