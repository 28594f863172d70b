"""One experiment's page: what is on it, for which day, in which tab, and what it says where there is no result."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from markupsafe import Markup

from exp_platform.config.environment import load_environment
from exp_platform.report.content import load_report
from exp_platform.report.html import blocks
from exp_platform.report.wording import headline
from exp_platform.results.reader import Results
from exp_platform.stages.graph import stages_of
from exp_platform.stages.run import Manifest
from exp_platform.tables.catalog import open_catalog, table
from exp_platform.tables.selection import selection
from exp_platform.web import reading
from exp_platform.web.reading import REPORTS
from stages.frozen_runs import D2, D3, a_run, an_experiment
from web.conftest import HOSTILE, Reader

RUN, LATER = "manual__2025-03-15T00:00:00+00:00", "manual__2025-03-16T00:00:00+00:00"
PAGES = (
    "/",
    "/e/exp_a",
    f"/e/exp_a?as_of={D2}",
    "/e/exp_a?as_of=2020-01-01",
    "/e/exp_a/compare",
    "/e/exp_never",
    "/e/exp_failed",
    "/e/exp_first",
    "/e/exp_broken",
    "/dag/exp__exp_a",
    f"/dag/exp__exp_a/run/{RUN}",
    "/dag/maintenance",
)


class Elements(HTMLParser):
    """The elements of a page with their attributes, its texts, and what scripts that are data hold."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]


def page(reader: Reader, path: str, name: str = "vera") -> Elements:
    answer = reader(name).get("/experiments" + path)
    assert answer.status_code == 200, answer.text
    return Elements(answer.text)


@pytest.mark.parametrize("path", PAGES)
def test_nothing_on_a_page_is_made_of_what_people_wrote_or_needs_more_than_the_policy_allows(
    reader: Reader, path: str
) -> None:
    found = page(reader, path)
    assert not found.of("img")
    for _, attributes in found.found:
        assert not [name for name in attributes if name.startswith("on") or name == "style"]
    for script in found.of("script"):
        assert script.get("type") == "application/json" or str(script["src"]).startswith(
            "/experiments/static/"
        )
    addresses = [
        a.get(key)
        for tag in ("a", "link", "form", "script")
        for a in found.of(tag)
        for key in ("href", "src", "action")
    ]
    assert all(str(address).startswith(("/", "#")) for address in addresses if address)


def test_what_people_wrote_is_read_as_they_wrote_it(reader: Reader) -> None:
    assert HOSTILE in page(reader, "/e/exp_a").text
    assert HOSTILE in page(reader, "/e/exp_failed").text


def test_the_page_is_the_reports_blocks_in_their_order_under_the_decision(reader: Reader) -> None:
    environment = load_environment("embedded")
    report = load_report(Results(environment), an_experiment("exp_a"))
    wanted = [block.id for block in blocks(report, lambda *_: Markup(""))]
    found = page(reader, "/e/exp_a")
    sections = [attributes["id"] for attributes in found.of("section") if attributes.get("id")]
    assert sections == wanted
    assert len(wanted) > 5
    assert headline(report.decision).casefold() in found.text.casefold()


def test_charts_are_data_that_the_pages_script_draws(reader: Reader) -> None:
    answer = reader("vera").get("/experiments/e/exp_a").text
    parts = answer.split('<script type="application/json">')[1:]
    charts = [json.loads(part.split("</script>")[0]) for part in parts]
    assert charts
    assert all("layer" in chart for chart in charts)


def test_a_day_is_chosen_by_the_address(reader: Reader) -> None:
    for path, day in (("/e/exp_a", D3), (f"/e/exp_a?as_of={D2}", D2), ("/dag/exp__exp_a", D3)):
        found = page(reader, path)
        chosen = [a for a in found.of("option") if "selected" in a]
        assert len(chosen) == 1
        assert f"as of {day}" in found.text.casefold() or str(day) in found.text
        (csv,) = (
            a["href"]
            for a in found.of("a")
            if str(a.get("href")).startswith("/experiments/e/exp_a/results.csv")
        )
        assert str(csv).endswith(f"as_of={day}")


def test_the_tab_of_a_run_shows_that_runs_day(reader: Reader) -> None:
    found = page(reader, f"/dag/exp__exp_a/run/{RUN}")
    (csv,) = (a["href"] for a in found.of("a") if "results.csv" in str(a.get("href")))
    assert str(csv).endswith(f"as_of={D2}")
    assert reader("vera").get("/experiments/dag/exp__exp_a/run/no_such_run").status_code == 404


def test_a_dag_of_another_kind_is_said_to_be_one(reader: Reader) -> None:
    assert "maintenance keeps the stored tables small" in page(reader, "/dag/maintenance").text
    assert "This DAG is no experiment" in page(reader, f"/dag/run_experiment/run/{RUN}").text


def test_only_who_may_start_runs_is_offered_to(reader: Reader) -> None:
    assert [
        form["data-dag"] for form in page(reader, "/e/exp_a", "ada").of("form") if "data-dag" in form
    ] == ["exp__exp_a"]
    assert not [form for form in page(reader, "/e/exp_a", "vera").of("form") if "data-dag" in form]


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/e/exp_never", "It has never run"),
        ("/e/exp_first", "It is running for the first time"),
        ("/e/exp_failed", "The last run stopped at the quality of its data"),
        ("/e/exp_broken", "Its spec cannot be used"),
        ("/e/exp_a?as_of=2020-01-01", "There is no result as of 2020-01-01"),
    ],
)
def test_where_there_is_no_result_the_page_says_why_and_what_to_do(
    reader: Reader, path: str, said: str
) -> None:
    found = page(reader, path)
    assert said in found.text
    assert "scorecard" not in found.text.casefold()


def test_a_failed_quality_names_the_checks_that_failed_and_no_other(reader: Reader) -> None:
    found = page(reader, "/e/exp_failed")
    assert "arm t1 has no users" in found.text
    assert "10 users" not in found.text
    logs = [str(a["href"]) for a in found.of("a") if "/tasks/quality" in str(a.get("href"))]
    assert logs == [f"/dags/exp__exp_failed/runs/{RUN.replace('+', '%2B').replace(':', '%3A')}/tasks/quality"]


def test_the_tab_of_a_failed_run_says_what_it_failed_in(reader: Reader) -> None:
    """By the run folder that this DAG run left, whatever day the run was asked for."""
    found = page(reader, f"/dag/exp__exp_failed/run/{RUN}")
    assert "stopped at the quality of its data" in found.text
    assert "arm t1 has no users" in found.text
    assert "this run: failed" in found.text


def test_a_first_run_shows_how_far_it_has_come(reader: Reader) -> None:
    answer = reader("vera").get("/experiments/e/exp_first").text
    stages = re.findall(r'<li class="(\w+)"><span[^>]*>. </span>(\w+)<', answer)
    assert ("success", "ingest") in stages
    assert ("waits", "decision") in stages
    assert [name for _, name in stages] == [stage.name for stage in stages_of(an_experiment())]


def test_addresses_keep_the_prefix_that_airflow_is_served_under(site: Any) -> None:
    from airflow.api_fastapi.app import get_auth_manager
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
    from fastapi import FastAPI
    from starlette.testclient import TestClient

    from exp_platform.web.app import build_app

    outer = FastAPI(root_path="/air")
    outer.mount("/experiments", build_app())
    token = get_auth_manager().generate_jwt(SimpleAuthManagerUser(username="vera", role="viewer"))
    client = TestClient(outer, cookies={"_token": token})
    for path in ("/", "/e/exp_a", "/e/exp_a/compare"):
        found = Elements(client.get(f"/air/experiments{path}").text)
        links = [str(a["href"]) for a in found.of("a") if not str(a["href"]).startswith("#")]
        assert links
        assert all(link.startswith("/air/") for link in links)
        assert all(str(s.get("src", "/air/")).startswith("/air/") for s in found.of("script"))


def test_a_page_that_a_browser_holds_is_sent_again_once_a_run_has_failed(reader: Reader) -> None:
    """Also one that Airflow knows nothing of: whoever reloads must learn that what they see is of the run before."""
    browser = reader("vera")
    held = browser.get("/experiments/e/exp_a").headers["ETag"]
    assert browser.get("/experiments/e/exp_a", headers={"If-None-Match": held}).status_code == 304
    failed = a_run(load_environment("embedded"), "run_exp_a_later", of=an_experiment("exp_a"))
    Manifest(failed.run_id, "exp_a", "quality", 1, "failed", "2025-03-16T00:00:00+00:00", 1.0).save(failed)
    try:
        answer = browser.get("/experiments/e/exp_a", headers={"If-None-Match": held})
    finally:
        shutil.rmtree(failed.path)
    assert answer.status_code == 200
    assert "The last run stopped at the quality of its data" in answer.text
    assert browser.get("/experiments/e/exp_a", headers={"If-None-Match": held}).status_code == 304


def test_a_damaged_file_is_told_without_its_path_and_no_longer_once_it_is_mended(reader: Reader) -> None:
    browser = reader("vera")
    catalog = open_catalog(load_environment("embedded"))
    tasks = table(catalog, "did_results").scan(selection({"experiment_id": "exp_a"})).plan_files()
    lost = [Path(task.file.file_path.removeprefix("file://")) for task in tasks]
    REPORTS._kept.clear()
    for path in lost:
        path.rename(path.with_suffix(".away"))
    try:
        damaged = [browser.get(f"/experiments/e/exp_a{what}").text for what in ("", "/results.json")]
    finally:
        for path in lost:
            path.with_suffix(".away").rename(path)
    for text in damaged:
        assert "A stored file cannot be read." in text
        assert str(lost[0].parent) not in text
        assert lost[0].name not in text
    assert "cannot be read" not in browser.get("/experiments/e/exp_a").text


def test_beside_older_results_a_run_that_is_under_way_is_told_to_who_may_see_runs(
    reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = reader("vera").get("/experiments/e/exp_a")
    assert "under way" not in before.text
    with _run_of("exp_a", "running"):
        found = page(reader, "/e/exp_a")
        assert "A run is under way" in found.text
        assert f"What is stored so far ends with {D3}" in found.text
        assert 'id="scorecard"' in reader("vera").get("/experiments/e/exp_a").text
        held = reader("vera").get("/experiments/e/exp_a", headers={"If-None-Match": before.headers["etag"]})
        assert held.status_code == 200  # a page that was kept does not hide it
        monkeypatch.setattr(reading, "may_see_runs", lambda *_: False)
        assert "under way" not in page(reader, "/e/exp_a").text


def test_a_run_that_was_stopped_between_two_stages_is_told_beside_older_results_and_on_its_tab(
    reader: Reader,
) -> None:
    """None of its stages failed, and what is shown is not its own."""
    folder = a_run(load_environment("embedded"), "run_exp_a_later", of=an_experiment("exp_a"))
    frozen = replace(folder, started_by=f"by hand by Airflow, {LATER}")
    frozen.save()
    Manifest(frozen.run_id, "exp_a", "ingest", 1, "success", "2025-03-16T00:00:00+00:00", 1.0).save(frozen)
    try:
        with _run_of("exp_a", "failed"):
            above = page(reader, "/e/exp_a").text
            tab = page(reader, f"/dag/exp__exp_a/run/{LATER}").text
        with _run_of("exp_a", "success"):
            assert "was stopped" not in page(reader, "/e/exp_a").text
    finally:
        shutil.rmtree(frozen.path)
    assert "The last run was stopped before its end" in above
    assert f"What is shown is as of {D3} , from the run before: none of its stages failed" in above
    assert "This run was stopped before its end" in tab
    assert "of another run of the same day" in tab


def test_a_first_run_that_was_stopped_had_begun(reader: Reader) -> None:
    folder = a_run(load_environment("embedded"), "run_exp_never", of=an_experiment("exp_never"))
    frozen = replace(folder, started_by=f"by hand by Airflow, {LATER}")
    frozen.save()
    try:
        with _run_of("exp_never", "failed"):
            found = page(reader, "/e/exp_never").text
    finally:
        shutil.rmtree(frozen.path)
    assert "The last run was stopped before its end" in found
    assert "There is no result yet: none of its stages failed" in found


@contextmanager
def _run_of(experiment_id: str, state: str) -> Iterator[None]:
    """A DAG run in that state, newer than any other, for the length of a `with` block."""
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session
    from airflow.utils.types import DagRunType

    run_id = LATER
    with create_session() as session:
        moment = datetime(2025, 3, 16, tzinfo=UTC)
        session.add(
            DagRun(
                dag_id=f"exp__{experiment_id}",
                run_id=run_id,
                run_type=DagRunType.MANUAL,
                run_after=moment,
                state=state,
            )
        )
    try:
        yield
    finally:
        with create_session() as session:
            session.delete(session.query(DagRun).filter(DagRun.run_id == run_id).one())
