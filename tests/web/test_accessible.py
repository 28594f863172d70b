"""Nobody is kept out: axe-core looks at each kind of page in both themes, and at the file that is mailed."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import pytest

from exp_platform.report.content import load_report
from exp_platform.report.html.file import html_file
from exp_platform.results.reader import Results
from stages.frozen_runs import D2, D3, an_experiment
from web.accessible import violations
from web.browser import Browser
from web.conftest import be

pytestmark = pytest.mark.e2e
RUN = quote("manual__2025-03-15T00:00:00+00:00")
PAGES = {
    "list": "/",
    "nothing found": "/?q=nothing+is+called+so",
    "portfolio": "/portfolio",
    "experiment": "/e/exp_a",
    "compare": f"/e/exp_a/compare?from={D2}&to={D3}",
    "never run": "/e/exp_never",
    "failed in quality": "/e/exp_failed",
    "first run under way": "/e/exp_first",
    "tab of a DAG": "/dag/exp__exp_a",
    "tab of a run": f"/dag/exp__exp_a/run/{RUN}",
    "no experiment": "/dag/maintenance",
    "no such page": "/e/exp_nothing",
}


@pytest.fixture
def looked_at(viewer: Browser, server: str, theme: str) -> Browser:
    """A viewer's browser, whose Airflow is set to the theme."""
    viewer.open(f"{server}/experiments/")
    viewer.until("document.getElementById('found')")
    viewer.value(f"localStorage.setItem('theme', '{theme}')")
    return viewer


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("path", PAGES.values(), ids=PAGES)
def test_axe_finds_nothing_on_a_page(looked_at: Browser, server: str, path: str, theme: str) -> None:
    looked_at.open(f"{server}/experiments{path}")
    looked_at.until(
        f"location.href.endsWith('/experiments{path}') && document.readyState === 'complete' "
        f"&& document.documentElement.classList.contains('{theme}')"
    )
    _draw(looked_at)
    assert violations(looked_at) == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_in_the_form_of_who_may_start_a_run(
    looked_at: Browser, server: str, theme: str
) -> None:
    be(looked_at, server, "ada", "admin").open(f"{server}/experiments/e/exp_a")
    looked_at.until("document.getElementById('run') && document.readyState === 'complete'")
    assert violations(looked_at) == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_in_the_report_that_is_mailed(window: Browser, tmp_path: Path, theme: str) -> None:
    file = tmp_path / "report.html"
    file.write_text(html_file(load_report(Results(), an_experiment("exp_a"), D3)))
    feature = {"name": "prefers-color-scheme", "value": theme}
    window.call("Emulation.setEmulatedMedia", features=[feature])
    window.open(file.as_uri())
    window.until("location.protocol === 'file:' && document.getElementById('scorecard')")
    assert window.value("matchMedia('(prefers-color-scheme: dark)').matches") == (theme == "dark")
    found = violations(window)
    window.call("Emulation.setEmulatedMedia", features=[])
    assert found == []


@pytest.mark.parametrize("theme", ["light"])
def test_axe_would_find_an_unnamed_field_and_a_text_that_is_hard_to_read(
    looked_at: Browser, server: str
) -> None:
    looked_at.open(f"{server}/experiments/e/exp_a")
    looked_at.until("document.getElementById('scorecard')")
    looked_at.value(
        "(() => { const field = document.createElement('input'); document.querySelector('main').append(field);"
        "const text = document.querySelector('#scorecard p'); text.style.color = '#cccccc' })()"
    )
    assert {"critical | label", "serious | color-contrast"} <= {
        " | ".join(one.split(" | ")[:2]) for one in violations(looked_at)
    }


def _draw(page: Browser) -> None:
    """Have every chart drawn, which a page does only as one comes near."""
    page.value("document.querySelectorAll('details').forEach(part => { part.open = true })")
    for number in range(page.value("document.querySelectorAll('figure.chart').length")):
        chart = f"document.querySelectorAll('figure.chart')[{number}]"
        page.value(f"{chart}.scrollIntoView()")
        page.until(f"{chart}.querySelector('.drawn svg')")
