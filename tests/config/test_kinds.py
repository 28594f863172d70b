"""What a kind of metric is stands in one place: everything else asks for its traits, never for its name."""

from __future__ import annotations

import ast
import re
from typing import get_args

import pytest

import exp_platform
from exp_platform.analyses.estimators import ESTIMATORS
from exp_platform.config.environment import project_root
from exp_platform.config.kinds import KINDS, PICKED, REFUSED, Agg
from exp_platform.kernels.user_values import ADDENDS, PICKS

PACKAGE = project_root() / "include" / exp_platform.__name__
# Where kinds are told apart, and specs that Python writes.
KNOW_KINDS = {"config/kinds.py", "analyses/estimators.py", "config/spec_flat.py", "starting/measures.py"}
# Words of every day: `min` is a filter too, and `first` a rule for crossovers.
EVERY_DAY = {"first", "last", "max", "min"}
# Words that are kinds' names and mean something else there.
OTHER_MEANINGS = {
    "config/key_descriptions.py": {"count", "retention"},  # keys of a spec
    "config/spec_metrics.py": {"count", "count_distinct"},  # what a measure adds up
    "kernels/user_values.py": {"count"},
    "report/sections.py": {"count", "mean"},  # how a number is written, and a column
    "results/reader.py": {"mean"},
    "stages/decision.py": {"mean"},
    "stats/adjustment.py": {"mean"},
    "stats/moments.py": {"mean"},
    "tables/audit.py": {"retention"},  # the rule of retention
    "tables/retention.py": {"retention"},
    "tables/schemas.py": {"mean", "quantile"},  # columns
}


def test_no_other_file_names_a_kind() -> None:
    found: dict[str, set[str]] = {}
    for path in PACKAGE.rglob("*.py"):
        texts = (n.value for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Constant))
        named = {text for text in texts if isinstance(text, str) and text in KINDS.keys() - EVERY_DAY}
        name = path.relative_to(PACKAGE).as_posix()
        if named and name not in KNOW_KINDS:
            found[name] = named
    assert found == OTHER_MEANINGS


def test_no_template_names_a_kind() -> None:
    templates = list(PACKAGE.rglob("*.j2"))
    assert templates
    for path in templates:
        assert not {text for text in re.findall(r"[\"']([a-z]+)[\"']", path.read_text()) if text in KINDS}, (
            path
        )


def test_every_kind_has_an_estimator_and_every_way_of_adding_up_a_kernel() -> None:
    assert set(ESTIMATORS) == set(KINDS)
    assert sorted([*ADDENDS, *PICKS]) == sorted(get_args(Agg))
    assert set(PICKS) == PICKED
    assert {kind.agg for kind in KINDS.values()} <= {*ADDENDS, *PICKS, None}


@pytest.mark.parametrize("key", REFUSED)
def test_who_may_not_have_a_key_is_told_who_may(key: str) -> None:
    """Where few may they are named; where most may, the one that may not."""
    _, why = REFUSED[key]
    takers = [kind for kind in KINDS.values() if key in kind.keys]
    assert 0 < len(takers) < len(KINDS)
    if "only" in why:
        assert all(f"a {kind.name}" in why for kind in takers)
    assert not re.search(r"\ba count\b", why) or key in KINDS["count"].keys
