"""All experiments together: what is counted as what, which metrics are one, and what is said where there is little."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import date
from typing import Any

import numpy as np
import pytest

from analyses.simulated import experiment as an_experiment_of
from analyses.simulated import metric
from exp_platform.config.experiment import Experiment
from exp_platform.config.metrics import Provenance
from exp_platform.results.measured import Measured
from exp_platform.results.newest import Newest
from exp_platform.stats.shrinkage import shrink
from exp_platform.web import portfolio
from exp_platform.web.impact import Decided, Impact, impacts
from exp_platform.web.listing import Line, line_of
from exp_platform.web.portfolio import numbers
from web.conftest import HOSTILE, Reader
from web.test_list import at, newest

PAGE = "/experiments/portfolio"
ANSWER = "/experiments/api/v1/portfolio"
LIBRARY = Provenance(file="shop.yaml")
RNG = np.random.default_rng(3)
N = 24
ERRORS = 0.01 * np.exp(RNG.normal(0, 0.3, N))
LOGS = 0.03 * RNG.standard_normal(N) + ERRORS * RNG.standard_normal(N)


def spec(id: str, *, shared: bool = True) -> Experiment:
    found = replace(an_experiment_of(metric("orders")), id=id)
    return replace(found, provenance={"orders": LIBRARY if shared else Provenance("shop")})


def row(log: float, error: float, treatment: str = "t1", **more: Any) -> Measured:
    """As a normal interval of coverage 0.95 on the scale of logarithms has it."""
    low, high = (math.expm1(log + side * 1.959963984540054 * error) for side in (-1, 1))
    values = {
        "metric_id": "orders",
        "treatment_id": treatment,
        "control_id": "control",
        "mean_control": 2.0,
        "mean_treatment": 2.0 * math.exp(log),
        "relative": math.expm1(log),
        "relative_low": low,
        "relative_high": high,
        "ci_level": 0.95,
        "degrees_of_freedom": None,
    }
    return Measured(**values | more)


def decision(at: int, **more: Any) -> Newest:
    ships = LOGS[at] / ERRORS[at] > 1.96
    told = {"action": "ship" if ships else "stop", "winning_variant": "t1" if ships else None}
    kept = {"experiment_id": f"e{at}", "definitions": {"orders": "mean of orders"}, "split": "ok"}
    return newest(**{**kept, **told, "decided_on": date(2025, 3, 14), **more})


def measured() -> dict[str, tuple[Measured, ...]]:
    return {f"e{i}": (row(LOGS[i], ERRORS[i]),) for i in range(N)}


def all_decided(**more: Any) -> list[Decided]:
    return [Decided(decision(i, **more), True, spec(f"e{i}")) for i in range(N)]


def the_one(found: list[Impact]) -> Impact:
    (one,) = found
    return one


SHIPPED = [i for i in range(N) if LOGS[i] / ERRORS[i] > 1.96]


def test_what_was_shipped_is_compounded_from_estimates_that_all_experiments_shrink() -> None:
    assert len(SHIPPED) > 2
    one = the_one(impacts(all_decided(), measured()))
    assert [each.experiment_id for each in one.shipped] == [f"e{i}" for i in SHIPPED]
    said = shrink(LOGS.tolist(), ERRORS.tolist(), [f"e{i}" for i in range(N)]).of(SHIPPED)
    assert one.total is not None
    assert (one.total.relative, one.total.low, one.total.high) == pytest.approx(
        [math.expm1(n) for n in (said.mean, said.low, said.high)], rel=1e-6
    )
    product = math.prod(1 + each.measured.relative for each in one.shipped) - 1
    assert one.compounded_as_measured == pytest.approx(product)
    assert 0 < one.total.relative < product
    for each in one.shipped:
        assert each.expected is not None
        assert each.expected.relative < each.measured.relative
    assert one.experiments == N


@pytest.mark.parametrize(
    "change",
    [
        {"definitions": {"orders": "mean of orders, days 0 to 7"}},
        {"definitions": {}},
        {"trust": "failed"},
        {"trust": "unknown"},
    ],
)
def test_another_definition_or_data_that_cannot_be_trusted_are_not_pooled(change: dict[str, Any]) -> None:
    found = all_decided()
    found[0] = Decided(decision(0, **change), True, spec("e0"))
    assert [one.experiments for one in impacts(found, measured())] == [N - 1]


def test_a_specs_own_metric_of_the_same_name_is_not_pooled() -> None:
    found = all_decided()
    found[0] = Decided(decision(0), True, spec("e0", shared=False))
    found[1] = Decided(decision(1), True, None)
    assert the_one(impacts(found, measured())).experiments == N - 2


def test_two_definitions_of_one_name_are_two_metrics() -> None:
    found = all_decided()
    week = {"definitions": {"orders": "mean of orders, days 0 to 7"}}
    found[:11] = [Decided(decision(i, **week), True, spec(f"e{i}")) for i in range(11)]
    assert sorted((one.definition, one.experiments) for one in impacts(found, measured())) == [
        ("mean of orders", N - 11),
        ("mean of orders, days 0 to 7", 11),
    ]


def test_what_runs_or_was_not_shipped_counts_for_the_law_and_not_for_the_sum() -> None:
    at = SHIPPED[0]
    found = all_decided()
    found[at] = Decided(decision(at), False, spec(f"e{at}"))
    one = the_one(impacts(found, measured()))
    assert one.experiments == N
    assert [each.experiment_id for each in one.shipped] == [f"e{i}" for i in SHIPPED[1:]]


def test_of_several_treatments_the_shipped_one_is_in_the_sum_and_control_is_what_they_are_compared_with() -> (
    None
):
    at, all_measured = SHIPPED[0], measured()
    both = (row(LOGS[at], ERRORS[at]), row(0.5, 0.01, "t2"), row(-0.4, 0.01, control_id="t2"))
    all_measured[f"e{at}"] = both
    one = the_one(impacts(all_decided(), all_measured))
    (shipped,) = (each for each in one.shipped if each.experiment_id == f"e{at}")
    assert shipped.treatment_id == "t1"
    assert shipped.measured.relative == pytest.approx(math.expm1(LOGS[at]))
    assert len(one.shipped) == len(SHIPPED)


@pytest.mark.parametrize(
    "without",
    [
        {"relative_low": None, "relative_high": None},
        {"relative": None},
        {"mean_control": -2.0},
        {"mean_treatment": None},
        {"relative_low": -1.2},
        {"relative_high": math.nan},
        {"ci_level": 1.0},
    ],
)
def test_a_shipped_effect_without_a_usable_estimate_is_named_and_not_counted(without: dict[str, Any]) -> None:
    at, all_measured = SHIPPED[0], measured()
    all_measured[f"e{at}"] = (row(LOGS[at], ERRORS[at], **without),)
    one = the_one(impacts(all_decided(), all_measured))
    assert one.without_estimate == [f"e{at}"]
    assert (one.experiments, len(one.shipped)) == (N - 1, len(SHIPPED) - 1)


def test_fewer_experiments_than_needed_have_no_total() -> None:
    few = [Decided(decision(i), True, spec(f"e{i}")) for i in range(19)]
    one = the_one(impacts(few, measured()))
    assert (one.total, one.typical_low, one.experiments, one.needed) == (None, None, 19, 20)
    assert impacts(few[:1], measured()) == []


def test_effects_beyond_all_measure_break_nothing(reader: Reader, shown: Any) -> None:
    """Control sold one thing to one of a million users: what compounds is more than a float holds."""
    wide = row(0.0, 1.0, relative=1e300, relative_low=1e290, relative_high=1e305)
    shown([a_line(f"e{i}", decision(i)) for i in range(N)], measured() | {f"e{i}": (wide,) for i in SHIPPED})
    assert reader("vera").get(PAGE).status_code == 200
    assert reader("vera").get(ANSWER).json()["impacts"][0]["shipped"]


def a_line(id: str, found: Newest | None, day: str = "2025-03-20", **more: Any) -> Line:
    return line_of(id, replace(spec(id), **more), found, None, at(day))


def test_numbers_are_what_they_say() -> None:
    found = [
        a_line("e0", decision(0, action="ship", winning_variant="t1", decided_on=date(2025, 3, 14))),
        a_line("e1", decision(1, action="stop", decided_on=date(2025, 3, 18))),
        a_line("e2", decision(2, action="stop", decided_on=date(2025, 2, 28), split="mismatch")),
        a_line("e3", decision(3, action="ship", final=False, decided_on=None, split="untested")),
        a_line("e4", None, "2025-03-10"),
        a_line("e5", decision(5, action="investigate", decided_on=None)),
    ]
    told = numbers(found, [], date(2025, 3, 20))
    assert (told.experiments, told.with_results, told.running) == (6, 5, 1)
    assert (told.decided, told.shipped) == (3, 1)  # a ship before the planned end is none yet
    assert [(m.first_day.isoformat(), m.decided, m.shipped) for m in told.months[:2]] == [
        ("2025-03-01", 2, 1),
        ("2025-02-01", 1, 0),
    ]
    assert len(told.months) == 6
    assert told.months[-1].first_day == date(2024, 10, 1)
    # The window starts on the first of March: 14, 18, and -1 + 1 days
    assert told.median_days_to_decision == 14
    assert (told.splits_tested, told.splits_failed) == (4, ["e2"])


def test_what_is_decided_early_runs_on_until_somebody_ends_it() -> None:
    """By always-valid evidence: a word to people. Its experiment goes on, and counts as running, not as decided."""
    early = {"final": False, "decided_on": None}
    found = [
        a_line("e0", decision(0, action="ship", winning_variant="t1", **early), "2025-03-10"),
        a_line("e1", decision(1, action="stop", winning_variant=None, **early), "2025-03-10"),
        a_line("e2", decision(2, action="extend", winning_variant=None, **early), "2025-03-10"),
        a_line("e3", decision(3, action="ship", winning_variant="t1", **early), "2025-03-20"),
    ]
    told = numbers(found, [], date(2025, 3, 20))
    assert (told.running, told.decided, told.decidable) == (3, 0, ["e0", "e1"])
    assert [line.told for line in found] == [
        "running, day 10 of 14, decided early",
        "running, day 10 of 14, decided early",
        "running, day 10 of 14",
        "ended on 2025-03-14, no run has decided at its planned date",
    ]


def test_nothing_at_all_is_no_fault() -> None:
    told = numbers([], [], date(2025, 1, 31))
    assert (told.median_days_to_decision, told.decided, told.splits_tested) == (None, 0, 0)
    assert [m.first_day.month for m in told.months] == [1, 12, 11, 10, 9, 8]


def test_only_experiments_that_one_may_read_are_counted(reader: Reader) -> None:
    """exp_secret has results, and vera may not read it."""
    vera, ada = (reader(name).get(ANSWER).json() for name in ("vera", "ada"))
    assert (vera["experiments"], vera["with_results"]) == (5, 1)
    assert (ada["experiments"], ada["with_results"]) == (6, 2)
    assert "exp_secret" not in reader("vera").get(PAGE).text
    assert reader("").get(ANSWER).status_code == 401


def test_the_answer_has_a_tag_and_the_page_another(reader: Reader) -> None:
    vera = reader("vera")
    for path in (PAGE, ANSWER):
        first = vera.get(path)
        assert first.status_code == 200
        assert vera.get(path, headers={"If-None-Match": first.headers["etag"]}).status_code == 304
    assert vera.get("/experiments/api/v1/openapi.json").json()["paths"]["/api/v1/portfolio"]


def test_the_list_leads_to_it_and_back(reader: Reader) -> None:
    assert 'href="/experiments/portfolio"' in reader("vera").get("/experiments/").text
    assert 'href="/experiments/"' in reader("vera").get(PAGE).text


def test_without_a_shared_metric_the_page_says_how_there_is_one(reader: Reader) -> None:
    page = reader("vera").get(PAGE).text
    assert "No metric is shared yet" in page
    assert "configs/metrics/" in page
    assert "not counted yet" in page
    assert 'id="shared-users"' not in page


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The page of these lines and effects."""

    def lay(found: list[Line], effects: dict[str, tuple[Measured, ...]]) -> None:
        measured = [
            replace(line, newest=line.newest and replace(line.newest, measured=effects[line.id]))
            for line in found
        ]
        monkeypatch.setattr(portfolio, "lines", lambda *_: measured)

    return lay


def test_the_page_shows_the_numbers_of_the_api_and_text_stays_text(reader: Reader, shown: Any) -> None:
    """Ids, arms and definitions that would be markup."""
    lines, effects = [], {}
    for i in range(N):
        id = HOSTILE + str(i)
        words = {"orders": HOSTILE}
        ships = {"winning_variant": HOSTILE} if i in SHIPPED else {}
        lines.append(a_line(id, decision(i, experiment_id=id, definitions=words, split="mismatch", **ships)))
        effects[id] = (row(LOGS[i], ERRORS[i], HOSTILE),)
    shown(lines, effects)
    page, told = reader("vera").get(PAGE), reader("vera").get(ANSWER).json()
    assert page.status_code == 200
    total = told["impacts"][0]["total"]
    assert f"{100 * total['relative']:+.1f} %" in page.text
    assert f"[{100 * total['low']:+.1f} %, {100 * total['high']:+.1f} %]" in page.text
    assert "<img" not in page.text
    assert "alert(2)</script>" not in page.text
    assert page.text.count("<script") == 2
    assert "style=" not in page.text


def test_with_too_few_experiments_the_page_says_so_and_shows_no_sum(reader: Reader, shown: Any) -> None:
    shown([a_line(f"e{i}", decision(i)) for i in range(5)], measured())
    page = reader("vera").get(PAGE).text
    assert "fewer than 20 experiments" in page
    assert "orders (5)" in page
    assert "As measured" not in page


def test_where_nothing_was_shipped_the_page_says_so(reader: Reader, shown: Any) -> None:
    stopped = [a_line(f"e{i}", decision(i, action="stop", winning_variant=None)) for i in range(N)]
    shown(stopped, measured())
    page = reader("vera").get(PAGE).text
    assert "Nothing was shipped yet that measured orders" in page
    assert "As measured" not in page


def test_without_experiments_the_page_helps(reader: Reader, shown: Any) -> None:
    shown([], {})
    page = reader("vera").get(PAGE).text
    assert "There is no experiment that you may see" in page
    assert "What shipping has brought" not in page
