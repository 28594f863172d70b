"""Files to take away hold what the tables do, and names and cells that do no harm; compared days say what changed and why."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import asdict, replace

import pytest

from exp_platform.config.environment import load_environment
from exp_platform.report.content import Report, load_report
from exp_platform.report.memo import as_json
from exp_platform.results.reader import Results
from exp_platform.web.compare import causes
from exp_platform.web.downloads import attachment
from report.reports import report
from stages.frozen_runs import D2, D3, an_experiment
from web.conftest import Reader


def stored() -> Report:
    return load_report(Results(load_environment("embedded")), an_experiment("exp_a"), D2)


def test_the_csv_has_the_tables_rows_and_columns_with_every_digit(reader: Reader) -> None:
    answer = reader("vera").get(f"/experiments/e/exp_a/results.csv?as_of={D2}")
    assert answer.headers["content-disposition"] == f'attachment; filename="exp_a_{D2}_results.csv"'
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    wanted = Results(load_environment("embedded")).to_arrow("exp_a", D2)
    assert len(rows) == wanted.num_rows > 10
    for found, row in zip(rows, wanted.to_pylist(), strict=True):
        assert list(found) == list(row)
        for name, value in row.items():
            if isinstance(value, float):
                assert float(found[name]) == value
            elif isinstance(value, str):
                assert found[name].removeprefix("'") == value
            elif value is None:
                assert found[name] == ""


def test_the_json_file_is_the_memos_twin(reader: Reader) -> None:
    told = reader("vera").get(f"/experiments/e/exp_a/results.json?as_of={D2}").json()
    assert told == json.loads(json.dumps(as_json(stored()), default=str))


def test_the_spec_is_the_one_that_was_frozen(reader: Reader) -> None:
    """The configs say another hypothesis by now."""
    told = reader("vera").get("/experiments/e/exp_a/spec.json").json()
    plain = json.loads(json.dumps(asdict(an_experiment("exp_a")), default=str))
    assert {**told, "hypothesis": "", "owner": "", "tags": []} == {
        **plain,
        "hypothesis": "",
        "owner": "",
        "tags": [],
    }
    assert "onerror" in told["hypothesis"]


def test_the_report_is_one_file_without_a_script(reader: Reader) -> None:
    answer = reader("vera").get("/experiments/e/exp_a/report.html")
    assert answer.headers["content-disposition"].startswith("attachment")
    assert "<svg" in answer.text
    assert "<script" not in answer.text


@pytest.mark.parametrize("file", ["results.csv", "results.json", "spec.json", "report.html", "report.md"])
def test_an_experiment_without_results_has_no_files(reader: Reader, file: str) -> None:
    assert reader("vera").get(f"/experiments/e/exp_never/{file}").status_code == 404


def test_a_files_name_is_plain_whatever_it_is_made_of() -> None:
    made = attachment(b"", 'a"; x=\r\nSet-Cookie: b/../ä.csv', "text/csv")
    assert made.headers["content-disposition"] == 'attachment; filename="a___x___Set-Cookie__b_..__.csv"'


def test_of_two_days_the_page_shows_both_and_marks_what_reads_otherwise(reader: Reader) -> None:
    answer = reader("vera").get("/experiments/e/exp_a/compare")
    assert f'<th scope="col">{D2}</th><th scope="col">{D3}</th>' in answer.text
    other = reader("vera").get(f"/experiments/e/exp_a/compare?from={D3}&to={D2}")
    assert f'<th scope="col">{D3}</th><th scope="col">{D2}</th>' in other.text
    assert reader("vera").get("/experiments/e/exp_a/compare?from=2020-01-01").status_code == 404


def test_why_two_days_differ_is_told_of_spec_code_and_reasons() -> None:
    before = report(lift=0.0)
    after = report(lift=0.08)
    assert before.decision.reasons != after.decision.reasons
    said = causes(before, after)
    assert f"New: {after.decision.reasons[0].text}" in said
    assert f"No longer: {before.decision.reasons[0].text}" in said
    edited = replace(after, experiment=replace(after.experiment, segments=()))
    newer = replace(edited, stored=replace(edited.stored, code_version="0.0.1+def", config_hash="d" * 64))
    said = causes(after, newer)
    assert said[0].startswith("The spec was edited in between: segments ")
    assert said[1] == "Another version of the platform computed it: 0.0.0+abc, then 0.0.1+def."


def test_the_same_day_twice_has_no_causes() -> None:
    one = report()
    assert causes(one, one) == []
