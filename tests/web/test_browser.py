"""A real browser in Airflow's real UI: the pages stand in its frame, answer, and leave its console clean."""

from __future__ import annotations

import csv
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from stages.frozen_runs import D2, D3
from web.browser import Browser
from web.conftest import HOSTILE

pytestmark = pytest.mark.e2e
FRAME = "document.querySelector('iframe').contentDocument"


def test_the_list_stands_in_airflows_frame_and_is_searched_as_one_types(viewer: Browser, server: str) -> None:
    viewer.open(f"{server}/plugin/experiments")
    viewer.until(f"{FRAME}.readyState === 'complete' && {FRAME}.querySelectorAll('a.row').length === 5")
    viewer.value(
        f"(() => {{ const d = {FRAME}; const q = d.querySelector('input[name=q]'); q.value = 'never'; "
        "q.dispatchEvent(new Event('input', {bubbles: true})) })()"
    )
    assert (
        viewer.until(
            f"{FRAME}.querySelectorAll('a.row').length === 1 && {FRAME}.getElementById('how-many').textContent"
        )
        == "1 of 5"
    )
    viewer.value(f"{FRAME}.querySelector('input[name=q]').focus()")
    for event in ("keyDown", "keyUp"):
        viewer.call("Input.dispatchKeyEvent", type=event, key="ArrowDown", code="ArrowDown")
    assert viewer.until(f"{FRAME}.activeElement.textContent") == "exp_never"
    assert viewer.errors == []


def test_one_experiment_opens_changes_its_day_opens_a_metric_and_draws_its_charts(
    viewer: Browser, server: str
) -> None:
    viewer.open(f"{server}/plugin/experiments")
    viewer.until(f"{FRAME}.querySelector('a.row[href$=\"/e/exp_a\"]')")
    viewer.value(f"{FRAME}.querySelector('a.row[href$=\"/e/exp_a\"]').click()")
    viewer.until(f"{FRAME}.getElementById('scorecard')")
    assert viewer.value(f"{FRAME}.getElementById('as_of').value") == str(D3)
    viewer.value(f"{FRAME}.getElementById('over-time').scrollIntoView()")
    viewer.until(f"{FRAME}.querySelector('#over-time figure.chart .drawn svg')")
    viewer.value(f"{FRAME}.querySelector('#scorecard details summary').click()")
    assert viewer.until(f"{FRAME}.querySelector('#scorecard details').open")
    assert HOSTILE in viewer.value(f"{FRAME}.body.textContent")
    assert viewer.value(f"{FRAME}.querySelectorAll('img').length") == 0
    viewer.value(
        f"(() => {{ const s = {FRAME}.getElementById('as_of'); s.value = '{D2}'; s.dispatchEvent(new Event('change')) }})()"
    )
    viewer.until(f"{FRAME}.location.search === '?as_of={D2}' && {FRAME}.getElementById('scorecard')")
    assert viewer.errors == []


def test_the_file_that_a_click_downloads_says_what_the_table_says(
    viewer: Browser, server: str, tmp_path: Path
) -> None:
    viewer.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    viewer.open(f"{server}/plugin/experiments/experiments/e/exp_a")
    viewer.until(f"{FRAME}.getElementById('scorecard')")
    viewer.value(f"{FRAME}.querySelector('.menu a[href*=\"results.csv\"]').click()")
    file = tmp_path / f"exp_a_{D3}_results.csv"
    until(file.exists)
    with file.open(newline="") as opened:
        rows = [row for row in csv.DictReader(opened) if row["method"] == "ab" and row["segment"] == "all"]
    assert {row["metric_id"] for row in rows} == {"orders", "buys"}
    shown = viewer.value(f"{FRAME}.getElementById('scorecard').innerText")
    for row in rows:
        for name in ("relative", "relative_low", "relative_high"):
            assert f"{100 * float(row[name]):+.1f}\u202f%" in shown.replace(" ", "\u202f"), (row, name)
    assert viewer.errors == []


def until(found: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not found():
        assert time.monotonic() < end
        time.sleep(0.1)


def test_the_page_follows_airflows_theme_at_once(viewer: Browser, server: str) -> None:
    viewer.open(f"{server}/plugin/experiments")
    viewer.until(f"{FRAME}.querySelector('a.row')")
    colours = {}
    for theme in ("dark", "light"):
        viewer.value(
            f"document.documentElement.classList.remove('dark', 'light'), document.documentElement.classList.add('{theme}')"
        )
        viewer.until(f"{FRAME}.documentElement.classList.contains('{theme}')")
        colours[theme] = viewer.value(f"getComputedStyle({FRAME}.body).backgroundColor")
    assert colours == {"dark": "rgb(22, 29, 45)", "light": "rgb(255, 255, 255)"}


def test_a_link_to_airflow_leaves_the_frame_for_the_window_around_it(viewer: Browser, server: str) -> None:
    viewer.open(f"{server}/plugin/experiments")
    viewer.until(f"{FRAME}.querySelector('a.airflow')")
    viewer.value(f"{FRAME}.querySelector('a.airflow').click()")
    assert viewer.until("location.pathname.startsWith('/dags/') && location.pathname").startswith(
        "/dags/exp__exp_"
    )


def test_no_page_is_wider_than_a_phone(viewer: Browser, server: str) -> None:
    viewer.call("Emulation.setDeviceMetricsOverride", width=390, height=800, deviceScaleFactor=1, mobile=True)
    for path in ("/", "/e/exp_a", "/e/exp_a/compare", "/e/exp_failed"):
        viewer.open(f"{server}/experiments{path}")
        viewer.until(f"location.pathname === '/experiments{path}' && document.readyState === 'complete'")
        assert viewer.value("document.documentElement.scrollWidth") <= 390, path
    viewer.call(
        "Emulation.setDeviceMetricsOverride", width=1280, height=900, deviceScaleFactor=1, mobile=False
    )


def test_a_viewer_is_refused_a_run_and_a_stranger_is_led_to_the_login(viewer: Browser, server: str) -> None:
    asked = (
        "fetch('/api/v2/dags/exp__exp_a/dagRuns', {method: 'POST', headers: {'Content-Type': 'application/json'}, "
        "body: JSON.stringify({logical_date: null})}).then(a => a.status)"
    )
    viewer.open(f"{server}/experiments/e/exp_a")
    viewer.until("document.getElementById('scorecard')")
    assert viewer.value("document.getElementById('run')") is None
    assert viewer.value(asked) == 403
    viewer.call("Network.clearBrowserCookies")
    viewer.open(f"{server}/experiments/e/exp_a")
    viewer.until("document.getElementById('login')")
    viewer.value("document.getElementById('login').click()")
    assert viewer.until("location.pathname.endsWith('/auth/login') && location.pathname")
