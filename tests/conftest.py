"""The tiers of the tests, the cases that hypothesis draws, and what tests of all rooms share."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from exp_platform.config.environment import Environment, load_environment

# A folder's conftest gives its tests their tier; a file or a test may name one too. What has none is a unit test.
TIERS = ("e2e", "cluster", "simulations", "stack")
# Where all tests of a tier lie: its target imports no others (20 s of CPU).
PLACES = {"cluster": ("cluster",), "simulations": ("notebooks", "tools")}

# Whose tests are measured: those of the rooms that must be covered. Measuring the others' takes as long as they do.
MEASURED = ("stats", "analyses", "decision", "config")

# What gates a landing draws the same cases every time, on any machine; `make fuzz` draws new ones, and more.
settings.register_profile("gate", deadline=None, derandomize=True, database=None)
settings.register_profile(
    "fuzz", deadline=None, max_examples=1000, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("gate")


@pytest.hookimpl(trylast=True)  # after the folders' own
def pytest_itemcollected(item: pytest.Item) -> None:
    tiers = [tier for tier in TIERS if item.get_closest_marker(tier)]
    if len(tiers) > 1:
        raise pytest.UsageError(f"{item.nodeid} is of {' and '.join(tiers)}: a test has one tier")
    if not tiers:
        item.add_marker("unit")
    place = item.path.relative_to(Path(__file__).parent).parts[0]
    if place not in MEASURED:
        item.add_marker("no_cover")
    for tier in tiers:
        if place not in PLACES.get(tier, (place,)):
            raise pytest.UsageError(
                f"{item.nodeid} is of {tier}, whose target looks in {' and '.join(PLACES[tier])} alone"
            )


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Environment:
    """The embedded environment, with an empty state root of the test's own."""
    monkeypatch.setenv("EXP_STATE_DIR", str(tmp_path / "state"))
    return load_environment("embedded")
