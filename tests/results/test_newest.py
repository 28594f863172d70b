"""The newest decisions of all experiments: as the tables say at each reading, and nothing is read twice."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from exp_platform.analyses.rows import ResultRow
from exp_platform.config.environment import Environment
from exp_platform.results.newest import Newest, NewestDecisions
from exp_platform.results.reader import Results
from exp_platform.tables.maintenance import maintain
from stages.frozen_runs import D1, D2, D3, a_run, an_experiment, carry_out


def days(found: dict[str, Newest]) -> dict[str, tuple[date, str]]:
    return {id: (one.as_of_date, one.run_id) for id, one in found.items()}


def test_each_experiments_newest_day_is_told_and_a_new_run_is_seen_at_once(environment: Environment) -> None:
    reader = NewestDecisions()
    assert reader.read(environment) == {}
    carry_out(a_run(environment, "r1", (D1, D2)))
    carry_out(a_run(environment, "s1", (D1,), of=an_experiment("exp_b")))
    assert days(reader.read(environment)) == {"exp_a": (D2, "r1"), "exp_b": (D1, "s1")}
    carry_out(a_run(environment, "r2", (D3,)))
    carry_out(a_run(environment, "s2", (D1,), of=an_experiment("exp_b"), seed=2))
    assert days(reader.read(environment)) == {"exp_a": (D3, "r2"), "exp_b": (D1, "s2")}
    assert reader.read(environment) == NewestDecisions().read(environment)


def test_it_says_what_the_stored_decision_says_with_the_row_that_decides(environment: Environment) -> None:
    carry_out(a_run(environment, "r1", (D3,)))
    one = NewestDecisions().read(environment)["exp_a"]
    stored = Results(environment).latest_decision("exp_a")
    assert stored is not None
    decision = stored.decision
    assert (one.action, one.winner, one.trust) == (decision.action, decision.winner, decision.trust)
    assert one.users == sum(stored.users.values())
    (row,) = (
        r
        for r in Results(environment).rows(ResultRow, "exp_a", D3, method=one.estimate)
        if (r.metric_id, r.treatment_id, r.segment) == (one.metric_id, one.reported_variant, "all")
    )
    assert one.effect is not None
    assert one.effect.estimate == row.estimate == decision.effect
    assert (one.effect.relative_low, one.effect.relative_high) == (row.relative_low, row.relative_high)


def test_of_files_that_were_met_nothing_is_read_again(environment: Environment, opened: list[str]) -> None:
    for id in ("exp_a", "exp_b", "exp_c"):
        carry_out(a_run(environment, f"run_{id}", (D1,), of=an_experiment(id)))
    reader = NewestDecisions()
    opened.clear()
    reader.read(environment)
    assert len(opened) == 6  # of each a file of decisions, and one with the row that decides
    carry_out(a_run(environment, "again", (D2,), of=an_experiment("exp_b")))
    opened.clear()
    reader.read(environment)
    assert len(opened) == 2
    opened.clear()
    reader.read(environment)
    assert opened == []


def test_compacted_files_say_the_same(environment: Environment) -> None:
    reader = NewestDecisions()
    for run_id, day in (("r1", D1), ("r2", D2), ("r3", D3)):
        carry_out(a_run(environment, run_id, (day,)))
    before = reader.read(environment)
    maintain(environment)
    assert reader.read(environment) == before == NewestDecisions().read(environment)


def test_a_damaged_file_costs_its_own_experiment_alone(environment: Environment) -> None:
    carry_out(a_run(environment, "r1", (D1,)))
    carry_out(a_run(environment, "s1", (D1,), of=an_experiment("exp_b")))
    (file,) = Path(environment.warehouse.removeprefix("file://")).glob(
        "**/decisions/data/**/*exp_b*/*.parquet"
    )
    file.write_bytes(b"no parquet")
    reader = NewestDecisions()
    assert list(reader.read(environment)) == ["exp_a"]
    assert reader.damaged == {"exp_b"}


@pytest.mark.parametrize("as_of", [None, D1])
def test_rows_as_a_table_are_those_that_count(environment: Environment, as_of: date | None) -> None:
    carry_out(a_run(environment, "r1", (D1, D2)))
    carry_out(a_run(environment, "r2", (D2,), seed=2))
    results = Results(environment)
    for method in (None, "ab", ["ab", "cuped"]):
        rows = results.rows(ResultRow, "exp_a", as_of, method=method)
        table = results.to_arrow("exp_a", as_of, method=method)
        assert table.num_rows == len(rows) > 0
        assert {(r["as_of_date"], r["run_id"]) for r in table.to_pylist()} <= {(D1, "r1"), (D2, "r2")}
        key = ["as_of_date", "method", "metric_id", "segment_value", "estimate"]
        told = sorted(str([row[name] for name in key]) for row in table.to_pylist())
        assert told == sorted(str([getattr(row, name) for name in key]) for row in rows)


def test_a_data_frame_holds_the_same_and_a_table_without_results_is_refused(environment: Environment) -> None:
    carry_out(a_run(environment, "r1", (D1,)))
    results = Results(environment)
    frame = results.to_pandas("exp_a", table="sample_sizes")
    assert len(frame) == results.to_arrow("exp_a", table="sample_sizes").num_rows > 0
    assert list(frame["as_of_date"]) == [D1] * len(frame)
    assert results.to_arrow("exp_nothing").num_rows == 0
    with pytest.raises(KeyError, match="exposures"):
        results.to_arrow("exp_a", table="exposures")


def test_of_one_experiment_no_file_of_another_is_opened(environment: Environment, opened: list[str]) -> None:
    for id in ("exp_a", "exp_b"):
        carry_out(a_run(environment, f"run_{id}", (D1, D2), of=an_experiment(id)))
    opened.clear()
    found = NewestDecisions(only="exp_b").read(environment)
    assert len(opened) == 2
    assert all("exp_b" in path for path in opened)
    assert found == {"exp_b": NewestDecisions().read(environment)["exp_b"]}
