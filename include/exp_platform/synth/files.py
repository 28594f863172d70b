"""Writing synthetic raw data: Parquet parts in a folder beside the target, which is then swapped in whole."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from exp_platform.config.experiment import Experiment
from exp_platform.synth.propensity import synthetic_source
from exp_platform.synth.rows import ChunkRows, chunk_rows, chunks

TABLES = ("exposures", "outcomes")


@dataclass(frozen=True)
class Written:
    """Rows written of each table."""

    exposures: int
    outcomes: int


def write_raw(
    experiment: Experiment,
    files: pafs.FileSystem,
    folder: str,
    threads: int | None = None,
    *,
    until: datetime | None = None,
    kept: Callable[[pa.Table], pa.Table] = lambda rows: rows,
) -> Written:
    """Generate a synthetic experiment's raw data as `folder`/{exposures,outcomes}/part-*.parquet.

    The parts are one a chunk of users, then those of late outcomes; their rows depend on the experiment alone, and on the aware
    instant `until`, before which they occur (None: on nothing else); what is `kept` of them is written.
    Whatever was in `folder` stays until everything is written. Raises ConfigError where the source is not synthetic.
    """

    def write(chunk: int) -> Written:
        made = chunk_rows(experiment, chunk, until)
        rows = ChunkRows(kept(made.exposures), kept(made.outcomes), kept(made.late))
        return _write_chunk(rows, chunk, files, partial)

    numbers = range(chunks(synthetic_source(experiment)))
    with _replaced(files, folder) as partial, ThreadPoolExecutor(threads or os.cpu_count() or 1) as pool:
        written = list(pool.map(write, numbers))
    return Written(sum(w.exposures for w in written), sum(w.outcomes for w in written))


def _write_chunk(rows: ChunkRows, chunk: int, files: pafs.FileSystem, folder: str) -> Written:
    _write(rows.exposures, files, f"{folder}/exposures/part-{chunk:05d}.parquet")
    _write(rows.outcomes, files, f"{folder}/outcomes/part-{chunk:05d}.parquet")
    if len(rows.late):
        _write(rows.late, files, f"{folder}/outcomes/part-late-{chunk:05d}.parquet")
    return Written(len(rows.exposures), len(rows.outcomes) + len(rows.late))


def _write(table: pa.Table, files: pafs.FileSystem, path: str) -> None:
    repeating = [name for name in table.column_names if name not in ("event_id", "occurred_at", "exposed_at")]
    with files.open_output_stream(path) as out:
        # Without Arrow's own schema: what a reader sees is what any other writer would have left.
        pq.write_table(table, out, compression="zstd", use_dictionary=repeating, store_schema=False)


@contextmanager
def _replaced(files: pafs.FileSystem, folder: str) -> Iterator[str]:
    """A new folder beside `folder` that takes its place at the end, or vanishes if the body fails."""
    partial = f"{folder}.partial-{secrets.token_hex(4)}"
    try:
        for table in TABLES:
            files.create_dir(f"{partial}/{table}")
        yield partial
        if isinstance(files, pafs.LocalFileSystem):
            _swap(partial, folder)
        else:
            _move_objects(files, partial, folder)
    finally:
        if files.get_file_info(partial).type == pafs.FileType.Directory:
            files.delete_dir(partial)


def _swap(partial: str, folder: str) -> None:
    old = f"{partial}.old"
    if os.path.isdir(folder):
        os.rename(folder, old)
    os.rename(partial, folder)
    if os.path.isdir(old):
        pafs.LocalFileSystem().delete_dir(old)


def _move_objects(files: pafs.FileSystem, partial: str, folder: str) -> None:
    """An object store renames no folder: objects are moved one by one, after the old ones are gone."""
    if files.get_file_info(folder).type == pafs.FileType.Directory:
        files.delete_dir(folder)
    for info in files.get_file_info(pafs.FileSelector(partial, recursive=True)):
        target = folder + info.path.removeprefix(partial)
        if info.type == pafs.FileType.Directory:
            files.create_dir(target)
    for info in files.get_file_info(pafs.FileSelector(partial, recursive=True)):
        if info.type == pafs.FileType.File:
            files.move(info.path, folder + info.path.removeprefix(partial))
