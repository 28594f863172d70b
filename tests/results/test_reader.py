"""Readers get what the stages stored, exactly, of the run that decided, and never half of one."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyiceberg.io import FileIO
from pyiceberg.table import DataScan, FileScanTask

from exp_platform.aggregates import read_aggregates
from exp_platform.analyses.rows import DidRow, ResultRow
from exp_platform.config.analyses import NAMES
from exp_platform.config.environment import Environment
from exp_platform.decision import Decision
from exp_platform.errors import DataError
from exp_platform.report.content import load_report
from exp_platform.results import reader
from exp_platform.results.reader import Results
from exp_platform.tables.catalog import open_catalog, table
from exp_platform.tables.maintenance import maintain
from exp_platform.tables.write import replace_rows
from stages.frozen_runs import D1, D2, D3, a_run, an_experiment, carry_out


def test_on_a_fresh_machine_there_is_nothing_to_read_and_reading_makes_nothing(
    environment: Environment,
) -> None:
    results = Results(environment)
    assert results.latest_decision("exp_a") is None
    assert results.decisions("exp_a") == results.rows(ResultRow, "exp_a") == results.daily("exp_a") == []
    assert results.newest_decisions() == {}
    assert results.experiments() == []
    with pytest.raises(DataError, match="exp_a has no stored aggregates as of 2025-03-14"):
        results.stored_aggregates("exp_a", D3)
    assert not environment.state_dir.exists()


def test_decisions_come_by_day_and_by_experiment(environment: Environment) -> None:
    carry_out(a_run(environment, "r1", (D1, D3)))
    carry_out(a_run(environment, "r2", (D2,)))
    carry_out(a_run(environment, "r3", (D1,), of=an_experiment("exp_b")))
    results = Results(environment)
    assert [(d.as_of_date, d.run_id) for d in results.decisions("exp_a")] == [
        (D1, "r1"),
        (D2, "r2"),
        (D3, "r1"),
    ]
    assert results.latest_decision("exp_a") == results.decisions("exp_a")[-1]
    assert results.latest_decision("exp_a", D2).run_id == "r2"  # type: ignore[union-attr]
    assert results.latest_decision("exp_a", date(2025, 3, 11)) is None
    assert {id: (d.as_of_date, d.run_id) for id, d in results.newest_decisions().items()} == {
        "exp_a": (D3, "r1"),
        "exp_b": (D1, "r3"),
    }
    assert [row["experiment_id"] for row in results.experiments()] == ["exp_a", "exp_b"]


def test_a_stored_decision_is_the_one_that_was_made(environment: Environment) -> None:
    run = a_run(environment, "r1", (D3,))
    carry_out(run)
    stored = Results(environment).latest_decision("exp_a")
    assert stored is not None
    (made,) = json.loads((run.path / "decision.json").read_text())
    assert stored.decision == Decision.from_json(made)
    assert (stored.users, stored.crossovers) == ({"control": 400, "t1": 400}, {"control": 1, "t1": 2})
    assert stored.caps == {"orders": (None, 31.0 / 3.0)}
    assert stored.definitions == {m.id: m.definition for m in run.experiment.metrics}
    assert Results(environment).definitions() == {"exp_a": {D3: stored.definitions}}
    assert stored.skipped == ()
    assert stored.computed_at.utcoffset() is not None


def test_tables_of_an_older_version_are_read_before_a_run_has_added_their_columns(
    environment: Environment,
) -> None:
    carry_out(a_run(environment, "r1", (D3,)))
    young = {
        "decisions": ("periods", "thresholds", "pooled", "too_large", "result_rows", "definitions"),
        "experiment_registry": ("thresholds",),
        "analysis_results": ("fieller_low", "p_relative", "caution"),
    }
    for name, columns in young.items():
        with table(open_catalog(environment), name).update_schema(allow_incompatible_changes=True) as change:
            for column in columns:
                change.delete_column(column)
    results = Results(environment)
    stored = results.latest_decision("exp_a")
    assert stored is not None
    assert (stored.periods, stored.thresholds, stored.pooled, stored.too_large) == ({}, {}, {}, {})
    assert stored.result_rows == {}
    assert results.definitions() == {"exp_a": {D3: {}}}
    assert {row.p_relative for row in results.rows(ResultRow, "exp_a")} == {None}
    assert results.stored_aggregates("exp_a", D3).periods == {}
    assert results.experiments()[0]["thresholds"] is None


def test_rows_can_be_chosen_by_day_and_method(environment: Environment) -> None:
    carry_out(a_run(environment, "r1", (D1, D2, D3)))
    results = Results(environment)
    assert {row.method for row in results.rows(ResultRow, "exp_a", D1)} == {
        "srm",
        "ab",
        "cuped",
        "stability",
        "evidence",
    }
    assert {(row.as_of_date, row.method) for row in results.rows(ResultRow, "exp_a", method="ab")} == {
        (day, "ab") for day in (D1, D2, D3)
    }
    assert {row.as_of_date for row in results.rows(DidRow, "exp_a", D2)} == {D2}
    assert {row.local_date for row in results.daily("exp_a")} == {D3}  # as the newest day knows it
    assert {row.local_date for row in results.daily("exp_a", D1)} == {D1}


def test_stored_aggregates_are_those_of_the_run_to_the_last_bit(environment: Environment) -> None:
    run = a_run(environment, "r1", (D1, D3))
    carry_out(run)
    stored = Results(environment).stored_aggregates("exp_a", D1)
    (made,) = [day for day in read_aggregates(run.path / "aggregates.json") if day.as_of_date == D1]
    for name in ("as_of_date", "assigned", "crossovers", "caps", "pooled", "too_large"):
        assert getattr(stored, name) == getattr(made, name)
    assert stored.pooled
    assert sorted(stored.daily, key=repr) == sorted(made.daily, key=repr)
    assert len(stored.blocks) == len(made.blocks)
    for block in made.blocks:
        twin = stored.block(block.metric_id, block.variant_id, block.segment, block.segment_value, block.kind)
        assert twin is not None
        described = ("columns", "successes", "median", "p95", "capped_share")
        assert [getattr(twin, name) for name in described] == [getattr(block, name) for name in described]
        assert twin.moments.n == block.moments.n
        assert np.array_equal(twin.moments.mean, block.moments.mean)
        assert np.array_equal(twin.moments.m2, block.moments.m2)


def test_rows_that_are_superseded_while_they_are_read_are_read_again(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    carry_out(a_run(environment, "r1", (D3,), seed=1))
    results = Results(environment)
    old = results.rows(ResultRow, "exp_a", D3, method="ab")
    runs = Results.runs
    overtaken = False

    def overtaking(self: Results, *args: Any) -> dict[date, str]:
        nonlocal overtaken
        found = runs(self, *args)
        if not overtaken:  # just after the reader has learnt which run counts, another one replaces it
            overtaken = True
            carry_out(a_run(environment, "r2", (D3,), seed=2))
        return found

    monkeypatch.setattr(Results, "runs", overtaking)
    new = results.rows(ResultRow, "exp_a", D3, method="ab")
    assert len(new) == len(old) == 2
    assert {row.estimate for row in new}.isdisjoint({row.estimate for row in old})


def test_a_reader_that_is_overtaken_for_ever_says_so(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    carry_out(a_run(environment, "r1", (D3,)))
    changing = iter(range(1000))
    monkeypatch.setattr(Results, "runs", lambda self, *args: {D3: f"r{next(changing)}"})
    with pytest.raises(DataError, match="replaced again and again while they were read; try again"):
        Results(environment).rows(ResultRow, "exp_a")


def test_rows_of_a_run_that_has_not_decided_are_not_seen(environment: Environment) -> None:
    carry_out(a_run(environment, "r1", (D3,)))
    before = Results(environment).rows(ResultRow, "exp_a")
    key = {"experiment_id": "exp_a", "run_id": "r2"}
    half = [{"as_of_date": D3, "method": "ab", "metric_id": "orders", "status": "OK"}]
    replace_rows(open_catalog(environment), "analysis_results", key, half, "r2")
    assert Results(environment).rows(ResultRow, "exp_a") == before
    maintain(environment)
    assert Results(environment).rows(ResultRow, "exp_a") == before


def test_a_report_reads_each_table_once_and_looks_at_what_counts_before_and_after(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    carry_out(a_run(environment, "r1", (D1, D3)))
    scanned: Counter[str] = Counter()
    scan = Results._scan

    def counting(self: Results, name: str, *args: Any) -> list[dict[str, Any]]:
        scanned[name] += 1
        return scan(self, name, *args)

    monkeypatch.setattr(Results, "_scan", counting)
    load_report(Results(environment), an_experiment())
    # Which runs count, before and after, the decision itself, and what was decided on the other days
    assert scanned.pop("decisions") == 4
    assert scanned.pop("analysis_results") == 2  # the day, strictly, and of all days what decides
    assert set(scanned.values()) == {1}


def test_what_could_not_be_read_of_a_superseded_run_is_not_told(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    carry_out(a_run(environment, "r1", (D3,)))
    lenient, overtakes = Results(environment).lenient(), iter([True, False])

    def read() -> str:
        if next(overtakes):
            lenient.unreadable.append("table did_results: a file is gone")
            carry_out(a_run(environment, "r2", (D3,)))
        return "read"

    lenient.unreadable.append("told before")
    assert lenient.of_one_state("exp_a", None, read) == "read"
    assert lenient.unreadable == ["told before"]


def test_reading_starts_no_jvm_and_imports_no_spark() -> None:
    code = "import sys, exp_platform.results.reader; print([m for m in ('pyspark', 'pandas', 'scipy.stats') if m in sys.modules])"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "[]"
    assert reader.__all__ == ["Results", "StoredDecision"]


@dataclass
class Opened:
    """What a reader opened of a table."""

    files: int = 0
    columns: set[str] = field(default_factory=set)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Opened:
    told = Opened()
    read = reader.rows_of

    def counting(scan: DataScan, io: FileIO, tasks: list[FileScanTask]) -> pa.Table:
        told.files += len(tasks)
        told.columns |= set(scan.projection().column_names)
        return read(scan, io, tasks)

    monkeypatch.setattr(reader, "rows_of", counting)
    return told


def decide(environment: Environment, experiment_id: str, *days: date, run_id: str = "r1") -> None:
    key = {"experiment_id": experiment_id, "as_of_date": list(days)}
    rows = [{"as_of_date": day, "run_id": run_id, "winner": "none", "action": f"on {day}"} for day in days]
    replace_rows(open_catalog(environment), "decisions", key, rows, run_id)


def test_a_list_of_all_experiments_opens_a_file_of_each_and_reads_what_it_shows(
    environment: Environment, opened: Opened
) -> None:
    for day in (D3, D1, D2):  # the newest is not the last that was written
        decide(environment, "exp_a", day)
        decide(environment, "exp_b", day)
    newest = Results(environment).newest_decisions()
    assert {id: one.action for id, one in newest.items()} == {"exp_a": f"on {D3}", "exp_b": f"on {D3}"}
    assert opened.files == 2
    assert opened.columns == {"experiment_id", "as_of_date", "run_id", "winner", "action"}


def test_the_decision_of_a_day_is_found_in_whatever_file_it_lies(environment: Environment) -> None:
    carry_out(a_run(environment, "r1", (D1, D2, D3)))
    carry_out(a_run(environment, "r2", (D1,)))  # the file of r1 still says that it begins with this day
    results = Results(environment)
    assert results.latest_decision("exp_a", D1).run_id == "r2"  # type: ignore[union-attr]
    assert results.latest_decision("exp_a").as_of_date == D3  # type: ignore[union-attr]


def test_the_newest_decision_of_an_experiment_is_read_from_one_file(
    environment: Environment, opened: Opened
) -> None:
    carry_out(a_run(environment, "r1", (D1, D3)))
    carry_out(a_run(environment, "r2", (D2,)))
    opened.files = 0
    assert Results(environment).latest_decision("exp_a").run_id == "r1"  # type: ignore[union-attr]
    assert opened.files == 1


def test_a_run_that_decides_reads_no_earlier_decision(environment: Environment, opened: Opened) -> None:
    carry_out(a_run(environment, "r1", (D1,)))
    run = a_run(environment, "r2", (D2,))
    carry_out(run, "publish", *NAMES)
    opened.columns.clear()
    carry_out(run, "decision")
    assert opened.columns == set()
