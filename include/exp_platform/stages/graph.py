"""The one list of stages. Both runners walk it: Airflow makes a task of each, `run_end_to_end` calls them in turn."""

from __future__ import annotations

from dataclasses import dataclass

from exp_platform.config.analyses import ANALYSES, DECISIVE, NAMES, analysis
from exp_platform.config.experiment import Experiment

# What commits to tables or replaces the memo; no two of these ever run at once, so the newest one alone may.
COMMITTING = ("quality", "publish", "aggregates", "decision", "memo")
# Those that stored results may stand in for. Not what the decision rests on: stored rows would be of the spec that they were made by.
SKIPPABLE = ("quality", "aggregates", *(name for name in NAMES if name != DECISIVE))


@dataclass(frozen=True)
class Stage:
    """One stage: what it needs, whether the run fails with it, and whether it may start a Spark session: on a cluster, or for JDBC."""

    name: str
    needs: tuple[str, ...]
    required: bool = True
    spark_session: bool = False
    doc: str = ""


STAGES: tuple[Stage, ...] = (
    Stage("synth", (), doc="Writes the synthetic raw data of a `synthetic` source."),
    Stage(
        "ingest", ("synth",), spark_session=True, doc="Stages raw data as bucketed Parquet and measures it."
    ),
    Stage(
        "quality",
        ("ingest",),
        doc="Judges what ingest measured; an error keeps the data from being published.",
    ),
    Stage(
        "publish",
        ("quality",),
        doc="Replaces the experiment's exposures and outcomes, then its registry row.",
    ),
    Stage("aggregates", ("publish",), spark_session=True, doc="One pass: per-user days and Moments."),
    *(Stage(a.name, ("aggregates", *a.after), required=a.required, doc=a.doc) for a in ANALYSES),
    Stage("decision", NAMES, doc="Winner, action and reasons; commits the run's results."),
    Stage("memo", ("decision",), doc="The one-page memo and its JSON twin."),
)


def stages_of(experiment: Experiment, *, memo_only: bool = False) -> tuple[Stage, ...]:
    """The stages of one experiment, in an order that respects `needs`; needs of absent stages are dropped.

    `memo_only`: those of a run that words the stored results anew.
    """

    def applies(stage: Stage) -> bool:
        if memo_only:
            return stage.name == "memo"
        if stage.name == "synth":
            return experiment.source.kind == "synthetic"
        if stage.name in NAMES:
            return stage.name in experiment.analyses.enabled
        return True

    def is_required(stage: Stage) -> bool:
        decides = stage.name in NAMES and analysis(stage.name).estimates(experiment.decision.estimate)
        return stage.required or decides

    present = [s for s in STAGES if applies(s)]
    names = {s.name for s in present}
    return tuple(
        Stage(s.name, tuple(n for n in s.needs if n in names), is_required(s), s.spark_session, s.doc)
        for s in present
    )
