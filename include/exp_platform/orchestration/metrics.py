"""What the platform tells Airflow's own metrics (StatsD, Datadog, OpenTelemetry), from the manifests.

docs/10_operations/watching.md lists the names.

Nothing is sent unless `[metrics] statsd_on` or `otel_on` is set, which is Airflow's affair; prefix, allow and block lists
are too. Like Airflow's, each metric has its values as tags and, unless `[metrics] legacy_names_on` is false, a second name
that holds those of a short list, for servers that know no tags.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from airflow.sdk.configuration import conf
from airflow.sdk.observability import stats

from exp_platform.stages.run import Manifest

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Metric:
    """One number to send: what a counter grows by, or a duration in milliseconds."""

    name: str
    kind: Literal["counter", "timer"]
    value: float
    in_name: dict[str, str] = field(default_factory=dict)  # tags of a short list, in the order of the name


def of_manifest(manifest: Manifest) -> Iterator[Metric]:
    """What one try of a stage, of `check` or of `release` tells."""
    stage = {"stage": manifest.stage}
    ended = {**stage, "status": manifest.status}
    yield Metric("exp.stage.tries", "counter", 1, ended)
    yield Metric("exp.stage.duration", "timer", manifest.seconds * 1000, ended)
    if manifest.rows_in:
        yield Metric("exp.stage.rows_in", "counter", manifest.rows_in, stage)
    if manifest.rows_out:
        yield Metric("exp.stage.rows_out", "counter", manifest.rows_out, stage)
    if manifest.stage == "decision" and manifest.status == "success":
        yield Metric("exp.refreshes", "counter", 1, {"outcome": "computed"})
        yield Metric("exp.decisions", "counter", 1, {"action": manifest.details["action"]})


def up_to_date() -> Iterator[Metric]:
    """What a run tells that found its stored results up to date."""
    yield Metric("exp.refreshes", "counter", 1, {"outcome": "up_to_date"})


def lease_taken(seconds: float) -> Iterator[Metric]:
    """How long a run waited for another one of its experiment to end."""
    yield Metric("exp.lease.wait", "timer", seconds * 1000)


def send(experiment_id: str, metrics: Iterable[Metric]) -> None:
    """Send them under the experiment's tag. Raises nothing: what nobody could count fails no run."""
    try:
        dotted = conf.getboolean("metrics", "legacy_names_on")
        of_experiment = {"experiment_id": experiment_id}
        for metric in metrics:
            _send(metric, metric.name, {**metric.in_name, **of_experiment})
            if dotted and metric.in_name:
                _send(metric, ".".join([metric.name, *metric.in_name.values()]), of_experiment)
    except Exception as error:  # whatever a client library raises
        log.warning("metrics of %s could not be sent: %s", experiment_id, error)


def _send(metric: Metric, name: str, tags: dict[str, str]) -> None:
    if metric.kind == "counter":
        stats.incr(name, int(metric.value), tags=tags)
    else:
        stats.timing(name, metric.value, tags=tags)
