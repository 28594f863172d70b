"""What people do with an experiment without effect ends in a ship no more often than promised, thanks to the memory alone."""

from __future__ import annotations

import pytest
from scipy import stats

from exp_validation.behaviours import Behaviour, behaviours, forgetful

REPLICATES = 200


@pytest.mark.simulations
@pytest.mark.parametrize("behaviour", behaviours(), ids=lambda b: b.told)
def test_no_behaviour_finds_more_than_alpha(behaviour: Behaviour) -> None:
    for check in behaviour.checks(REPLICATES):
        assert round(check.rate * REPLICATES) <= stats.binom.isf(1e-4, REPLICATES, 0.05), check.measure


@pytest.mark.simulations
@pytest.mark.parametrize("behaviour", forgetful(), ids=lambda b: b.told)
def test_without_memory_each_of_them_finds_too_much(behaviour: Behaviour) -> None:
    _, winners = behaviour.checks(REPLICATES)
    assert round(winners.rate * REPLICATES) > stats.binom.isf(0.05, REPLICATES, 0.05)
