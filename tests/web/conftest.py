"""Airflow's own API server application with the pages mounted by their plugin, over a small stored state."""

from __future__ import annotations

import json
import shutil
import socket
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from exp_platform.checks import CheckResult
from exp_platform.config.environment import Environment, load_environment
from exp_platform.json_file import write_json
from exp_platform.stages.run import Manifest
from orchestration import (
    airflow_home,
)  # before anything of Airflow, which reads its settings when it is imported
from stages.frozen_runs import D2, D3, a_run, an_experiment, carry_out
from web import browser as chromium
from web.browser import Browser

SPEC = {"hypothesis": "A green button sells.", "owner": "shop", "days": 3, "n_users": 1000}
# exp_a and exp_secret have results; exp_never has a spec alone, and exp_broken one that cannot be used
SPECS: dict[str, Any] = {
    "exp_a": SPEC,
    "exp_secret": SPEC,
    "exp_never": {**SPEC, "hypothesis": "<b>Never</b> run & bold", "owner": "checkout"},
    "exp_failed": SPEC,  # its only run was refused by `quality`
    "exp_first": SPEC,  # its first run is under way
    "exp_broken": {"days": -1},
}
HOSTILE = '"><img src=x onerror=alert(1)></script><script>alert(2)</script>'
OTHERS = ("maintenance", "run_experiment")


@pytest.fixture(scope="session")
def settings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The variables that the application is made and asked with."""
    folder = tmp_path_factory.mktemp("site")
    return {
        "EXP_STATE_DIR": str(folder / "state"),
        "EXP_CONFIG_DIR": str(folder / "configs"),
        "AIRFLOW__CORE__AUTH_MANAGER": "web.forbidding.ForbiddingAuthManager",
        "AIRFLOW__API_AUTH__JWT_SECRET": "of the tests alone, " * 4,
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": "ada:admin,vera:viewer",
    }


@pytest.fixture(autouse=True)
def _set(settings: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """For each test of this folder alone: others of the same process have a state of their own."""
    for name, value in settings.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="session")
def site(settings: dict[str, str]) -> Iterator[Any]:
    """The application of Airflow's API server."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setenv(name, value)
        _store(Path(settings["EXP_CONFIG_DIR"]).parent)
        made = _application()
    yield made
    from airflow.api_fastapi.app import purge_cached_app

    purge_cached_app()


def _store(folder: Path) -> None:
    shutil.copytree(airflow_home.ROOT / "configs" / "environments", folder / "configs" / "environments")
    content = {"environment": "embedded", "experiments": SPECS}
    (folder / "configs" / "dev.yaml").write_text(json.dumps(content))
    environment = load_environment("embedded")
    _leave_runs(environment)
    for id in ("exp_a", "exp_secret"):
        of = replace(an_experiment(id), hypothesis=HOSTILE, owner=HOSTILE, tags=(HOSTILE,))
        carry_out(a_run(environment, f"run_{id}", (D2, D3), of=of))


def _leave_runs(environment: Environment) -> None:
    """A run whose quality failed, and one that has come as far as `ingest`."""
    failed = a_run(environment, "20250315-failed", of=an_experiment("exp_failed"))
    failed = replace(failed, started_by="scheduled by Airflow, manual__2025-03-15T00:00:00+00:00")
    failed.save()
    checks = [
        CheckResult(D3, "missing_arm", "error", "failed", 0.0, 1.0, f"arm t1 has no users: {HOSTILE}"),
        CheckResult(D3, "empty", "error", "passed", 10.0, 1.0, "10 users"),
    ]
    write_json(failed.path / "quality.json", [asdict(check) for check in checks])
    first = a_run(environment, "20250315-first", of=an_experiment("exp_first"))
    for run, stage, status in (
        (failed, "ingest", "success"),
        (failed, "quality", "failed"),
        (first, "ingest", "success"),
    ):
        Manifest(run.run_id, run.experiment.id, stage, 1, status, "2025-03-15T00:00:00+00:00", 1.0).save(run)


def _application() -> Any:
    airflow_home.make_database()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what Airflow's dependencies say of each other
        from airflow.api_fastapi.app import create_app

        from exp_platform.web.specs import environment

        environment.cache_clear()
        _know_dags()
        return create_app(apps="core")


def _know_dags() -> None:
    """What the DAG processor would have stored of the specs, and one run."""
    from airflow.models.dag import DagModel
    from airflow.models.dagbundle import DagBundleModel
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session
    from airflow.utils.types import DagRunType

    with create_session() as session:
        session.merge(DagBundleModel(name="of-the-pages"))
        session.flush()
        for dag_id in (*(f"exp__{id}" for id in SPECS), *OTHERS):
            session.merge(DagModel(dag_id=dag_id, bundle_name="of-the-pages", fileloc="/dags/experiments.py"))
        session.flush()
        runs = {"exp_a": "success", "exp_failed": "failed", "exp_first": "running"}
        for id, state in runs.items():
            run = DagRun(
                dag_id=f"exp__{id}",
                run_id="manual__2025-03-15T00:00:00+00:00",
                run_type=DagRunType.MANUAL,
                run_after=datetime(2025, 3, 15, tzinfo=UTC),
                conf={"as_of": D2.isoformat()},
                state=state,
            )
            session.add(run)


Reader = Callable[[str], TestClient]


@pytest.fixture(scope="session")
def reader(site: Any) -> Reader:
    """A browser by the name of who is logged in: ada (admin), vera (viewer); empty: nobody."""

    def made(name: str) -> TestClient:
        from airflow.api_fastapi.app import get_auth_manager
        from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser

        client = TestClient(site, raise_server_exceptions=False)
        if name:
            user = SimpleAuthManagerUser(username=name, role={"ada": "admin", "vera": "viewer"}[name])
            client.cookies.set("_token", get_auth_manager().generate_jwt(user))
        return client

    return made


@pytest.fixture(scope="session")
def server(site: Any) -> Iterator[str]:
    """Airflow's API server on a free port."""
    import uvicorn

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    running = uvicorn.Server(uvicorn.Config(site, host="127.0.0.1", port=port, log_level="error", ws="none"))
    thread = threading.Thread(target=running.run)
    thread.start()
    while not running.started:
        time.sleep(0.05)
    yield f"http://127.0.0.1:{port}"
    running.should_exit = True
    thread.join()


@pytest.fixture(scope="session")
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    program = chromium.found()
    if program is None:
        pytest.skip(f"no Chromium on this machine: none of {', '.join(chromium.NAMES)}")
    folder: Path = tmp_path_factory.mktemp("chromium")
    with chromium.browser(program, folder) as opened:
        yield opened


@pytest.fixture
def viewer(window: Browser, server: str) -> Browser:
    return be(window, server, "vera", "viewer")


def be(window: Browser, server: str, name: str, role: str) -> Browser:
    from airflow.api_fastapi.app import get_auth_manager
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser

    window.login(server, get_auth_manager().generate_jwt(SimpleAuthManagerUser(username=name, role=role)))
    window.errors.clear()
    return window
