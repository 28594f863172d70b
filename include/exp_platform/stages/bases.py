"""What was published of each bucket, as the tasks of an increment read it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa

from exp_platform.config.environment import Environment
from exp_platform.kernels.base import ASIDE, Base, RowCounts, no_rows
from exp_platform.kernels.sightings import SEEN
from exp_platform.tables.files import BucketFiles, plan_buckets
from exp_platform.tables.schemas import arrow_schema

_COLUMNS = {
    "exposures": ("user_id", "variant_id", "exposed_at", "attributes", "row_key"),
    "outcomes": ("user_id", "event", "occurred_at", "value", "event_id", "row_key"),
    ASIDE: ("user_id", "event", "occurred_at", "value", "event_id", "row_key"),
    SEEN: ("user_id", "outcomes", "marks"),
}
_CODED = {"user_id", "variant_id", "event"}


@dataclass(frozen=True)
class _Bucket:
    """One bucket's published files by table; a table without rows has none. It pickles to a few kilobytes."""

    files: Mapping[str, BucketFiles]

    def sightings(self) -> tuple[pa.Table, Mapping[str, str]] | None:
        """What is known of outcomes by user, and its footer. Raises DamagedTableError."""
        found = self.files.get(SEEN)
        return None if found is None else found.read_with_footer()

    def footer(self) -> Mapping[str, str]:
        """What the file of sightings says, {} where there is no such file. Raises DamagedTableError."""
        found = self.files.get(SEEN)
        return {} if found is None else found.footer()

    def is_there(self) -> bool:
        """Whether no file is gone."""
        return all(files.are_there() for files in self.files.values())

    def read(self, table: str, columns: Sequence[str]) -> pa.Table:
        """Some columns of a table, in the order of its files' rows. Raises DamagedTableError."""
        found = self.files.get(table)
        if found is None:
            return no_rows(table, columns)
        types = pa.schema([arrow_schema(table).field(column) for column in columns])
        return replace(found, projection=found.projection.select(*columns), types=types).read(
            coded=_CODED & {*columns}
        )


def bases_of(
    environment: Environment,
    experiment_id: str,
    snapshots: Mapping[str, int],
    counts: Mapping[int, RowCounts],
) -> dict[int, Base]:
    """The base of every bucket that has one: `snapshots` by table and `counts` by bucket are what the registry names.

    Raises DataError when a snapshot has expired.
    """
    files = {
        table: plan_buckets(environment, table, experiment_id, snapshots[table], columns)
        for table, columns in _COLUMNS.items()
        if table in snapshots
    }
    buckets = {
        bucket: _Bucket({name: of[bucket] for name, of in files.items() if bucket in of}) for bucket in counts
    }
    return {
        number: Base(counts[number], found.read, found.sightings, found.footer, found.is_there)
        for number, found in buckets.items()
    }
