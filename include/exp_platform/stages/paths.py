"""Columns that are paths: `props.revenue` into a struct, a map or JSON text, found in a schema and taken out of rows.

What has the whole name wins over a path. In JSON a step may also be the position in an array, from 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from exp_platform.kernels.canonical_text import is_text, plain_type, unwrapped
from exp_platform.kernels.sql import query

_TEXT = pa.string()
_INTO = "a path leads into a struct, a map with keys of text, or JSON text"


@dataclass(frozen=True)
class Path:
    """Where a value is: a column, then fields of structs, then at most one key of a map, then at most one path in JSON."""

    column: str
    fields: tuple[str, ...] = ()
    key: str | None = None
    json: tuple[str, ...] = ()
    type: pa.DataType = _TEXT

    @property
    def leaf(self) -> str:
        """The narrowest part of the column that a reader of columns can be asked for."""
        return ".".join((self.column, *self.fields))

    @property
    def plain(self) -> bool:
        """Whether it is a column itself."""
        return not (self.fields or self.key is not None or self.json)


@dataclass(frozen=True)
class Blocked:
    """A path that begins in the schema and leads nowhere: why, in words for people."""

    reason: str


def found(schema: pa.Schema, name: str) -> Path | Blocked | None:
    """The path that a column's name stands for; None where nothing in the schema begins it."""
    blocked: Blocked | None = None
    for column, rest in _splits(name):
        position = schema.names.index(column) if column in schema.names else -1
        if position < 0:
            continue
        step = _below(Path(column), schema.types[position], rest, column)
        if isinstance(step, Path):
            return step
        blocked = blocked or step
    return blocked


def taken(rows: pa.Table, paths: Mapping[str, Path], shown: Sequence[str] = ()) -> dict[str, Any]:
    """The columns that the paths lead to, by our names.

    Of JSON texts, numbers and truths come as text, and what is within as JSON. Text that is no JSON is null, but of the columns
    `shown` it is given as it is: as no number and no time can be made of it, it counts as malformed.
    """
    columns: dict[str, Any] = {}
    texts: dict[tuple[str, tuple[str, ...], str | None], list[str]] = {}
    for ours, path in paths.items():
        if path.json:
            texts.setdefault((path.column, path.fields, path.key), []).append(ours)
        columns[ours] = None
    for ours, path in paths.items():
        if not path.json:
            columns[ours] = _of_type(rows[path.column], path)
    for names in texts.values():
        parsed = _parsed(_of_type(rows[paths[names[0]].column], paths[names[0]]), names, paths, shown)
        columns |= {ours: parsed[str(n)] for n, ours in enumerate(names)}
    return columns


def _splits(name: str) -> list[tuple[str, tuple[str, ...]]]:
    """The ways to read a name as a first step and the rest, the longest first step first."""
    parts = name.split(".")
    return [(".".join(parts[:n]), tuple(parts[n:])) for n in range(len(parts), 0, -1)]


def _below(path: Path, kind: pa.DataType, rest: tuple[str, ...], place: str) -> Path | Blocked:
    if not rest:
        return Path(path.column, path.fields, path.key, (), kind)
    kind = plain_type(kind)
    if pa.types.is_struct(kind) and path.key is None:
        return _in_struct(path, kind, rest, place)
    if pa.types.is_map(kind) and is_text(plain_type(kind.key_type)) and path.key is None:
        return Path(path.column, path.fields, ".".join(rest), (), kind.item_type)
    if is_text(kind):
        return Path(path.column, path.fields, path.key, rest, pa.string())
    return Blocked(f"{place} is {kind}, and {_INTO}")


def _in_struct(path: Path, kind: Any, rest: tuple[str, ...], place: str) -> Path | Blocked:
    blocked: Blocked | None = None
    for name, further in _splits(".".join(rest)):
        position: int = kind.get_field_index(name)
        if position < 0:
            continue
        step = Path(path.column, (*path.fields, name))
        inner = _below(step, kind.field(position).type, further, f"{place}.{name}")
        if isinstance(inner, Path):
            return inner
        blocked = blocked or inner
    names = ", ".join(kind.field(i).name for i in range(kind.num_fields))
    return blocked or Blocked(f"{place} has no field {rest[0]} but {names}")


def _of_type(column: Any, path: Path) -> Any:
    """A column's values below its structs and its map."""
    for field in path.fields:
        column = pc.struct_field(unwrapped(column), [field])
    if path.key is not None:
        column = pc.map_lookup(unwrapped(column), pa.scalar(path.key, column.type.key_type), "last")
    return column


def _parsed(column: Any, names: Sequence[str], paths: Mapping[str, Path], shown: Sequence[str]) -> pa.Table:
    text = unwrapped(column).cast(pa.string())
    values = [
        f'CASE WHEN valid THEN {_extracted(paths[ours].json)} {"ELSE x " if ours in shown else ""}END AS "{n}"'
        for n, ours in enumerate(names)
    ]
    sql = f"SELECT {', '.join(values)} FROM (SELECT x, json_valid(x) AS valid FROM found)"
    return query(sql, pa.table({"x": text}))


def pointers(steps: tuple[str, ...]) -> tuple[str, ...]:
    """Where in JSON a value is, as SQL texts of pointers (RFC 6901): the key that has the whole name, else step by step."""
    return tuple(dict.fromkeys((_pointer((".".join(steps),)), _pointer(steps))))


def _extracted(steps: tuple[str, ...]) -> str:
    found = [f"json_extract_string(x, {pointer})" for pointer in pointers(steps)]
    return found[0] if len(found) == 1 else f"coalesce({', '.join(found)})"


def _pointer(steps: Sequence[str]) -> str:
    written = "".join("/" + step.replace("~", "~0").replace("/", "~1") for step in steps)
    return "'" + written.replace("'", "''") + "'"
