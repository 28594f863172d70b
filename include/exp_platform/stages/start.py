"""How a run starts: its days, whether anything changed since the stored results, and the folder that freezes it."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from exp_platform.analyses.readings import remembering
from exp_platform.code_version import code_version, wording_version
from exp_platform.config.edits import edits_since
from exp_platform.config.environment import Environment, load_environment
from exp_platform.config.experiment import Experiment
from exp_platform.config.hashing import config_hash
from exp_platform.errors import ConfigError
from exp_platform.results.memory import memory_of
from exp_platform.results.reader import Results, StoredDecision
from exp_platform.stages.fingerprint import input_fingerprint
from exp_platform.stages.graph import stages_of
from exp_platform.stages.older_state import refuse_older
from exp_platform.stages.run import Run
from exp_platform.stages.sql_watermark import require_forward, watermarks
from exp_platform.tables.audit import What, person, record
from exp_platform.tables.catalog import refuse_newer
from exp_platform.tables.folders import read_file
from exp_platform.tables.retention import require_shorter

NEW_DAY = "a new day"


@dataclass(frozen=True)
class Started:
    """What `start_run` found: a run to carry out, or none where the results are up to date or only a plan was wanted."""

    run: Run | None
    up_to_date: bool
    message: str
    memo_only: bool = False  # as of `Run`, also where only a plan was wanted


def start_run(
    experiment: Experiment,
    environment: Environment | None = None,
    *,
    as_of_dates: Sequence[date] | None = None,
    with_them: Sequence[date] = (),
    force: bool = False,
    full: bool = False,
    skipped: Sequence[str] = (),
    generate_synth: bool = True,
    dry_run: bool = False,
    now: datetime | None = None,
    holder: str = "",
    started_by: str = "",
) -> Started:
    """Freeze a run in a folder of its own, unless every day's stored decision has the same config, code and input.

    Where all have and the memo is not of the newest, or worded otherwise than this code does, the run makes the memo alone.
    The caller holds the experiment's lease as `holder`; `started_by` is whom the audit names, by default this process' user.
    `as_of_dates` None: the last complete local day before `now`; days after the last useful one become that one. A run that is
    made takes the days `with_them` too that are not up to date. `force` runs all the same, and so does `full`, which reads everything from the source; `dry_run` writes nothing and
    returns no run.
    Raises ConfigError for a day before the window or not over yet, an experiment that has not begun, one whose stored
    decisions spent alpha by another plan (`decision.sequential`), one whose rows of users the rule of retention deleted, a state
    that a newer version has written, or, unless forced, tables that do not know its newest run.
    """
    environment = environment or load_environment()
    refuse_newer(environment)
    now = now or datetime.now(UTC)
    days = as_of_days(
        experiment, as_of_dates if as_of_dates is not None else [default_as_of(experiment, now)], now
    )
    stored = Results(environment).decisions(experiment.id)
    if not force:
        refuse_older(environment, experiment.id, stored)
    _require_one_plan(experiment, stored)
    require_shorter(experiment, environment)
    until = _generated_until(experiment, now)
    published = Results(environment).registered(experiment.id)
    marks = watermarks(experiment, environment)
    if not force:
        require_forward(experiment, marks, json.loads((published or {}).get("watermarks") or "{}"))
    fingerprint = input_fingerprint(
        experiment, environment, generate_synth=generate_synth, generated_until=until, watermarks=marks
    )
    read_on = now.astimezone(UTC).date()
    edits = edits_since(published, experiment, read_on, upgraded=_was_upgraded(stored))
    state = remembering(experiment, memory_of(stored), fingerprint, read_on, edits)
    run_id = f"{now.astimezone(UTC):%Y%m%dT%H%M%S.%f}Z-{secrets.token_hex(3)}"  # sorts by time
    run = Run(
        run_id=run_id,
        experiment=experiment,
        as_of_dates=days,
        environment=environment.name,
        folder=str(environment.runs_dir / experiment.id / run_id),
        config_hash=config_hash(experiment),
        code_version=code_version(),
        input_fingerprint=fingerprint,
        state=state,
        skipped=tuple(stage.name for stage in stages_of(experiment) if stage.name in skipped),
        started_by=started_by or person(),
        generated_until=until,
        full=full,
        holder=holder,
        watermarks=marks,
    )
    out_of_date = _out_of_date(run, days, stored, environment)
    stand = not force and not full and not out_of_date
    up_to_date = stand and _memo_stands(experiment.id, stored, environment)
    if with_them and not up_to_date:
        others = [
            day
            for day in as_of_days(experiment, with_them, now)
            if _out_of_date(run, [day], stored, environment)
        ]
        stand = stand and not others
        run = replace(run, as_of_dates=tuple(sorted({*days, *others})))
    run = replace(run, memo_only=stand)
    when = _when(run.as_of_dates)
    if up_to_date:
        return Started(
            None,
            True,
            f"{experiment.id} as of {when} is up to date: same config, code and input.{_deletion(published)}",
        )
    if not force and not stand and (said := _deletion(published)):
        raise ConfigError(
            f"{experiment.id}:{said} A run reads them from the source again, where they still lie; `--force` does so, and the "
            "next maintenance deletes them again"
        )
    why = _why(out_of_date, stand)
    if dry_run:
        return Started(None, False, f"{experiment.id} would be run as of {when}.{why}", stand)
    run.save()
    _write_down(run, environment, force)
    return Started(run, False, f"{experiment.id} as of {when}: run {run_id}.{why}", stand)


def _write_down(run: Run, environment: Environment, force: bool) -> None:
    """The run, and the edit of the spec that it brings, in the audit."""

    def event(what: What, details: dict[str, Any]) -> None:
        record(
            environment,
            what,
            who=run.started_by,
            experiment_id=run.experiment.id,
            run_id=run.run_id,
            config_hash=run.config_hash,
            details=details,
        )

    edit = next(iter(run.state.edits[-1:]), None)
    if edit is not None and edit.on == run.state.read_on:
        event("spec changed", {"changes": [vars(change) for change in edit.changes]})
    event(
        "run",
        {
            "as_of": [day.isoformat() for day in run.as_of_dates],
            "forced": force,
            "skipped": list(run.skipped),
            **({"memo_only": True} if run.memo_only else {}),
            **({"full": True} if run.full else {}),
            "input_fingerprint": run.input_fingerprint,
        },
    )


def _was_upgraded(stored: Sequence[StoredDecision]) -> bool:
    """Whether other code than this made the newest of the stored decisions."""
    newest = max(stored, key=lambda decision: decision.computed_at, default=None)
    return newest is not None and newest.code_version != code_version()


def _when(days: Sequence[date]) -> str:
    return str(days[0]) if len(days) == 1 else f"{days[0]} to {days[-1]} ({len(days)} days)"


def _deletion(published: Mapping[str, Any] | None) -> str:
    """That rows of single users went, and when; nothing where they are there."""
    day = (published or {}).get("user_level_deleted_on")
    return (
        f" Its rows of single users were deleted on {day} by the rule of retention; the results stay."
        if day
        else ""
    )


def default_as_of(experiment: Experiment, now: datetime) -> date:
    """The last complete local day before an aware instant, at most the last useful one.

    Raises ConfigError before the first day of the window is over.
    """
    day = _last_complete_day(experiment, now)
    if day < experiment.window.start:
        raise ConfigError(
            f"{experiment.id} begins on {experiment.window.start} ({experiment.window.timezone}): there is nothing to "
            f"analyse before the end of that day"
        )
    return min(day, experiment.last_as_of)


def as_of_days(experiment: Experiment, days: Sequence[date], now: datetime) -> tuple[date, ...]:
    """The days in order, each once; those after the last useful one become that one.

    Raises ConfigError for a day before the window, or one that is not over at the aware instant `now`: its results
    would be stored as if it were.
    """
    first, last = experiment.window.start, _last_complete_day(experiment, now)
    useful = [min(day, experiment.last_as_of) for day in days]
    wrong = [day for day in useful if not first <= day <= last]
    if wrong or not days:
        found = ", ".join(map(str, wrong)) or "none"
        raise ConfigError(
            f"as_of: found {found}; allowed are days from {first}, when {experiment.id} begins, to {last}, the last "
            f"complete day ({experiment.window.timezone})"
        )
    return tuple(sorted(set(useful)))


def _last_complete_day(experiment: Experiment, now: datetime) -> date:
    return now.astimezone(ZoneInfo(experiment.window.timezone)).date() - timedelta(days=1)


def _generated_until(experiment: Experiment, now: datetime) -> datetime | None:
    """The end of the last complete local day, in UTC, where synthetic data are still to come after it; None otherwise.

    Not the instant itself: what was decided today would never be up to date today.
    """
    day = _last_complete_day(experiment, now)
    if experiment.source.kind != "synthetic" or day >= experiment.last_as_of:
        return None
    return experiment.window.cutoff(day).astimezone(UTC)


def _require_one_plan(experiment: Experiment, stored: Sequence[StoredDecision]) -> None:
    """Each way to spend alpha over looks has all of it: whoever looked by one must not go on by the other.

    What one of them found, or nearly found, would choose the other, and both together exceed alpha.
    """
    now = experiment.decision.sequential
    others = [d for d in stored if d.sequential not in (None, now)]
    if others:
        before = others[0].sequential
        raise ConfigError(
            f"{experiment.spec_file or experiment.id}: decision.sequential: found {now}, but {experiment.id} was decided as "
            f"of {others[0].as_of_date} by {before}, which has alpha to spend once. Set it back to {before}, or begin an "
            f"experiment with another id whose window starts after {others[-1].as_of_date}"
        )


def _out_of_date(
    run: Run, days: Sequence[date], stored: Sequence[StoredDecision], environment: Environment
) -> tuple[str, ...]:
    """What keeps the stored results of these days from being what the run would find, in words; nothing where they stand."""
    by_day = {decision.as_of_date: decision for decision in stored}
    if not all(day in by_day for day in days):
        return (NEW_DAY,)
    found = tuple(dict.fromkeys(what for day in days for what in _differences(run, by_day[day])))
    if not found and any(Results(environment, skip_damaged=True).missing_rows(by_day[day]) for day in days):
        return ("rows of it are missing",)
    return found


def _why(out_of_date: Iterable[str], stand: bool) -> str:
    """Why the days are computed, as a sentence; nothing of a new day, which needs no reason."""
    if stand:
        return " Its results stand; the memo alone is written anew."
    told = [what for what in out_of_date if what != NEW_DAY]
    return f" What is stored is out of date: {', '.join(told)}." if told else ""


def _memo_stands(experiment_id: str, stored: Sequence[StoredDecision], environment: Environment) -> bool:
    """Whether the memo is of the newest decision, which a run that failed before its end left without one, in these words."""
    try:
        memo = json.loads(read_file(environment, f"{environment.memos_dir}/{experiment_id}.json") or "{}")
    except json.JSONDecodeError:
        return False
    return (memo.get("run_id"), memo.get("wording_version")) == (stored[-1].run_id, wording_version())


def _differences(run: Run, stored: StoredDecision) -> Iterator[str]:
    """What the stored result was made from that is another thing now."""
    if run.config_hash != stored.config_hash:
        yield "another config"
    if run.code_version != stored.code_version:
        yield f"other code ({stored.code_version}, now {run.code_version})"
    if run.input_fingerprint != stored.input_fingerprint:
        yield "other input"
    if set(run.skipped) != set(stored.skipped):
        yield "other stages skipped"
