"""What a task of ingest reads: pieces as batches of rows with users as canonical text, without the rows of others.

Rows of a fact are rows of outcomes from here on, see `kernels.facts`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from exp_platform.aggregates import LeftOut
from exp_platform.config.experiment import Experiment
from exp_platform.config.sources import EventsSource, Fact
from exp_platform.diagnosis import diagnosis
from exp_platform.errors import DataError, ExpPlatformError
from exp_platform.kernels.canonical_text import InexactIdError, require_utf8, text
from exp_platform.kernels.complete_rows import IDS, kind_of
from exp_platform.kernels.facts import outcomes_of
from exp_platform.kernels.measured import Measured
from exp_platform.kernels.members import Identities, Members, Owners, Spelled, spelled
from exp_platform.kernels.nobody import without_null_words
from exp_platform.stages.pieces import IcebergPiece, Part, Piece
from exp_platform.stages.unreadable import unreadable, unreadable_table

_LOOKED_AT = 32_768  # rows of a piece by which is told how ids are spelled
OTHER_ID = "other_id"  # a column of ids of another space, in place of user_id


class UnreadablePieceError(Exception):
    """A piece cannot be read, in words for people."""


@dataclass(frozen=True)
class Intake:
    """What of the rows that pieces give is taken in. It pickles to the tasks with their plan."""

    experiment: Experiment | None = None  # None: of a source that has neither key nor facts
    members: Members | None = None  # whose rows of facts count
    plainly: Members | None = (
        None  # the same by their ids without what exports change, to tell who is spelled otherwise
    )
    identities: Identities | None = None
    show_ids: bool = True  # whether a problem may quote an id

    def fact(self, table: str) -> Fact | None:
        """The fact of this name."""
        source = self.experiment.source if self.experiment else None
        facts = source.facts if isinstance(source, EventsSource) else ()
        return next((fact for fact in facts if fact.name == table), None)

    @property
    def key(self) -> str | None:
        """Of exposures of many experiments: whose count."""
        source = self.experiment.source if self.experiment else None
        return source.key if isinstance(source, EventsSource) else None


AS_FOUND = Intake()


@dataclass(frozen=True)
class Batch:
    """Some rows of a piece as Arrow, and what was counted of those that are not among them."""

    piece: int
    number: int
    becomes: str  # the table its rows are of: exposures, outcomes, units or identities
    rows: pa.Table
    measured: Measured = field(default_factory=Measured)
    spelled: Spelled | None = None  # of the first batch of a fact's piece

    def owned(self, identities: Identities) -> Batch:
        """The same rows with users for ids of another space; those that are no member's are left out and counted."""
        if OTHER_ID not in self.rows.column_names:
            return self
        owners = identities.owners(self.rows[OTHER_ID])
        kept = ~(owners.strangers | owners.unmapped | owners.several)
        rows = self.rows.drop_columns([OTHER_ID]).append_column("user_id", owners.user_id)
        left = _left_out(self.becomes, owners)
        return replace(
            self,
            rows=rows.filter(pa.array(kept)),
            measured=self.measured.merge(left).merge(Measured(rows_in={self.becomes: int((~kept).sum())})),
        )


def batches(number: int, piece: Piece, intake: Intake) -> Iterator[Batch]:
    """The batches of a piece, whose number is `number`. Raises DataError and UnreadablePieceError for what cannot be read."""
    fact = intake.fact(piece.table)
    mine = None if fact is None else _Mine(fact, piece, intake)
    first_row = piece.first_row
    for position, part in enumerate(_parts(piece, mine)):
        if mine is not None:
            yield mine.outcomes(part, Batch(number, position, "outcomes", part.rows))
            continue
        rows, told = _of_key(part.rows, piece, intake)
        rows = _with_texts(rows, piece, first_row, intake.show_ids)
        first_row += len(rows)
        told = _with_lines(told, piece.table, part, intake.show_ids)
        yield Batch(number, position, piece.table, rows, told)


def _parts(piece: Piece, mine: _Mine | None) -> Iterator[Part]:
    try:
        yield from piece.parts(mine)
    except Exception as error:  # whatever pyarrow or PyIceberg raise for a file that they cannot read
        if diagnosis(error) or isinstance(error, ExpPlatformError):
            raise  # the store is at fault, not the file: the next try may find it well
        told = unreadable_table if isinstance(piece, IcebergPiece) else unreadable
        raise UnreadablePieceError(told(piece.place, error)) from error


def _of_key(rows: pa.Table, piece: Piece, intake: Intake) -> tuple[pa.Table, Measured]:
    """The exposures of the experiment's key, without the column that says so."""
    if piece.table != "exposures" or intake.key is None:
        return rows, Measured()
    column = rows["experiment"]
    with _named("experiment", piece, intake.show_ids):
        require_utf8(column)
    mine = pc.equal(text(column), intake.key).fill_null(False)
    kept = rows.filter(mine).drop_columns(["experiment"])
    others = len(rows) - len(kept)
    if not others:
        return kept, Measured()
    left_out = {"exposures": {LeftOut.OTHER_EXPERIMENT.value: others}}
    return kept, Measured(rows_in={"exposures": others}, left_out=left_out)


class _Mine:
    """Whose rows of a fact count: asked by the piece before it looks into a part's other columns, then given what is left."""

    def __init__(self, fact: Fact, piece: Piece, intake: Intake) -> None:
        self._fact, self._piece, self._intake = fact, piece, intake
        self._ids = OTHER_ID if OTHER_ID in dict(piece.columns) else "user_id"
        # Of the part that was asked about: its users who are members, what all its ids are, and how those of the first are spelled
        self._users: Any = None
        self._counted = Measured()
        self._spelled: Spelled | None = None
        self._asked = False

    def __call__(self, ids: Any) -> Any:
        """Which of these ids are of members, as booleans."""
        intake, name = self._intake, self._fact.name
        assert intake.members is not None
        column, _ = without_null_words(_as_text(ids, self._ids, self._piece, intake.show_ids), ids=True)
        left = {LeftOut.NULL: column.null_count}
        users = column
        if self._ids == OTHER_ID:
            assert intake.identities is not None
            owners = intake.identities.owners(column)
            users = owners.user_id
            left |= {
                LeftOut.UNMAPPED: int(owners.unmapped.sum()),
                LeftOut.SEVERAL_USERS: int(owners.several.sum()),
            }
        mine = intake.members.have(users)
        left[LeftOut.NO_EXPOSURE] = len(column) - int(mine.sum()) - sum(left.values())
        reasons = {reason.value: rows for reason, rows in left.items() if rows}
        self._counted = Measured(rows_in={name: len(column)}, left_out={name: reasons})
        self._users = users.filter(pa.array(mine))
        self._spelled = None
        if intake.plainly and not self._asked:
            self._spelled = spelled(column[:_LOOKED_AT], mine[:_LOOKED_AT], intake.plainly)
        self._asked = True
        return pa.array(mine)

    def outcomes(self, part: Part, batch: Batch) -> Batch:
        """The outcomes of members in the part that was asked about, and what was counted of all its rows."""
        intake, rows = self._intake, part.rows
        assert intake.experiment is not None
        rows = rows.drop_columns([self._ids]).append_column("user_id", self._users)
        for position, name in enumerate(rows.column_names):
            with _named(name, self._piece, intake.show_ids):
                require_utf8(rows[name])
                if name == "event_id":
                    rows = rows.set_column(position, name, text(rows[name], ids=True))
        outcomes, measured = outcomes_of(rows, self._fact, intake.experiment)
        measured = _with_lines(self._counted.merge(measured), self._fact.name, part, intake.show_ids)
        return replace(batch, rows=outcomes, measured=measured, spelled=self._spelled)


def _left_out(table: str, owners: Owners) -> Measured:
    reasons = {
        LeftOut.UNMAPPED: int(owners.unmapped.sum()),
        LeftOut.SEVERAL_USERS: int(owners.several.sum()),
        LeftOut.NO_EXPOSURE: int(owners.strangers.sum()),
    }
    return Measured(left_out={table: {reason.value: n for reason, n in reasons.items() if n}})


def _with_lines(measured: Measured, table: str, part: Part, show: bool) -> Measured:
    """The same, with the lines of a CSV file that have too many or too few fields, under a name where others have a column's."""
    if not part.bad_rows:
        return measured
    whole = f"{table}.(whole row)"
    return measured.merge(
        Measured(
            rows_in={table: part.bad_rows},
            malformed={whole: part.bad_rows},
            examples={whole: [part.bad_example]} if part.bad_example and show else {},
            left_out={table: {LeftOut.LINE.value: part.bad_rows}},
        )
    )


def _with_texts(rows: pa.Table, piece: Piece, first_row: int, show_ids: bool) -> pa.Table:
    """Ids, variants, events and attributes as text, users' ids among them; without any the row's number from 1.

    The bucket is made of the user's text, so it must be the same in all files: `clean_bucket` finds nothing to change.
    """
    for position, column in enumerate(rows.column_names):
        rows = rows.set_column(position, column, _as_text(rows[column], column, piece, show_ids))
    if "user_id" in rows.column_names or OTHER_ID in rows.column_names:
        return rows
    numbers = np.arange(first_row + 1, first_row + len(rows) + 1)
    return rows.append_column("user_id", pa.array(numbers).cast(pa.string()))


def _as_text(found: Any, column: str, piece: Piece, show_ids: bool) -> Any:
    """A column as canonical text, or as it was found where it is no text."""
    with _named(column, piece, show_ids):
        require_utf8(found)
        return text(found, ids=column in IDS) if kind_of(column) == "text" else found


@contextmanager
def _named(column: str, piece: Piece, show_ids: bool) -> Iterator[None]:
    """What is wrong with a column is told with its name in the piece."""
    try:
        yield
    except DataError as error:
        said = error.without_id if isinstance(error, InexactIdError) and not show_ids else error
        raise DataError(f"column {dict(piece.columns)[column]} (for {column}) {said}") from error
