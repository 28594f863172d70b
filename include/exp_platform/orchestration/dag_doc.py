"""What the UI says about an experiment's DAG, in Markdown; what the spec's author has written is text in it, not Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from exp_platform import numbers
from exp_platform.config.awaited import Awaited
from exp_platform.config.experiment import Experiment
from exp_platform.config.metrics import Effect, Metric, MetricScale, Provenance
from exp_platform.errors import shortened
from exp_platform.escaping import Markdown, code, markdown, paragraphs
from exp_platform.stages.graph import Stage

_LONGEST = 300  # characters of a location

_HOW_TO_RUN = """\
- **Now**: trigger it (▶). Without *As of* the results are those of the last complete day.
- **Nothing changed** since the stored results: the run is green and everything after `check` is skipped. To run all
  the same, trigger it with *Force*, or `{{"force": true}}` as conf.
- **Only new files are read**, and the manifest of `ingest` says so. To read everything from the source again: *Full*, or `{{"full": true}}`.
- **A past day**: trigger it with *As of*; many days in one pass: `exp run {id} --from <day> --to <day>`.
- **From a terminal**: `airflow dags test exp__{id}`, or `exp run {id}` without Airflow.
- {starts}; runs by hand work for ever."""

_WAITS = """
- **Scheduled runs and runs by hand wait** up to {hours:g} hours for {places} (S3, by the connection `aws_default`)."""

_WHEN_IT_FAILS = """\
The last lines of a failed task's log are the cause and the remedy. What a retry cannot mend (a broken spec, bad data)
is not retried. Mend it, then clear the failed task *with downstream*, or trigger a new run.

| failed | usually | then |
|---|---|---|{wait}
| `check` | the spec is broken (see the import error of `config_errors.py`), or another run holds the experiment | mend \
{spec}; wait, or `exp unlock {id}` if that run is dead |
| `ingest`, `quality` | the data: the log names the check, what was found and what is allowed | mend the data or the \
thresholds; the last good results stay readable |
| `publish`, `aggregates` | the catalog or memory | see the log, clear the task |
| a required analysis | a fault of the platform | keep the log, report it |
| a best-effort analysis | ends *skipped* and the run goes on | the memo says so; clear it together with `decision` |"""

_WAIT_FAILED = """
| `wait_for_source` | the data have not come, or S3 refuses: the log says which | deliver and clear it *with downstream*; \
correct the location or the connection |"""


def dag_doc(experiment: Experiment, stages: Sequence[Stage], waits_for: Sequence[Awaited]) -> str:
    """The DAG's page in Markdown: what is tested, on whom, by which metrics, and what to do when a stage fails."""
    window, schedule = experiment.window, experiment.schedule
    spec = code(experiment.spec_file or "its spec")
    how = _HOW_TO_RUN.format(id=experiment.id, starts=_starts(experiment))
    if waits_for:
        places = " and ".join(code(shortened(item.told, _LONGEST)) for item in waits_for)
        how += _WAITS.format(hours=schedule.wait_hours, places=places)
    sections = [
        f"# {experiment.id}",
        experiment.hypothesis and f"**Hypothesis.** {markdown(shortened(experiment.hypothesis))}",
        paragraphs(shortened(experiment.description)),
        f"Owner {markdown(experiment.owner)}; {window.start} to {window.end} ({window.timezone}); decision planned for "
        f"{experiment.decision_date}; spec {spec}. **[Results](/dags/exp__{experiment.id}/plugin/results)** stand in a tab of this "
        "DAG, as of the day of each run in a tab of that run.",
        "## Variants\n" + _table(("variant", "share", ""), _variants(experiment)),
        experiment.trigger
        and f"Only users who reach {markdown(experiment.trigger.told)} count, from that moment on.",
        "## Metrics\n"
        + _table(
            ("metric", "role", "definition", "good is", "matters from", "defined by"), _metrics(experiment)
        ),
        "## To run it\n" + how,
        "## When a stage fails\n"
        + _WHEN_IT_FAILS.format(id=experiment.id, spec=spec, wait=_WAIT_FAILED if waits_for else ""),
        "## Stages\n" + _table(("stage", "what it does", ""), _stages(stages)),
        f"[Runs](/dags/exp__{experiment.id}/runs) · [all experiments](/plugin/experiments) · [by id: run_experiment](/dags/run_experiment) · "
        "[results as an asset](/assets)",
    ]
    return "\n\n".join(section for section in sections if section)


def _starts(experiment: Experiment) -> str:
    schedule = experiment.schedule
    until = f"until {schedule.grace_days} days after the last day that counts ({experiment.last_as_of})"
    if schedule.after is not None:
        asset = code(shortened(schedule.after, _LONGEST))
        return f"**Each update of the asset** {asset} starts a run, {until}; later ones have nothing to do"
    return (
        f"The schedule stops by itself: it starts runs {until}" if schedule.cron else "There is no schedule"
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *[[markdown(cell) for cell in row] for row in rows]]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _variants(experiment: Experiment) -> list[tuple[str, str, str]]:
    control = experiment.control.id
    shares = zip(*(allocation.shares for allocation in experiment.allocations), strict=True)
    return [
        (v.id, " → ".join(numbers.share(share) for share in of_arm), "control" if v.id == control else "")
        for v, of_arm in zip(experiment.variants, shares, strict=True)
    ]


def _metrics(experiment: Experiment) -> list[tuple[str, ...]]:
    return [
        (
            m.id,
            _role(m, experiment.scale(m.id, m.kind)),
            m.definition,
            "more" if m.direction > 0 else "less",
            _effect(m.min_practical_effect, experiment.scale(m.id, m.kind)),
            _whose(experiment.provenance.get(m.id)),
        )
        for m in experiment.metrics
    ]


def _role(metric: Metric, scale: MetricScale) -> str:
    if metric.guardrail is None:
        return metric.role.value
    return (
        f"{metric.role.value} ({metric.guardrail.severity}, margin {_effect(metric.guardrail.margin, scale)})"
    )


def _whose(found: Provenance | None) -> str:
    """Who answers for a definition, which file has it, and what it is for."""
    if found is None:
        return ""
    said = (found.owner, found.file and f"in {found.file}", shortened(found.description, _LONGEST))
    return "; ".join(part for part in said if part)


def _effect(effect: Effect | None, scale: MetricScale) -> str:
    if effect is None:
        return ""
    if effect.scale == "absolute":
        return numbers.size(effect.value, *scale)
    return f"{numbers.share(effect.value)} of control"


def _stages(stages: Sequence[Stage]) -> list[tuple[str, str, str]]:
    return [(stage.name, Markdown(stage.doc), "" if stage.required else "best effort") for stage in stages]
