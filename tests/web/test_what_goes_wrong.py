"""What is broken costs its own experiment alone, is said kindly, and no longer once it is mended."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from exp_platform.config.environment import load_environment
from exp_platform.tables.catalog import open_catalog, table
from exp_platform.tables.selection import selection
from exp_platform.web.reading import NEWEST, REPORTS
from web.conftest import SPECS, Reader

NAMED = re.compile(r'class="row" href="/experiments/e/(\w+)"')


@pytest.fixture(autouse=True)
def _nothing_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(NEWEST, "TRY_AGAIN", 0.0)
    REPORTS._kept.clear()


@contextmanager
def written(path: Path, text: str) -> Iterator[None]:
    """A file with this text, and afterwards as it was."""
    before = path.read_text() if path.exists() else None
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    try:
        yield
    finally:
        if before is None:
            path.unlink()
        else:
            path.write_text(before)


@contextmanager
def damaged(name: str) -> Iterator[None]:
    """The files of exp_a in a table cut short, and afterwards put back as from a backup: no commit tells of either."""
    catalog = open_catalog(load_environment("embedded"))
    tasks = table(catalog, name).scan(selection({"experiment_id": "exp_a"})).plan_files()
    files = [Path(task.file.file_path.removeprefix("file://")) for task in tasks]
    whole = {file: file.read_bytes() for file in files}
    assert whole
    for file in files:
        file.write_bytes(whole[file][:40])
    forget()
    try:
        yield
    finally:
        for file, content in whole.items():
            file.write_bytes(content)


def forget() -> None:
    """As a worker that has just begun."""
    NEWEST._states, NEWEST._of_file, NEWEST._effects = (), {}, {}


def line_of(text: str, id: str) -> str:
    """The row of an experiment in the list."""
    return next(row for row in text.split("<tr>") if f'href="/experiments/e/{id}"' in row)


def test_a_spec_with_a_syntax_error_hides_no_other(reader: Reader, settings: dict[str, str]) -> None:
    browser, folder = reader("ada"), Path(settings["EXP_CONFIG_DIR"]) / "experiments"
    before = NAMED.findall(browser.get("/experiments/").text)
    assert set(before) == set(SPECS)
    with written(folder / "half.yaml", "id: half\nvariants: [\n"):
        assert NAMED.findall(browser.get("/experiments/").text) == before
        for path in ("/e/exp_a", "/e/exp_never", "/portfolio", "/api/v1/experiments"):
            assert browser.get(f"/experiments{path}").status_code == 200


def test_of_two_specs_with_one_id_list_and_page_show_the_same(
    reader: Reader, settings: dict[str, str]
) -> None:
    """The file named after it has the id; the other one is a fault that is told elsewhere."""
    browser, folder = reader("ada"), Path(settings["EXP_CONFIG_DIR"]) / "experiments"
    spec = {"id": "exp_never", "owner": "shop", "source": {"kind": "synthetic", "n_users": 1000}}
    spec |= {"window": {"start": "2025-03-01", "days": 3}, "hypothesis": "The second one."}
    spec |= {"variants": [{"id": "c", "control": True}, {"id": "t"}]}
    spec |= {"metrics": [{"id": "buys", "type": "proportion", "event": "purchase", "role": "primary"}]}
    with written(folder / "zz.yaml", json.dumps(spec)):
        for path in ("/", "/e/exp_never"):
            text = browser.get(f"/experiments{path}").text
            assert "The second one." not in text
            assert "&lt;b&gt;Never&lt;/b&gt; run" in text
    with written(folder / "exp_never.yaml", json.dumps(spec)):
        for path in ("/", "/e/exp_never"):
            assert "The second one." in browser.get(f"/experiments{path}").text


@pytest.mark.parametrize("folders", [True, False])
def test_results_of_an_experiment_that_was_removed_stand(
    reader: Reader, settings: dict[str, str], folders: bool
) -> None:
    """With the folders of its runs, and where these went too: then the spec is the one that was published."""
    browser = reader("ada")
    shown = re.findall(r"<h2[^>]*>(.*?)</h2>", browser.get("/experiments/e/exp_a").text)
    rest = {id: spec for id, spec in SPECS.items() if id != "exp_a"}
    runs = load_environment("embedded").runs_dir
    with written(
        Path(settings["EXP_CONFIG_DIR"]) / "dev.yaml",
        json.dumps({"environment": "embedded", "experiments": rest}),
    ):
        if not folders:
            (runs / "exp_a").rename(runs / "away")
        REPORTS._kept.clear()
        try:
            page, listed = (browser.get(f"/experiments{path}") for path in ("/e/exp_a", "/"))
            assert browser.get("/experiments/e/exp_a/compare").status_code == 200
            assert browser.get("/experiments/e/exp_a/results.csv").status_code == 200
        finally:
            if not folders:
                (runs / "away").rename(runs / "exp_a")
    assert page.status_code == 200
    assert [title for title in shown if title in page.text] == shown != []
    assert '<td data-label="Owner"></td>' in line_of(listed.text, "exp_a")
    assert '<td data-label="Owner">shop</td>' in line_of(browser.get("/experiments/").text, "exp_a")


def test_a_damaged_row_that_decides_is_said_on_the_page_and_seen_again_once_it_is_mended(
    reader: Reader,
) -> None:
    browser = reader("ada")
    whole = line_of(browser.get("/experiments/").text, "exp_a")
    assert "no estimate" not in whole
    with damaged("analysis_results"):
        page, listed = browser.get("/experiments/e/exp_a"), browser.get("/experiments/").text
        assert browser.get("/experiments/portfolio").status_code == 200
    assert page.status_code == 200
    assert "Its stored results cannot be read" in page.text
    assert "no estimate" in line_of(listed, "exp_a")
    assert "no estimate" not in line_of(listed, "exp_secret")
    assert line_of(browser.get("/experiments/").text, "exp_a") == whole
    assert "cannot be read" not in browser.get("/experiments/e/exp_a").text


def test_a_damaged_decision_is_said_in_the_list_and_seen_again_once_it_is_mended(reader: Reader) -> None:
    browser = reader("ada")
    whole = line_of(browser.get("/experiments/").text, "exp_a")
    with damaged("decisions"):
        listed, page = browser.get("/experiments/").text, browser.get("/experiments/e/exp_a")
        assert browser.get("/experiments/portfolio").status_code == 200
    assert "stored results cannot be read" in line_of(listed, "exp_a")
    assert "no estimate" not in line_of(listed, "exp_secret")
    assert "Its stored results cannot be read" in page.text
    assert line_of(browser.get("/experiments/").text, "exp_a") == whole
