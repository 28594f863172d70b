"""What the compose stack promises of the pages: behind several workers, for users of FAB, of what lies in the buckets."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator

import httpx
import pytest

from cluster.cluster import USER, Cluster, ClusterInstallation
from cluster.experiments import EXPERIMENTS
from cluster.served_pages import PAGES, STACK, WORKERS, ServedPages
from cluster.standing_airflow import until

OURS, THEIRS, NOBODYS = "exp_b", "exp_c", "exp_d"  # of the last there is neither spec nor DAG
FIRST, SECOND = "2026-03-05", "2026-03-06"
ROLES = {"vera": "Viewer", "ursula": "User", "otto": "Op", "admin": "Admin"}
ONE_OF = [
    "/e/{id}", "/e/{id}?as_of=" + FIRST, "/e/{id}/compare", "/dag/exp__{id}", "/e/{id}/results.csv", "/e/{id}/results.json",
    "/e/{id}/spec.json", "/e/{id}/report.html", "/e/{id}/report.md", "/api/v1/experiments/{id}",
    "/api/v1/experiments/{id}/results", "/api/v1/experiments/{id}/decisions",
]  # fmt: skip
RUN_BUTTON = 'class="menu run"'
OF_ALL = ["/", "/experiments.csv", "/api/v1/experiments"]


@pytest.fixture(scope="module")
def installation(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> ClusterInstallation:
    """Two experiments with a result each."""
    made = ClusterInstallation(tmp_path_factory.mktemp("served"), cluster)
    made.entries(**{name: EXPERIMENTS[name] for name in (OURS, THEIRS)})
    for name in (OURS, THEIRS):
        _run(made, name, FIRST)
    return made


@pytest.fixture(scope="module")
def served(cluster: Cluster, installation: ClusterInstallation) -> Iterator[ServedPages]:
    """The pages, with a user of each role, one who may read one DAG, and one who may read none."""
    pytest.importorskip("airflow.providers.fab", reason="FAB is not installed: make engines")
    cluster.postgres.make_database("airflow_pages", USER)
    address = f"{USER}:{cluster.password}@{cluster.postgres.address}/airflow_pages"
    airflow = ServedPages(installation, f"postgresql+psycopg2://{address}")
    try:
        airflow.start()
        until(lambda: all(airflow.knows(f"exp__{name}") for name in (OURS, THEIRS)), 300, "the DAGs")
        airflow.command("sync-perm", "--include-dags")  # makes what one DAG's permission is named by
        of_one = {"dag": f"DAG:exp__{OURS}", "runs": f"DAG Run:exp__{OURS}"}
        airflow.role("Ours", site="Website", plugins="Plugins", **of_one)
        airflow.role("Nothing", site="Website")
        for name, role in ROLES.items():
            if name != "admin":
                airflow.user(name, role)
        airflow.user("oona", "Ours")
        airflow.user("nora", "Nothing")
        yield airflow
    finally:
        airflow.kill()


def _run(installation: ClusterInstallation, experiment_id: str, as_of: str) -> None:
    process = installation.process("-m", "exp_platform.cli", "run", experiment_id, "--as-of", as_of)
    said = process.communicate()[0]
    assert process.returncode == 0, said


def _get(client: httpx.Client, path: str, experiment_id: str = OURS) -> httpx.Response:
    return client.get(PAGES + path.format(id=experiment_id))


# ---------------------------------------------------------------- who sees what


def test_nobody_is_answered_without_a_login(served: ServedPages) -> None:
    stranger = served.reader("")
    answers = {path: _get(stranger, path).status_code for path in (*ONE_OF, *OF_ALL, "/no/such/page")}
    assert set(answers.values()) == {401}, answers


@pytest.mark.parametrize("name", ROLES)
def test_each_of_airflows_roles_sees_all_experiments_and_their_files(served: ServedPages, name: str) -> None:
    client = served.reader(name)
    answers = {path: _get(client, path, id).status_code for path in ONE_OF for id in (OURS, THEIRS)}
    assert set(answers.values()) == {200}, answers
    for path in OF_ALL:
        assert {id for id in (OURS, THEIRS) if id in _get(client, path).text} == {OURS, THEIRS}, path


def test_whoever_may_read_one_dag_sees_its_experiment_and_no_trace_of_others(served: ServedPages) -> None:
    client = served.reader("oona")
    assert {path: _get(client, path).status_code for path in ONE_OF} == dict.fromkeys(ONE_OF, 200)
    for path in ONE_OF:
        told, nothing = _get(client, path, THEIRS), _get(client, path, NOBODYS)
        assert told.status_code == nothing.status_code == 404, path
        assert told.text.replace(THEIRS, "") == nothing.text.replace(NOBODYS, ""), path
        assert set(told.headers) == set(nothing.headers), path
    for path in OF_ALL:
        listed = _get(client, path)
        assert listed.status_code == 200
        assert OURS in listed.text
        assert THEIRS not in listed.text, path


def test_whoever_may_read_no_dag_sees_empty_lists(served: ServedPages) -> None:
    client = served.reader("nora")
    for path in OF_ALL:
        listed = _get(client, path)
        assert listed.status_code == 200
        assert not {id for id in (OURS, THEIRS) if id in listed.text}
    assert {_get(client, path).status_code for path in ONE_OF} == {404}


def test_the_entry_in_the_navigation_is_for_whom_the_stack_gives_plugins_to_read(served: ServedPages) -> None:
    """Airflow's UI learns of entries and tabs from this list, which FAB's Viewer and User may not read by themselves."""
    answers = {name: served.reader(name).get("/api/v2/plugins") for name in (*ROLES, "oona", "nora")}
    assert {name: answer.status_code for name, answer in answers.items()} == {
        **dict.fromkeys((*ROLES, "oona"), 200),
        "nora": 403,
    }
    views = [
        view["name"] for one in answers["vera"].json()["plugins"] for view in one.get("external_views", [])
    ]
    assert sorted(views) == ["A/B tests", "Results", "Results"]


def test_runs_are_started_by_whom_airflow_lets(served: ServedPages) -> None:
    """The button of the page asks Airflow's own API, with the reader's rights."""
    body = {"logical_date": None, "conf": {"as_of": FIRST}}
    paths = dict.fromkeys((*ROLES, "oona"), f"/api/v2/dags/exp__{OURS}/dagRuns")
    answers = {name: served.reader(name).post(path, json=body).status_code for name, path in paths.items()}
    assert answers == {"vera": 403, "ursula": 200, "otto": 200, "admin": 200, "oona": 403}
    offered = {name: RUN_BUTTON in _get(served.reader(name), "/e/{id}").text for name in answers}
    assert offered == {name: status == 200 for name, status in answers.items()}
    seen = {name: _get(served.reader(name), "/api/v1/experiments").json()["items"] for name in answers}
    last = {name: {one["id"]: one["last_run_state"] for one in items}[OURS] for name, items in seen.items()}
    assert last == dict.fromkeys(answers, "queued")  # nobody runs it here


# ---------------------------------------------------------------- of the buckets


def test_downloads_say_what_lies_in_the_buckets(
    served: ServedPages, installation: ClusterInstallation
) -> None:
    client, memos = served.reader("oona"), installation.cluster.object_store.read("memos")
    twin = json.loads(memos[f"{OURS}.json"])
    assert twin["as_of_date"] == FIRST
    assert _get(client, "/e/{id}/results.json").json() == twin
    assert _get(client, "/e/{id}/report.html").content == memos[f"{OURS}.html"]
    stored = {
        (row["metric_id"], row["method"], row["treatment_id"], row["segment"], row["segment_value"]): row[
            "estimate"
        ]
        for row in installation.rows("analysis_results", OURS)
    }
    told = csv.DictReader(io.StringIO(_get(client, "/e/{id}/results.csv").text))
    served_rows = {
        (row["metric_id"], row["method"], row["treatment_id"], row["segment"], row["segment_value"]):
            float(row["estimate"]) if row["estimate"] else None
        for row in told
    }  # fmt: skip
    assert served_rows == stored
    assert any(stored.values())


def test_a_run_is_shown_as_it_was_frozen(served: ServedPages, installation: ClusterInstallation) -> None:
    """From its folder, which the stack's API server may read: without it the page would know no more than the spec of today."""
    (run_id,) = {row["run_id"] for row in installation.rows("decisions", OURS)}
    frozen = json.loads((installation.state / "runs" / OURS / run_id / "run.json").read_text())
    told = _get(served.reader("oona"), "/e/{id}/spec.json").json()
    assert told["hypothesis"] == frozen["experiment"]["hypothesis"]


# ---------------------------------------------------------------- behind several workers


def test_every_worker_says_the_same_and_sees_a_new_run_at_once(
    served: ServedPages, installation: ClusterInstallation
) -> None:
    """Each has caches of its own, which it has filled before the run; no worker is told of it."""
    assert len(served.workers) == WORKERS
    paths = ("/api/v1/experiments/{id}", "/e/{id}/results.json", "/e/{id}/report.md", "/experiments.csv")
    for path in paths:
        before = {_get(client, path).text for client in served.workers.values()}
        assert len(before) == 1, path
        assert FIRST in before.pop()
    held = {
        pid: _get(client, "/e/{id}/results.json").headers["ETag"] for pid, client in served.workers.items()
    }
    assert len(set(held.values())) == 1  # what one worker gave, another answers with 304

    _run(installation, OURS, SECOND)

    for path in paths:
        after = {_get(client, path).text for client in served.workers.values()}
        assert len(after) == 1, path
        assert SECOND in after.pop()
    for pid, client in served.workers.items():
        again = client.get(f"{PAGES}/e/{OURS}/results.json", headers={"If-None-Match": held[pid]})
        assert again.status_code == 200
        unchanged = client.get(
            f"{PAGES}/e/{OURS}/results.json", headers={"If-None-Match": again.headers["ETag"]}
        )
        assert unchanged.status_code == 304


def test_no_secret_is_told_and_no_worker_has_failed(served: ServedPages, cluster: Cluster) -> None:
    log = served.log("api-server")
    assert "Traceback" not in log
    told = [secret for secret in {*cluster.secrets, *served.passwords.values()} if secret in log]
    assert told == []


def test_all_workers_together_fit_the_stacks_limit(served: ServedPages) -> None:
    """After all that was asked above."""
    used = sum(process.memory_full_info().uss for process in served.processes())
    assert used >> 20 < int(STACK["mem_limit"].removesuffix("m"))
