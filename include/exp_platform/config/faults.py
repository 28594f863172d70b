"""What is wrong with a spec, told with file, line, key, what was found and what is allowed."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, NamedTuple

from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticCustomError

from exp_platform.escaping import visible

Key = tuple[str | int, ...]


class Words(str):
    """Something found that is told in words instead of being quoted."""


NOTHING = Words("nothing")  # where a required key is absent
UNKNOWN_KEY = Words("an unknown key")
MOST_FAULTS = 50  # of one experiment that are told
LONGEST = 500  # characters of one part of a message; a value is cut at 80
_FAULTS = "faults"
_LONGEST_FOUND = 80
_LONGEST_NAME = 64  # of a key in a path of keys, and of a known name
_LONGEST_KEY = 200
_MOST_NAMES = 30  # known names that a message lists


class Fault(NamedTuple):
    """One thing that is wrong: where, what was found there, and what is allowed or the remedy."""

    key: Key
    found: Any
    allowed: str


@dataclass(frozen=True)
class SpecError:
    """One fault of one file. `line` counts from 1; None where the file has no such place."""

    file: str
    key: str  # such as `metrics[2].window`; "" for the whole file
    found: str
    allowed: str
    line: int | None = None
    experiment_id: str | None = field(default=None, compare=False)

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        found = f"found {self.found}; " if self.found else ""
        return (
            f"{place}: {self.key}: {found}{self.allowed}" if self.key else f"{place}: {found}{self.allowed}"
        )


def refuse(faults: Iterable[Fault]) -> None:
    """Raise all faults as one pydantic error (for validators); nothing where there is none. Keys are relative."""
    found = list(faults)
    if found:
        raise PydanticCustomError(_FAULTS, "not allowed", {_FAULTS: found})


def each_of(entry: Any) -> list[Fault]:
    """One error of pydantic as faults: those that `refuse` raised, else what pydantic says of it."""
    if entry["type"] != _FAULTS:
        return [Fault(entry["loc"], entry["input"], entry["msg"])]
    return [fault._replace(key=entry["loc"] + fault.key) for fault in entry["ctx"][_FAULTS]]


def faults_of(error: ValidationError, model: type[BaseModel]) -> list[Fault]:
    """The faults that a validation of `model` reports, with keys as people wrote them."""
    faults: list[Fault] = []
    for entry in error.errors(include_url=False):
        key, owner = _written_key(model, entry["loc"])
        context = entry.get("ctx", {})
        if entry["type"] == _FAULTS:
            faults += [Fault(key + fault.key, fault.found, fault.allowed) for fault in context[_FAULTS]]
        elif entry["type"] == "extra_forbidden":
            keys = [field.alias or name for name, field in owner.model_fields.items()]
            known = keys if len(faults) <= MOST_FAULTS else ()  # likeness takes time
            faults.append(Fault(key, UNKNOWN_KEY, suggest(str(key[-1]), known)))
        elif entry["type"] == "union_tag_invalid":
            faults.append(Fault((*key, "kind"), context["tag"], f"allowed: {context['expected_tags']}"))
        elif entry["type"] == "missing":
            faults.append(Fault(key, NOTHING, "this key is required"))
        else:
            faults.append(
                Fault(key, entry["input"], _allowed(entry["type"], context, entry["input"], entry["msg"]))
            )
    return faults


def suggest(found: str, known: Iterable[str]) -> str:
    """The known names, the nearest first, as in `did you mean visit? allowed: conversion, visit`."""
    names = sorted(known)
    short = [name for name in names if len(name) <= _LONGEST_NAME] if len(found) <= _LONGEST_NAME else []
    near = difflib.get_close_matches(found, short, 1)
    listed = ", ".join(one_line(name, _LONGEST_NAME) for name in names[:_MOST_NAMES]) or "none"
    more = f" and {len(names) - _MOST_NAMES:,} more" if len(names) > _MOST_NAMES else ""
    return f"{f'did you mean {near[0]}? ' if near else ''}allowed: {listed}{more}"


def one_of(names: Iterable[str]) -> str:
    """Alternatives as people list them: `a, b or c`."""
    *others, last = names
    return f"{', '.join(others)} or {last}" if others else last


def one_line(text: str, longest: int = LONGEST) -> str:
    """A text for one line: cut where it is longer, and whatever is no visible character written out."""
    text = text if len(text) <= longest else text[: longest - 3] + "..."
    return visible(text).replace("\n", "\\n")


def render_key(key: Sequence[str | int]) -> str:
    """`("metrics", 2, "window")` as `metrics[2].window`."""
    text = ""
    for part in key:
        name = one_line(str(part), _LONGEST_NAME + 6)
        text += f"[{name}]" if isinstance(part, int) else f".{name}" if text else name
    return one_line(text, _LONGEST_KEY)


def render_found(value: Any) -> str:
    """What was found, short enough for one line."""
    if isinstance(value, Words):
        return value
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, dict):
        return "a mapping" if value else "an empty mapping"
    if isinstance(value, str):  # never the whole of a long one
        value = value[: _LONGEST_FOUND + 1]
    text = repr(value)
    if isinstance(value, (list, tuple)) and len(text) > _LONGEST_FOUND:
        return f"a list of {len(value)}"
    return text if len(text) <= _LONGEST_FOUND else text[: _LONGEST_FOUND - 3] + "..."


_EXPECTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "model_type": "a mapping of keys",
    "model_attributes_type": "a mapping of keys",
    "dict_type": "a mapping of keys",
    "invalid_key": "a key that is text",
}


def _allowed(kind: str, context: dict[str, Any], found: Any, message: str) -> str:
    if kind == "string_type":
        return f"allowed: text{_quoting(found)}"
    if kind == "string_pattern_mismatch":
        return f"allowed: text that matches {context['pattern']}"
    if kind == "string_too_long":
        return f"allowed: at most {context['max_length']} characters, found {len(found)}"
    if kind == "string_too_short":
        return "allowed: text that is not empty"
    if kind == "literal_error":
        return f"allowed: {context['expected']}"
    if kind == "union_tag_not_found":
        return "a mapping with `kind: synthetic`, `kind: events` or `kind: units` is required"
    for name, words in (("gt", "more than"), ("ge", "at least"), ("lt", "less than"), ("le", "at most")):
        if name in context:
            return f"allowed: {words} {context[name]:g}"
    return f"allowed: {_EXPECTED[kind]}{_unread_number(found)}" if kind in _EXPECTED else message


def _quoting(found: Any) -> str:
    """Why what should be text is none, where YAML has made it so."""
    if isinstance(found, (bool, int, float)):
        return " (quote it: YAML reads on, off, yes, no and digits as other types)"
    if isinstance(found, date):
        return " (quote it: YAML reads it as a day)"
    return " (quote it: YAML reads null, ~ and nothing as no value)" if found is None else ""


def _unread_number(found: Any) -> str:
    """Why what should be a number is text, where YAML 1.1 has made it so."""
    if isinstance(found, str) and len(found) <= _LONGEST_NAME:
        if re.fullmatch(r"[-+]?[0-9]+\.?[0-9]*[eE][-+]?[0-9]+", found):
            return " (YAML 1.1 reads an exponent only in the form 1.0e-3, with a point and a sign)"
        if re.fullmatch(r"[-+]?0[0-9]+", found):
            return " without leading zeros"
    return ""


def _written_key(model: type[BaseModel], location: tuple[str | int, ...]) -> tuple[Key, type[BaseModel]]:
    """The location without pydantic's union tags, and the model that the last key belongs to."""
    key: list[str | int] = []
    owner = model
    choices: list[type[BaseModel]] = [model]
    for part in location:
        tagged = [choice for choice in choices if _tag(choice) == part] if len(choices) > 1 else []
        if tagged:
            choices = tagged
            continue
        key.append(part)
        if isinstance(part, str) and len(choices) == 1:
            owner = choices[0]
            known = owner.model_fields.get(part)
            choices = _models_in(known.annotation) if known is not None else []
    return tuple(key), owner


def _tag(model: type[BaseModel]) -> Any:
    kind = model.model_fields.get("kind")
    return None if kind is None else kind.annotation.__args__[0]  # type: ignore[union-attr]


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for inner in getattr(annotation, "__args__", ()) for model in _models_in(inner)]
