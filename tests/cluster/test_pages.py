"""People at the pages of a real Airflow: an admin logs in, starts a run and sees its day come; a viewer is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.cluster import USER, Cluster
from cluster.standing_airflow import StandingAirflow, standing_airflow, until
from end_to_end.installation import Installation
from web import browser as chromium
from web.browser import Browser

SMALL = {"days": 14, "n_users": 600, "start_date": "2026-03-02", "schedule": {"retries": 0}}
GOOD, REFUSED = "signup_test", "refused_test"
FRAME = "document.querySelector('iframe').contentDocument"


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    program = chromium.found()
    if program is None:
        pytest.skip(f"no Chromium on this machine: none of {', '.join(chromium.NAMES)}")
    with chromium.browser(program, tmp_path_factory.mktemp("chromium")) as opened:
        yield opened


@pytest.fixture(scope="module")
def airflow(
    window: Browser, cluster: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[StandingAirflow]:
    """Of one experiment the data are sound, of the other `quality` refuses them: half of its rows come twice."""
    installation = Installation(tmp_path_factory.mktemp("pages"))
    installation.rewrite("embedded", "master: local[*]", "master: local[*]\n  submit: sessions")
    installation.entries(**{GOOD: SMALL, REFUSED: {**SMALL, "duplicate_share": 0.5}})
    cluster.postgres.make_database("airflow_of_pages", USER)
    database = f"postgresql+psycopg2://{USER}:{cluster.password}@{cluster.postgres.address}/airflow_of_pages"
    users = {"AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": "admin:admin,vera:viewer"}
    with standing_airflow(installation, database, **users) as started:
        for id in (GOOD, REFUSED):
            until(lambda id=id: started.knows(f"exp__{id}"), 180, "the DAG")  # type: ignore[misc]
            started.api.unpause(f"exp__{id}")
        yield started


def log_in(page: Browser, airflow: StandingAirflow, name: str) -> None:
    """By the form, as people do."""
    page.call("Network.clearBrowserCookies")
    page.open(f"{airflow.url}/auth/login")
    passwords = json.loads(
        Path(airflow.variables["AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE"]).read_text()
    )
    for field, text in (("username", name), ("password", passwords[name])):
        page.until(f"(document.querySelector('input[name={field}]').focus(), true)")
        page.call("Input.insertText", text=text)
    page.value("document.querySelector('button[type=submit]').click()")
    page.until("!location.pathname.includes('/login') && document.querySelector('nav, [aria-label], a')")
    page.errors.clear()  # of Airflow's own pages on the way


def open_experiment(page: Browser, airflow: StandingAirflow, id: str) -> None:
    """From the list in Airflow's frame."""
    page.open(f"{airflow.url}/plugin/experiments")
    page.until(f"({FRAME}.querySelector('a.row[href$=\"/e/{id}\"]').click(), true)")
    page.until(f"{FRAME}.location.pathname.endsWith('/e/{id}') && {FRAME}.readyState === 'complete'")


def start(page: Browser, day: str) -> None:
    """Press the button, and wait for Airflow's word that the run is there."""
    page.value(
        f"({FRAME}.querySelector('details.run').open = true, {FRAME}.querySelector('#run [name=as_of]').value = '{day}')"
    )
    page.value(f"{FRAME}.querySelector('#run button').click()")
    page.until(f"{FRAME}.querySelector('#run-said a.airflow')")


def ended(airflow: StandingAirflow, id: str) -> str:
    """How the experiment's one run ended."""
    dag = f"exp__{id}"
    until(lambda: airflow.api.run_ids(dag) and airflow.all_ended(dag), 600, f"the run of {id}")
    (run,) = airflow.api.run_ids(dag)
    return airflow.api.run_state(dag, run)


def test_an_admin_logs_in_starts_a_run_and_sees_its_day(window: Browser, airflow: StandingAirflow) -> None:
    log_in(window, airflow, "admin")
    open_experiment(window, airflow, GOOD)
    assert "It has never run" in window.value(f"{FRAME}.querySelector('main').innerText")
    start(window, "2026-03-12")
    assert ended(airflow, GOOD) == "success", airflow.log("scheduler")[-3000:]
    open_experiment(window, airflow, GOOD)
    assert window.until(f"{FRAME}.getElementById('as_of').value") == "2026-03-12"
    assert "last run: success" in window.value(f"{FRAME}.querySelector('.told').innerText")
    assert window.value(f"{FRAME}.querySelectorAll('#scorecard tbody tr').length") > 0
    assert window.errors == []


def test_a_run_that_quality_refused_leads_to_the_log_that_says_why(
    window: Browser, airflow: StandingAirflow
) -> None:
    log_in(window, airflow, "admin")
    open_experiment(window, airflow, REFUSED)
    start(window, "2026-03-12")
    assert ended(airflow, REFUSED) == "failed"
    open_experiment(window, airflow, REFUSED)
    notice = window.value(f"{FRAME}.querySelector('main').innerText")
    assert "The last run stopped at the quality of its data" in notice
    assert window.errors == []
    window.until(f"({FRAME}.querySelector('a[href$=\"/tasks/quality\"]').click(), true)")
    window.until("location.pathname.endsWith('/tasks/quality')")
    assert window.until("document.body.innerText.includes('duplicate') && document.body.innerText", 120)


def test_a_viewer_reads_the_day_and_may_start_no_run(window: Browser, airflow: StandingAirflow) -> None:
    log_in(window, airflow, "vera")
    open_experiment(window, airflow, GOOD)
    window.until(f"{FRAME}.getElementById('scorecard')")
    assert window.value(f"{FRAME}.getElementById('run')") is None
    asked = (
        f"fetch('/api/v2/dags/exp__{GOOD}/dagRuns', {{method: 'POST', headers: {{'Content-Type': 'application/json'}}, "
        "body: JSON.stringify({logical_date: null})}).then(answer => answer.status)"
    )
    assert window.errors == []
    assert window.value(asked) == 403
    assert len(airflow.api.run_ids(f"exp__{GOOD}")) == 1
