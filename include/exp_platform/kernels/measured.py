"""What ingest measures for quality to judge: counts that add up over buckets, so any split gives the same total."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import date
from typing import Any

Counts = dict[str, int]

MAX_EXAMPLES = 3  # of malformed values of a column
SPELLED = "(ids spelled otherwise)"  # among examples
MAX_VALUES = 20  # of unknown variants; the rest are counted together
MAX_HEAVIEST = 10  # users that are compared with all others
HEAVY_ROWS = 100  # of one table: fewer are no matter, whatever share they are
OTHERS = "(others)"


@dataclass(frozen=True)
class Measured:
    """Counts of rows unless said otherwise. A table is exposures, outcomes, units or a fact; a column is `table.column`.

    Dates are local dates in ISO format. Users are those assigned by their first exposure inside the window.
    """

    rows_in: Counts = field(default_factory=dict)  # table -> read
    rows_out: Counts = field(default_factory=dict)  # exposures, outcomes -> staged
    nulls: Counts = field(default_factory=dict)  # column -> missing values, malformed ones not among them
    # Column -> word that stands for null -> rows of `nulls`
    null_words: dict[str, Counts] = field(default_factory=dict)
    malformed: Counts = field(default_factory=dict)  # column -> values that cannot be read
    examples: dict[str, list[str]] = field(default_factory=dict)  # column -> some malformed values
    duplicates: Counts = field(default_factory=dict)  # table -> dropped
    future: Counts = field(default_factory=dict)  # table -> later than a day after the run began
    left_out: dict[str, Counts] = field(default_factory=dict)  # table -> why a row was not staged -> rows
    in_series: Counts = field(default_factory=dict)  # fact -> rows that became outcomes, one for each series
    outside: Counts = field(default_factory=dict)  # before, after -> exposures outside the window
    identities: Counts = field(
        default_factory=dict
    )  # of the identity map: ids, several (users), incomplete (rows)
    # exposures, `outcomes.<event>` -> rows, and those at local midnight, UTC's midnight, any whole hour
    grain: dict[str, Counts] = field(default_factory=dict)
    # Of the staged exposures and outcomes: different users, sum of squares of users' rows, users of most rows
    users_out: Counts = field(default_factory=dict)
    squared_rows: Counts = field(default_factory=dict)
    heaviest: dict[str, Counts] = field(default_factory=dict)
    unknown_variants: Counts = field(default_factory=dict)  # value -> exposures inside the window
    users: dict[str, Counts] = field(default_factory=dict)  # date of first exposure -> variant -> users
    # Date of the first exposure to another variant -> first variant -> users
    crossovers: dict[str, Counts] = field(default_factory=dict)
    # Date from which outcome and first exposure are both known -> after, before (the exposure), unexposed
    outcomes: dict[str, Counts] = field(default_factory=dict)
    found: dict[str, Counts] = field(default_factory=dict)  # as `users`, those with any outcome at all
    found_before: dict[str, Counts] = field(default_factory=dict)  # ... and with one before their exposure
    # users: distinct ones in outcomes without any exposure; spelled: exposed users whom another spelling has outcomes of
    strangers: Counts = field(default_factory=dict)
    # Variant -> event -> outcomes by time from first exposure; see `kernels.matching`
    around: dict[str, dict[str, Counts]] = field(default_factory=dict)
    after: dict[str, Counts] = field(
        default_factory=dict
    )  # variant -> conversion -> outcomes from first exposure to the window's end
    # Table -> local date of its newest row, future ones left out; fact -> that of its newest row in a series
    newest: dict[str, str] = field(default_factory=dict)

    def merge(self, other: Measured) -> Measured:
        """What two disjoint sets of users give together."""
        both = {f.name: _add(getattr(self, f.name), getattr(other, f.name)) for f in fields(self)}
        both["newest"] = {
            table: max(self.newest.get(table, ""), other.newest.get(table, "")) for table in both["newest"]
        }
        both["examples"] = {
            name: sorted(set(values))[:MAX_EXAMPLES] for name, values in both["examples"].items()
        }
        both["heaviest"] = {table: heaviest(users) for table, users in both["heaviest"].items()}
        return Measured(**both)

    @staticmethod
    def merge_all(parts: Iterable[Measured]) -> Measured:
        """Everything together; the order does not matter."""
        total = Measured()
        for part in parts:
            total = total.merge(part)
        return total

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return asdict(self)

    @staticmethod
    def from_json(data: dict[str, Any]) -> Measured:
        """The inverse of `to_json`."""
        return Measured(**data)

    def users_at(self, as_of: date) -> Counts:
        """Variant -> users first exposed up to the end of `as_of`."""
        return _until(self.users, as_of)

    def users_between(self, first: date, last: date) -> Counts:
        """Variant -> users first exposed from `first` to the end of `last`."""
        return _between(self.users, first, last)

    def found_between(self, first: date, last: date) -> Counts:
        """Those of them who have any outcome at all."""
        return _between(self.found, first, last)

    def found_before_between(self, first: date, last: date) -> Counts:
        """Those of them who have an outcome before their exposure."""
        return _between(self.found_before, first, last)

    def by_day(self) -> dict[str, Counts]:
        """Users by the date of their first exposure, and outcomes after it by that from which both are known. Rows that come late never make what is known by the end of a day fewer."""
        users = {day: sum(of_day.values()) for day, of_day in self.users.items()}
        outcomes = {day: n for day, of_day in self.outcomes.items() if (n := of_day.get("after", 0))}
        return {"users": users, "outcomes": outcomes}

    def by_event(self) -> Counts:
        """Conversions from exposure on, by event and arm as messages name them; rows that come late never make them fewer."""
        return {
            event_of_arm(event, variant): n for variant, of in self.after.items() for event, n in of.items()
        }

    def crossovers_at(self, as_of: date) -> Counts:
        """First variant -> users who have seen another one by the end of `as_of`."""
        return _until(self.crossovers, as_of)

    def found_at(self, as_of: date) -> Counts:
        """Variant -> users first exposed up to the end of `as_of` who have any outcome at all."""
        return _until(self.found, as_of)

    def outcomes_at(self, as_of: date) -> Counts:
        """after, before, unexposed -> outcomes inside the window up to the end of `as_of`."""
        return _until(self.outcomes, as_of)


def event_of_arm(event: str, variant: str) -> str:
    """Outcomes of an event in an arm, as `by_event` has them and messages name them."""
    return f"{event!r} of {variant}"


def less(whole: Measured, part: Measured) -> Measured:
    """The counts of `around`, `after` and `outcomes` without those of a part of the rows; all else as it is."""
    return replace(
        whole,
        outcomes=_less(whole.outcomes, part.outcomes),
        around=_less(whole.around, part.around),
        after=_less(whole.after, part.after),
    )


def heaviest(rows: Counts) -> Counts:
    """The MAX_HEAVIEST users with most rows."""
    return dict(sorted(rows.items(), key=lambda item: (-item[1], item[0]))[:MAX_HEAVIEST])


def most_frequent(counts: Counts, most: int = MAX_VALUES) -> Counts:
    """At most `most` values, the most frequent; what the others count is under OTHERS."""
    ranked = sorted(
        (item for item in counts.items() if item[0] != OTHERS), key=lambda item: (-item[1], item[0])
    )
    rest = sum(n for _, n in ranked[most:]) + counts.get(OTHERS, 0)
    return dict(ranked[:most]) | ({OTHERS: rest} if rest else {})


def _until(by_date: dict[str, Counts], as_of: date) -> Counts:
    total: Counts = {}
    for day, counts in by_date.items():
        if day <= as_of.isoformat():
            total = _add(total, counts)
    return total


def _between(by_date: dict[str, Counts], first: date, last: date) -> Counts:
    return _until({day: n for day, n in by_date.items() if day >= first.isoformat()}, last)


def _less(whole: Any, part: Any) -> Any:
    """Counts without those of a part; nothing stays of what has none."""
    if not isinstance(whole, dict):
        return whole - part
    left = {key: _less(value, part[key]) if key in part else value for key, value in whole.items()}
    return {key: value for key, value in left.items() if value}


def _add(one: Any, other: Any) -> Any:
    if isinstance(one, dict):
        keys = [*one, *(key for key in other if key not in one)]
        return {
            k: _add(one[k], other[k]) if k in one and k in other else (one if k in one else other)[k]
            for k in keys
        }
    return one + other  # counts, lists of examples; of texts the caller keeps what is right
