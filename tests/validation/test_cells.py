"""The machinery on few replicates: sound methods keep their bands, wrong ones are found out, digits repeat."""

from __future__ import annotations

from pathlib import Path

import pytest

from exp_platform.validation.bands import Check
from exp_platform.validation.cells import Judged, cells, wrong
from exp_platform.validation.page import Findings, write_page
from exp_platform.validation.run import Outcome

REPLICATES = 400
SOUND = (
    "Welch: normal, 250 and 250",
    "Welch: binary 10 %, 10,000 and 10,000",
    "ratio: orders a visit, 1,000 and 1,000",
    "DiD: 7 days before and after, 300 and 300",
    "confidence sequence: normal, 100 and 100 a day, 28 looks",
    "SRM chi-square: 0.5 / 0.5, 20,000 users",
)


def named(name: str) -> Judged:
    return {judged.name: judged for judged in (*cells(), *wrong())}[name]


@pytest.mark.parametrize("name", SOUND)
def test_sound_methods_keep_their_bands(name: str) -> None:
    checks = named(name).checks(REPLICATES)
    assert [c for c in checks if not c.holds(len(SOUND) * 5)] == []


@pytest.mark.parametrize("judged", wrong(), ids=lambda judged: judged.name)
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


def test_the_same_replicates_give_the_same_digits() -> None:
    assert named(SOUND[0]).checks(50) == named(SOUND[0]).checks(50)


def test_names_are_unique() -> None:
    names = [judged.name for judged in (*cells(), *wrong())]
    assert len(set(names)) == len(names)


def test_the_page_tells_what_misses(tmp_path: Path) -> None:
    good = Check("a: x", "false positives", 0.05, 1000, 0.05, "both")
    bad = Check("a: y", "coverage", 0.80, 1000, 0.95, "both")
    outcomes = [Outcome("a: x", 1000, (good,), 1.0), Outcome("a: y", 1000, (bad,), 1.0)]
    found = Findings(outcomes, [], [], 1000, 0, 2)
    assert found.misses == [bad]
    text = write_page(found, tmp_path).read_text()
    assert "| a: y | coverage 0.8000 | too narrow |  |" in text
    assert "| x | 0.0500 |  |" in text
    assert "| y |  | **0.8000** |" in text
    assert (tmp_path / "08_statistical_validation/false_positives.png").stat().st_size > 1000
