"""JSON lines: a file with an object per line, compressed or not, read as a column of texts that paths lead into.

What is no object is skipped and counted, as a line of a CSV with too many fields is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs as pafs

from exp_platform.kernels.sql import query
from exp_platform.stages.paths import Path, pointers
from exp_platform.stages.source_files import compression_of, no_text
from exp_platform.stages.unreadable import UnreadableError

LINE = "line"
BLOCK_BYTES = 8 << 20  # a line may not be longer
_OBJECT = "SELECT coalesce(CASE WHEN json_valid(x) THEN json_type(x) = 'OBJECT' END, false) AS is FROM found"
_KEYS = "SELECT DISTINCT unnest(json_keys(x)) AS key FROM found ORDER BY key"


class BrokenLines:
    """Counts lines that are no JSON objects."""

    def __init__(self) -> None:
        self.count = 0
        self.example: str | None = None
        self._all = self._good = 0

    def add(self, lines: Sequence[str]) -> None:
        """Count some."""
        self.count += len(lines)
        self._all += len(lines)
        if lines and self.example is None:
            self.example = f"no JSON object: {' '.join(lines[0].split())[:80]}"

    def take(self, good: int) -> int:
        """The count so far, which starts again; `good` lines stood beside them."""
        self._good += good
        taken, self.count = self.count, 0
        return taken

    def require_any(self) -> None:
        """Raises UnreadableError where there were lines, and not one was an object."""
        if self._all and not self._good:
            raise UnreadableError(
                f"not one of its {self._all:,} lines is a JSON object ({self.example}): write one object per line"
            )


def json_path(name: str) -> Path:
    """Where in a line a column is."""
    return Path(LINE, json=tuple(name.split(".")))


def read_lines(files: pafs.FileSystem, path: str, broken: BrokenLines) -> Iterator[pa.Table]:
    """The objects of a file as texts in blocks. Raises UnreadableError, or what PyArrow raises."""
    for block in _blocks(files, path):
        lines = [line for line in block.split(b"\n") if not line.isspace() and line]
        texts = _texts(lines)
        good = query(_OBJECT, pa.table({"x": texts}))["is"]
        if not pc.all(good).as_py():
            broken.add(
                [
                    line.decode("utf-8", "replace")
                    for line, is_one in zip(lines, good.to_pylist(), strict=True)
                    if not is_one
                ]
            )
            texts = texts.filter(good.combine_chunks())
        yield pa.table({LINE: texts})


def keys_of(lines: pa.Table) -> tuple[str, ...]:
    """The keys that the objects have at their top."""
    return tuple(query(_KEYS, pa.table({"x": lines[LINE]}))["key"].to_pylist())


def present(lines: pa.Table, paths: Mapping[str, Path]) -> set[str]:
    """The columns, by our names, that one of the lines has."""
    asked = ", ".join(
        f'bool_or({" OR ".join(f"json_exists(x, {p})" for p in pointers(path.json))}) AS "{n}"'
        for n, path in enumerate(paths.values())
    )
    (row,) = query(f"SELECT {asked} FROM found", pa.table({"x": lines[LINE]})).to_pylist() if paths else [{}]
    return {ours for n, ours in enumerate(paths) if row[str(n)]}


def first_lines(files: pafs.FileSystem, path: str) -> pa.Table:
    """The objects at a file's beginning, some 8 MB of it."""
    none = pa.table({LINE: pa.array([], pa.string())})
    return next(read_lines(files, path, BrokenLines()), none)


def count_lines(files: pafs.FileSystem, path: str) -> int:
    """Rows that `read_lines` gives of a file, by reading it. Raises as it does."""
    return sum(len(lines) for lines in read_lines(files, path, BrokenLines()))


def _blocks(files: pafs.FileSystem, path: str) -> Iterator[bytes]:
    with files.open_input_stream(path, compression=None) as raw:
        start = raw.read(16)
    if remedy := no_text(start):
        raise UnreadableError(f"it {remedy}")
    first, rest = True, b""
    with files.open_input_stream(path, compression=compression_of(start)) as stream:
        while found := stream.read(BLOCK_BYTES):
            if first:
                found = found.removeprefix(b"\xef\xbb\xbf")
                if found.lstrip()[:1] == b"[":
                    raise UnreadableError("it is one JSON array: write one object per line")
                first = False
            whole, _, rest = (rest + found).rpartition(b"\n")
            if len(rest) > BLOCK_BYTES:
                raise UnreadableError("one line is longer than 8 MB: write one object per line")
            if whole:
                yield whole
    if rest:
        yield rest


def _texts(lines: Sequence[bytes]) -> pa.Array:
    """Lines as texts; null for those that are not UTF-8."""
    try:
        return pa.array(lines, pa.binary()).cast(pa.string())
    except pa.ArrowInvalid:
        return pa.array([_decoded(line) for line in lines], pa.string())


def _decoded(line: bytes) -> str | None:
    try:
        return line.decode()
    except UnicodeDecodeError:
        return None
