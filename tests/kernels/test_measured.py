"""What buckets measure adds up to what one bucket would."""

from __future__ import annotations

from exp_platform.kernels.measured import MAX_VALUES, OTHERS, Measured, most_frequent
from kernels.raw_rows import cleaned, exposures, outcomes


def test_what_buckets_measure_adds_up() -> None:
    """However users are dealt to buckets the sum is that of one bucket."""
    people = [
        (f"u{i}", ("control", "blue", "green")[i % 3], f"2025-03-{27 + i % 4} {i % 24:02d}:00", f"x{i % 50}")
        for i in range(60)
    ]
    people += [(f"u{i}", "amber", "2025-03-31 12:00", "again") for i in range(0, 60, 7)]
    events = [
        (
            f"u{i % 70}",
            ("view", "purchase")[i % 2],
            f"2025-03-{25 + i % 6} {i % 24:02d}:30",
            None,
            f"o{i % 140}",
        )
        for i in range(200)
    ]
    whole = cleaned(exposures(*people), outcomes(*events)).measured
    parts = [
        cleaned(
            exposures(*[p for p in people if int(p[0][1:]) % 3 == bucket]),
            outcomes(*[e for e in events if int(e[0][1:]) % 3 == bucket]),
        ).measured
        for bucket in range(3)
    ]
    for order in (parts, parts[::-1]):
        assert Measured.merge_all(order) == Measured().merge(whole)
    assert Measured.from_json(whole.to_json()) == whole
    assert whole.duplicates["outcomes"] > 0
    assert whole.crossovers


def test_unknown_variants_are_capped() -> None:
    counts = {f"v{i:02d}": i + 1 for i in range(30)}
    few = most_frequent(counts)
    assert len(few) == MAX_VALUES + 1
    assert few["v29"] == 30
    assert few[OTHERS] == sum(range(1, 11))
    assert sum(most_frequent(few).values()) == sum(counts.values())
