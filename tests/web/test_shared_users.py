"""What is told of users in several experiments: of pairs that the reader may see, and much where it is much."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import combinations

import pytest

from exp_platform.config.environment import load_environment
from exp_platform.tables.overlaps import Counted, Overlap, Overlaps, note_overlaps
from exp_platform.web.shared_users import SharedUsers, shared_users
from web.conftest import HOSTILE, Reader
from web.test_portfolio import ANSWER, PAGE

COUNTED = Overlaps(
    datetime(2026, 3, 20, 2, tzinfo=UTC),
    {"exp_a": Counted(200), "exp_never": Counted(1000), "exp_secret": Counted(50), "gone": Counted(9)},
    (
        Overlap("exp_a", "exp_never", 20, estimated=True),
        Overlap("exp_a", "exp_secret", 50),
        Overlap("exp_a", "gone", 9),
    ),
    {"exp_failed": HOSTILE, "exp_secret": "a secret"},
)


@pytest.fixture
def counted() -> Iterator[None]:
    environment = load_environment("embedded")
    note_overlaps(environment, COUNTED)
    yield
    (environment.runs_dir / ".overlaps.json").unlink()


@pytest.mark.usefixtures("counted")
def test_users_of_two_experiments_are_told_to_who_may_see_both(reader: Reader) -> None:
    vera, ada = (reader(name).get(ANSWER).json()["shared_users"] for name in ("vera", "ada"))
    only = {
        "first": "exp_a",
        "second": "exp_never",
        "users": 20,
        "share_of_first": 0.1,
        "share_of_second": 0.02,
        "estimated": True,
        "may_interact": True,
    }
    assert vera["pairs"] == [only]
    assert (vera["compared"], vera["pairs_compared"], vera["pairs_sharing"]) == (2, 1, 1)
    assert [one["experiment_id"] for one in vera["not_compared"]] == ["exp_failed"]
    assert [(p["second"], p["users"], p["share_of_second"]) for p in ada["pairs"]] == [
        ("exp_secret", 50, 1.0),
        ("exp_never", 20, 0.02),
    ]
    page = reader("vera").get(PAGE).text
    assert "about 20" in page
    assert "10.0 %" in page
    assert page.count("2026-03-20 02:00</time> UTC") == 2
    assert "may interact" in page
    assert "1 pair shares 10 % or more of the users of one of the two" in page
    assert "secret" not in page
    assert "<img" not in page
    assert "gone" not in page


@pytest.mark.usefixtures("counted")
def test_that_nothing_could_be_compared_is_no_zero(reader: Reader) -> None:
    note_overlaps(
        load_environment("embedded"), Overlaps(COUNTED.counted_at, {}, (), {"exp_a": "its users are made up"})
    )
    page = reader("vera").get(PAGE).text
    assert "none to compare" in page
    assert "0 pairs" not in page
    assert "No two experiments can be compared" in page
    assert "exp_a (its users are made up)" in page


def test_few_users_in_common_are_no_warning_and_none_are_said_so() -> None:
    """A tenth of either is much: 99 of 1,000 are not, 100 are."""

    def told(users: int) -> SharedUsers:
        counted = {"a": Counted(1000), "b": Counted(5000)}
        found = shared_users(Overlaps(datetime.now(UTC), counted, (Overlap("a", "b", users),)), {"a", "b"})
        assert found is not None
        return found

    assert [told(n).pairs[0].may_interact for n in (1, 99, 100, 1000)] == [False, False, True, True]
    assert (told(0).pairs, told(0).pairs_compared, told(0).pairs_sharing) == ([], 1, 0)
    assert shared_users(None, {"a"}) is None


def test_of_many_pairs_those_that_share_most_are_told() -> None:
    ids = [f"e{n:03}" for n in range(200)]
    pairs = tuple(Overlap(a, b, int(b[1:])) for a, b in combinations(ids, 2))
    found = shared_users(Overlaps(datetime.now(UTC), dict.fromkeys(ids, Counted(1000)), pairs), ids)
    assert found is not None
    assert (found.pairs_compared, len(found.pairs)) == (19_900, 100)
    assert {pair.second for pair in found.pairs} == {"e199"}
