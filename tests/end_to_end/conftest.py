from __future__ import annotations

import os

import pytest

from end_to_end.installation import Installation, shipped
from end_to_end.raw_events import Plan, Raw
from orchestration import airflow_home  # noqa: F401  first: Airflow reads its settings when it is imported

CHECKOUT = "exp_checkout_button_001"
# The project's own example with fewer users, everything that real data bring, and a zone whose clocks change on the way.
UNTIDY = {
    "n_users": 8000,
    "start_date": "2026-03-02",
    "timezone": "America/New_York",
    "duplicate_share": 0.008,
    "late_share": 0.02,
    "crossover_share": 0.009,
}


def pytest_itemcollected(item: pytest.Item) -> None:
    item.add_marker("e2e")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """An installation without experiments, for the tests of one file."""
    return Installation(tmp_path_factory.mktemp("place"))


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """`exp_checkout_button_001` run once, by a shell that hides nothing. Tests only read what is stored here."""
    made = Installation(tmp_path_factory.mktemp("checkout"))
    made.entries(**{CHECKOUT: {**shipped(CHECKOUT), **UNTIDY}})
    before = os.umask(0)
    try:
        made.run(CHECKOUT)
    finally:
        os.umask(before)
    return made


@pytest.fixture(scope="session")
def raw(checkout: Installation) -> Raw:
    """What was generated for it, read by pandas."""
    plan = Plan(("control", "treatment"), UNTIDY["start_date"], 14, UNTIDY["timezone"])
    return Raw(checkout.state / "raw" / "exp_platform" / CHECKOUT, plan)
