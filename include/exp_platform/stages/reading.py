"""What is read of one input table: where it lies, which of its columns, as what, and which rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pyarrow as pa

from exp_platform.config.sources import DIMENSION, VALUE, TableSource
from exp_platform.kernels.complete_rows import Kind, kind_of
from exp_platform.stages.paths import Blocked, Path, found
from exp_platform.stages.wanted import EVERYTHING, Wanted

Columns = tuple[tuple[str, str], ...]  # ours, theirs


@dataclass(frozen=True)
class Problem:
    """What keeps the data from being read at all: the check it fails, and a message with the remedy."""

    check: str
    message: str


@dataclass(frozen=True)
class Reading:
    """What is read of one input table."""

    table: str  # exposures, outcomes, units, identities, or a fact's name
    source: TableSource  # location complete: variables filled in, an absolute path or a URI
    columns: Columns
    wanted: Wanted = EVERYTHING
    remedy: str = "correct the path in the spec, or deliver the data"  # where there is no file

    @property
    def numbers_rows(self) -> bool:
        """Whether the row number is the user's id."""
        return self.table == "units" and "user_id" not in dict(self.columns)

    def kind(self, ours: str) -> Kind:
        """What the values of a column are read as: what the spec says, else what is done with them."""
        if declared := self.source.types.get(ours):
            return declared
        if ours.startswith(VALUE):
            return "number"
        if ours.startswith(DIMENSION):
            compared = {c.of for one in self.wanted.series for c in one.where if DIMENSION + c.column == ours}
            return "number" if "number" in compared else "text"
        return kind_of(ours)

    @property
    def shown(self) -> tuple[str, ...]:
        """Columns of which whatever cannot be read is shown, as no text is: numbers and times."""
        return tuple(ours for ours, _ in self.columns if self.kind(ours) != "text")


@dataclass(frozen=True)
class Layout:
    """Where in the rows of one file the columns are; those that its folders' names tell are the same in every row."""

    paths: dict[str, Path]  # by our names
    constants: dict[str, str | None] = field(default_factory=dict)  # by our names
    lost: dict[str, Blocked | None] = field(default_factory=dict)  # what is not there, and why


def layout(reading: Reading, schema: pa.Schema, partition: Mapping[str, str | None]) -> Layout:
    """Find the columns of a reading in a file; `partition` has the columns of its folders, which win as in Hive and Spark."""
    made = Layout({})
    for ours, theirs in reading.columns:
        if theirs in partition:
            made.constants[ours] = partition[theirs]
            continue
        path = found(schema, theirs)
        if isinstance(path, Path):
            made.paths[ours] = path
        else:
            made.lost[ours] = path
    return made
