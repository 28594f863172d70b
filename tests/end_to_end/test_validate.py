"""`exp validate`: all errors of all files at once, and none of what the project ships."""

from __future__ import annotations

from pathlib import Path

from end_to_end.installation import Installation
from exp_platform.cli import main as exp


def test_validate_tells_all_errors_of_all_files(tmp_path: Path) -> None:
    made = Installation(tmp_path)
    made.entries(good={"days": 3, "n_users": 10}, bad={"days": 0, "n_users": 10, "colour": "green"})
    assert made.call(exp, "validate").code == 1
    (made.configs / "experiments" / "worse.yaml").write_text("id: worse\nowner: [")
    said = made.call(exp, "validate")
    assert said.code == 1
    for words in (
        "dev.yaml",
        "days",
        "colour",
        "worse.yaml",
        "1 experiments in 1 files are valid, 3 errors.",
    ):
        assert words in said.out
    assert not made.state.exists()


def test_validate_accepts_what_the_project_ships() -> None:
    import subprocess
    import sys

    command = [sys.executable, "-m", "exp_platform.cli", "validate"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "0 errors" in done.stdout


def test_validate_names_the_tables_of_databases_that_every_run_reads(tmp_path: Path) -> None:
    made = Installation(tmp_path)
    columns = {
        "exposures": ["user_id", "variant_id", "exposed_at"],
        "outcomes": ["user_id", "event", "occurred_at"],
    }
    tables = {
        name: {"connection": "lake", "table": f"shop.{name}", "columns": {one: one for one in names}}
        for name, names in columns.items()
    }
    tables["outcomes"]["watermark"] = "select max(occurred_at) from shop.outcomes"
    made.spec(
        id="shop",
        owner="growth",
        hypothesis="A shorter checkout earns more per user.",
        variants=[{"id": "control", "control": True}, {"id": "v1"}],
        window={"start": "2026-03-02", "days": 28},
        source={"kind": "events", **tables},
        metrics=[{"id": "converted", "type": "proportion", "event": "order", "role": "primary"}],
    )
    said = made.call(exp, "validate")
    assert said.code == 0
    told = " ".join(said.out.split())
    assert (
        "source.exposures: no watermark, so nothing tells whether the table changed: every run reads it"
        in told
    )
    assert "source.outcomes: no watermark" not in told
