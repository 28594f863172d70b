"""The catalog, every table behind it with its files, and the leases."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from pyarrow.fs import FileInfo
from pyiceberg.table import StaticTable

from exp_platform.config.analyses import RESULTS
from exp_platform.config.environment import Environment
from exp_platform.doctor.finding import Finding, fault, ok, warning
from exp_platform.tables.catalog import existing_catalog, refuse_lost
from exp_platform.tables.folders import files_below
from exp_platform.tables.forgotten import forgotten_of, requests
from exp_platform.tables.maintenance import KEEP
from exp_platform.tables.metadata_files import QUARANTINE, MetadataFile, data_files, first_line
from exp_platform.tables.quarantine import named_files, quarantined
from exp_platform.tables.repair import compared
from exp_platform.tables.schemas import NAMED, RETIRED, TABLES
from exp_platform.tables.sqlite_copy import is_damaged
from exp_platform.tables.standing import entries, known_views, leases
from exp_platform.tables.views import VIEWS

_LOOKS = 3  # at a table that is being written meanwhile


def catalog(environment: Environment) -> Finding:
    """Whether the catalog answers and knows what lies in the warehouse."""
    place = environment.catalog.uri
    if environment.catalog.kind == "sqlite" and is_damaged(Path(place)):
        return fault(
            "catalog",
            f"{place} is damaged",
            "`exp restore FILE`; without a backup move it away and `exp repair`",
        )
    known = entries(environment)
    refuse_lost(environment, TABLES.keys() - known.keys())
    if not known:
        return ok("catalog", f"{place} has no tables yet: nothing has been run")
    tables = known.keys() & TABLES.keys()
    return ok("catalog", f"{place} answers and knows {len(tables)} of {len(TABLES)} tables")


def views(environment: Environment) -> Finding:
    """Whether SQL finds the rows of each method under a name of its own."""
    if existing_catalog(environment) is None:
        return ok("views", "made with the tables")
    missing = sorted(VIEWS.keys() - known_views(environment))
    if not missing:
        return ok("views", f"{len(VIEWS)} of {RESULTS}, one per method")
    if environment.catalog.kind == "rest":
        return ok(
            "views",
            f"{environment.catalog.uri} holds or grants none of {', '.join(missing)}: `WHERE method = ...` finds their rows, joined as "
            "docs/05 says",
        )
    return warning("views", f"not there: {', '.join(missing)}", "nothing: the next run makes them")


def standing_leases(environment: Environment) -> Iterator[Finding]:
    """Who runs what, and whose lease has been without a heartbeat for longer than it lives."""
    held = leases(environment)
    for lease in held:
        said = f"{lease.experiment_id} is held by {lease.holder}, last heartbeat {lease.heartbeat:%Y-%m-%d %H:%M:%S} UTC"
        if lease.fresh:
            yield ok("leases", said)
        else:
            yield warning(
                "leases", f"{said}, long ago", f"the next run takes it, or `exp unlock {lease.experiment_id}`"
            )
    if not held:
        yield ok("leases", "nothing is being run")


def forgotten(environment: Environment) -> Iterator[Finding]:
    """Who is to be forgotten: whether the key of the list is there, and every request was carried out."""
    known = requests(environment)
    if not known:
        return
    forgotten_of(environment, known[0].experiment_id)  # raises where the key is not the list's
    open_ = [request for request in known if request.finished_at is None]
    for request in open_:
        yield warning(
            "forgotten users",
            f"a request of {request.requested_at:%Y-%m-%d %H:%M} UTC is not finished: {'; '.join(request.remaining)}",
            "the same `exp forget` again",
        )
    if not open_:
        yield ok(
            "forgotten users",
            f"{len(known)} requests, the newest of {known[-1].requested_at:%Y-%m-%d}; older copies of warehouse and raw data "
            "hold these users",
        )


def tables(environment: Environment) -> Iterator[Finding]:
    """Whether every table's metadata, manifests and data files are there, and what lies there that nothing names."""
    for name in TABLES:
        yield from _table(environment, name)
    try:
        yield from _registered(environment)
    except Exception as error:
        yield fault(
            "published data", f"cannot be told: {first_line(error)}", "mend the tables first, see their lines"
        )


def _registered(environment: Environment) -> Iterator[Finding]:
    """Whether the snapshots that readers are sent to by the registry are there, with their files."""
    known = entries(environment)
    if not {"experiment_registry", "exposures", "outcomes"} <= known.keys():
        return
    properties = environment.pyiceberg_properties()
    registry = StaticTable.from_metadata(known["experiment_registry"], properties)
    bad = []
    rows = registry.scan().to_arrow().to_pylist()
    for name in sorted(known.keys() & set(NAMED)):
        source = StaticTable.from_metadata(entries(environment)[name], properties)
        lying = {info.path for info in files_below(environment, source.location())}
        for row in rows:
            if (number := row.get(f"{name}_snapshot")) is None:  # published by a version without this table
                continue
            snapshot = source.snapshot_by_id(number)
            key = f"experiment_id={row['experiment_id']}/"
            wanted = data_files(source.io, snapshot) if snapshot else {}
            if snapshot is None or any(key in path and path not in lying for path in wanted):
                bad.append(row["experiment_id"])
    if bad:
        yield fault(
            "published data",
            f"the snapshots that the registry names, or files of them, are missing for {', '.join(sorted(set(bad)))}",
            f"`exp run {bad[0]} --force`",
        )
    else:
        aged = sum(row.get("user_level_deleted_on") is not None for row in rows)
        rule = f"; of {aged} the rule of retention has deleted the rows of single users" if aged else ""
        yield ok("published data", f"of {len(rows)} experiments is there{rule}")


def _table(environment: Environment, name: str) -> list[Finding]:
    findings: list[Finding] = []
    for _ in range(_LOOKS):
        entry = entries(environment).get(name)
        try:
            findings = list(_looked_at(environment, name, entry))
        except FileNotFoundError as error:  # a manifest: in quarantine, or gone since the look before
            findings = [fault(f"table {name}", first_line(error), "`exp repair`")]
        if all(one.state == "ok" for one in findings) or entries(environment).get(name) == entry:
            break
    return findings


def _looked_at(environment: Environment, name: str, entry: str | None) -> Iterator[Finding]:
    check = f"table {name}"
    state, found, named = compared(environment, name, entry)
    for word in found.words:
        yield warning(check, word, "nothing, unless this table has a fault too")
    newest = found.newest.location if found.newest else "none that can be used"
    if state == "lost":
        yield fault(
            check, f"the catalog does not know it, and {newest} lies in the warehouse", "`exp repair`"
        )
    elif state == "broken":
        remedy = "`exp repair`" if found.newest else "bring its files back from a copy of the warehouse"
        yield fault(
            check, f"{entry}, or a manifest behind it, is missing or cut; the newest is {newest}", remedy
        )
    elif state == "behind":
        remedy = "`exp repair --forward` if an older catalog was restored; else a commit was killed, and nothing is wrong"
        yield warning(check, f"{newest} is newer than the catalog's entry {entry}", remedy)
    elif state == "apart":
        yield warning(
            check,
            f"{newest} is newer than the catalog's entry {entry}, of another history",
            "run again what is missing",
        )
    if named is not None and entry is not None and state != "broken":
        yield from _content(environment, name, entry, named)


def _content(environment: Environment, name: str, entry: str, named: MetadataFile) -> Iterator[Finding]:
    check = f"table {name}"
    source = StaticTable.from_metadata(entry, environment.pyiceberg_properties())
    # What is committed while the files are listed is not missing: the listing comes after the entry.
    lying = {info.path: info for info in files_below(environment, source.location())}
    wanted = data_files(source.io, named.metadata.current_snapshot())
    bad = {path: size for path, size in wanted.items() if path not in lying or lying[path].size != size}
    if bad:
        yield _missing(check, sorted(bad), quarantined(environment, source).values())
    else:
        snapshots = len(named.metadata.snapshots)
        yield ok(check, f"{len(wanted)} data files, {sum(wanted.values()):,} bytes, {snapshots} snapshots")
    yield from _columns(check, name, named)
    lost: set[str] = set()
    known = named_files(source, lost=lost)
    if lost:
        yield warning(
            check,
            f"older snapshots cannot be read: {min(lost)} is missing",
            "nothing; runs of before cannot go on",
        )
    inside = f"/{QUARANTINE}/"
    yield from _orphans(
        name, [info for path, info in lying.items() if path not in known and inside not in path]
    )
    aside = [info for path, info in lying.items() if inside in path]
    if aside:
        yield ok(
            f"quarantine {name}",
            f"{_amount(aside)}, which maintenance deletes {KEEP.days} days after it moved them",
        )


def _missing(check: str, bad: list[str], aside: object) -> Finding:
    experiments = sorted(
        {part.partition("=")[2] for path in bad for part in path.split("/") if "experiment_id=" in part}
    )
    whose = (
        f" of {', '.join(experiments[:5])}{' and others' if len(experiments) > 5 else ''}"
        if experiments
        else ""
    )
    remedy = "run again"
    if experiments:
        remedy = (
            f"`exp run {experiments[0]} --force`; where that fails too, `exp delete {experiments[0]}` first"
        )
    if set(bad) & set(aside):  # type: ignore[call-overload]
        return fault(
            check,
            f"{len(bad)} data files{whose} are in quarantine, such as {bad[0]}",
            "`exp repair` moves them back",
        )
    return fault(
        check,
        f"{len(bad)} data files{whose} are missing or cut, such as {bad[0]}",
        f"bring them back from a copy of the warehouse, or {remedy}",
    )


def _columns(check: str, name: str, named: MetadataFile) -> Iterator[Finding]:
    have, want = set(named.metadata.schema().column_names), set(TABLES[name].arrow_schema.names)
    have = {column for column in have if "." not in column}  # parts of lists and maps
    if want - have:
        yield warning(
            check,
            f"lacks the columns {', '.join(sorted(want - have))}: an older version of the platform made it",
            "nothing, the next run adds them",
        )
    if unknown := have - want - RETIRED.get(name, frozenset()):
        yield warning(
            check,
            f"has columns that this version does not know: {', '.join(sorted(unknown))}",
            "if a newer version made them, run and maintain with that one: this one refuses to write beside it",
        )


def _orphans(name: str, files: list[FileInfo]) -> Iterator[Finding]:
    if files:
        before = datetime.now(UTC) - KEEP
        old = sum(info.mtime < before for info in files)
        yield ok(
            f"orphans {name}",
            f"{_amount(files)}, which no snapshot names; the next maintenance quarantines {old} of them",
        )


def _amount(files: list[FileInfo]) -> str:
    return f"{len(files)} files, {sum(info.size for info in files):,} bytes"
