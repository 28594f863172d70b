"""Who sees what: nobody anything without a login, and nobody an experiment whose DAG they may not read."""

from __future__ import annotations

from typing import Any

import pytest

from web.conftest import Reader
from web.forbidding import FORBIDDEN

VALUES = {
    "experiment_id": "exp_a",
    "dag_id": "exp__exp_a",
    "run_id": "manual__2025-03-15T00:00:00+00:00",
    "of": "0",
    "name": "icon.svg",
}


@pytest.fixture(scope="module")
def paths(site: Any) -> list[str]:
    """An address of each route that the application has."""
    from fastapi.routing import APIRoute

    from exp_platform.web.app import build_app

    routes = build_app().routes
    assert all(isinstance(route, APIRoute) for route in routes)  # a mount would need addresses of its own
    found = [str(getattr(route, "path")) for route in routes]  # noqa: B009
    return ["/experiments" + path.replace(":path}", "}").format(**VALUES) for path in found]


def test_nobody_is_answered_without_a_login(reader: Reader, paths: list[str]) -> None:
    stranger = reader("")
    elsewhere = ["/experiments/", "/experiments/no/such/page", "/experiments/static/../x"]
    answers = {
        (method, path): stranger.request(method, path).status_code
        for path in [*paths, *elsewhere]
        for method in ("GET", "POST", "HEAD", "DELETE")
    }
    assert {path for _, path in answers} > set(paths)
    assert set(answers.values()) == {401}, answers


def test_a_token_that_is_none_of_airflows_is_refused(reader: Reader) -> None:
    answer = reader("").get("/experiments/api/v1/experiments", headers={"Authorization": "Bearer nonsense"})
    assert answer.status_code == 403


def test_whoever_is_logged_in_reads_every_route(reader: Reader, paths: list[str]) -> None:
    """So the refusals above are of the login, and not of addresses that lead nowhere."""
    viewer = reader("vera")
    answers = {path: viewer.get(path).status_code for path in paths}
    assert set(answers.values()) == {200}, answers


def test_an_experiment_whose_dag_one_may_not_read_is_as_if_there_were_none(
    reader: Reader, paths: list[str]
) -> None:
    viewer, of_one = reader("vera"), [path for path in paths if "exp_a" in path]
    assert len(of_one) >= 3
    for path in of_one:
        told, nothing = (viewer.get(path.replace("exp_a", id)) for id in (FORBIDDEN, "exp_nothing"))
        assert told.status_code == nothing.status_code == 404, path
        assert told.text.replace(FORBIDDEN, "") == nothing.text.replace("exp_nothing", "")


def test_no_list_names_an_experiment_whose_dag_one_may_not_read(reader: Reader, paths: list[str]) -> None:
    of_all = [path for path in paths if "exp_a" not in path]
    seen = {name: "".join(reader(name).get(path).text for path in of_all) for name in ("ada", "vera")}
    assert FORBIDDEN in seen["ada"]
    assert FORBIDDEN not in seen["vera"]


def test_no_route_writes(reader: Reader, paths: list[str]) -> None:
    admin = reader("ada")
    for path in paths:
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            assert admin.request(method, path).status_code == 405, (method, path)
