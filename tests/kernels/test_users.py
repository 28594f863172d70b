"""Assignment: who is a user, of which variant, since when a crossover, and with which attributes."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pyarrow as pa

from exp_platform.kernels.users import NEVER, Attribute, Users, crossed, first_exposures
from kernels.cases import Exposure, events_experiment, exposures_table, local

SPEC = events_experiment()
AS_OF = SPEC.window.end + timedelta(days=3)


def at(day: int, hours: float = 12.0):
    return local(SPEC, day, hours)


def users_of(*rows: Exposure) -> Users:
    return first_exposures(exposures_table(rows), SPEC, AS_OF)


def variants(users: Users) -> dict[str, str]:
    return {
        name: SPEC.variants[v].id
        for name, v in zip(users.ids.to_pylist(), users.variants.tolist(), strict=True)
    }


def test_the_first_exposure_inside_the_window_assigns() -> None:
    users = users_of(
        Exposure("a", "blue", at(2)),
        Exposure("a", "control", at(1)),
        Exposure("b", "blue", at(-1)),  # before the window: no exposure at all
        Exposure("b", "amber", at(0, 0.0)),
        Exposure("c", "control", at(-1)),
        Exposure("d", "control", at(6, 0.0)),  # the instant after the window
        Exposure("e", "control", at(5, 23.999)),
    )
    assert variants(users) == {"b": "amber", "a": "control", "e": "control"}
    assert users.ids.to_pylist() == ["b", "a", "e"]  # by first exposure


def test_a_user_first_seen_in_an_unknown_variant_is_left_out() -> None:
    assert variants(users_of(Exposure("a", "ghost", at(0)), Exposure("a", "blue", at(1)))) == {}


def test_ties_go_to_the_variant_listed_first_whatever_the_order_of_rows() -> None:
    rows = [Exposure("a", "ghost", at(1)), Exposure("a", "amber", at(1)), Exposure("a", "blue", at(1))]
    for order in (rows, rows[::-1]):
        users = users_of(*order)
        assert variants(users) == {"a": "blue"}
        assert users.crossed_at.tolist() == users.exposed_at.tolist()


def test_a_crossover_is_dated_by_the_first_exposure_to_another_variant() -> None:
    users = users_of(
        Exposure("a", "blue", at(0)),
        Exposure("a", "amber", at(3)),
        Exposure("a", "control", at(2)),
        Exposure("b", "blue", at(1)),
        Exposure("b", "blue", at(1)),
        Exposure("b", "ghost", at(2)),  # no variant of the experiment
        Exposure("b", "amber", at(7)),  # after the window
    )
    crossed = dict(zip(users.ids.to_pylist(), users.crossed_at.tolist(), strict=True))
    since_midnight = (at(2) - at(0)) / timedelta(microseconds=1)
    assert crossed == {"a": users.exposed_at[0] + since_midnight, "b": NEVER}


def test_attributes_are_those_of_the_first_exposure() -> None:
    users = users_of(
        Exposure("a", "blue", at(0), {"device": "mobile", "tier": None}),
        Exposure("a", "blue", at(1), {"device": "desktop", "tier": "gold"}),
        Exposure("b", "blue", at(2), None),
        Exposure("c", "blue", at(3), {"tier": "silver", "device": "tablet", "other": "x"}),
        # Contradicts: the smaller value, and any before none
        Exposure("c", "blue", at(3), {"device": "phone"}),
        Exposure("c", "amber", at(3), {"device": "abacus"}),  # of a variant that lost the tie
    )
    found = {
        name: [attribute.values[code] for code in attribute.codes]
        for name, attribute in users.attributes.items()
    }
    assert found == {"device": ["mobile", "unknown", "phone"], "tier": ["unknown", "unknown", "silver"]}


def test_rows_without_user_or_instant_are_left_out_and_no_rows_give_no_users() -> None:
    table = exposures_table([Exposure("a", "blue", at(0))])
    broken = pa.table(
        {
            **{name: table[name] for name in table.column_names},
            "user_id": pa.array([None], pa.string()),
        }
    )
    assert variants(first_exposures(pa.concat_tables([broken, table]), SPEC, AS_OF)) == {"a": "blue"}
    assert len(first_exposures(broken, SPEC, AS_OF)) == 0
    assert len(first_exposures(table.slice(0, 0), SPEC, AS_OF)) == 0


def test_a_sliced_or_chunked_table_gives_the_same() -> None:
    rows = [Exposure(name, "blue", at(0), {"device": f"phone {name}"}) for name in "abcdef"]
    table = exposures_table(rows)
    expected = {f"phone {name}" for name in "bcde"}
    chunked = pa.concat_tables([table.slice(1, 2), table.slice(3, 2)])
    for part in (table.slice(1, 4), chunked):
        users = first_exposures(part, SPEC, AS_OF)
        device = users.attributes["device"]
        assert {device.values[c] for c in device.codes} == expected
        assert users.ids.to_pylist() == list("bcde")


def test_crossed_attributes_have_the_combinations_that_occur() -> None:
    tier = Attribute(np.array([1, 0, 1, 1]), ("free", "pro"))
    device = Attribute(np.array([2, 0, 2, 0]), ("desktop", "mobile", "tablet"))
    both = crossed([tier, device])
    assert both.values == ("free × desktop", "pro × desktop", "pro × tablet")
    assert both.codes.tolist() == [2, 0, 2, 1]
    nobody = np.array([], dtype=np.int64)
    assert crossed([Attribute(nobody, ("unknown",)), Attribute(nobody, ("unknown",))]).values == ()
