"""What others hear of a run in Airflow: StatsD and OpenTelemetry its metrics, OpenLineage its datasets."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import pytest
from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from end_to_end.airflow_runs import DagRun
from end_to_end.installation import Installation
from exp_platform.tables.schemas import RESULT_TABLES
from orchestration.receivers import Posted, StatsD


def heard_by_statsd(server: StatsD, run: DagRun, action: str) -> None:
    """Each stage's tries, time and rows, one refresh and one decision."""
    for stage, manifest in run.xcoms.items():
        assert server.of(f"exp.stage.tries.{stage}.success") == [(1, "c")]
        ((milliseconds, kind),) = server.of(f"exp.stage.duration.{stage}.success")
        assert (kind, milliseconds) == ("ms", pytest.approx(1000 * manifest["seconds"]))
        rows = manifest["rows_out"]
        assert server.of(f"exp.stage.rows_out.{stage}") == ([(rows, "c")] if rows else [])
    assert server.of("exp.refreshes.computed") == [(1, "c")]
    assert server.of(f"exp.decisions.{action}") == [(1, "c")]


def heard_by_opentelemetry(collector: Posted, run: DagRun, experiment_id: str, action: str) -> None:
    """The same with tags, each process its own part."""
    points = [
        (metric["name"].removeprefix("airflow."), point, metric)
        for body in collector.to("/v1/metrics")
        for resource in MessageToDict(ExportMetricsServiceRequest.FromString(body))["resourceMetrics"]
        for scope in resource["scopeMetrics"]
        for metric in scope["metrics"]
        for point in next(
            metric[kind]["dataPoints"] for kind in ("sum", "gauge", "exponentialHistogram") if kind in metric
        )
        if metric["name"].startswith("airflow.exp.")
    ]
    tags = [
        (name, {tag["key"]: tag["value"]["stringValue"] for tag in point["attributes"]})
        for name, point, _ in points
    ]
    assert ("exp.decisions", {"action": action, "experiment_id": experiment_id}) in tags
    told = {of["stage"] for name, of in tags if name == "exp.stage.duration"}
    assert told == set(run.xcoms)
    (ingest,) = [
        point
        for (name, point, _), (_, of) in zip(points, tags, strict=True)
        if name == "exp.stage.rows_in" and of["stage"] == "ingest"
    ]
    assert int(ingest["asInt"]) == run.xcoms["ingest"]["rows_in"]
    kinds = {metric["sum"]["aggregationTemporality"] for _, _, metric in points if "sum" in metric}
    assert kinds == {"AGGREGATION_TEMPORALITY_DELTA"}


def heard_by_openlineage(
    collector: Posted, run: DagRun, installation: Installation, raw_file: Path, stages: Iterable[str]
) -> None:
    """Of the run of `hillstrom`: which datasets each stage read and wrote, by name, location and snapshot."""
    events = [json.loads(body) for body in collector.to("/api/v1/lineage")]
    ended = {
        event["job"]["name"].removeprefix("exp__hillstrom."): event
        for event in events
        if event["eventType"] == "COMPLETE"
    }
    assert set(stages) <= set(ended)
    assert {event["job"]["namespace"] for event in events} == {"lake"}
    warehouse = f"{installation.state}/warehouse"

    def at(name: str) -> tuple[str, str]:
        return "file", f"{warehouse}/exp/{name}"

    raw, memo = ("file", str(raw_file)), ("file", f"{installation.state}/memos/hillstrom.md")
    results = {at(name) for name in (*RESULT_TABLES, "decisions")}
    published = {at("exposures"), at("outcomes")}
    for stage, inputs, outputs in (
        ("ingest", {raw}, set()),
        ("publish", {raw}, published | {at("experiment_registry")}),
        ("aggregates", published, {at("unit_days")}),
        ("ab", set(), set()),
        ("decision", published, results),
        ("memo", results, {memo}),
    ):
        of = ended[stage]
        assert {(d["namespace"], d["name"]) for d in of["inputs"]} == inputs, stage
        assert {(d["namespace"], d["name"]) for d in of["outputs"]} == outputs, stage

    (unit_days,) = ended["aggregates"]["outputs"]
    snapshots = run.xcoms["aggregates"]["snapshots"]
    assert unit_days["facets"]["version"]["datasetVersion"] == str(snapshots["unit_days"])
    (symlink,) = unit_days["facets"]["symlinks"]["identifiers"]
    assert symlink == {"namespace": f"file://{warehouse}", "name": "exp.unit_days", "type": "TABLE"}
    started = [
        e for e in events if e["eventType"] == "START" and e["job"]["name"] == "exp__hillstrom.publish"
    ]
    assert {d["name"] for d in started[0]["outputs"]} == {
        name for _, name in published | {at("experiment_registry")}
    }
