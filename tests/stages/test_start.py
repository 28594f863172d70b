"""A run starts on the right days, only when something changed, and a dry run leaves no trace."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from exp_platform.code_version import code_version
from exp_platform.config.environment import Environment
from exp_platform.config.experiment import Experiment, Window
from exp_platform.config.metrics import DayWindow
from exp_platform.config.plans import DecisionPlan
from exp_platform.config.readings import Memory
from exp_platform.decision import Decision
from exp_platform.errors import ConfigError
from exp_platform.stages.fingerprint import input_fingerprint
from exp_platform.stages.run import Run
from exp_platform.stages.start import as_of_days, default_as_of, start_run
from stages.frozen_runs import D1, D2, D3, a_run, carry_out
from stages.started_runs import of_files, store

LONG_AFTER = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def experiment(tmp_path: Path) -> Experiment:
    return of_files(tmp_path)


def at_a_later_end(experiment: Experiment, environment: Environment) -> Run:
    """A run of the last day of a window that has been moved, beyond the one that the experiment was decided at."""
    end = date(2025, 3, 28)
    longer = replace(experiment, window=Window(experiment.window.start, end))
    run = start_run(longer, environment, as_of_dates=[end]).run
    assert run is not None
    return run


def test_the_default_day_is_the_last_one_complete_where_the_experiment_is(experiment: Experiment) -> None:
    tokyo = replace(experiment, window=Window(date(2025, 3, 1), date(2025, 3, 14), "Asia/Tokyo"))
    late_evening_in_utc = datetime(2025, 3, 9, 15, 0, tzinfo=UTC)  # 10 March 00:00 in Tokyo
    assert default_as_of(tokyo, late_evening_in_utc) == date(2025, 3, 9)
    assert default_as_of(tokyo, datetime(2025, 3, 9, 14, 59, 59, tzinfo=UTC)) == date(2025, 3, 8)
    assert default_as_of(experiment, late_evening_in_utc) == date(2025, 3, 8)


def test_the_default_day_stops_at_the_windows_end_plus_the_longest_metric_window(
    experiment: Experiment,
) -> None:
    assert default_as_of(experiment, LONG_AFTER) == date(2025, 3, 14)
    slow = replace(experiment.metrics[0], window=DayWindow(0, 7))
    assert default_as_of(replace(experiment, metrics=(slow,)), LONG_AFTER) == date(2025, 3, 21)


def test_an_experiment_whose_first_day_is_not_over_cannot_run(experiment: Experiment) -> None:
    assert default_as_of(experiment, datetime(2025, 3, 2, tzinfo=UTC)) == date(2025, 3, 1)
    with pytest.raises(ConfigError, match="exp_a begins on 2025-03-01"):
        default_as_of(experiment, datetime(2025, 3, 1, 23, 59, tzinfo=UTC))


def test_days_are_ordered_clamped_and_counted_once(experiment: Experiment) -> None:
    asked = [date(2025, 3, 20), D2, date(2025, 3, 14), D1]
    assert as_of_days(experiment, asked, LONG_AFTER) == (D1, D2, D3)
    for wrong in ([date(2025, 2, 28), D1], []):
        with pytest.raises(ConfigError, match="allowed are days from 2025-03-01"):
            as_of_days(experiment, wrong, LONG_AFTER)


def test_a_day_that_is_not_over_is_refused_since_its_results_would_pass_for_whole(
    experiment: Experiment,
) -> None:
    noon = datetime(2025, 3, 10, 12, tzinfo=UTC)
    assert as_of_days(experiment, [date(2025, 3, 9)], noon) == (date(2025, 3, 9),)
    with pytest.raises(
        ConfigError, match=r"found 2025-03-10; allowed are .* to 2025-03-09, the last complete"
    ):
        as_of_days(experiment, [date(2025, 3, 9), date(2025, 3, 10)], noon)


def test_a_run_is_frozen_with_all_that_its_result_depends_on(
    environment: Environment, experiment: Experiment
) -> None:
    started = start_run(experiment, environment, as_of_dates=[D2, D1], skipped=("did", "nonsense"))
    run = started.run
    assert run is not None
    assert Run.load(run.path / "run.json") == run
    assert run.experiment == experiment
    assert run.state.data == run.input_fingerprint
    assert run.state.memory == Memory(), "nobody has looked"
    assert (run.as_of_dates, run.as_of_date) == ((D1, D2), D2)
    assert run.skipped == ("did",)
    assert run.path == environment.runs_dir / "exp_a" / run.run_id
    assert run.code_version == code_version()
    assert run.code_version.startswith("0.1.0+")


def test_a_run_that_an_older_version_froze_remembers_what_was_read(
    environment: Environment, experiment: Experiment
) -> None:
    """It had that within the experiment; one that begins before an upgrade would forget its test and take it again."""
    store(environment, start_run(experiment, environment, as_of_dates=[D3]))
    run = at_a_later_end(experiment, environment)
    assert run.state.moved
    frozen = run.path / "run.json"
    data = json.loads(frozen.read_text())
    data["experiment"]["earlier"] = data.pop("state")
    frozen.write_text(json.dumps(data))
    assert Run.load(frozen) == run


def test_run_ids_are_unique_and_sort_by_time(environment: Environment, experiment: Experiment) -> None:
    moments = [datetime(2026, 1, 1, hour, tzinfo=UTC) for hour in (0, 0, 9, 10)]
    ids = [start_run(experiment, environment, now=moment).run.run_id for moment in moments]  # type: ignore[union-attr]
    assert len(set(ids)) == 4
    assert sorted(ids[1:]) == ids[1:]


def test_the_fingerprint_follows_the_files_and_nothing_else(
    environment: Environment, experiment: Experiment, tmp_path: Path
) -> None:
    def fingerprint() -> str:
        return input_fingerprint(experiment, environment, generate_synth=True)

    first = fingerprint()
    assert fingerprint() == first
    file = tmp_path / "input" / "outcomes" / "part-0.parquet"
    os.utime(file, ns=(1, 2))
    touched = fingerprint()
    file.with_name("part-1.parquet").write_bytes(b"late rows")
    added = fingerprint()
    file.with_name("_SUCCESS").write_bytes(b"")
    assert fingerprint() == added
    file.unlink()
    assert len({first, touched, added, fingerprint()}) == 4


def test_generated_data_are_as_new_as_their_spec_and_found_data_as_their_files(
    environment: Environment,
) -> None:
    from exp_platform.config.loading import load_experiment

    synthetic = load_experiment("exp_checkout_button_001")
    other_seed = replace(synthetic, source=replace(synthetic.source, seed=43))  # type: ignore[type-var]
    generated = input_fingerprint(synthetic, environment, generate_synth=True)
    assert generated != input_fingerprint(other_seed, environment, generate_synth=True)
    empty = input_fingerprint(synthetic, environment, generate_synth=False)
    raw = Path(environment.raw_dir, "exp_platform", synthetic.id, "exposures", "part-0.parquet")
    raw.parent.mkdir(parents=True)
    raw.write_bytes(b"rows")
    assert generated == input_fingerprint(synthetic, environment, generate_synth=True)
    assert len({empty, generated, input_fingerprint(synthetic, environment, generate_synth=False)}) == 3


@pytest.mark.parametrize("zone", ["UTC", "Pacific/Auckland", "America/Los_Angeles"])
def test_todays_decision_on_generated_data_is_not_up_to_date_tomorrow(
    environment: Environment, zone: str
) -> None:
    """Tomorrow more has occurred; within a day, and once all has, nothing changes."""
    from exp_platform.config.loading import load_experiment

    shipped = load_experiment("exp_checkout_button_001")
    window = Window(date(2026, 3, 25), date(2026, 4, 7), zone)  # clocks change on the way
    synthetic = replace(shipped, window=window)
    midnight = window.cutoff(date(2026, 4, 2))

    def at(moment: datetime) -> tuple[datetime | None, str]:
        run = start_run(synthetic, environment, now=moment).run
        assert run is not None
        assert Run.load(run.path / "run.json") == run
        return run.generated_until, run.input_fingerprint

    hour = timedelta(hours=1)
    today, tonight = at(midnight + hour), at(midnight.astimezone(UTC) + 22 * hour)
    tomorrow = at(midnight.astimezone(UTC) + 26 * hour)
    assert today == tonight
    assert today[0] == midnight
    assert tomorrow[1] != today[1]
    end = window.cutoff(synthetic.last_as_of)
    over, long_over = at(end), at(end + 1000 * hour)
    assert over == long_over
    assert over[0] is None
    assert over[1] == input_fingerprint(synthetic, environment, generate_synth=True)


def test_a_dry_run_leaves_no_trace_on_a_fresh_machine(
    environment: Environment, experiment: Experiment
) -> None:
    started = start_run(experiment, environment, as_of_dates=[D1], dry_run=True)
    assert (started.run, started.up_to_date) == (None, False)
    assert started.message == "exp_a would be run as of 2025-03-12."
    assert not environment.state_dir.exists()


def test_a_dry_run_knows_what_is_up_to_date_and_writes_nothing(
    environment: Environment, experiment: Experiment
) -> None:
    store(environment, start_run(experiment, environment, as_of_dates=[D1]))
    before = {path: path.stat().st_mtime_ns for path in environment.state_dir.rglob("*") if path.is_file()}
    assert start_run(experiment, environment, as_of_dates=[D1], dry_run=True).up_to_date
    assert not start_run(experiment, environment, as_of_dates=[D2], dry_run=True).up_to_date
    after = {path: path.stat().st_mtime_ns for path in environment.state_dir.rglob("*") if path.is_file()}
    assert after == before


def test_an_end_moved_after_the_result_was_read_gives_no_second_fixed_horizon_test(
    environment: Environment, experiment: Experiment
) -> None:
    """Two looks at .045 each would find something in 8 % of A/A tests; looking again must rest on the other share."""
    store(environment, start_run(experiment, environment, as_of_dates=[D3]))
    same_plan = start_run(experiment, environment, as_of_dates=[D3], force=True).run
    assert same_plan is not None
    assert not same_plan.state.moved
    extended = at_a_later_end(experiment, environment)
    assert extended.state.moved
    assert [c.key for c in extended.state.changes] == ["window.end", "planned decision date"]


def test_an_end_moved_before_the_old_one_has_come_is_told_too(
    environment: Environment, experiment: Experiment
) -> None:
    store(environment, start_run(experiment, environment, as_of_dates=[D1]))
    extended = at_a_later_end(experiment, environment)
    assert extended.state.moved, "what was seen by then may have moved it"
    back = start_run(experiment, environment, as_of_dates=[D3]).run
    assert back is not None
    assert not back.state.moved


def test_a_look_struck_from_the_spec_after_it_was_taken_stays_spent(
    environment: Environment, experiment: Experiment
) -> None:
    plan = DecisionPlan(
        sequential="group_sequential", sequential_share=0.0, looks=(D1, D2), required_sample_size=5000
    )
    looked = replace(experiment, decision=plan)
    first = store(environment, start_run(looked, environment, as_of_dates=[D1]))
    assert first.state.memory == Memory()
    assert start_run(looked, environment, as_of_dates=[D1]).up_to_date, "a declared look is no change of plan"
    struck = replace(looked, decision=replace(plan, looks=(D2,)))
    later = start_run(struck, environment, as_of_dates=[D2]).run
    assert later is not None
    assert later.state.look_dates(later.experiment) == (D1, D2, looked.decision_date)


def test_who_looked_by_one_plan_of_alpha_cannot_go_on_by_another(
    environment: Environment, experiment: Experiment
) -> None:
    """Always-valid evidence on any day, then all of alpha for declared looks, would spend it twice; and the reverse."""
    grouped = DecisionPlan(
        sequential="group_sequential", sequential_share=0.0, looks=(D2,), required_sample_size=5000
    )
    looked = replace(experiment, decision=grouped)
    assert start_run(looked, environment, as_of_dates=[D1]).run is not None, "nobody has looked yet"
    store(environment, start_run(experiment, environment, as_of_dates=[D1]))
    with pytest.raises(ConfigError) as refused:
        start_run(looked, environment, as_of_dates=[D2])
    told = str(refused.value)
    assert "decision.sequential: found group_sequential, but exp_a was decided as of 2025-03-12" in told
    assert (
        "Set it back to always_valid, or begin an experiment with another id whose window starts after"
        in told
    )
    assert start_run(experiment, environment, as_of_dates=[D2]).run is not None


def test_a_plan_is_known_from_days_without_a_look_too(
    environment: Environment, experiment: Experiment
) -> None:
    grouped = DecisionPlan(
        sequential="group_sequential", sequential_share=0.0, looks=(D2,), required_sample_size=5000
    )
    store(environment, start_run(replace(experiment, decision=grouped), environment, as_of_dates=[D1]))
    with pytest.raises(ConfigError, match=r"found always_valid, but exp_a .* by group_sequential"):
        start_run(experiment, environment, as_of_dates=[D2], force=True)


def test_of_many_stored_decisions_a_start_unfolds_the_newest_alone(
    environment: Environment, experiment: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    carry_out(a_run(environment, "r1", (D1, D2, D3), of=experiment))
    unfold, unfolded = Decision.from_json, []

    def counting(data: dict[str, Any]) -> Decision:
        unfolded.append(data["as_of_date"])
        return unfold(data)

    monkeypatch.setattr(Decision, "from_json", counting)
    start_run(experiment, environment, as_of_dates=[D3], now=LONG_AFTER, dry_run=True)
    assert unfolded == [str(D3)]
