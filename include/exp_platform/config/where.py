"""Filters on the rows of a fact: a small typed vocabulary that people write in YAML, and never SQL.

`where: {category: [shoes, bags], price: {min: 10}, coupon: {is: missing}}` are three conditions, all of which a row meets.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from exp_platform.config.faults import NOTHING, Fault, refuse

Operator = Literal["in", "not_in", "min", "max", "starts_with", "missing", "present"]
Value = str | float | bool

_ALLOWED = (
    "allowed: a value, a list of values, or a mapping of equals, in, not_in, min, max, starts_with and `is: missing` "
    "or `is: present`"
)

_ONE = {"type": ["string", "number", "boolean"]}
_LIST = {"type": "array", "items": _ONE, "minItems": 1}
_OPERATORS = {
    "equals": _ONE,
    "in": _LIST,
    "not_in": _LIST,
    "min": {"type": "number"},
    "max": {"type": "number"},
    "starts_with": {"type": "string", "minLength": 1},
    "is": {"enum": ["missing", "present"]},
}
_MAPPING = {"type": "object", "properties": _OPERATORS, "additionalProperties": False, "minProperties": 1}
# As a JSON Schema
FORM = {"type": "object", "additionalProperties": {"anyOf": [_ONE, _LIST, _MAPPING]}, "minProperties": 1}


@dataclass(frozen=True)
class Condition:
    """What a row's value in one column must be. A missing value meets `missing` and no other condition."""

    column: str  # a name under the fact's dimensions or values
    operator: Operator
    values: tuple[Value, ...] = ()

    @property
    def told(self) -> str:
        """The condition as a definition prints it, such as `category is shoes or bags`."""
        values = " or ".join(str(v).lower() if isinstance(v, bool) else _plain(v) for v in self.values)
        return f"{self.column} {_WORDS[self.operator]}{' ' if values else ''}{values}"

    @property
    def of(self) -> Literal["number", "text"] | None:
        """What the column is read as; None where any type will do."""
        if not self.values:
            return None
        return "text" if isinstance(self.values[0], str | bool) else "number"


_WORDS: dict[Operator, str] = {
    "in": "is",
    "not_in": "is not",
    "min": "is at least",
    "max": "is at most",
    "starts_with": "starts with",
    "missing": "is missing",
    "present": "is there",
}


def conditions(written: Any) -> tuple[Condition, ...]:
    """The conditions of a `where`, sorted by column, so that the same filter has one name; refuses what is none (pydantic)."""
    if not isinstance(written, dict) or not written:
        refuse([Fault((), written, "a mapping of columns to conditions is required")])
    faults: list[Fault] = []
    found: list[Condition] = []
    for column, said in written.items():
        if not isinstance(column, str) or not column:
            faults.append(Fault((), column, "the name of a dimension or value of the fact is required"))
            continue
        for item in _of_column(column, said):
            if isinstance(item, Fault):
                faults.append(Fault((column, *item.key), item.found, item.allowed))
            else:
                found.append(item)
    refuse(faults)
    return tuple(sorted(found, key=lambda c: (c.column, c.operator)))


def _of_column(column: str, said: Any) -> Iterator[Condition | Fault]:
    if isinstance(said, dict):
        if not said:
            yield Fault((), NOTHING, _ALLOWED)
        for key, value in said.items():
            yield _condition(column, key, value)
    else:
        yield _condition(column, "in" if isinstance(said, list | tuple) else "equals", said, ())


def _condition(column: str, key: Any, value: Any, place: tuple[str, ...] | None = None) -> Condition | Fault:
    place = (str(key),) if place is None else place
    if key == "is":
        if value in ("missing", "present"):
            return Condition(column, value)
        return Fault(place, value, "allowed: missing or present")
    if key in ("in", "not_in"):
        return _listed(column, key, value, place)
    if key == "equals":
        return _listed(column, "in", [value], place)
    if key in ("min", "max"):
        if _is_number(value):
            return Condition(column, key, (float(value),))
        return Fault(place, value, "allowed: a number")
    if key == "starts_with":
        if isinstance(value, str) and value:
            return Condition(column, "starts_with", (value,))
        return Fault(place, value, "allowed: text")
    return Fault(place, key, _ALLOWED)


def _listed(
    column: str, operator: Literal["in", "not_in"], values: Any, place: tuple[str, ...]
) -> Condition | Fault:
    if not isinstance(values, list | tuple) or not values:
        return Fault(place, values, "a list of values is required")
    kinds = {
        "text" if isinstance(v, str) else "yes or no" if isinstance(v, bool) else "number" for v in values
    }
    if len(kinds) > 1 or not all(isinstance(v, str | bool) or _is_number(v) for v in values):
        return Fault(
            place, list(values), "allowed: values of one type: texts (in quotes), numbers, or true and false"
        )
    plain = (v if isinstance(v, str | bool) else float(v) for v in values)
    return Condition(column, operator, tuple(sorted(dict.fromkeys(plain))))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _plain(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:.15g}"
