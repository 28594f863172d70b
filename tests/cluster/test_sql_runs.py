"""Runs on a database through real Airflow: green, red with cause and remedy, and the password in nothing that they leave."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from cluster import postgres, sql_data
from cluster.postgres import Postgres
from cluster.sql_data import PASSWORD, connection, load_shop
from end_to_end.airflow_runs import DagRun, DagTest
from end_to_end.installation import Installation
from exp_platform.cli import main
from stages import raw_data

COLUMNS = {"user_id": "uid", "occurred_at": "at", "event": "what"}
SPEC: dict[str, Any] = {
    "owner": "growth",
    "hypothesis": "A shorter checkout earns more per user.",
    "variants": [{"id": "control", "control": True}, {"id": "treatment"}],
    "window": {"start": "2025-03-24", "days": 14, "timezone": "Europe/Berlin"},
    "source": {
        "kind": "events",
        "exposures": {
            "connection": "lake",
            "table": "shop.exposures",
            "watermark": "select max(seen) from shop.exposures",
            "columns": {"user_id": "uid", "variant_id": "arm", "exposed_at": "seen"},
        },
        "facts": {
            "orders": {
                "connection": "lake",
                "sql": "select * from shop.outcomes where at >= :start and at < :end",
                "watermark": "select max(at) from shop.outcomes",
                "columns": COLUMNS,
                "values": {"revenue": "amount"},
            }
        },
    },
    "metrics": [
        {"id": "converted", "type": "proportion", "of": "orders", "event": "order", "role": "primary"},
        {"id": "revenue", "type": "mean", "of": "orders", "event": "order", "value": "revenue"},
    ],
    "analyses": dict.fromkeys(("cuped", "did", "pretrends", "segments"), False),
    "schedule": {"retries": 0},
}
FAILING = SPEC["source"] | {
    "facts": {"orders": SPEC["source"]["facts"]["orders"] | {"sql": "select * from shop.absent"}}
}


class OnPostgres(Installation):
    """An installation that knows the connection `lake`."""

    def __init__(self, folder: Path, **changed: Any) -> None:
        super().__init__(folder)
        self.said = connection(SERVERS[0], **changed)

    @property
    def variables(self) -> dict[str, str]:
        return super().variables | {"AIRFLOW_CONN_LAKE": self.said}


SERVERS: list[Postgres] = []


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    if postgres.programs() is None:
        pytest.skip("Postgres is not installed: apt-get install postgresql, or brew install postgresql")
    with sql_data.postgres() as made:
        SERVERS.append(made)
        load_shop(made)
        yield made
    SERVERS.clear()


@pytest.fixture(scope="module")
def installation(server: Postgres, tmp_path_factory: pytest.TempPathFactory) -> OnPostgres:
    made = OnPostgres(tmp_path_factory.mktemp("shop"))
    made.spec(id="shop", **SPEC)
    made.spec(id="failing", **SPEC | {"source": FAILING})
    return made


@pytest.fixture(scope="module")
def dag_runs(
    installation: OnPostgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, DagRun]]:
    """A good run, one whose query fails, and one with a wrong password, at once."""
    refused = OnPostgres(tmp_path_factory.mktemp("refused"), password=f"not-{PASSWORD}")
    refused.spec(id="refused", **SPEC)
    started = {
        "shop": DagTest(installation, "shop"),
        "failing": DagTest(installation, "failing"),
        "refused": DagTest(refused, "refused"),
    }
    yield {name: test.ended() for name, test in started.items()}
    for test in started.values():
        test.stop()


def test_a_run_is_green_and_reads_all_rows(installation: OnPostgres, dag_runs: dict[str, DagRun]) -> None:
    run = dag_runs["shop"]
    assert run.code == 0, run.log[-4000:]
    assert run.tasks == dict.fromkeys(run.tasks, "success")
    (row,) = installation.rows("experiment_registry", "shop")
    assert row["exposures_rows"] == raw_data.USERS
    assert json.loads(row["watermarks"]) == {
        "exposures": "time 2025-04-05 19:00:00.000000",
        "orders": "time 2025-04-06 12:00:00.000000",
    }


def test_what_fails_is_told_with_key_and_remedy(dag_runs: dict[str, DagRun]) -> None:
    failing, refused = dag_runs["failing"], dag_runs["refused"]
    assert failing.tasks["ingest"] == "failed"
    told = failing.xcoms["ingest"]
    assert "source.facts.orders: the database of the connection 'lake' refused the query" in told["error"]
    assert 'relation "shop.absent" does not exist' in told["error"]
    assert not told["retryable"]
    assert refused.tasks["check"] == "failed"
    assert "refused the user 'reader' of the connection 'lake': correct its login and password" in refused.log


def test_the_next_run_is_up_to_date_and_one_of_the_command_too(
    installation: OnPostgres, dag_runs: dict[str, DagRun]
) -> None:
    told = installation.call(main, "run", "shop")
    assert told.code == 0
    assert "shop as of 2025-04-06 is up to date" in " ".join(told.out.split())


def test_the_password_is_in_nothing_that_runs_leave(
    installation: OnPostgres, dag_runs: dict[str, DagRun], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """State, run folders, logs, Airflow's database, process arguments: of the good run and of both that failed."""
    written = {
        form.encode()
        for form in (PASSWORD, quote(PASSWORD, safe=""), quote(PASSWORD), json.dumps(PASSWORD)[1:-1])
    }
    folders = [
        installation.folder,
        *(p for p in installation.folder.parent.iterdir() if p.name.startswith("refused")),
    ]
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 100
    holding = [path for path in files if any(form in path.read_bytes() for form in written)]
    assert holding == []
    for run in dag_runs.values():
        assert PASSWORD not in run.log
        assert PASSWORD not in json.dumps(run.xcoms) + json.dumps(run.submits)
