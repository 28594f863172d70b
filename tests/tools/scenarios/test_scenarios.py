"""What the platform says in situations whose truth is known, and that the pages say the same."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from exp_platform.analyses.rows import (
    ROW_TYPES,
    DidRow,
    DidSensitivityRow,
    PretrendTestRow,
    ResultRow,
    Status,
)
from exp_platform.checks import CheckResult
from exp_platform.config.environment import load_environment, project_root, temporary_state
from exp_platform.report.charts import png
from exp_platform.report.content import Report
from exp_platform.results.reader import Results
from exp_platform.stages.decision import decided
from exp_platform.stages.run import Run
from exp_scenarios.listed import SCENARIOS
from exp_scenarios.page import NAME, Told, pages
from exp_scenarios.reading import row
from exp_scenarios.scenario import Said

# Of each situation's runs in turn: winner, action and reasons; None where it is refused.
EXPECTED: dict[str, list[tuple[str, str, set[str]] | None]] = {
    "clear_win": [("treatment", "ship", {"SIGNIFICANTLY_BETTER", "PLANNED_SIZE_REACHED"})],
    "no_effect": [("inconclusive", "stop", {"NOT_SIGNIFICANT", "NO_EFFECT_OF_MDE", "PLANNED_SIZE_REACHED"})],
    "underpowered": [
        ("inconclusive", "extend", {"NOT_SIGNIFICANT", "PLANNED_SIZE_NOT_REACHED", "AFTER_PLANNED_END"})
    ],
    "not_worth_it": [("inconclusive", "stop", {"BELOW_PRACTICAL", "PLANNED_SIZE_REACHED"})],
    "guardrail_breach": [
        ("guardrail-violated", "stop", {"GUARDRAIL_PROVEN_BREACH", "SIGNIFICANTLY_BETTER"}),
    ],
    "srm": [("inconclusive", "investigate", {"SRM_MISMATCH", "SIGNIFICANTLY_BETTER"})],
    "crossovers": [
        ("inconclusive", "investigate", {"CROSSOVERS_UNEVEN", "CHECK_FAILED", "SIGNIFICANTLY_WORSE"}),
        ("inconclusive", "investigate", {"CROSSOVERS_UNEVEN", "NOT_SIGNIFICANT"}),
    ],
    "late_data": [
        ("inconclusive", "investigate", {"DATA_LATE", "SIGNIFICANTLY_WORSE", "PLANNED_SIZE_REACHED"}),
        ("treatment", "ship", {"SIGNIFICANTLY_BETTER", "PLANNED_SIZE_REACHED"}),
        ("treatment", "ship", {"SIGNIFICANTLY_BETTER", "PLANNED_SIZE_REACHED"}),
    ],
    "doubled_delivery": [
        ("inconclusive", "extend", {"NOT_SIGNIFICANT", "BEFORE_PLANNED_END"}),
        None,
    ],
    "lucky_day": [("inconclusive", "stop", {"NOT_SIGNIFICANT", "NO_EFFECT_OF_MDE", "PLANNED_SIZE_REACHED"})],
    "heavy_tail": [("treatment", "ship", {"SIGNIFICANTLY_BETTER", "PLANNED_SIZE_REACHED"})],
    "simpson": [
        ("inconclusive", "investigate", {"SRM_WITHIN_SEGMENT", "SIGNIFICANTLY_WORSE"}),
        (
            "inconclusive",
            "investigate",
            {"SRM_WITHIN_SEGMENT", "COVARIATES_UNBALANCED", "SIGNIFICANTLY_BETTER"},
        ),
    ],
    "power_users": [None, ("inconclusive", "stop", {"NOT_SIGNIFICANT", "PLANNED_SIZE_REACHED"})],
    "violated_trend": [("inconclusive", "stop", {"NOT_SIGNIFICANT", "PLANNED_SIZE_REACHED"})],
    "novelty": [("treatment", "ship", {"SIGNIFICANTLY_BETTER", "PLANNED_SIZE_REACHED"})],
}


@pytest.fixture(scope="module")
def told() -> Iterator[dict[str, Told]]:
    """Every situation, carried out once."""
    with temporary_state() as folder:
        environment = load_environment("embedded")
        yield {
            s.id: Told(s, s.carry_out(environment, folder / "delivered" / s.id), folder / "delivered" / s.id)
            for s in SCENARIOS
        }


def answer(said: Said) -> tuple[str, str] | None:
    """Winner and action."""
    decision = said.report.decision if not said.refused else None
    return None if decision is None else (decision.winner, decision.action)


def covers(found: ResultRow, truth: float) -> bool:
    """Whether the interval of the effect holds it."""
    assert found.ci_low is not None
    assert found.ci_high is not None
    return found.ci_low <= truth <= found.ci_high


@pytest.mark.parametrize("scenario_id", EXPECTED)
def test_verdict_and_decisive_reasons(told: dict[str, Told], scenario_id: str) -> None:
    said = told[scenario_id].said
    for one, expected in zip(said, EXPECTED[scenario_id], strict=True):
        assert answer(one) == (expected and expected[:2])
        if expected:
            assert expected[2] <= {reason.code for reason in one.report.decision.reasons}


@pytest.mark.usefixtures("told")
def test_a_stored_decision_follows_from_the_stored_rows() -> None:
    """Reason by reason, whatever the order in which the tables give their rows."""
    results = Results(load_environment("embedded"))
    shuffled = random.Random(1)
    ids = [row["experiment_id"] for row in results.experiments()]
    assert {s.id for s in SCENARIOS} <= set(ids)
    for id in ids:
        stored = {found.as_of_date: found for found in results.decisions(id)}
        newest = max(stored.values(), key=lambda found: found.computed_at)
        run = Run.load(results.environment.runs_dir / id / newest.run_id / "run.json")
        rows = [row for row_type in ROW_TYPES.values() for row in results.rows(row_type, id)]
        shuffled.shuffle(rows)
        again = decided(run, rows, results.rows(CheckResult, id))
        assert [decision.to_json() for decision in again] == [
            stored[day].decision.to_json() for day in run.as_of_dates
        ]


def test_every_situation_has_its_expected_verdict() -> None:
    assert list(EXPECTED) == [s.id for s in SCENARIOS]


def test_intervals_hold_the_truth_where_the_data_do(told: dict[str, Told]) -> None:
    """Effects per user on the metric's own scale, as the situations' data are made."""
    truths = {
        ("clear_win", "ab", "conversion"): 0.03,
        ("no_effect", "ab", "conversion"): 0.0,
        ("underpowered", "ab", "conversion"): 0.01,
        ("not_worth_it", "ab", "conversion"): 0.012,
        ("guardrail_breach", "ab", "conversion"): 0.018,
        ("guardrail_breach", "guardrails", "complaints"): 0.012,
        ("crossovers", "ab", "conversion"): 0.0,
        ("late_data", "ab", "conversion"): 0.015,
        ("lucky_day", "ab", "conversion"): 0.0,
        ("simpson", "post_stratified", "conversion"): 0.02,
        ("power_users", "ab", "conversion"): 0.0,
        ("violated_trend", "ab", "pageviews"): 0.0,
        ("novelty", "ab", "visits_in_week_two"): 0.35
        * 0.5
        * sum(2.718281828 ** (-day / 2) for day in range(7, 14)),
    }
    missed = [
        key
        for key, truth in truths.items()
        if not covers(row(told[key[0]].said[-1].report, key[1], key[2]), truth)
    ]
    assert missed == []


def test_a_lucky_day_is_not_taken_for_evidence(told: dict[str, Told]) -> None:
    """Some fixed-horizon p is small on the way, the always-valid interval holds 0 on every day."""
    (said,) = told["lucky_day"].said
    looks = [r for r in said.report.series if r.metric_id == "conversion"]
    assert len(looks) == len(said.decisions) == 14
    assert min(r.p_value for r in looks[:-1] if r.p_value is not None) < 0.01
    valid = [r for r in looks if r.always_valid_status is Status.OK]
    assert len(valid) >= 12
    assert all(r.always_valid_low < 0 < r.always_valid_high for r in valid)  # type: ignore[operator]
    assert [d.action for d in said.decisions] == ["extend"] * 13 + ["stop"]


def test_one_very_large_order_blinds_the_mean_and_not_the_capped_one(told: dict[str, Told]) -> None:
    report = told["heavy_tail"].said[0].report
    capped, uncapped = (row(report, "ab", metric) for metric in ("revenue", "revenue_uncapped"))
    assert capped.significant
    assert uncapped.estimate is not None
    assert uncapped.estimate < 0
    assert uncapped.standard_error > 10 * capped.standard_error  # type: ignore[operator]


def test_simpsons_paradox_shows_within_segments(told: dict[str, Told]) -> None:
    """Worse in all, better on each device; the split of all users looks sound, that of each device does not."""
    report = told["simpson"].said[0].report
    assert row(report, "ab", "conversion").estimate < 0  # type: ignore[operator]
    assert all(row(report, "segments", "conversion", "device", d).estimate > 0 for d in ("phone", "desktop"))  # type: ignore[operator]
    assert row(report, "srm", "", "users", "assigned").verdict == "ok"
    assert row(report, "srm", "", "device", "all").verdict == "mismatch"
    assert "unbalanced" in (row(report, "post_stratified", "conversion").health or "")


def test_a_segment_of_behaviour_is_refused_and_would_have_misled(told: dict[str, Told]) -> None:
    """Both groups look worse, which no effect on anybody can do."""
    one = told["power_users"]
    refused, fair = one.said
    assert refused.stored is None
    assert "segments[0]: found 'pageviews'; it is an outcome" in (refused.refused or "")
    text = one.scenario.naive(one.said, one.folder)
    assert text.count("conversion -") == 1
    assert "everybody else: -" in text
    for value in ("yes", "no"):
        assert not row(fair.report, "segments", "conversion", "frequent", value).significant


def test_late_rows_replace_the_days_result_and_nothing_new_runs_nothing(told: dict[str, Told]) -> None:
    first, second, third = told["late_data"].said
    assert [len(s.decisions) for s in (first, second, third)] == [1, 1, 1]
    assert [s.up_to_date for s in (first, second, third)] == [False, False, True]
    assert second.decisions[0].run_id == third.decisions[0].run_id != first.decisions[0].run_id
    estimates = [row(s.report, "ab", "conversion").estimate for s in (first, second)]
    assert estimates[0] < estimates[1]  # type: ignore[operator]


def test_a_refused_delivery_leaves_the_last_good_result(told: dict[str, Told]) -> None:
    good, refused = told["doubled_delivery"].said
    assert "duplicates" in (refused.refused or "")
    assert refused.decisions == good.decisions


def test_a_violated_trend_is_told_by_pretrends_and_health(told: dict[str, Told]) -> None:
    """Without any effect DiD and CUPED find one, and each is marked; the comparison that decides finds none."""
    report: Report = told["violated_trend"].said[0].report
    (did,) = (r for r in report.of(DidRow) if r.metric_id == "pageviews")
    (test,) = (r for r in report.of(PretrendTestRow) if r.metric_id == "pageviews")
    (sensitivity,) = {r.breakdown for r in report.of(DidSensitivityRow) if r.metric_id == "pageviews"}
    assert did.p_value is not None
    assert did.p_value < 1e-6
    assert test.parallel is False
    assert sensitivity is not None
    assert sensitivity < 1
    assert "unbalanced" in (row(report, "cuped", "pageviews").health or "")


def test_a_novelty_fades(told: dict[str, Told]) -> None:
    report = told["novelty"].said[0].report
    trend = row(report, "stability", "visits", "day_since_exposure", "trend")
    assert trend.verdict == "fading"
    assert not row(report, "ab", "visits_in_week_two").significant


def test_every_picture_shows_something(told: dict[str, Told]) -> None:
    drawn = {s.id: s.picture(told[s.id].said) for s in SCENARIOS if s.picture is not None}
    assert len(drawn) >= 5
    for scenario_id, chart in drawn.items():
        assert chart is not None
        assert len(png(chart, scale=0.5)) > 2_000
        assert (project_root() / "docs" / NAME / f"{scenario_id}.png").is_file()


def test_the_pages_are_what_a_run_gives(told: dict[str, Told]) -> None:
    """Verdicts, reasons, numbers and words; `make scenarios` writes them anew."""
    docs = project_root() / "docs"
    given = pages(list(told.values()))
    assert {f"{NAME}.md", *(f"{NAME}/{page.name}" for page in (docs / NAME).glob("*.md"))} == set(given)
    for place, text in given.items():
        assert text.splitlines() == (docs / place).read_text().splitlines(), "run `make scenarios`"
