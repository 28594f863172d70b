"""What each column of a sample is, by its values: as the platform would read them, and paths into nested ones."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from exp_platform.errors import DataError
from exp_platform.kernels.canonical_text import InexactIdError, text, unwrapped
from exp_platform.kernels.conform import instants, number
from exp_platform.kernels.nobody import without_null_words

Kind = Literal["empty", "flag", "number", "time", "text", "other"]

NESTED_ROWS = 20_000  # whose JSON is looked into
MOST_PATHS, MOST_DEPTH = 60, 3
_GOOD = 0.98  # share of the values there are that a type must fit
_TRIED = 2_000  # values that are tried before all are read
_FLAGS = {"0", "1", "true", "false"}


@dataclass(frozen=True, eq=False)
class Column:
    """One column, or a path into a nested one, and its values as they were found."""

    path: str
    found: Any  # pa.ChunkedArray
    nested: bool = False  # whether the path leads into another column

    @cached_property
    def words(self) -> list[str]:
        """Its name in words of lower case: `exposedAt` and `exposed_at` are both exposed, at."""
        name = self.path.rsplit(".", 1)[-1] if self.nested else self.path
        name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
        return [word for word in re.split(r"[^a-z0-9]+|(?<=[a-z])(?=\d)", name) if word]

    @property
    def name(self) -> str:
        """Its name as an id."""
        return "_".join(self.words)[:48] or "column"

    @cached_property
    def texts(self) -> Any:
        """The values as the platform's texts, words for null among the nulls."""
        try:
            found = text(self.found, ids=True)
        except InexactIdError:  # of ids a run says so; these may be amounts
            found = text(self.found)
        return without_null_words(found, ids=False)[0]

    @cached_property
    def numbers(self) -> NDArray[np.float64]:
        """The values as numbers, those that are none left out."""
        found: NDArray[np.float64] = number(self.found).values.drop_null().to_numpy()
        return found

    @cached_property
    def times(self) -> Any:
        """The values as instants of UTC, null where they are none."""
        return instants(self.found, "UTC").values

    @cached_property
    def nulls(self) -> float:
        """Share of rows without a value."""
        return float(self.texts.null_count) / max(len(self.texts), 1)

    @cached_property
    def counts(self) -> list[tuple[str, int]]:
        """The different values with their rows, the most frequent first."""
        counted = self.texts.drop_null().value_counts()
        pairs = zip(counted.field(0).to_pylist(), counted.field(1).to_pylist(), strict=True)
        return sorted(pairs, key=lambda pair: (-pair[1], pair[0]))

    @cached_property
    def distinct(self) -> int:
        """Different values, nulls not counted."""
        return int(pc.count_distinct(self.texts, mode="only_valid").as_py())

    @property
    def unique(self) -> bool:
        """Whether no value stands twice."""
        return self.distinct > 1 and self.distinct == len(self.texts) - self.texts.null_count

    @cached_property
    def kind(self) -> Kind:
        """What most of its values are."""
        found = unwrapped(self.found)
        kind = found.type
        if _is_nested(kind):
            return "other"
        given = found.drop_null()
        if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
            return "time" if len(given) else "empty"
        try:
            return self._kind_of_plain()
        except (DataError, pa.ArrowException):
            return "other"

    def _kind_of_plain(self) -> Kind:
        if self.texts.null_count == len(self.texts):
            return "empty"
        if pa.types.is_boolean(self.found.type):
            return "flag"
        if _fits(self.texts, lambda some: number(some).values):
            values = self.numbers
            return "flag" if len(values) and np.isin(values, (0.0, 1.0)).all() else "number"
        if _fits(self.texts, lambda some: instants(some, "UTC").values):
            return "time"
        return "text"

    @property
    def whole(self) -> bool:
        """Whether it has whole numbers alone."""
        return self.kind == "number" and bool((self.numbers == np.floor(self.numbers)).all())

    @property
    def few(self) -> bool:
        """Whether it has so few values that they may name groups."""
        return 2 <= self.distinct <= 20 and self.kind in ("text", "flag", "number")


def _fits(texts: Any, read: Any) -> bool:
    """Whether most values can be read as a type; the first ones are tried before all are."""
    given = texts.drop_null()
    return all(len(some) - read(some).null_count >= _GOOD * len(some) for some in (given[:_TRIED], given))


def columns_of(rows: pa.Table) -> list[Column]:
    """All columns, and the paths into those that hold structs, maps or JSON objects instead of these."""
    found: list[Column] = []
    for name in rows.column_names:
        column = rows[name]
        nested = _objects(column)
        if nested is None:
            found.append(Column(name, column))
        else:
            found += [Column(path, values, nested=True) for path, values in _paths(name, nested)]
    return found


def _is_nested(kind: Any) -> bool:
    return bool(
        pa.types.is_struct(kind) or pa.types.is_map(kind) or pa.types.is_list(kind) or pa.types.is_null(kind)
    )


def _objects(column: Any) -> list[Any] | None:
    """The first rows as Python's dictionaries, where the column holds such; else None."""
    kind = column.type
    if pa.types.is_struct(kind):
        return list(column[:NESTED_ROWS].to_pylist())
    if pa.types.is_map(kind):
        return [None if pairs is None else dict(pairs) for pairs in column[:NESTED_ROWS].to_pylist()]
    if not pa.types.is_string(kind) and not pa.types.is_large_string(kind):
        return None
    first = column[:_TRIED].drop_null()
    if not len(first) or not pc.all(pc.match_substring_regex(first, r"^\s*\{.*\}\s*$")).as_py():
        return None
    return [_parsed(one) for one in column[:NESTED_ROWS].to_pylist()]


def _parsed(written: str | None) -> Any:
    try:
        return None if written is None else json.loads(written)
    except ValueError:
        return None


def _paths(name: str, rows: list[Any]) -> Iterator[tuple[str, Any]]:
    """Paths to plain values, with the values."""
    paths: dict[tuple[str, ...], None] = {}
    for row in rows[:_TRIED]:
        paths.update(dict.fromkeys(_leaves(row, ())))
    for path in list(paths)[:MOST_PATHS]:
        values = [_at(row, path) for row in rows]
        yield ".".join((name, *path)), pa.chunked_array([_plain(values)])


def _leaves(value: Any, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    if isinstance(value, dict) and len(path) < MOST_DEPTH:
        for key, inner in value.items():
            if "." not in str(key):
                yield from _leaves(inner, (*path, str(key)))
    elif path and value is not None and not isinstance(value, dict | list):
        yield path


def _at(value: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return None if isinstance(value, dict | list) else value


def _plain(values: list[Any]) -> pa.Array:
    texts = [
        None
        if value is None
        else str(value).lower()
        if isinstance(value, bool)
        else value
        if isinstance(value, str)
        else f"{value}"
        for value in values
    ]
    return pa.array(texts, pa.string())
