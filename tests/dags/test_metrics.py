"""What Airflow's own metrics hear of a run: nothing unless they are on, and no run fails or waits for a receiver that is down."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from airflow.sdk._shared.observability.metrics.base_stats_logger import NoStatsLogger
from airflow.sdk.observability import stats
from airflow.sdk.observability.metrics.stats_utils import get_stats_factory

from exp_platform.orchestration import metrics
from exp_platform.stages.run import Manifest
from orchestration.deployment import EXPERIMENT, Deployment
from orchestration.receivers import StatsD, statsd

MANIFEST = Manifest("r", EXPERIMENT, "ingest", 1, "success", "2026-01-05T00:00:00+00:00", 1.5, 20, 18)


@pytest.fixture
def switched(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Sets Airflow's metrics as a task's process does when it begins, once a test has written its settings."""
    yield monkeypatch
    monkeypatch.undo()
    stats.initialize(factory=NoStatsLogger, export_legacy_names=True)


def on(monkeypatch: pytest.MonkeyPatch, **settings: object) -> None:
    for name, value in settings.items():
        monkeypatch.setenv(f"AIRFLOW__METRICS__{name.upper()}", str(value))
    stats.initialize(factory=get_stats_factory(), export_legacy_names=True)


@pytest.fixture
def heard(switched: pytest.MonkeyPatch) -> Iterator[StatsD]:
    with statsd() as server:
        on(switched, statsd_on=True, statsd_host="127.0.0.1", statsd_port=server.port)
        yield server


def told(server: StatsD) -> list[str]:
    """The platform's own lines."""
    return sorted(line.removeprefix("airflow.") for line in server.lines if line.startswith("airflow.exp."))


def test_a_stage_is_told_with_its_tags_in_the_name_for_servers_that_know_no_tags(heard: StatsD) -> None:
    metrics.send(EXPERIMENT, metrics.of_manifest(MANIFEST))
    assert told(heard) == [
        "exp.stage.duration.ingest.success:1500.000000|ms",
        "exp.stage.duration:1500.000000|ms",
        "exp.stage.rows_in.ingest:20|c",
        "exp.stage.rows_in:20|c",
        "exp.stage.rows_out.ingest:18|c",
        "exp.stage.rows_out:18|c",
        "exp.stage.tries.ingest.success:1|c",
        "exp.stage.tries:1|c",
    ]


def test_airflows_prefix_allow_list_tags_and_names_without_values_are_obeyed(
    switched: pytest.MonkeyPatch,
) -> None:
    with statsd() as server:
        on(
            switched,
            statsd_on=True,
            statsd_host="127.0.0.1",
            statsd_port=server.port,
            statsd_prefix="lake",
            statsd_influxdb_enabled=True,
            metrics_allow_list=r"^exp\.stage\.rows",
            legacy_names_on=False,
        )
        metrics.send(EXPERIMENT, metrics.of_manifest(MANIFEST))
        lines = server.lines
    assert lines == [
        f"lake.exp.stage.rows_in,stage=ingest,experiment_id={EXPERIMENT}:20|c",
        f"lake.exp.stage.rows_out,stage=ingest,experiment_id={EXPERIMENT}:18|c",
    ]


def test_a_run_counts_its_stages_its_refresh_and_its_decision(heard: StatsD, deployment: Deployment) -> None:
    deployment.plan({"ingest": ["fail", "ok"], "did": ["fatal"]})
    deployment.test_dag()
    assert heard.of("exp.stage.tries.ingest.failed") == [(1, "c")]
    assert heard.of("exp.stage.tries.ingest.success") == [(1, "c")]
    assert heard.of("exp.stage.tries.did.failed") == [(1, "c")]
    assert heard.of("exp.stage.tries.release.success") == [(1, "c")]
    assert heard.of("exp.stage.rows_out.publish") == [(7, "c")]
    assert heard.of("exp.stage.duration.memo.success") == [(100, "ms")]
    assert heard.of("exp.refreshes.computed") == [(1, "c")]
    assert heard.of("exp.decisions.ship") == [(1, "c")]
    assert heard.of("exp.refreshes.up_to_date") == []


def test_a_run_that_found_nothing_new_is_counted_as_up_to_date(heard: StatsD, deployment: Deployment) -> None:
    deployment.up_to_date = True
    deployment.test_dag()
    assert [line for line in told(heard) if "refreshes." in line] == ["exp.refreshes.up_to_date:1|c"]
    assert heard.of("exp.decisions") == []


def test_nothing_is_sent_unless_metrics_are_on(switched: pytest.MonkeyPatch) -> None:
    with statsd() as server:
        on(switched, statsd_host="127.0.0.1", statsd_port=server.port)
        metrics.send(EXPERIMENT, metrics.of_manifest(MANIFEST))
        assert server.lines == []


@pytest.mark.parametrize("host", ["127.0.0.1", "no-such-host.invalid"])
def test_a_receiver_that_is_not_there_neither_fails_nor_delays_a_run(
    switched: pytest.MonkeyPatch, host: str
) -> None:
    with statsd() as server:
        closed = server.port
    on(switched, statsd_on=True, statsd_host=host, statsd_port=closed)
    began = time.monotonic()
    for _ in range(20):
        metrics.send(EXPERIMENT, metrics.of_manifest(MANIFEST))
    assert time.monotonic() - began < 1


def test_a_client_or_a_manifest_that_cannot_be_sent_fails_no_run(
    switched: pytest.MonkeyPatch, caplog
) -> None:
    def broken() -> None:
        raise RuntimeError("a client library of one's own")

    switched.setattr(stats, "incr", lambda *_, **__: broken())
    metrics.send(EXPERIMENT, metrics.of_manifest(MANIFEST))
    assert f"metrics of {EXPERIMENT} could not be sent: a client library of one's own" in caplog.text
    decided = Manifest("r", EXPERIMENT, "decision", 1, "success", "2026-01-05T00:00:00+00:00", 1.5)
    metrics.send(EXPERIMENT, metrics.of_manifest(decided))  # of an older version: it names no action
