"""Which refresh a run makes: new files are added to what is published, or everything is read again; and why.

An increment gives what reading everything would give, or it is not made. What keeps it from that is looked for here, before a
row is read; what only rows can tell, the tasks say (`NotExactError`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from exp_platform.code_version import code_version
from exp_platform.config.experiment import Experiment
from exp_platform.config.hashing import NOT_HASHED, canonical
from exp_platform.config.sources import EventsSource, UnitsSource
from exp_platform.kernels.duplicates import told_apart_by
from exp_platform.kernels.privacy import Privacy
from exp_platform.kernels.unit_days import horizon
from exp_platform.stages.pieces import FilePiece, FileState, IcebergPiece, Piece

# Parts of the spec that no staged row depends on
_NOT_INGESTED = (*NOT_HASHED, "metrics", "behaviours", "quality", "analyses", "decision")
_CHANGED = {  # part of the ingest key -> what is told where it is another one
    "code": "another version of the platform wrote them",
    "libraries": "another version of DuckDB or PyArrow hashes or writes values otherwise",
    "spec": "source, window, variants or segments of the spec were edited",
    "reach": "the spec reads another history",
    "pseudonyms": "user ids are replaced by another key",
    "forgotten": "other users are to be forgotten",
}


@dataclass(frozen=True)
class InputFile:
    """A file of an input table, or a data file of an Iceberg table, as it was planned to be read."""

    table: str
    path: str
    size: int
    state: str  # what else tells it from another file of this name
    rows: int  # to be read; estimated where a file does not tell

    @property
    def name(self) -> tuple[str, str]:
        """By which it is known."""
        return self.table, self.path

    def is_at(self, state: FileState) -> bool:
        """Whether a listing tells of the same content."""
        return (self.size, self.state) == (state.size, str(state.modified))

    def same(self, other: InputFile) -> bool:
        """Whether both are one file with one content, as far as a listing tells."""
        return (self.name, self.size, self.state) == (other.name, other.size, other.state)

    def to_row(self) -> dict[str, Any]:
        """As a row of the table `ingested_files`."""
        return {**{k: v for k, v in asdict(self).items() if k != "table"}, "input_table": self.table}

    @staticmethod
    def of_row(row: Mapping[str, Any]) -> InputFile:
        """The inverse of `to_row`; further columns are passed over."""
        return InputFile(row["input_table"], *(row[name] for name in ("path", "size", "state", "rows")))


Standing = Mapping[tuple[str, str], InputFile]  # files by name whose rows are published


@dataclass(frozen=True)
class Base:
    """What is published, to which rows of new files may be added."""

    run_id: str
    snapshots: dict[str, int]  # of the tables that have rows, as the registry names them
    buckets: int
    key: dict[str, str] = field(default_factory=dict)  # what `ingest_key` said
    rows: int = 0  # exposures and outcomes
    files: tuple[InputFile, ...] = ()
    lost: str | None = None  # why nothing can be added to it, in a clause


@dataclass(frozen=True)
class Refresh:
    """What a run reads, and what it adds it to."""

    kind: Literal["full", "incremental"]
    why: str  # a clause
    pieces: tuple[Piece, ...]
    files: tuple[InputFile, ...]  # of these pieces
    base: Base | None = None  # None: nothing

    def told(self, rows: int) -> dict[str, str]:
        """As manifests and results have it; `rows` were read."""
        new = f"{_files(len(self.files), 'new ')}, {rows:,} row{'s' * (rows != 1)}; "
        why = (new if self.files else "no new file; ") + self.why if self.base else self.why
        return {"kind": self.kind, "why": why}


def refresh_of(
    experiment: Experiment,
    pieces: Sequence[Piece],
    base: Base | None,
    key: Mapping[str, str],
    *,
    asked: bool = False,
    unfrozen: Sequence[str] = (),
    buckets: int = 1,
) -> Refresh:
    """Compare the planned pieces with what is published and decide.

    `key`: what `ingest_key` says now; `asked`: for a full refresh; `unfrozen`: segments whose thresholds this run freezes, of all
    rows; `buckets`: how many all pieces need.
    """
    files = files_of(pieces)
    whole = (
        "it was asked for"
        if asked
        else cannot_add(experiment, pieces, key)
        or _not_addable(base, key)
        or (f"the threshold of {unfrozen[0]} is frozen by all rows" if unfrozen else None)
    )
    if whole is None and base is not None:
        whole = _not_as_it_was(base.files, files) or _too_large(base, buckets)
    if whole is not None or base is None:
        return in_full(pieces, whole or "nothing was published before")
    before = {file.name for file in base.files}
    new = tuple(file for file in files if file.name not in before)
    added = {file.name for file in new}
    to_read = tuple(piece for piece in pieces if _name_of(piece) in added)
    before_stand = f"{_files(len(base.files))} of before stand{'s' * (len(base.files) == 1)}"
    return Refresh("incremental", before_stand, to_read, new, base)


def standing_files(base: Base | None, key: Mapping[str, str]) -> Standing:
    """The files that need not be opened where they are as they were; none where all are read again whatever they are."""
    return {} if base is None or _not_addable(base, key) else {file.name: file for file in base.files}


def in_full(pieces: Sequence[Piece], why: str) -> Refresh:
    """Everything is read, for this reason."""
    return Refresh("full", why, tuple(pieces), files_of(pieces))


def ingest_key(experiment: Experiment, privacy: Privacy) -> dict[str, str]:
    """All besides its files that published rows and their counts depend on, in parts: metrics on staged events are none."""
    content = {name: value for name, value in asdict(experiment).items() if name not in _NOT_INGESTED}
    listed = [*sorted(privacy.forgotten), privacy.forgotten_by.fingerprint if privacy.forgotten_by else ""]
    return {
        "code": code_version(),
        "libraries": told_apart_by(),
        "spec": _hash(canonical(content)),
        "reach": str(horizon(experiment)),
        "pseudonyms": privacy.pseudonyms.fingerprint if privacy.pseudonyms else "",
        "forgotten": _hash(json.dumps(listed)),
    }


def cannot_add(experiment: Experiment, pieces: Iterable[Piece], key: Mapping[str, str]) -> str | None:
    """Why rows of such a source are never added, in a clause; None: they may be."""
    source = experiment.source
    if key["pseudonyms"]:
        return "published ids are pseudonyms"
    if isinstance(source, EventsSource):
        if source.facts:
            return "rows of facts are read together"
        if source.key is not None:
            return "a log of many experiments is read as a whole"
        if source.identities is not None:
            return "an identity map is read as a whole"
    elif not isinstance(source, UnitsSource):
        return "its data are generated"
    elif experiment.numbers_users:
        return "its users are called by the numbers of their rows"
    if any(not isinstance(piece, (FilePiece, IcebergPiece)) for piece in pieces):
        return "what a database returns is read as a whole"
    return None


def files_of(pieces: Iterable[Piece]) -> tuple[InputFile, ...]:
    """The files that pieces are of, each once, in order."""
    found: dict[tuple[str, str], InputFile] = {}
    for piece in pieces:
        one = _file_of(piece)
        if one is None:
            continue
        before = found.get(one.name)
        rows = one.rows + (before.rows if before else 0)
        found[one.name] = InputFile(one.table, one.path, one.size, one.state, rows)
    return tuple(found.values())


def _file_of(piece: Piece) -> InputFile | None:
    if isinstance(piece, FilePiece):
        return InputFile(piece.table, piece.place, piece.state.size, str(piece.state.modified), piece.rows)
    if isinstance(piece, IcebergPiece):
        file = piece.task.file
        deletes = sorted(one.file_path for one in piece.task.delete_files)
        read_as = sorted(f"{one.field_id} {one.name} {one.field_type}" for one in piece.projection.fields)
        state = _hash(json.dumps([deletes, read_as]))
        return InputFile(piece.table, file.file_path, file.file_size_in_bytes, state, piece.rows)
    return None


def _name_of(piece: Piece) -> tuple[str, str] | None:
    one = _file_of(piece)
    return one.name if one else None


def _not_addable(base: Base | None, key: Mapping[str, str]) -> str | None:
    if base is None:
        return "nothing was published before"
    if base.lost:
        return base.lost
    for part, told in _CHANGED.items():
        if base.key.get(part) != key.get(part):
            return told
    return None


def _not_as_it_was(before: Iterable[InputFile], now: Iterable[InputFile]) -> str | None:
    """The first file that was read and is another one now, or gone."""
    there = {file.name: file for file in now}
    for file in before:
        found = there.get(file.name)
        if found is None:
            return f"{file.path} is gone"
        if not file.same(found):
            return f"{file.path} changed"
    return None


def _too_large(base: Base, buckets: int) -> str | None:
    return (
        f"{buckets} buckets are needed, and there are {base.buckets}" if buckets > 2 * base.buckets else None
    )


def _files(n: int, which: str = "") -> str:
    return f"{n:,} {which}file{'s' * (n != 1)}"


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
