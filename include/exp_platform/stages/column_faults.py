"""What is wrong with the columns of a file or table, told before a row is read, with the remedy."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from difflib import SequenceMatcher
from heapq import nlargest
from typing import Any

import pyarrow as pa

from exp_platform.config.sources import DIMENSION, VALUE
from exp_platform.kernels.canonical_text import is_binary, is_text, is_uuid, plain_type
from exp_platform.kernels.complete_rows import ATTRIBUTE, COVARIATE, OUTCOME, Kind
from exp_platform.stages.json_files import keys_of, present
from exp_platform.stages.paths import Path
from exp_platform.stages.reading import Layout, Problem, Reading
from exp_platform.stages.source_files import is_data

_MOST_COLUMNS, _LONG_NAME = 50, 100  # of what a message names
_NO_NAME = re.compile(r"[@=:{}<>]|^[\W\d_]+$|^-----|^\S{65,}$")  # rather a value than a column's name
_MAY_BE_ABSENT = (VALUE, DIMENSION, ATTRIBUTE, OUTCOME, COVARIATE)  # from the first lines, where it is rare


def column_faults(reading: Reading, place: str, schema: pa.Schema, where: Layout) -> Iterator[Problem]:
    """What is wrong with the columns that are read. A column that is not may stand twice: no row is read from it."""
    count = Counter(schema.names)
    what = f"{reading.table}: {place}"
    for ours, theirs in reading.columns:
        if ours in where.constants:
            continue
        path = where.paths.get(ours)
        if path is None:
            why = where.lost[ours]
            names = schema.names
            told = why.reason if why else _listed(names, theirs, _tellable(reading, place, names))
            said = (
                f"{what}: {theirs} (for {ours}) leads nowhere: {told}: name a column or a path that is there"
                if why
                else (f"{what} has no column {theirs} (for {ours}) but {told}")
            )
            yield Problem("schema", said)
        elif count[path.column] > 1:
            remedy = "which one is meant cannot be told; rename or drop the others"
            yield Problem(
                "schema", f"{what} has {count[path.column]} columns {path.column} (for {ours}): {remedy}"
            )
        elif allowed := _type_fault(reading.kind(ours), path.type):
            yield Problem(
                "schema", f"{what}: column {theirs} (for {ours}) is {path.type}, allowed is {allowed}"
            )
        else:
            yield from (
                Problem("schema", f"{what}: {told}") for told in _filter_faults(reading, ours, theirs, path)
            )


def _filter_faults(reading: Reading, ours: str, theirs: str, path: Path) -> Iterator[str]:
    """Filters that compare a column with values of another type; what is text in any case, as in CSV, is read as the filter needs."""
    inner = plain_type(path.type)
    declared = ours in reading.source.types or reading.source.format in ("csv", "json") or path.json
    if not ours.startswith(DIMENSION) or declared or pa.types.is_null(inner):
        return
    name = ours.removeprefix(DIMENSION)
    said = dict.fromkeys(
        c for one in reading.wanted.series for c in one.where if c.column == name and c.values
    )
    for condition in said:
        text = isinstance(condition.values[0], str)
        if (
            text == is_text(inner)
            or (text and not _is_number(inner))
            or isinstance(condition.values[0], bool)
        ):
            continue
        remedy = (
            f"write the values without quotes, or read it as text: {{path: {theirs}, as: text}}"
            if text
            else f"write the values in quotes, or read it as numbers: {{path: {theirs}, as: number}}"
        )
        what = "texts" if text else "numbers"
        yield f"column {theirs} is {path.type}, and `where` compares {name} with {what} ({condition.told}): {remedy}"


def key_faults(reading: Reading, place: str, where: Layout, lines: pa.Table) -> Iterator[Problem]:
    """Columns that a file of JSON lines must have, and that none of its first lines has."""
    if not len(lines):
        return
    paths = {ours: path for ours, path in where.paths.items() if not ours.startswith(_MAY_BE_ABSENT)}
    there = present(lines, paths)
    for ours, theirs in reading.columns:
        if ours in paths and ours not in there:
            names = keys_of(lines)
            told = _listed(names, theirs, _tellable(reading, place, names))
            yield Problem("schema", f"{reading.table}: {place} has no key {theirs} (for {ours}) but {told}")


def _tellable(reading: Reading, place: str, names: Sequence[str]) -> list[str]:
    """Which of the columns there are a message may name.

    Of a CSV file a first line is whatever stands there: of a file that is not called one (a password file, a key) nothing is
    told, and of others nothing that is rather a value: an address, a number, a date, `name=value`.
    """
    if (kind := reading.source.format) not in ("csv", "json"):
        return list(names)
    return [name for name in names if not _NO_NAME.search(name)] if is_data(place, kind) else []


def _listed(names: Sequence[str], wanted: str, tellable: Sequence[str]) -> str:
    """The columns there are, of very many those most like the wanted one, and the remedy."""
    if len(names) == 1:
        only = names[0]
        for mark, told in ((";", '";"'), ("\t", '"\\t"'), ("|", '"|"'), (",", '","')):
            if mark in only:
                named = f"named {only[:_LONG_NAME]!r}" if tellable else "whose name is not told"
                return f"one {named}: its values are separated by something else; say `delimiter: {told}`"
    like = SequenceMatcher(b=wanted)

    def likeness(name: str) -> float:
        like.set_seq1(name[:_LONG_NAME])
        return like.ratio()

    listed = tellable if len(tellable) <= _MOST_COLUMNS else nlargest(_MOST_COLUMNS, tellable, key=likeness)
    shown = sorted(map(_shown, listed))
    shown += [f"{len(tellable) - len(listed):,} more"] * (len(listed) < len(tellable))
    shown += [f"{len(names) - len(tellable):,} that may be no names"] * (len(tellable) < len(names))
    told = " and ".join([", ".join(shown[: len(listed)]), *shown[len(listed) :]] if listed else shown)
    header = "" if tellable else ", below a first line of names"
    return f"{told}: name the right one in the spec, or deliver it{header}"


def _shown(name: str) -> str:
    """A column's name in a message: of a long one its beginning."""
    name = name if len(name) <= _LONG_NAME else f"{name[:_LONG_NAME]}..."
    return name if name.isprintable() and name.strip() == name != "" else repr(name)


def _is_time(kind: Any) -> bool:
    return is_text(kind) or bool(pa.types.is_timestamp(kind) or pa.types.is_date(kind))


def _is_number(kind: Any) -> bool:
    numeric = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    return is_text(kind) or bool(numeric or pa.types.is_boolean(kind))


def _is_plain(kind: Any) -> bool:
    return _is_number(kind) or is_binary(kind) or is_uuid(kind) or bool(pa.types.is_date(kind))


_ALLOWED: dict[Kind, tuple[str, Callable[[Any], bool]]] = {
    "time": ("a timestamp, a date or ISO 8601 text", _is_time),
    "number": ("a number, a boolean or text", _is_number),
    "text": ("text, a number, a boolean, a date, a UUID or binary", _is_plain),
}


def _type_fault(read_as: Kind, kind: Any) -> str | None:
    """What is allowed for a column, where `kind` is not."""
    says, accepts = _ALLOWED[read_as]
    inner = plain_type(kind)
    return None if accepts(inner) or pa.types.is_null(inner) else says
