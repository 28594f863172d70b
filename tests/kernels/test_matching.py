"""Whether users find their outcomes: counted by hand."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest

from exp_platform.kernels.clean import clean_bucket
from exp_platform.kernels.measured import SPELLED, Measured
from kernels.cases import EVENTS, events_experiment

NOW = datetime(2026, 1, 1, tzinfo=UTC)
AT = datetime(2025, 3, 28, 12, 0, 7, tzinfo=UTC)
SPEC = replace(events_experiment(timezone="UTC"), source=replace(EVENTS, dedupe="none"), segments=())


def measured(exposed: dict[str, str], happened: list[tuple[str, str, float]]) -> Measured:
    """Users by variant, all exposed at AT; outcomes are user, event and seconds from AT."""
    raw = {
        "exposures": pa.table(
            {
                "user_id": list(exposed),
                "variant_id": list(exposed.values()),
                "exposed_at": [AT] * len(exposed),
            }
        ),
        "outcomes": pa.table(
            {
                "user_id": pa.array([u for u, _, _ in happened], pa.string()),
                "event": pa.array([e for _, e, _ in happened], pa.string()),
                "occurred_at": pa.array(
                    [AT + timedelta(seconds=s) for _, _, s in happened], pa.timestamp("us", "UTC")
                ),
                "value": [1.0] * len(happened),
            }
        ),
    }
    return clean_bucket({name: [table] for name, table in raw.items()}, SPEC, NOW).measured


def test_users_with_outcomes_are_counted_by_arm_whatever_the_event() -> None:
    found = measured(
        {"a": "control", "b": "control", "c": "blue", "d": "blue"},
        [("a", "no metric's", -5e6), ("a", "view", 5), ("c", "view", 60), ("x", "view", 1), ("x", "view", 2)],
    )
    assert found.found == {"2025-03-28": {"control": 1, "blue": 1}}
    assert found.found_before == {"2025-03-28": {"control": 1}}
    assert found.strangers == {"users": 1, "spelled": 0}


SPELLINGS = [
    ("AB-12", "ab-12"),
    ("3F2504E04F8911D39A0C0305E82C3301", "3f2504e0-4f89-11d3-9a0c-0305e82c3301"),
    ("00042", "42"),
    ("user-42", "user-42.0"),
    ("'42'", "42"),
    ("Ünal", "ünal"),
]


@pytest.mark.parametrize(("exposed", "logged"), [*SPELLINGS, *[(b, a) for a, b in SPELLINGS]])
def test_an_id_that_an_export_spelled_otherwise_is_known_again(exposed: str, logged: str) -> None:
    found = measured({exposed: "control", "other": "blue"}, [(logged, "view", 5)])
    assert found.strangers == {"users": 1, "spelled": 1}
    assert found.examples == {SPELLED: [f"{exposed!r} is {logged!r} there"]}


def test_other_users_are_not_taken_for_a_spelling() -> None:
    """Nor is one who has outcomes under the right id, nor ids of which nothing is left."""
    found = measured(
        {"u1": "control", "u2": "blue", "AB": "blue", "--": "blue"},
        [("1", "view", 5), ("u20", "view", 5), ("AB", "view", 5), ("ab", "view", 5), ("_", "view", 5)],
    )
    assert found.strangers["spelled"] == 0
    assert found.examples == {}


def test_outcomes_are_counted_by_span_around_exposure() -> None:
    """Purchases (summed) and views (any): orders are only counted, as visits are, so nothing is said of them."""
    seconds = [
        -0.5,
        -1,
        -1.5,
        -61,
        -3_601,
        -40_000,
        -60_000,
        -100_000,
        -600_000,
        -800_000,
        0,
        0.5,
        1,
        70,
        50_401,
        86_400,
    ]
    found = measured(
        {"a": "control", "b": "control"}, [("a", "purchase", s) for s in seconds] + [("b", "order", -1)]
    )
    (counts,) = (found.around["control"]["purchase"],)
    assert list(found.around["control"]) == ["purchase"]
    spans = ("second", "minute", "hour", "14 hours")
    assert [counts[f"before, {s}"] for s in spans] == [2, 3, 4, 6]
    assert [counts[f"after, {s}"] for s in spans] == [2, 3, 4, 4]
    assert [counts[f"users before, {s}"] for s in spans] == [1, 1, 1, 1]
    assert (counts["first day"], counts["earlier"]) == (5, 2)
    assert found.after == {"control": {"purchase": 6}}
