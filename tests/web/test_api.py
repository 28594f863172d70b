"""The API gives what is stored, in parts that make a whole, under tags that change with what is stored."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from exp_platform.analyses.rows import ResultRow
from exp_platform.config.analyses import METHODS, RESULTS
from exp_platform.config.environment import load_environment
from exp_platform.results.reader import Results
from exp_platform.web.api_types import plan
from stages.frozen_runs import D2, D3, an_experiment
from web.conftest import Reader

ROOT = "/experiments/api/v1/experiments"


def get(reader: Reader, path: str, **more: Any) -> Any:
    answer = reader("vera").get(path, **more)
    assert answer.status_code == 200, answer.text
    return answer.json()


def stored() -> Results:
    return Results(load_environment("embedded"))


def test_the_list_has_every_experiment_one_may_read_with_its_newest_decision(reader: Reader) -> None:
    told = get(reader, ROOT)
    assert [item["id"] for item in told["items"]] == [
        "exp_a",
        "exp_broken",
        "exp_failed",
        "exp_first",
        "exp_never",
    ]
    decision = stored().latest_decision("exp_a")
    assert decision is not None
    newest = told["items"][0]["newest"]
    assert (newest["as_of_date"], newest["action"]) == (D3.isoformat(), decision.action)
    assert newest["users"] == sum(decision.users.values()) == 800
    assert told["items"][-1]["newest"] is None
    assert told["items"][0]["last_run_state"] == "success"


def test_the_effect_in_the_list_is_of_the_row_that_decides(reader: Reader) -> None:
    newest = get(reader, f"{ROOT}/exp_a")["newest"]
    decision = stored().latest_decision("exp_a").decision  # type: ignore[union-attr]
    (row,) = (
        r
        for r in stored().rows(ResultRow, "exp_a", D3, method=decision.estimate)
        if (r.metric_id, r.treatment_id, r.segment)
        == (decision.decisive_metric, decision.reported_variant, "all")
    )
    assert (newest["metric_id"], newest["treatment_id"]) == (row.metric_id, row.treatment_id)
    assert newest["relative_low"] == row.relative_low
    assert newest["ci_level"] == row.ci_level


def test_one_experiment_tells_its_plan_and_the_days_that_are_stored(reader: Reader) -> None:
    told = get(reader, f"{ROOT}/exp_a")
    assert told["days"] == [D2.isoformat(), D3.isoformat()]
    assert [v["control"] for v in told["variants"]] == [True, False]
    assert told["hypothesis"] == "A green button sells."
    assert {m["unit"] for m in told["metrics"]} == {None}


def test_a_metric_names_the_unit_that_its_definition_declares() -> None:
    spec = an_experiment()
    first = spec.metrics[0].id
    metrics = plan(replace(spec, units={first: "EUR"}))["metrics"]
    assert [m.unit for m in metrics] == ["EUR", *[None] * (len(metrics) - 1)]


@pytest.mark.parametrize("method", [None, *METHODS])
def test_results_are_the_stored_rows_of_a_method_each_once_whatever_the_parts(
    reader: Reader, method: str | None
) -> None:
    table = METHODS[method].table if method else RESULTS
    wanted = stored().to_arrow(
        "exp_a", D3, table=table, method=method if method and table == RESULTS else None
    )
    asked = f"{ROOT}/exp_a/results?as_of={D3}" + (f"&method={method}" if method else "")
    found: list[Any] = []
    total = None
    while total is None or len(found) < total:
        part = get(reader, f"{asked}&limit=60&offset={len(found)}")
        total = part["total"]
        if not part["items"]:
            break
        found += part["items"]
    assert total == len(found) == wanted.num_rows
    keys = [name for name in wanted.column_names if name not in ("experiment_id", "run_id", "computed_at")]
    plain = [{key: row[key] for key in keys} for row in wanted.to_pylist()]
    assert sorted(map(str, found)) == sorted(
        str(row | {"as_of_date": str(row["as_of_date"])}) for row in plain
    )


def test_a_day_or_method_that_is_not_there_is_said_so(reader: Reader) -> None:
    vera = reader("vera")
    assert vera.get(f"{ROOT}/exp_a/results?as_of=2020-01-01").status_code == 404
    assert vera.get(f"{ROOT}/exp_never/results").status_code == 404
    assert vera.get(f"{ROOT}/exp_a/results?method=magic").status_code == 422
    assert vera.get(f"{ROOT}?limit=0").status_code == 422


def test_decisions_come_newest_first_with_their_reasons(reader: Reader) -> None:
    told = get(reader, f"{ROOT}/exp_a/decisions")
    assert [item["as_of_date"] for item in told["items"]] == [D3.isoformat(), D2.isoformat()]
    of_stored = {d.as_of_date.isoformat(): d.decision for d in stored().decisions("exp_a")}
    for item in told["items"]:
        decision = of_stored[item["as_of_date"]]
        assert [r["code"] for r in item["reasons"]] == [r.code for r in decision.reasons]
        assert item["lift"] == decision.lift


@pytest.mark.parametrize("path", ["", "/exp_a", "/exp_a/results", "/exp_a/decisions"])
def test_what_is_held_already_is_not_sent_again(reader: Reader, path: str) -> None:
    vera = reader("vera")
    first = vera.get(ROOT + path)
    again = vera.get(ROOT + path, headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert vera.get(ROOT + path, headers={"If-None-Match": '"another"'}).content == first.content


def test_openapi_names_every_path_and_field_of_the_answers(reader: Reader) -> None:
    told = get(reader, "/experiments/api/v1/openapi.json")
    assert set(told["paths"]) == {
        "/api/v1/experiments",
        "/api/v1/experiments/{experiment_id}",
        "/api/v1/experiments/{experiment_id}/results",
        "/api/v1/experiments/{experiment_id}/decisions",
        "/api/v1/portfolio",
    }
    assert told["servers"] == [{"url": "/experiments"}]
    (of_list,) = (
        schema for name, schema in told["components"]["schemas"].items() if name == "ExperimentSummary"
    )
    assert set(of_list["properties"]) == set(get(reader, ROOT)["items"][0])
