"""One bucket: what is dropped, what is kept, and every count that quality judges."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pyarrow as pa
import pytest

from exp_platform.kernels.clean import clean_bucket
from exp_platform.kernels.measured import Measured
from exp_platform.kernels.staged_rows import ROW_KEY
from kernels.cases import events_experiment, units_experiment
from kernels.raw_rows import FIRST, NOW, ONE, SPEC, cleaned, deduped, exposures, outcomes, rows


def test_good_rows_are_staged_as_they_are() -> None:
    done = cleaned(
        rows(
            "user_id variant_id exposed_at event_id attribute.device attribute.tier",
            ("u1", "control", FIRST, "x1", "phone", None),
            ("u2", "blue", "2025-03-29T08:00:00+02:00", "x2", "tablet", "free"),
        ),
        outcomes(
            ("u1", "order", "2025-03-28 13:00", 2.5, "o1"), ("u2", "view", "2025-03-27 13:00", None, "o2")
        ),
    )
    assert done.exposures.drop_columns([ROW_KEY]).to_pylist() == [
        {
            "user_id": "u1",
            "variant_id": "control",
            "exposed_at": datetime(2025, 3, 28, 12, tzinfo=UTC),
            "event_id": "x1",
            "attributes": [("device", "phone"), ("tier", None)],
        },
        {
            "user_id": "u2",
            "variant_id": "blue",
            "exposed_at": datetime(2025, 3, 29, 6, tzinfo=UTC),
            "event_id": "x2",
            "attributes": [("device", "tablet"), ("tier", "free")],
        },
    ]
    assert done.outcomes["value"].to_pylist() == [2.5, None]
    assert done.outcomes["properties"].to_pylist() == [None, None]
    assert done.outcomes["item"].to_pylist() == [None, None]
    assert done.measured == Measured(
        rows_in={"exposures": 2, "outcomes": 2},
        rows_out={"exposures": 2, "outcomes": 2},
        users_out={"exposures": 2, "outcomes": 2},
        squared_rows={"exposures": 2, "outcomes": 2},
        heaviest={"exposures": {}, "outcomes": {}},
        nulls={
            "exposures.user_id": 0,
            "exposures.variant_id": 0,
            "exposures.exposed_at": 0,
            "outcomes.user_id": 0,
            "outcomes.event": 0,
            "outcomes.occurred_at": 0,
            "outcomes.value": 0,  # a view's value is summed by no metric
        },
        duplicates={"exposures": 0, "outcomes": 0},
        future={"exposures": 0, "outcomes": 0},
        outside={"before": 0, "after": 0},
        grain={
            "exposures": {"rows": 2, "local": 0, "utc": 0, "hours": 2},
            "outcomes.order": {"rows": 1, "local": 0, "utc": 0, "hours": 1},
            "outcomes.purchase": {"rows": 0, "local": 0, "utc": 0, "hours": 0},
            "outcomes.view": {"rows": 1, "local": 0, "utc": 0, "hours": 1},
        },
        users={"2025-03-28": {"control": 1}, "2025-03-29": {"blue": 1}},
        outcomes={"2025-03-28": {"after": 1}, "2025-03-29": {"before": 1}},
        found={"2025-03-28": {"control": 1}, "2025-03-29": {"blue": 1}},
        found_before={"2025-03-29": {"blue": 1}},
        strangers={"users": 0, "spelled": 0},
        around=done.measured.around,  # see test_matching
        newest={"exposures": "2025-03-29", "outcomes": "2025-03-28"},
    )


def test_rows_without_a_required_value_are_dropped_and_counted() -> None:
    done = cleaned(
        exposures(
            ("u1", "control", FIRST, "x1"),
            (None, "control", FIRST, "x2"),
            ("u3", "", FIRST, "x3"),
            ("u4", "control", None, "x4"),
            ("u5", "control", "soon", None),
        )
    )
    assert done.exposures["user_id"].to_pylist() == ["u1"]
    nulls = done.measured.nulls
    assert [nulls[f"exposures.{c}"] for c in ("user_id", "variant_id", "exposed_at")] == [1, 1, 1]
    assert done.measured.malformed == {"exposures.exposed_at": 1}
    assert done.measured.examples == {"exposures.exposed_at": ["soon"]}


def test_a_missing_value_counts_only_where_values_are_summed() -> None:
    done = cleaned(
        ONE,
        outcomes(
            ("u1", "view", FIRST, None, "o1"),  # counted by a proportion
            ("u1", "purchase", FIRST, None, "o2"),  # summed
            ("u1", "purchase", FIRST, 3.0, "o3"),
        ),
    )
    assert done.measured.nulls["outcomes.value"] == 1
    assert len(done.outcomes) == 3


def test_parts_of_different_types_are_read_together() -> None:
    at = datetime(2025, 3, 28, 12, tzinfo=UTC)
    done = cleaned([ONE, exposures(("u2", "blue", at, "x2")), exposures(("u3", "blue", at.date(), "x3"))])
    assert done.exposures["exposed_at"].to_pylist() == [at, at, at.replace(hour=0)]


def test_users_of_parts_of_different_types_are_the_same_users() -> None:
    """Integers, floats, decimals and CSV's text in one table: without one text, two of the four orders are lost."""
    at = datetime(2025, 3, 28, 12, tzinfo=UTC)
    number = 1700000000001
    orders = [
        rows("user_id event occurred_at value event_id", (user, "order", at, 1.0, key))
        for user, key in (
            (number, 1),
            (float(number), 2.0),
            (Decimal(number).quantize(Decimal("1e-9")), Decimal("3.00")),
            (f"{number}.0", "4"),
        )
    ]
    done = cleaned(exposures((number, "control", at, "x1")), orders)
    assert done.outcomes["user_id"].to_pylist() == [str(number)] * 4
    assert done.outcomes["event_id"].to_pylist() == ["1", "2", "3", "4"]
    again = cleaned(exposures((number, "control", at, "x1")), [*orders, *orders[::-1]])
    assert again.measured.duplicates["outcomes"] == 4


def test_variants_and_attributes_are_told_apart_by_the_same_text() -> None:
    at = datetime(2025, 3, 28, 12, tzinfo=UTC)
    names = "user_id variant_id exposed_at attribute.age"
    parts = [
        rows(names, (f"u{i}", arm, at, age))
        for i, (arm, age) in enumerate(
            [(1, 30), (1.0, 30.0), ("1", "30"), (Decimal("1.0"), Decimal("30.00")), (1, float("nan"))]
        )
    ]
    spec = replace(SPEC, variants=(replace(SPEC.variants[0], id="1"), *SPEC.variants[1:]))
    done = cleaned(parts, spec=spec)
    assert done.exposures["variant_id"].to_pylist() == ["1"] * 5
    assert [dict(a)["age"] for a in done.exposures["attributes"].to_pylist()] == ["30"] * 4 + [None]
    assert done.measured.unknown_variants == {}


def test_nobodys_rows_are_nulls_and_counted() -> None:
    """NaN, words for null, zeros alone, and a placeholder that many share: a user of thousands is none."""
    people = [(f"{i}", ("control", "blue")[i % 2], FIRST, f"x{i}") for i in range(1, 201)]
    nobody = [(word, "blue", FIRST, None) for word in ("undefined", "NULL", " ", "NaN")]
    shared = [("0", ("control", "blue")[i % 2], FIRST, f"z{i}") for i in range(60)]
    done = cleaned(
        exposures(*people, *nobody, *shared),
        outcomes(("0", "view", FIRST, None, "o1"), ("1", "view", FIRST, None, "o2")),
    )
    assert done.measured.nulls["exposures.user_id"] == 64
    assert done.measured.nulls["outcomes.user_id"] == 1
    assert done.measured.null_words == {
        "exposures.user_id": {"nan": 1, "null": 1, "undefined": 1, "0": 60},
        "outcomes.user_id": {"0": 1},
    }
    assert done.measured.users == {"2025-03-28": {"control": 100, "blue": 100}}
    floats = exposures((float("nan"), "control", FIRST, None), (7.0, "control", FIRST, None))
    assert cleaned(floats).exposures["user_id"].to_pylist() == ["7"]


def test_rows_with_a_word_for_null_as_their_event_id_are_no_duplicates() -> None:
    done = cleaned(ONE, outcomes(*[("u1", "order", FIRST, 1.0, "null")] * 3))
    assert (len(done.outcomes), done.measured.duplicates["outcomes"]) == (3, 0)


def test_sentinel_times_are_malformed() -> None:
    done = cleaned(
        exposures(
            ("u1", "control", FIRST, "x1"),
            ("u2", "blue", "0001-01-01", "x2"),
            ("u3", "blue", "9999-12-31", "x3"),
        ),
        outcomes(("u1", "view", "1970-01-01", None, "o1")),
    )
    assert done.measured.malformed == {"exposures.exposed_at": 2, "outcomes.occurred_at": 1}
    assert done.measured.nulls["exposures.exposed_at"] == 0
    assert done.exposures["user_id"].to_pylist() == ["u1"]


def test_the_heaviest_users_are_those_of_the_staged_rows() -> None:
    many = [("u1", "view", FIRST, None, f"o{i}") for i in range(120)]
    strange = [("stranger", "view", FIRST, None, f"s{i}") for i in range(500)]
    done = cleaned(ONE, outcomes(*many, *strange, ("u1", "view", FIRST, None, "o1")))
    assert done.measured.heaviest == {"exposures": {}, "outcomes": {"u1": 120}}
    assert done.measured.users_out == {"exposures": 1, "outcomes": 1}
    assert done.measured.squared_rows == {"exposures": 1, "outcomes": 120**2}


def test_duplicates_by_event_id_leave_the_earliest_of_each_user() -> None:
    late, early = "2025-03-29 09:00", "2025-03-28 09:00"
    again = outcomes(
        ("u1", "order", late, 2.0, "o1"),
        ("u1", "order", early, 1.0, "o1"),
        ("u1", "order", late, 2.0, "o1"),
        ("u2", "order", late, 5.0, "o1"),  # another user's: ids are only unique for a user
        ("u1", "order", late, 2.0, None),  # without an id nothing is known
        ("u1", "order", late, 2.0, None),
    )
    done = cleaned(exposures(("u1", "control", FIRST, "x1"), ("u2", "blue", FIRST, "x1")), again)
    assert done.measured.duplicates == {"exposures": 0, "outcomes": 2}
    assert done.outcomes["value"].to_pylist() == [1.0, 5.0, 2.0, 2.0]


def test_duplicates_do_not_depend_on_the_order_of_rows() -> None:
    times = ["2025-03-29 09:00", "2025-03-28 09:00", "2025-03-30 09:00"]
    values = [("u1", "order", at, float(i), "o1") for i, at in enumerate(times)]
    kept = {
        tuple(cleaned(ONE, outcomes(*order)).outcomes["value"].to_pylist())
        for order in (values, values[::-1])
    }
    assert kept == {(1.0,)}


def test_whole_rows_are_duplicates_only_if_the_spec_says_so() -> None:
    twice = rows(
        "user_id variant_id exposed_at attribute.device",
        ("u1", "control", FIRST, "phone"),
        ("u1", "control", FIRST, "phone"),
        ("u1", "control", FIRST, None),
        ("u1", "control", FIRST, None),
    )
    orders = outcomes(("u1", "order", FIRST, 1.0, "o1"), ("u1", "order", FIRST, 1.0, "o1"))
    whole = cleaned(twice, orders, deduped("whole_row"))
    assert whole.measured.duplicates == {"exposures": 2, "outcomes": 1}
    assert whole.exposures["attributes"].to_pylist() == [[("device", "phone")], [("device", None)]]
    assert cleaned(twice, orders, deduped("none")).measured.duplicates == {"exposures": 0, "outcomes": 0}


def test_outcomes_of_strangers_and_from_long_ago_are_left_out() -> None:
    done = cleaned(
        ONE,
        outcomes(
            ("u1", "view", "2025-03-22 12:00", None, "o1"),  # 4 days of pre-period and one more
            ("u1", "view", "2025-03-21 12:00", None, "o2"),
            ("u9", "view", "2025-03-29 12:00", None, "o3"),
            ("u9", "view", "2025-03-20 12:00", None, "o4"),  # before the window: no sign of a lost exposure
        ),
    )
    assert done.outcomes["event_id"].to_pylist() == ["o1"]
    assert done.measured.rows_out == {"exposures": 1, "outcomes": 1}
    assert done.measured.left_out == {
        "outcomes": {"of users without exposure": 2, "older than any analysis reaches": 1}
    }
    assert done.measured.strangers == {"users": 1, "spelled": 0}
    assert done.measured.outcomes == {"2025-03-29": {"unexposed": 1}}


def test_outcomes_are_counted_when_exposure_and_outcome_are_both_known() -> None:
    done = cleaned(
        ONE,
        outcomes(
            ("u1", "view", "2025-03-27 00:00", None, "o1"),  # first instant of the window
            ("u1", "view", "2025-03-26 23:59", None, "o2"),
            ("u1", "view", "2025-03-28 11:59", None, "o3"),
            ("u1", "view", "2025-03-28 12:00", None, "o4"),  # the instant of the exposure counts
            ("u1", "view", "2025-04-04 23:59", None, "o5"),  # the last day of the longest metric window
            ("u1", "view", "2025-04-05 00:00", None, "o6"),
        ),
    )
    assert done.measured.outcomes == {"2025-03-28": {"before": 2, "after": 1}, "2025-04-04": {"after": 1}}
    assert done.measured.outcomes_at(SPEC.window.end) == {"before": 2, "after": 1}
    assert done.measured.outcomes_at(SPEC.window.start) == {}


def test_assignment_is_the_first_exposure_inside_the_window() -> None:
    done = cleaned(
        exposures(
            ("u1", "control", "2025-03-26 12:00", "x1"),  # before the window: ignored
            ("u1", "blue", "2025-03-27 12:00", "x2"),
            ("u1", "blue", "2025-03-28 12:00", "x3"),
            ("u2", "amber", "2025-03-28 12:00", "x4"),
            ("u2", "control", "2025-03-30 12:00", "x5"),  # a crossover from that day on
            ("u3", "control", "2025-04-02 00:00", "x6"),  # after the window
            ("u4", "green", "2025-03-28 12:00", "x7"),  # unknown
        )
    )
    measured = done.measured
    assert measured.users == {"2025-03-27": {"blue": 1}, "2025-03-28": {"amber": 1}}
    assert measured.crossovers == {"2025-03-30": {"amber": 1}}
    assert measured.outside == {"before": 1, "after": 1}
    assert measured.unknown_variants == {"green": 1}
    day = SPEC.window.start + timedelta(days=1)
    assert measured.users_at(day) == {"blue": 1, "amber": 1}
    assert (measured.crossovers_at(day), measured.crossovers_at(day + timedelta(days=2))) == (
        {},
        {"amber": 1},
    )


def test_local_dates_are_those_of_the_experiments_zone() -> None:
    spec = replace(events_experiment(timezone="America/New_York"), source=SPEC.source)
    done = cleaned(exposures(("u1", "blue", "2025-03-28T03:30:00Z", "x1")), spec=spec)
    assert done.measured.users == {"2025-03-27": {"blue": 1}}
    assert done.measured.newest["exposures"] == "2025-03-27"


def test_future_rows_are_counted_and_are_not_the_newest() -> None:
    done = cleaned(
        ONE,
        outcomes(
            ("u1", "view", "2025-05-02 00:00", None, "o1"), ("u1", "view", "2025-05-02 00:01", None, "o2")
        ),
    )
    assert done.measured.future == {"exposures": 0, "outcomes": 1}
    assert done.measured.newest["outcomes"] == "2025-05-02"


def test_no_rows_at_all() -> None:
    for spec in (SPEC, units_experiment("error")):
        done = clean_bucket({}, spec, NOW)
        assert (len(done.exposures), len(done.outcomes)) == (0, 0)
        assert done.measured.users == {}
        assert set(done.measured.rows_in.values()) == {0}


@pytest.mark.parametrize("by", ["event_id", "whole_row", "none"])
def test_dictionaries_are_cleaned_as_the_texts_that_they_stand_for(by: str) -> None:
    """Of few values and many rows, with words for null, spaces, a placeholder, and duplicates among them."""
    exposed = rows(
        "user_id variant_id exposed_at event_id attribute.device",
        *(
            (
                f"u{i % 7}",
                (" blue", "NULL", "control")[i % 3],
                FIRST,
                f"x{i % 11}",
                ("", "tv ", "nan")[i % 5 % 3],
            )
            for i in range(30)
        ),
    )
    happened = outcomes(
        *(
            (
                "0" if i % 2 else f"u{i}",
                ("order", "view ", "null", "")[i % 4],
                f"2025-03-28 13:{i % 17:02}",
                None,
                f"o{i % 50}",
            )
            for i in range(200)
        )
    )

    def coded(table: pa.Table) -> pa.Table:
        return pa.table({name: table[name].dictionary_encode() for name in table.column_names})

    texts = cleaned([exposed, exposed], [happened, happened], deduped(by))
    mixed = cleaned([coded(exposed), exposed], [happened, coded(happened)], deduped(by))
    assert texts.measured.duplicates["outcomes"] > 0 or by == "none"
    assert texts.measured.null_words["outcomes.user_id"] == {"0": 200}
    devices = [dict(row)["device"] for row in mixed.exposures["attributes"].to_pylist()]
    assert {*devices} == {"tv", None}
    assert mixed.measured == texts.measured
    assert mixed.counts == texts.counts
    for name in ("exposures", "outcomes", "aside"):
        found, expected = (getattr(done, name).to_pylist() for done in (mixed, texts))
        assert sorted(map(str, found)) == sorted(map(str, expected))
