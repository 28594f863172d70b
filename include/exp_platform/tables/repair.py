"""A catalog whose entries were lost: each table's newest metadata file is registered again.

The catalog holds one line per table, the name of its newest metadata file; everything else lies in the table's folder.
"""

from __future__ import annotations

from datetime import UTC, datetime

from pyiceberg.catalog import Catalog
from pyiceberg.table.metadata import TableMetadataUtil

from exp_platform.config.environment import Environment
from exp_platform.tables.catalog import connected_catalog, has_content
from exp_platform.tables.folders import move_file, plain_path, read_file
from exp_platform.tables.metadata_files import QUARANTINE, Lying, MetadataFile, lying, opens
from exp_platform.tables.quarantine import put_back
from exp_platform.tables.schemas import NAMESPACE, TABLES, table_location
from exp_platform.tables.standing import entries, refuse_while_running


def repair(environment: Environment, forward: bool = False) -> list[str]:
    """Register the newest metadata of every table that the catalog does not know or knows by a missing file.

    An entry that works is left alone; with `forward` it is moved to a newer metadata file that follows from it, as
    after the restore of an older backup. Returns what was done, in lines. Raises LeaseError while an experiment runs.
    """
    refuse_while_running(environment, "`exp repair`")
    catalog = connected_catalog(environment)
    catalog.create_namespace_if_not_exists(NAMESPACE)
    known = entries(environment)
    told = [
        line for name in TABLES for line in _repaired(environment, catalog, name, known.get(name), forward)
    ]
    return told or [f"no table lies in {environment.warehouse}/{NAMESPACE}: there is nothing to repair"]


def compared(
    environment: Environment, name: str, entry: str | None
) -> tuple[str, Lying, MetadataFile | None]:
    """How a table's entry stands to what lies in its folder, what lies there, and the entry's own file, read.

    absent: neither is there; lost: no entry, and files; broken: an entry whose file, or a manifest behind it, is missing
    or unreadable; behind: an entry that works, and a newer file that follows from it; apart: a newer file that does not;
    works.
    """
    found = lying(environment, table_location(environment, name))
    if entry is None:
        return ("lost" if found.newest or found.words else "absent"), found, None
    named = _named(environment, entry)
    if named is None:
        return "broken", found, None
    newest = found.newest
    if newest is None or newest.age < named.age:  # the entry's own was passed over
        return "broken", found, named
    if plain_path(newest.location) == plain_path(entry):
        return "works", found, named
    if not opens(environment, table_location(environment, name), named):
        return "broken", found, named
    return ("behind" if _follows(newest, named) else "apart"), found, named


def _repaired(
    environment: Environment, catalog: Catalog, name: str, entry: str | None, forward: bool
) -> list[str]:
    state, found, named = compared(environment, name, entry)
    words = [f"{name}: {word}" for word in found.words]
    if state == "absent":
        return []
    if state in ("works", "behind", "apart") and (returned := put_back(environment, catalog, name)):
        words.append(f"{name}: {returned} files that it names were in quarantine, and are back")
    if state == "works":
        return [*words, f"{name}: the catalog's entry works and is the newest; left as it is"]
    newest = found.newest
    if newest is None and not has_content(environment, name):
        if entry is not None:
            catalog.drop_table((NAMESPACE, name))
        return [*words, f"{name}: held nothing yet; the next run makes it"]
    if newest is None:
        return [
            *words,
            f"{name}: no metadata file can be used: bring the files in {table_location(environment, name)} back",
        ]
    if state == "apart":
        return [
            *words,
            f"{name}: left as it is. {newest.location} is newer than the catalog's entry {entry} and does not follow from it: "
            "the table was written to after an older catalog was restored. Run again what is missing",
        ]
    if state == "behind" and not forward:
        assert named is not None
        return [
            *words,
            f"{name}: left as it is, the catalog's entry works: {_when(named)}. {newest.location} is newer, {_when(newest)}: "
            "`exp repair --forward` takes it, if an older catalog was restored and nothing has run since",
        ]
    registered = _register(environment, catalog, name, newest, replaces=entry is not None)
    instead = (
        ""
        if entry is None
        else f" instead of {entry}{', which is missing or cut' if state == 'broken' else ''}"
    )
    return [*words, f"{name}: {registered} is registered{instead}: {_when(newest)}"]


def _register(
    environment: Environment, catalog: Catalog, name: str, newest: MetadataFile, replaces: bool
) -> str:
    location = newest.location
    folder = table_location(environment, name)
    if plain_path(location).startswith(f"{plain_path(folder)}/{QUARANTINE}/"):
        location = f"{folder}/metadata/{location.rsplit('/', 1)[1]}"
        move_file(environment, newest.location, location)
    if replaces:
        catalog.drop_table((NAMESPACE, name))  # only the entry; a repair that dies here is done again
    catalog.register_table((NAMESPACE, name), location)
    put_back(environment, catalog, name)
    return location


def _follows(newer: MetadataFile, older: MetadataFile) -> bool:
    """Whether a file was made from the other, so that taking it instead loses nothing.

    Its log of metadata files says so, and where that is too short the snapshots; these may have expired since.
    """
    current = older.metadata.current_snapshot()
    if current is None:  # such as a table that was made anew in the folder of a lost one, and not written to
        return True
    if newer.metadata.table_uuid != older.metadata.table_uuid:
        return False
    made_from = {plain_path(entry.metadata_file) for entry in newer.metadata.metadata_log}
    return (
        plain_path(older.location) in made_from
        or newer.metadata.snapshot_by_id(current.snapshot_id) is not None
    )


def _named(environment: Environment, entry: str) -> MetadataFile | None:
    """The file that an entry names, where it can be read."""
    content = read_file(environment, entry)
    if content is None:
        return None
    try:
        return MetadataFile(entry, TableMetadataUtil.parse_raw(content.decode()))
    except Exception:  # whatever JSON and pydantic say of a cut file
        return None


def _when(file: MetadataFile) -> str:
    written = datetime.fromtimestamp(file.metadata.last_updated_ms / 1000, UTC)
    snapshots = len(file.metadata.snapshots)
    return f"written {written:%Y-%m-%d %H:%M:%S} UTC, {snapshots} snapshot{'' if snapshots == 1 else 's'}"
