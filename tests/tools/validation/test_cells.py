"""The machinery on few replicates: sound methods keep their bands, wrong ones are found out, digits repeat."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from exp_platform.analyses import segments
from exp_platform.config.environment import project_root
from exp_platform.config.metrics import Effect
from exp_platform.stats.bayes import posterior
from exp_platform.stats.multiplicity import Corrected
from exp_validation import analysed, beliefs, families
from exp_validation.bands import Check
from exp_validation.behaviours import Behaviour
from exp_validation.cells import Judged, cells, wrong
from exp_validation.families import CORRECTIONS
from exp_validation.page import NAME, Findings, write_pages
from exp_validation.populations import Normal
from exp_validation.run import Outcome
from exp_validation.topics import TOPICS, topic_of

REPLICATES = 400
SOUND = (
    "Welch: normal, 250 and 250",
    "Welch: binary 10 %, 10,000 and 10,000",
    "ratio: orders a visit, 1,000 and 1,000",
    "DiD: 7 days before and after, 300 and 300",
    "confidence sequence: normal, 100 and 100 a day, 28 looks",
    "SRM chi-square: 0.5 / 0.5, 20,000 users",
    "pre-trends: parallel, 900 and 100",
    "post-stratification with CUPED: four strata, 1,800 and 200",
    "DiD sensitivity: steps 0.3 and 0 before, 1 times the largest after, 300 and 300",
    "corrected families: 10 metrics of correlation 0.5, 5 of them with an effect, 500 and 500",
    "confidence sequence: amount of a purchase, 180 and 20 a day, 28 looks",
    "Bayesian reading: prior sd 0.1, 500 and 500",
    "shrunken portfolio: 40 experiments, effects normal, spread 1",
)


def named(name: str) -> Judged:
    return {judged.name: judged for judged in (*cells(), *wrong())}[name]


@pytest.mark.parametrize("name", SOUND)
def test_sound_methods_keep_their_bands(name: str) -> None:
    checks = named(name).checks(REPLICATES)
    assert [c for c in checks if not c.holds(len(SOUND) * 5)] == []


# Behaviours' tests are in test_behaviours.py
METHODS = [judged for judged in wrong() if not isinstance(judged, Behaviour)]


@pytest.mark.parametrize("judged", METHODS, ids=lambda judged: judged.name)
def test_wrong_methods_are_found_out(judged: Judged) -> None:
    """A pooled variance at 10/90, fixed-horizon intervals looked at daily, and DiD under trends that part."""
    level = judged.checks(REPLICATES)[0]
    assert not level.holds(200)
    assert level.rate > 0.1


def test_where_a_cell_misses_the_platform_cautions() -> None:
    cell = named("Welch, few users: spend, 450 and 50")
    found = {c.measure: c for c in cell.checks(REPLICATES)}
    assert not found["false positives"].holds(200)
    assert found["warned"].rate == 1.0
    assert {c.measure: c.rate for c in named(SOUND[1]).checks(50)}["warned"] == 0.0


def test_what_is_found_wrongly_is_not_what_goes_without_a_caution() -> None:
    """A small arm without large values so far, which differs for that reason, had no caution for the same reason."""
    cell = named("ratio: amount of a purchase, 1,000 and 9,000")
    found = {c.measure: c for c in cell.checks(3_000)}
    assert found["false positives"].rate > 0.06
    assert found["warned"].rate > 0.99
    assert found["false positives without a caution"].rate < 0.005


@pytest.mark.parametrize("correction", CORRECTIONS)
def test_a_family_that_is_not_corrected_is_found_out(
    correction: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def uncorrected(_: str, p: Sequence[float], alpha: float) -> list[Corrected]:
        return [Corrected(each, alpha) for each in p]

    monkeypatch.setattr(families, "correct", uncorrected)
    checks = families.Family(10, 0, 0.5, (500, 500)).checks(REPLICATES)
    found = [c for c in checks if c.measure.startswith(correction)]
    assert [c.rate > 0.1 and not c.holds(200) for c in found] == [True] * len(found)


def test_a_prior_that_is_not_the_truth_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Effects three times as large as the prior says."""
    monkeypatch.setattr(beliefs, "posterior", lambda e, se, sd: posterior(e, se, sd / 3))
    checks = {c.measure: c for c in beliefs.Believed(0.1, (500, 500)).checks(REPLICATES)}
    assert not checks["coverage"].holds(200)
    assert not checks["uniformity"].holds(200)


def test_trends_worse_than_allowed_are_found_out() -> None:
    checks = beliefs.Sensitivity((0.3, 0.0), 1.0, (300, 300)).checks(REPLICATES)
    assert [c.rate < 0.1 for c in checks] == [False, True]  # the second is of an interval that allows nothing


@pytest.mark.parametrize("margin", [Effect(0.3, "absolute"), Effect(0.03, "relative")])
def test_a_guardrail_at_its_margin_claims_seldom_and_one_beyond_it_is_claimed(margin: Effect) -> None:
    """300 replicates; at three times the margin a breach is proven in nearly all, before the end in some."""
    at = analysed.Guarded("normal", Normal.of(10.0, 3.0), margin, (100, 100)).checks(300)
    assert [c for c in at if not c.holds(200)] == []
    assert max(c.rate for c in at) > 0  # claims are made, so they can be wrong
    beyond = analysed.Guarded("normal", Normal.of(10.0, 3.0), margin, (100, 100), harm=3.0).checks(300)
    found = {c.measure: c.rate for c in beyond}
    assert found["proven_breach in all"] > 0.9
    assert 0.5 < found["proven_breach before the planned date"] < found["proven_breach in all"]
    assert found["non_inferior in all"] == 0


def test_segments_that_are_not_corrected_together_are_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    cell = analysed.Segmented("bonferroni", (100, 100))
    assert cell.checks(200)[0].holds(200)
    monkeypatch.setattr(
        segments, "corrected", lambda found, **_: [o.row(Corrected(o.test.p_value, 0.05)) for o in found]
    )
    assert not cell.checks(200)[0].holds(200)


def test_the_same_replicates_give_the_same_digits() -> None:
    assert named(SOUND[0]).checks(50) == named(SOUND[0]).checks(50)


def test_names_are_unique() -> None:
    names = [judged.name for judged in (*cells(), *wrong())]
    assert len(set(names)) == len(names)


def test_the_pages_tell_what_misses(tmp_path: Path) -> None:
    good = Check("DiD: x", "false positives", 0.05, 1000, 0.05, "both")
    bad = Check("DiD: y", "coverage", 0.80, 1000, 0.95, "both")
    outcomes = [Outcome("DiD: x", 1000, (good,), 1.0), Outcome("DiD: y", 1000, (bad,), 1.0)]
    found = Findings(outcomes, [], [], 1000, 0, 2)
    assert found.misses == [bad]
    assert "| DiD: y | coverage 0.8000 | too narrow |  |" in write_pages(found, tmp_path).read_text()
    table = (tmp_path / NAME / "over_time.md").read_text()
    assert "| x | 0.0500 |  |" in table
    assert "| y |  | **0.8000** |" in table
    assert (tmp_path / NAME / "false_positives.png").stat().st_size > 1000


def test_every_method_has_its_table_on_the_page_of_its_topic() -> None:
    """Of the committed pages: to count takes 20 minutes, and a method without a page would be told at their end."""
    docs = project_root() / "docs" / NAME
    pages = {topic.name: [] for topic in TOPICS} | {"known_wrong": []}
    for method in dict.fromkeys(judged.name.split(": ")[0] for judged in cells()):
        pages[topic_of(method).name].append(method)
    pages["known_wrong"] = list(dict.fromkeys(judged.name.split(": ")[0] for judged in wrong()))
    for page, methods in pages.items():
        found = re.findall(r"^## (.+)$", (docs / f"{page}.md").read_text(), re.MULTILINE)
        assert list(dict.fromkeys(found)) == methods
    listed = {"platform", *pages}
    assert {page.stem for page in docs.glob("*.md")} == listed
