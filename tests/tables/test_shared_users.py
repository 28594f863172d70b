"""Users of several experiments are counted as sets of ids would count them, and nothing of an id is kept."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from exp_platform.config.environment import Environment
from exp_platform.tables import shared_users
from exp_platform.tables.catalog import open_catalog, table
from exp_platform.tables.deletion import delete_experiment
from exp_platform.tables.files import task_writer
from exp_platform.tables.maintenance import maintain
from exp_platform.tables.overlaps import Overlaps, counted_overlaps, note_overlaps
from exp_platform.tables.shared_users import count_overlaps
from exp_platform.tables.write import replace_files
from stages.frozen_runs import a_run, an_experiment, carry_out

NOW = datetime(2026, 3, 20, 12, tzinfo=UTC)
EVENTS = {"kind": "events"}
WITHIN = datetime(2026, 3, 10, tzinfo=UTC)


def published(
    environment: Environment,
    experiment_id: str,
    exposures: Iterable[tuple[str, datetime]],
    buckets: int = 1,
    start: date = date(2026, 3, 2),
    end: date = date(2026, 3, 29),
    timezone: str = "UTC",
    source: dict[str, Any] = EVENTS,
    **more: Any,
) -> dict[str, Any]:
    """A row of the registry, and the exposures that it names: dealt out to buckets by another hash than is counted by."""
    dealt: dict[int, list[tuple[str, datetime]]] = {}
    for one in exposures:
        dealt.setdefault(zlib.crc32(one[0].encode()) % buckets, []).append(one)
    writer = task_writer(environment, "exposures", experiment_id, "r")
    paths = [
        writer.write(
            bucket,
            pa.table(
                {
                    "user_id": [user for user, _ in rows],
                    "variant_id": ["control"] * len(rows),
                    "exposed_at": pa.array([at for _, at in rows], pa.timestamp("us", "UTC")),
                    "event_id": pa.nulls(len(rows), pa.string()),
                    "attributes": pa.array([[]] * len(rows), pa.map_(pa.string(), pa.string())),
                }
            ),
        )
        for bucket, rows in dealt.items()
    ]
    catalog = open_catalog(environment)
    replace_files(catalog, "exposures", experiment_id, paths, "r")
    snapshot = table(catalog, "exposures").current_snapshot()
    assert snapshot is not None
    window = {"start": start.isoformat(), "end": end.isoformat(), "timezone": timezone}
    return {
        "experiment_id": experiment_id,
        "spec": json.dumps({"window": window, "source": source}),
        "exposures_snapshot": snapshot.snapshot_id,
        "pseudonym_key": None,
        "user_level_deleted_on": None,
        **more,
    }


def users(first: int, last: int, at: datetime = WITHIN) -> list[tuple[str, datetime]]:
    return [(f"user-{n}", at) for n in range(first, last)]


def pairs(found: Overlaps) -> dict[tuple[str, str], int]:
    return {(pair.first, pair.second): pair.users for pair in found.pairs}


def test_users_are_counted_once_whatever_the_buckets_and_the_order(environment: Environment) -> None:
    a = [*users(0, 900), *users(0, 40, WITHIN + timedelta(days=1))]  # 40 are exposed twice
    rows = [
        published(environment, "c", [*users(850, 1000), ("ünï", WITHIN)], buckets=7),
        published(environment, "a", a, buckets=3),
        published(environment, "b", [*users(500, 700), ("ünï", WITHIN), ("", WITHIN)]),
    ]
    found = count_overlaps(environment, rows, NOW)

    assert pairs(found) == {("a", "b"): 200, ("a", "c"): 50, ("b", "c"): 1}
    assert {id: one.users for id, one in found.experiments.items()} == {"a": 900, "b": 202, "c": 151}
    assert not any(pair.estimated for pair in found.pairs)
    assert counted_overlaps(environment) == found
    assert found.counted_at == NOW


def test_only_exposures_within_the_window_count_by_its_own_clock(environment: Environment) -> None:
    """Midnight of New York is five hours, or in summer time four, behind that of UTC."""
    edges = [
        ("early", datetime(2026, 3, 2, 4, 59, 59, tzinfo=UTC)),
        ("first", datetime(2026, 3, 2, 5, tzinfo=UTC)),
        ("last", datetime(2026, 3, 30, 3, 59, 59, tzinfo=UTC)),
        ("late", datetime(2026, 3, 30, 4, tzinfo=UTC)),
    ]
    everybody = [(user, WITHIN) for user, _ in edges]
    rows = [
        published(environment, "a", everybody),
        published(environment, "b", edges, timezone="America/New_York"),
    ]
    found = count_overlaps(environment, rows, NOW)
    assert pairs(found) == {("a", "b"): 2}
    assert found.experiments["b"].users == 2


def test_experiments_that_never_met_or_ended_long_ago_are_no_pair(environment: Environment) -> None:
    rows = [
        published(environment, "a", users(0, 9)),
        published(environment, "before", users(0, 9), start=date(2026, 2, 1), end=date(2026, 3, 1)),
        published(environment, "long_ago", users(0, 9), start=date(2026, 1, 1), end=date(2026, 2, 17)),
        published(environment, "ended", users(0, 9), start=date(2026, 2, 1), end=date(2026, 3, 2)),
    ]
    found = count_overlaps(environment, rows, NOW)
    assert set(pairs(found)) == {("a", "ended"), ("before", "ended")}
    assert found.not_compared == {}


def test_ids_of_one_key_are_compared_and_others_told(environment: Environment) -> None:
    units = {"kind": "units", "table": {"columns": {"variant_id": "arm"}}}
    rows = [
        published(environment, "plain", users(0, 9)),
        published(environment, "keyed_a", users(0, 9), pseudonym_key="k1"),
        published(environment, "keyed_b", users(5, 20), pseudonym_key="k1"),
        published(environment, "alone", users(0, 9), pseudonym_key="k2"),
        published(environment, "made", users(0, 9), source={"kind": "synthetic"}),
        published(environment, "numbered", users(0, 9), source=units),
        published(environment, "deleted", users(0, 9), user_level_deleted_on=date(2026, 3, 19)),
        published(environment, "old", users(0, 9), spec="{}"),
    ]
    found = count_overlaps(environment, rows, NOW)
    assert pairs(found) == {("keyed_a", "keyed_b"): 4}
    assert {id: why.partition(":")[0] for id, why in found.not_compared.items()} == {
        "alone": "its ids are pseudonyms by a key that no other experiment has",
        "made": "its users are generated",
        "numbered": "its data have no ids",
        "deleted": "its rows of single users were deleted by the rule of retention",
        "old": "an older version published it",
    }


def test_beyond_what_is_held_a_sample_of_the_same_users_tells(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 30,000 and 12,000 users 6,000 are in both. Held are at most 2,000 of each, in whatever order they come."""
    monkeypatch.setattr(shared_users, "FEWEST_HELD", 2000)
    rows = [
        published(environment, "a", users(0, 30_000), buckets=5),
        published(environment, "b", users(24_000, 36_000), buckets=2),
    ]
    found = count_overlaps(environment, rows, NOW, held=0)
    (pair,) = found.pairs
    assert pair.estimated
    assert {id: one.users for id, one in found.experiments.items()} == {"a": 30_000, "b": 12_000}
    # Of 6,000 users one in 16 is seen, as 30,000 / 16 are below 2,000: a standard error of 16 * sqrt(6000 / 16)
    assert abs(pair.users - 6000) < 4 * 16 * np.sqrt(6000 / 16 * 15 / 16)
    assert pair.users % 16 == 0

    same = count_overlaps(environment, rows, NOW + timedelta(days=1), held=10**6)
    assert same.pairs == found.pairs, "what has not changed is not read again"


def test_only_what_has_changed_is_read(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [published(environment, id, users(0, 30), buckets=2) for id in ("a", "b", "c", "d")]
    first = count_overlaps(environment, rows[:3], NOW)
    read: list[str] = []
    real = shared_users.held_users

    def counted(of: Any, most: int) -> Any:
        read.append(of.id)
        return real(of, most)

    monkeypatch.setattr(shared_users, "held_users", counted)
    assert count_overlaps(environment, rows[:3], NOW).pairs == first.pairs
    assert read == []
    rows[1] = published(environment, "b", users(0, 29), buckets=2)  # somebody was forgotten
    assert pairs(count_overlaps(environment, rows[:3], NOW)) == {
        ("a", "b"): 29,
        ("a", "c"): 30,
        ("b", "c"): 29,
    }
    assert read == ["a", "b", "c"], "each once"
    read.clear()
    assert len(count_overlaps(environment, rows, NOW).pairs) == 6
    assert read == ["a", "b", "c", "d"]


def test_what_cannot_be_read_costs_its_own_pairs_alone(environment: Environment) -> None:
    rows = [published(environment, id, users(0, 30)) for id in ("a", "b", "c")]
    lying = Path(environment.warehouse.removeprefix("file://"), "exp", "exposures", "data", "experiment_id=b")
    for file in lying.rglob("*.parquet"):
        file.unlink()
    found = count_overlaps(environment, rows, NOW)
    assert pairs(found) == {("a", "c"): 30}
    assert found.not_compared == {"b": "its exposures cannot be read: `exp doctor` says why"}
    assert str(environment.runs_dir) not in str(found)


def test_nothing_of_an_id_is_kept(environment: Environment) -> None:
    rows = [published(environment, id, users(0, 30)) for id in ("a", "b")]
    found = count_overlaps(environment, rows, NOW)
    text = (environment.runs_dir / ".overlaps.json").read_text()
    assert "user-" not in text
    kept = json.loads(text)
    assert kept["pairs"] == [["a", "b", 30, False]]
    assert set(kept) == {"counted_at", "experiments", "pairs", "not_compared"}
    for one in kept["experiments"].values():
        assert set(one) == {"users", "files", "same_ids"}
        assert one["users"] == 30
    moved = [
        published(environment, id, [(u.replace("user", "other"), at) for u, at in users(0, 30)])
        for id in ("a", "b")
    ]
    again = count_overlaps(environment, moved, NOW)
    assert [(p.first, p.second, p.users) for p in again.pairs] == [("a", "b", 30)]
    assert len(list(environment.runs_dir.glob(".overlaps*"))) == 1
    assert found != again, "the hash of the files' names is another one"


def test_a_broken_file_is_no_file_and_is_written_anew(environment: Environment) -> None:
    assert counted_overlaps(environment) is None
    path = environment.runs_dir / ".overlaps.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    for broken in ("", "[]", "{}", '{"counted_at": 3}', "\x00\xff"):
        path.write_text(broken)
        assert counted_overlaps(environment) is None
    count_overlaps(environment, [published(environment, id, users(0, 3)) for id in "ab"], NOW)
    assert counted_overlaps(environment) is not None


def test_a_deleted_experiment_is_forgotten_here_too(environment: Environment) -> None:
    rows = [published(environment, id, users(0, 3)) for id in ("a", "b", "c")]
    note_overlaps(environment, count_overlaps(environment, rows, NOW))
    delete_experiment(environment, "b")
    left = counted_overlaps(environment)
    assert left is not None
    assert pairs(left) == {("a", "c"): 3}
    assert set(left.experiments) == {"a", "c"}


@pytest.mark.e2e
def test_maintenance_counts_what_runs_have_published(environment: Environment) -> None:
    """Two runs expose users of their own names, the same in both experiments."""
    carry_out(a_run(environment, "r1", of=an_experiment("exp_a")), "publish")
    carry_out(a_run(environment, "r1", of=an_experiment("exp_b")), "publish")
    done = maintain(environment, now=datetime(2025, 3, 20, tzinfo=UTC))
    found = counted_overlaps(environment)
    assert found is not None
    assert done.compared == 1
    assert pairs(found) == {("exp_a", "exp_b"): 3}
