"""The headers of every answer, what is said where something went wrong, and which contents a browser keeps."""

from __future__ import annotations

import re

import pytest

from web.conftest import Reader

PATHS = ("/experiments/static/icon.svg", "/experiments/api/v1/experiments", "/experiments/no/page")


@pytest.mark.parametrize("path", PATHS)
def test_every_answer_forbids_scripts_of_others_and_frames_elsewhere(reader: Reader, path: str) -> None:
    headers = reader("vera").get(path).headers
    policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["frame-ancestors"] == "'self'"
    assert headers["x-content-type-options"] == "nosniff"
    assert "private" in headers["cache-control"]


def test_the_page_for_strangers_needs_no_other_file_and_leads_to_the_login(reader: Reader) -> None:
    answer = reader("").get("/experiments/e/exp_a")
    (nonce,) = set(re.findall(r'nonce="([^"]+)"', answer.text))
    assert f"script-src 'nonce-{nonce}'" in answer.headers["content-security-policy"]
    assert 'href="/api/v2/auth/login"' in answer.text
    assert "src=" not in answer.text
    assert nonce not in reader("").get("/experiments/e/exp_a").text  # of another answer it is another


def test_a_program_is_told_in_json(reader: Reader) -> None:
    answer = reader("").get("/experiments/api/v1/experiments")
    assert answer.json()["detail"].startswith("You are not logged in.")


def test_what_fails_inside_is_told_without_a_path_or_a_trace(
    reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    from exp_platform.web import api

    def fails(*_: object) -> None:
        raise OSError("/srv/secret/place.parquet is gone")

    monkeypatch.setattr(api, "lines", fails)
    answer = reader("vera").get("/experiments/api/v1/experiments")
    assert answer.status_code == 500
    assert answer.json()["detail"].startswith("The results cannot be shown.")
    assert not re.search(r"secret|Traceback|OSError|\.py", answer.text)
    assert "content-security-policy" in answer.headers


def test_an_address_that_cannot_be_read_says_which_part(reader: Reader) -> None:
    answer = reader("vera").get("/experiments/api/v1/experiments/exp_a/results?as_of=yesterday")
    assert answer.status_code == 422
    assert "as_of" in answer.json()["detail"]


def test_a_file_is_kept_for_ever_under_the_address_that_pages_name(reader: Reader) -> None:
    from exp_platform.web.static_files import static_path

    of_pages = reader("vera").get("/experiments" + static_path("theme.js"))
    assert "immutable" in of_pages.headers["cache-control"]
    other = reader("vera").get("/experiments/static/another/theme.js")
    assert other.content == of_pages.content
    assert "immutable" not in other.headers["cache-control"]


def test_the_charts_library_is_one_module_of_the_installed_renderer(reader: Reader) -> None:
    answer = reader("vera").get("/experiments/static/vega.js")
    assert answer.headers["content-type"].startswith("text/javascript")
    assert b"vegaEmbed" in answer.content


@pytest.mark.parametrize("name", ["..%2Fgate.py", "gate.py", "%2Fetc%2Fpasswd", "theme.js%00", "none.css"])
def test_no_other_file_is_given(reader: Reader, name: str) -> None:
    assert reader("ada").get(f"/experiments/static/{name}").status_code == 404
