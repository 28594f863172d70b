"""What an experiment holds of one user, and its erasure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from shutil import rmtree
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyiceberg.catalog import Catalog
from pyiceberg.table import Table

from exp_platform.config.environment import Environment
from exp_platform.tables.catalog import table
from exp_platform.tables.erasure import USER_LEVEL, Lies, content, delete_files, lying_files, rewrite_all
from exp_platform.tables.folders import (
    delete_file,
    delete_folder,
    files_below,
    folders_in,
    located,
    plain_path,
    read_file,
    run_folders,
    write_file,
)
from exp_platform.tables.mentions import Mentions, Texts, texts_of
from exp_platform.tables.schemas import RESULT_TABLES, TABLES
from exp_platform.tables.selection import selection
from exp_platform.tables.write import replace_rows

TOLD_OF = ("decisions", *RESULT_TABLES)  # whose texts may name a user
_RUN_ID = "forget"
_READ_BY_PEOPLE = (".md", ".json", ".svg", ".html", ".txt")
_THREADS = 4


@dataclass(frozen=True)
class Search:
    """A user: the id in its canonical form, then what else stands for it."""

    forms: tuple[str, ...]

    @property
    def mentions(self) -> Mentions:
        """How messages write it."""
        return Mentions(self.forms)

    def rows(self, found: pa.Table) -> Any:
        """Booleans: which rows are the user's."""
        return pc.is_in(found["user_id"], value_set=pa.array(self.forms, pa.string())).combine_chunks()

    def kept(self, found: pa.Table) -> pa.Table:
        """The other rows."""
        return found.filter(pc.invert(self.rows(found)))


@dataclass(frozen=True)
class Held:
    """What one experiment holds of a user."""

    experiment_id: str
    rows: dict[str, int]  # table -> rows that are read now; of result tables those whose text names him
    old_files: int = 0  # of older snapshots, in quarantine, or staged and never published
    raw_rows: int = 0  # of generated raw data
    memo_files: int = 0
    run_folders: int = 0  # all that there are, where anything else is held or one of them names him

    @property
    def anything(self) -> bool:
        """Whether there is anything to erase."""
        return bool(self.rows or self.old_files or self.raw_rows or self.memo_files or self.run_folders)

    @property
    def told(self) -> str:
        """In words."""
        counted = [(n, "row", f" of {name}") for name, n in self.rows.items()]
        counted += [
            (self.old_files, "file", " of older snapshots, in quarantine or never published"),
            (self.raw_rows, "row", " of generated raw data"),
            (self.memo_files, "file", " of the memo"),
            (self.run_folders, "run folder", ""),
        ]
        return ", ".join(f"{n:,} {what}{'s' * (n != 1)}{of}" for n, what, of in counted if n)


def known_experiments(environment: Environment, catalog: Catalog) -> list[str]:
    """All experiments of which anything lies anywhere, whether or not they were ever published."""
    found = {row["experiment_id"] for row in registry(catalog)}
    for name in (*USER_LEVEL, *TOLD_OF):
        found |= lying_files(environment, catalog, name).keys()
    found |= {folder.name for folder in run_folders(environment)}
    found |= {name.partition(".")[0] for name in raw_folders(environment)}
    return sorted(found)


def registered(catalog: Catalog, experiment_id: str) -> dict[str, Any] | None:
    """The experiment's row of the registry."""
    return next((row for row in registry(catalog, experiment_id)), None)


def held(
    environment: Environment, catalog: Catalog, search: Search, experiment_ids: Sequence[str]
) -> Iterator[Held]:
    """What each of these experiments holds of the user. Writes nothing."""
    only = experiment_ids[0] if len(experiment_ids) == 1 else None
    lying = {name: lying_files(environment, catalog, name, only) for name in (*USER_LEVEL, *TOLD_OF)}
    with ThreadPoolExecutor(_THREADS) as pool:
        for experiment_id in experiment_ids:
            names = USER_LEVEL if has_ids(registered(catalog, experiment_id)) else ()
            files = [f for name in (*names, *TOLD_OF) for f in lying[name].get(experiment_id, [])]
            sources = {f.table: table(catalog, f.table) for f in files}
            counts = list(pool.map(lambda f: _rows_in(sources[f.table], f, search), files))  # noqa: B023  used up here
            rows: dict[str, int] = {}
            for file, n in zip(files, counts, strict=True):
                if file.current and n:
                    rows[file.table] = rows.get(file.table, 0) + n
            old = sum(bool(n) for file, n in zip(files, counts, strict=True) if not file.current)
            yield _beside(environment, search, Held(experiment_id, rows, old))


def has_ids(row: dict[str, Any] | None) -> bool:
    """Whether an experiment's users have ids: those of a table without any are called by the numbers of its rows."""
    source = json.loads(row["spec"])["source"] if row else {}
    return source.get("kind") != "units" or "user_id" in source["table"]["columns"]


def erase(environment: Environment, catalog: Catalog, search: Search, experiment_id: str) -> None:
    """Erase all that an experiment holds of the user; the caller holds its lease."""
    row = registered(catalog, experiment_id)
    names: tuple[str, ...] = TOLD_OF
    if has_ids(row):
        rewrite_all(environment, catalog, experiment_id, row, search.kept, _RUN_ID)
        names = (*USER_LEVEL, *TOLD_OF)
    for name in TOLD_OF:
        redact(catalog, name, experiment_id, search.mentions, _RUN_ID)
    for folder in raw_folders(environment):
        if folder == experiment_id:
            _rewrite_raw(environment, folder, search)
        elif folder.startswith(f"{experiment_id}.partial-"):  # of a killed run
            delete_folder(environment, f"{raw_place(environment)}/{folder}")
    if (environment.runs_dir / experiment_id).is_dir():
        rmtree(environment.runs_dir / experiment_id)
    for place, said in _memo_files(environment, experiment_id):
        if place.endswith(".partial"):
            delete_file(environment, place)
        elif search.mentions.stand_in(said):
            change = search.mentions.removed_from_json if place.endswith(".json") else search.mentions.removed
            write_file(environment, place, change(said).encode())
    for name in names:
        lying = lying_files(environment, catalog, name, experiment_id).get(experiment_id, [])
        delete_files(environment, catalog, lying, lambda source, file: _rows_in(source, file, search) != 0)


def _rows_in(source: Table, file: Lies, search: Search) -> int:
    """Rows of a data file that are the user's, or name him; -1 of a file that is not whole, as a killed writer leaves it."""
    columns = ["user_id"] if file.table in USER_LEVEL else texts_of(TABLES[file.table].arrow_schema)
    found = content(source, file.path, columns)
    if found is None:
        return -1
    if file.table in USER_LEVEL:
        return int(pc.sum(search.rows(found)).as_py() or 0)
    if not any(search.mentions.may_stand_in(found[name]) for name in found.column_names):
        return 0
    rows = found.to_pylist()
    return sum(search.mentions.removed_from_row(row) != row for row in rows)


def _beside(environment: Environment, search: Search, found: Held) -> Held:
    """What lies beside the tables."""
    experiment_id = found.experiment_id
    raw = sum(
        int(pc.sum(search.rows(rows)).as_py() or 0)
        for folder in raw_folders(environment)
        if folder.partition(".")[0] == experiment_id
        for _, rows in _raw_files(environment, folder)
    )
    memos = sum(
        place.endswith(".partial") or search.mentions.stand_in(said)
        for place, said in _memo_files(environment, experiment_id)
    )
    found = replace(found, raw_rows=raw, memo_files=memos)
    runs = environment.runs_dir / experiment_id
    if not runs.is_dir() or not (found.anything or _named_in(runs, search.mentions)):
        return found
    return replace(found, run_folders=sum(path.is_dir() for path in runs.iterdir()))


def _named_in(folder: Path, mentions: Mentions) -> bool:
    return any(
        mentions.stand_in(path.read_text(errors="replace")) for path in folder.rglob("*") if path.is_file()
    )


def redact(catalog: Catalog, name: str, experiment_id: str, texts: Texts, run_id: str) -> None:
    """Take something out of the texts of one table's rows, in one commit."""
    rows = table(catalog, name).scan(selection({"experiment_id": experiment_id})).to_arrow()
    if not any(texts.may_stand_in(rows[column]) for column in texts_of(rows.schema)):
        return
    before = rows.to_pylist()
    after = [texts.removed_from_row(row) for row in before]
    if after != before:
        replace_rows(catalog, name, {"experiment_id": experiment_id}, after, run_id)


def raw_place(environment: Environment) -> str:
    """The folder of all generated raw data."""
    return f"{environment.raw_dir.rstrip('/')}/exp_platform"


def raw_folders(environment: Environment) -> list[str]:
    """The names of the folders of generated raw data, half-written ones among them."""
    return [place.rstrip("/").rpartition("/")[2] for place in folders_in(environment, raw_place(environment))]


def _raw_files(environment: Environment, folder: str) -> Iterator[tuple[str, pa.Table]]:
    place = f"{raw_place(environment)}/{folder}"
    for info in files_below(environment, place):
        if info.path.endswith(".parquet"):
            path = located(place, info.path)
            try:
                yield path, pq.read_table(pa.BufferReader(read_file(environment, path) or b""))
            except pa.ArrowInvalid:  # half-written
                continue


def _rewrite_raw(environment: Environment, folder: str, search: Search) -> None:
    for path, rows in _raw_files(environment, folder):
        left = search.kept(rows)
        if len(left) < len(rows):
            sink = pa.BufferOutputStream()
            pq.write_table(left, sink, compression="zstd", store_schema=False)
            write_file(environment, path, bytes(sink.getvalue()))


def _memo_files(environment: Environment, experiment_id: str) -> Iterator[tuple[str, str]]:
    """The memo's files that people read, and half-written ones, with their content."""
    folder = plain_path(environment.memos_dir)
    mine = (f"{folder}/{experiment_id}.", f"{folder}/.{experiment_id}.", f"{folder}/{experiment_id}/")
    for info in files_below(environment, environment.memos_dir):
        if info.path.startswith(mine) and info.path.endswith((*_READ_BY_PEOPLE, ".partial")):
            place = located(environment.memos_dir, info.path)
            yield place, (read_file(environment, place) or b"").decode(errors="replace")


def registry(catalog: Catalog, experiment_id: str | None = None) -> list[dict[str, Any]]:
    """What is published: all rows of the registry, or one experiment's."""
    scan = table(catalog, "experiment_registry").scan(
        selection({} if experiment_id is None else {"experiment_id": experiment_id})
    )
    return list(scan.to_arrow().to_pylist())
