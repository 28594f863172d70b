from __future__ import annotations

import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import CommitFailedException
from pyiceberg.expressions import EqualTo
from pyiceberg.table import Table

from exp_platform.config.environment import Environment
from exp_platform.tables.catalog import open_catalog, table
from exp_platform.tables.files import task_writer
from exp_platform.tables.selection import selection
from exp_platform.tables.write import delete_rows, replace_files, replace_rows

pytestmark = pytest.mark.e2e  # commit after commit, or Spark: longer than a unit test may take

D1, D2 = date(2026, 3, 1), date(2026, 3, 2)
LONG_A = (
    "exp_checkout_button_with_a_long_name_a"  # alike in more than the 16 characters of usual column bounds
)
LONG_B = "exp_checkout_button_with_a_long_name_b"


@pytest.fixture
def catalog(environment: Environment) -> Catalog:
    return open_catalog(environment)


def add(catalog: Catalog, experiment_id: str, run_id: str, *days: date) -> int:
    rows = [{"as_of_date": day, "metric_id": "m", "status": "OK", "estimate": 1.5} for day in days]
    return replace_rows(
        catalog, "did_results", {"experiment_id": experiment_id, "run_id": run_id}, rows, run_id
    )


def content(catalog: Catalog, name: str = "did_results") -> list[tuple[Any, ...]]:
    rows = (
        table(catalog, name)
        .scan(selected_fields=("experiment_id", "run_id", "as_of_date"))
        .to_arrow()
        .to_pylist()
    )
    return sorted(tuple(row.values()) for row in rows)


def test_rows_are_replaced_by_key_and_others_stay(catalog: Catalog) -> None:
    add(catalog, LONG_A, "r1", D1, D2)
    add(catalog, LONG_B, "r1", D1)
    key = {"experiment_id": LONG_A, "as_of_date": [D2]}
    replace_rows(catalog, "did_results", key, [{"as_of_date": D2, "run_id": "r2", "metric_id": "m"}], "r2")
    assert content(catalog) == [(LONG_A, "r1", D1), (LONG_A, "r2", D2), (LONG_B, "r1", D1)]


def test_the_same_write_twice_gives_the_same_table(catalog: Catalog) -> None:
    for _ in range(2):
        add(catalog, LONG_A, "r1", D1, D2)
    assert content(catalog) == [(LONG_A, "r1", D1), (LONG_A, "r1", D2)]


def test_replacing_by_nothing_empties_the_key_only(catalog: Catalog) -> None:
    add(catalog, LONG_A, "r1", D1)
    add(catalog, LONG_B, "r1", D1)
    add(catalog, LONG_A, "r1")
    assert content(catalog) == [(LONG_B, "r1", D1)]


def test_a_row_of_another_experiment_cannot_be_written_under_this_ones_key(catalog: Catalog) -> None:
    with pytest.raises(ValueError, match="experiment_id: found 'exp_b', the rows to replace have 'exp_a'"):
        replace_rows(catalog, "did_results", {"experiment_id": "exp_a"}, [{"experiment_id": "exp_b"}], "r1")
    with pytest.raises(ValueError, match="did_results has no column metric"):
        replace_rows(catalog, "did_results", {"experiment_id": "exp_a"}, [{"metric": "m"}], "r1")
    with pytest.raises(KeyError):
        replace_rows(catalog, "did_results", {"run_id": "r1"}, [], "r1")
    assert content(catalog) == []


def test_snapshots_name_their_run_and_the_pinned_one_holds_the_new_content(catalog: Catalog) -> None:
    add(catalog, LONG_A, "r1", D1)
    snapshot_id = add(catalog, LONG_A, "r2", D2)
    replaced = replace_rows(catalog, "did_results", {"experiment_id": LONG_A}, [{"run_id": "r3"}], "r3")
    did = table(catalog, "did_results")
    by_id = {snapshot.snapshot_id: snapshot for snapshot in did.snapshots()}
    assert [by_id[i].summary["run_id"] for i in (snapshot_id, replaced)] == ["r2", "r3"]  # type: ignore[index]
    assert did.scan(snapshot_id=snapshot_id).count() == 2
    assert did.scan(snapshot_id=replaced).to_arrow()["run_id"].to_pylist() == ["r3"]


def rewrites(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Tables of which a delete had to rewrite a data file instead of dropping it."""
    from pyiceberg.table.update.snapshot import UpdateSnapshot

    seen: list[str] = []
    overwrite = UpdateSnapshot.overwrite

    def spy(self: UpdateSnapshot, *args: Any, **kwargs: Any) -> Any:
        seen.append(self._transaction._table.name()[-1])
        return overwrite(self, *args, **kwargs)

    monkeypatch.setattr(UpdateSnapshot, "overwrite", spy)
    return seen


def test_the_rows_of_a_run_go_as_whole_files_and_of_no_other_is_any_rewritten(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    rewritten = rewrites(monkeypatch)
    for run in ("r1", "r2"):
        for experiment_id in (LONG_A, LONG_B):
            add(catalog, experiment_id, run, D1, D2)
    delete_rows(catalog, "did_results", selection({"experiment_id": LONG_A, "run_id": "r1"}), "r3")
    assert rewritten == []
    day = selection({"experiment_id": LONG_A, "as_of_date": D2})
    delete_rows(catalog, "did_results", day, "r3")  # one of two days of a file: now it must
    assert rewritten == ["did_results"]
    assert content(catalog) == [
        (LONG_A, "r2", D1),
        *((LONG_B, run, day) for run in ("r1", "r2") for day in (D1, D2)),
    ]


def test_a_commit_that_meets_another_is_planned_again(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(catalog, LONG_A, "r1", D1)
    commit = Table._do_commit
    conflicts = iter(["conflict"] * 25)

    def conflicting(self: Table, *args: Any, **kwargs: Any) -> None:
        if next(conflicts, None):
            raise CommitFailedException("another process was first")
        commit(self, *args, **kwargs)

    monkeypatch.setattr(Table, "_do_commit", conflicting)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    add(catalog, LONG_A, "r1", D2)
    assert content(catalog) == [(LONG_A, "r1", D2)]


def test_writers_at_once_lose_nothing(environment: Environment) -> None:
    catalog = open_catalog(environment)
    add(catalog, "bystander", "r0", D1)
    script = Path(__file__).with_name("write_rows_again_and_again.py")
    names, times = ["exp_one", "exp_two", "exp_three"], 8
    writers = [
        subprocess.Popen(
            [sys.executable, "-W", "error", script, name, str(times)], stderr=subprocess.PIPE, text=True
        )
        for name in names
    ]
    errors = [writer.communicate(timeout=120)[1] for writer in writers]
    assert [writer.returncode for writer in writers] == [0, 0, 0], errors
    last = [(name, f"run{n:03d}", day) for name in names for n, day in ((times - 2, D1), (times - 1, D2))]
    assert content(catalog) == sorted([("bystander", "r0", D1), *last])
    exposures = table(catalog, "exposures").scan(selected_fields=("user_id",)).to_arrow()
    assert sorted(exposures["user_id"].to_pylist()) == sorted(f"{name}-{times - 1}" for name in names)


def test_manifests_and_metadata_stay_few_over_many_commits(catalog: Catalog) -> None:
    for n in range(60):
        add(catalog, f"exp_{n % 5}", "r1", D1)
    did = table(catalog, "did_results")
    snapshot = did.current_snapshot()
    assert snapshot is not None
    assert len(snapshot.manifests(did.io)) < 25
    assert len(list(Path(did.location().removeprefix("file://"), "metadata").glob("*.metadata.json"))) <= 22


def test_deleting_what_is_not_there_is_silent_and_commits_nothing(catalog: Catalog) -> None:
    before = table(catalog, "did_results").metadata_location
    delete_rows(catalog, "did_results", EqualTo("experiment_id", "exp_a"), "r1")
    assert table(catalog, "did_results").metadata_location == before


def test_no_files_at_all_still_make_a_snapshot_to_name(catalog: Catalog) -> None:
    snapshot_id = replace_files(catalog, "outcomes", "exp_a", [], "r1")
    assert table(catalog, "outcomes").scan(snapshot_id=snapshot_id).to_arrow().num_rows == 0


def test_a_retried_replacement_by_the_same_files_keeps_them(
    environment: Environment, catalog: Catalog
) -> None:
    columns = {
        "variant_id": ["c"],
        "event": ["e"],
        "n": [1],
        "value": [0.5],
        "day": [0],
        "user_number": [0],
        "local_date": [D1],
    }
    path = task_writer(environment, "unit_days", "exp_a", "r1").write(
        0, pa.table({"user_id": ["u"], **columns})
    )
    for _ in range(2):
        snapshot_id = replace_files(catalog, "unit_days", "exp_a", [path], "r1")
    assert table(catalog, "unit_days").scan(snapshot_id=snapshot_id).to_arrow()["user_id"].to_pylist() == [
        "u"
    ]
