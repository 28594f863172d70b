"""The stage `ingest`: raw data -> Parquet bucketed by user under the tables' own locations, and what quality judges.

Nothing is committed here: the files become readable when `publish` commits their paths.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

from pydantic import TypeAdapter

from exp_platform.aggregates import Threshold
from exp_platform.config.environment import Environment, load_environment
from exp_platform.config.experiment import Experiment
from exp_platform.config.locations import without_values
from exp_platform.config.metrics import Behaviour
from exp_platform.json_file import write_json
from exp_platform.kernels.behaviour import frozen, thresholds_of
from exp_platform.kernels.measured import Measured
from exp_platform.kernels.privacy import Privacy
from exp_platform.kernels.quantiles import Distribution
from exp_platform.results.reader import Results
from exp_platform.stages.pieces import IcebergPiece
from exp_platform.stages.privacy import privacy_of
from exp_platform.stages.quality import failures_of, refuse
from exp_platform.stages.reading import Problem
from exp_platform.stages.run import Run, StageResult
from exp_platform.stages.shards import Staged, clean_and_write, read_and_split
from exp_platform.stages.sources import Plan, plan_reading
from exp_platform.tables.files import task_writer

BUCKET_USERS = 300_000  # a bucket must fit a core's memory
BUCKET_OUTCOMES = 5_000_000
TABLES = ("exposures", "outcomes")


def run(run: Run) -> StageResult:
    """Stage and measure the raw data, and leave `ingest.json` in the run folder.

    Raises DataError, its check recorded, for data that cannot be read at all: a missing file or column, a wrong type.
    """
    environment = load_environment(run.environment)
    now = datetime.now(UTC)
    plan = plan_reading(run.experiment, environment)
    _refuse(run, plan.problems)
    buckets = bucket_count(plan)
    registered = Results(environment).registered(run.experiment.id)
    privacy = privacy_of(run.experiment, environment, registered)
    before = [Threshold.from_json(t) for t in json.loads((registered or {}).get("thresholds") or "[]")]
    known = thresholds_of(run.experiment, before)
    unfrozen = [b for b in run.experiment.behaviours if b.segment not in known]
    done = _carry_out(run, environment, plan, buckets, now, unfrozen, privacy)
    _refuse(run, [Problem("source", problem) for part in done for problem in part.problems], done)
    measured = Measured.merge_all(part.measured for part in done)
    staged = {name: [part.files[name] for part in done if name in part.files] for name in TABLES}
    write_json(
        run.path / "ingest.json",
        {
            "measured": measured.to_json(),
            "staged": staged,
            "buckets": buckets,
            "started_at": now.isoformat(),
            "published_rows": published_rows(run.experiment, registered),
            "thresholds": [t.to_json() for t in (*before, *_frozen(run, done, unfrozen))],
            "tables": {
                piece.place: {"location": piece.metadata.location, "snapshot": piece.snapshot}
                for piece in plan.pieces
                if isinstance(piece, IcebergPiece)
            },
            "pseudonym_key": privacy.pseudonyms.fingerprint if privacy.pseudonyms else None,
        },
    )
    return StageResult(
        rows_in=sum(measured.rows_in.values()),
        rows_out=sum(measured.rows_out.values()),
        details={"buckets": buckets, "files": {name: len(paths) for name, paths in staged.items()}},
    )


def bucket_count(plan: Plan) -> int:
    """Into how many buckets the users are split: from the data alone, never from cores or memory found."""
    users, outcomes = plan.rows("exposures", "units"), plan.rows("outcomes")
    return max(1, math.ceil(users / BUCKET_USERS), math.ceil(outcomes / BUCKET_OUTCOMES))


def published_rows(experiment: Experiment, registered: Mapping[str, Any] | None) -> int | None:
    """Exposures of the last publication; None where there is none, or it had another source."""
    if registered is None:
        return None
    source = TypeAdapter(Experiment).dump_python(experiment, mode="json")["source"]
    stored = json.loads(registered["spec"])["source"]
    # What an older version did not know of was not said of any source.
    if _said(stored) != _said(source):
        return None
    return int(registered["exposures_rows"])


def _said(source: Any) -> Any:
    """A source as JSON without what is null or empty."""
    if isinstance(source, dict):
        return {
            key: _said(value) for key, value in source.items() if value is not None and value not in ({}, [])
        }
    return source


def _frozen(run: Run, done: Sequence[Staged], unfrozen: Sequence[Behaviour]) -> list[Threshold]:
    """The thresholds that this run's publication freezes."""
    pooled = {
        b.segment: Distribution.pooled(part.distributions[b.segment] for part in done if part.distributions)
        for b in unfrozen
    }
    found = [frozen(pooled[b.segment], run.experiment, b, run.as_of_date, run.run_id) for b in unfrozen]
    return [threshold for threshold in found if threshold is not None]


def _carry_out(
    run: Run,
    environment: Environment,
    plan: Plan,
    buckets: int,
    now: datetime,
    unfrozen: Sequence[Behaviour],
    privacy: Privacy,
) -> list[Staged]:
    """Two rounds of tasks: pieces are read and split by user, then each bucket is cleaned and written."""
    if not plan.pieces:
        return []
    experiment = run.experiment
    writers = {name: task_writer(environment, name, experiment.id, run.run_id) for name in TABLES}
    cleaned = partial(
        clean_and_write,
        experiment=experiment,
        now=now,
        writers=writers,
        as_of=run.as_of_date,
        unfrozen=unfrozen,
        privacy=privacy,
    )
    show_ids = privacy.shows_lines
    numbered = list(enumerate(plan.pieces))
    if buckets == 1 and environment.spark.local:  # one core's work: a session would take longer to start
        return list(cleaned(read_and_split(numbered, buckets, show_ids)))
    from exp_platform.spark.session import workers

    context = workers(f"ingest {experiment.id}", environment)
    tasks = min(len(plan.pieces), 4 * context.defaultParallelism)
    # Large and small tables alike
    spread = [piece for task in range(tasks) for piece in numbered[task::tasks]]
    shards = context.parallelize(spread, tasks).mapPartitions(
        lambda pieces: read_and_split(pieces, buckets, show_ids)
    )
    by_bucket = shards.partitionBy(buckets, int)
    staged: list[Staged] = by_bucket.mapPartitions(cleaned).collect()
    return staged


def _refuse(run: Run, problems: Sequence[Problem], done: Sequence[Staged] = ()) -> None:
    if problems:
        told = [(problem.check, without_values(problem.message, run.experiment)) for problem in problems]
        refuse(run, failures_of(run, told), [path for part in done for path in part.files.values()])
