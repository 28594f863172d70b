"""The stage `ingest`: raw data -> Parquet bucketed by user under the tables' own locations, and what quality judges.

Nothing is committed here: the files become readable when `publish` commits their paths.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

from exp_platform.aggregates import Threshold
from exp_platform.config.environment import Environment, load_environment
from exp_platform.config.experiment import Experiment
from exp_platform.config.locations import without_values
from exp_platform.config.metrics import Behaviour
from exp_platform.json_file import write_json
from exp_platform.kernels.base import Base as BucketBase
from exp_platform.kernels.base import RowCounts
from exp_platform.kernels.behaviour import frozen, thresholds_of
from exp_platform.kernels.measured import Measured
from exp_platform.kernels.quantiles import Distribution
from exp_platform.results.reader import Results
from exp_platform.stages.bases import bases_of
from exp_platform.stages.jdbc_pieces import JdbcPiece
from exp_platform.stages.last_publication import published_days, published_rows
from exp_platform.stages.pieces import IcebergPiece, StandingPiece
from exp_platform.stages.privacy import privacy_of
from exp_platform.stages.quality import failures_of, refuse
from exp_platform.stages.reading import Problem
from exp_platform.stages.refresh import (
    Refresh,
    Standing,
    cannot_add,
    in_full,
    ingest_key,
    refresh_of,
    standing_files,
)
from exp_platform.stages.rounds import buckets_of, ingested
from exp_platform.stages.run import Run, StageResult
from exp_platform.stages.shards import Staged, clean_and_write
from exp_platform.stages.sources import NO_FILE, Plan, plan_reading
from exp_platform.stages.standing import base_of, counts_of
from exp_platform.tables.files import task_writer
from exp_platform.tables.published import NO_BASE

TABLES = ("exposures", "outcomes", "outcomes_aside", "outcomes_seen")


def run(run: Run) -> StageResult:
    """Stage and measure the raw data, and leave `ingest.json` in the run folder.

    Raises DataError, its check recorded, for data that cannot be read at all: a missing file or column, a wrong type.
    """
    environment = load_environment(run.environment)
    now = datetime.now(UTC)
    registered = Results(environment).registered(run.experiment.id)
    privacy = privacy_of(run.experiment, environment, registered)
    before = [Threshold.from_json(t) for t in json.loads((registered or {}).get("thresholds") or "[]")]
    known = thresholds_of(run.experiment, before)
    unfrozen = [b for b in run.experiment.behaviours if b.segment not in known]
    key = ingest_key(run.experiment, privacy)
    base = base_of(environment, registered)
    plan = _planned(run, environment, {} if run.full else standing_files(base, key))
    alone = cannot_add(run.experiment, plan.pieces, key)
    tables = TABLES[:2] if alone else TABLES  # the others are for a later run
    writers = {name: task_writer(environment, name, run.experiment.id, run.run_id) for name in tables}
    clean = partial(
        clean_and_write,
        experiment=run.experiment,
        now=now,
        writers=writers,
        as_of=run.as_of_date,
        unfrozen=unfrozen,
        privacy=privacy,
    )
    refresh = refresh_of(
        run.experiment,
        plan.pieces,
        base,
        key,
        asked=run.full,
        unfrozen=[b.segment for b in unfrozen],
        buckets=buckets_of(plan),
    )
    if refresh.base is None:
        plan = _whole(run, environment, plan)
        refresh = in_full(plan.pieces, refresh.why)
    bases, before_counts = _bases(environment, run.experiment, refresh, registered)
    buckets, problems, done = ingested(
        run.experiment,
        environment,
        replace(plan, pieces=refresh.pieces),
        partial(clean, bases=bases),
        privacy,
        base=refresh.base,
    )
    if why := next((part.not_exact for part in done if part.not_exact), None):
        plan = _whole(run, environment, plan)
        refresh, before_counts = in_full(plan.pieces, why), {}
        buckets, problems, done = ingested(run.experiment, environment, plan, clean, privacy)
    problems = [*problems, *(Problem("source", problem) for part in done for problem in part.problems)]
    _refuse(run, problems, done)
    measured = Measured.merge_all(part.measured for part in done)
    rows_in = sum(n for table, n in measured.rows_in.items() if table != "outcomes" or not measured.in_series)
    rows_in -= sum(sum(counts.measured.rows_in.values()) for counts in before_counts.values())
    told = refresh.told(rows_in)
    staged = {name: [part.files[name] for part in done if name in part.files] for name in TABLES}
    write_json(
        run.path / "ingest.json",
        {
            "measured": measured.to_json(),
            "staged": staged,
            "buckets": buckets,
            "started_at": now.isoformat(),
            "published_rows": published_rows(run.experiment, registered),
            "published_days": published_days(run.experiment, registered),
            "thresholds": [t.to_json() for t in (*before, *_frozen(run, done, unfrozen))],
            "tables": {
                piece.place: {"location": piece.metadata.location, "snapshot": piece.snapshot}
                for piece in plan.pieces
                if isinstance(piece, IcebergPiece)
            },
            "pseudonym_key": privacy.pseudonyms.fingerprint if privacy.pseudonyms else None,
            **_for_later(refresh, {NO_BASE: alone} if alone else key, done),
            "refresh": told,
        },
    )
    return StageResult(
        rows_in=rows_in,
        rows_out=sum(measured.rows_out.values()),
        details={
            "buckets": buckets,
            "files": {name: len(paths) for name, paths in staged.items()},
            "refresh": told,
        },
    )


def _planned(run: Run, environment: Environment, standing: Standing = NO_FILE) -> Plan:
    """What there is to read, or the end of this run where some of it cannot be read."""
    plan = plan_reading(run.experiment, environment, standing)
    if any(isinstance(piece, JdbcPiece) for piece in plan.pieces):
        from exp_platform.stages.plan_jdbc import completed

        plan = completed(run.experiment, environment, plan)
    _refuse(run, plan.problems)
    return plan


def _whole(run: Run, environment: Environment, plan: Plan) -> Plan:
    """The plan with what stands to be read as well."""
    left_out = any(isinstance(piece, StandingPiece) for piece in plan.pieces)
    return _planned(run, environment) if left_out else plan


def _bases(
    environment: Environment, experiment: Experiment, refresh: Refresh, registered: Mapping[str, Any] | None
) -> tuple[Mapping[int, BucketBase] | None, dict[int, RowCounts]]:
    """What is published of each bucket, where new rows are added to it, and what was counted of it."""
    if refresh.base is None or registered is None:
        return None, {}
    counts = counts_of(registered)
    return bases_of(environment, experiment.id, refresh.base.snapshots, counts), counts


def _for_later(refresh: Refresh, key: Mapping[str, str], done: Sequence[Staged]) -> dict[str, Any]:
    """What `publish` adds the staged files to, and what a later run needs to add to them."""
    no_base = next((part.no_base for part in done if part.no_base), None)
    counts = {bucket: found for part in done for bucket, found in part.counts.items()}
    return {
        "base": refresh.base.snapshots if refresh.base else {},
        "ingest_key": {NO_BASE: no_base} if no_base else dict(key),
        "files": [file.to_row() for file in refresh.files],
        "anew": {name: [b for part in done if name in part.anew for b in part.counts] for name in TABLES},
        "counts": {str(bucket): found.to_json() for bucket, found in counts.items()},
    }


def _frozen(run: Run, done: Sequence[Staged], unfrozen: Sequence[Behaviour]) -> list[Threshold]:
    """The thresholds that this run's publication freezes."""
    pooled = {
        b.segment: Distribution.pooled(part.distributions[b.segment] for part in done if part.distributions)
        for b in unfrozen
    }
    found = [frozen(pooled[b.segment], run.experiment, b, run.as_of_date, run.run_id) for b in unfrozen]
    return [threshold for threshold in found if threshold is not None]


def _refuse(run: Run, problems: Sequence[Problem], done: Sequence[Staged] = ()) -> None:
    if problems:
        told = [(problem.check, without_values(problem.message, run.experiment)) for problem in problems]
        refuse(run, failures_of(run, told), [path for part in done for path in part.files.values()])
