"""Python, packages, Java, jars, disks and rights."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from itertools import islice
from pathlib import Path
from shlex import quote

from exp_platform import __version__
from exp_platform.config.environment import Environment, jars_dir, project_root
from exp_platform.doctor.finding import Finding, fault, ok, warning
from exp_platform.private_files import open_to_others
from exp_platform.spark.jar_checksums import wrong
from exp_platform.spark.submit import ARCHIVES

_PYTHONS = ((3, 11), (3, 13))  # the oldest and the newest
_JAVAS = (17, 21)
_NEEDED = ("pyspark", "pyiceberg", "pyarrow", "duckdb", "numpy", "pydantic", "sqlalchemy")
_SECONDS = 30  # in which Java says its version on a busy machine
_GB = 1_000_000_000
_MOST_PLACES = 5  # that one line names
_MOST_COUNTED = 10_000
_FULL, _NEARLY_FULL = 0.5 * _GB, 5 * _GB  # free bytes


def python() -> Finding:
    """Whether the platform runs on this Python."""
    oldest, newest = (".".join(map(str, one)) for one in _PYTHONS)
    found = f"{sys.version.split()[0]} at {sys.executable}"
    if _PYTHONS[0] <= sys.version_info[:2] <= _PYTHONS[1]:
        return ok("python", found)
    return fault("python", found, f"install one from {oldest} to {newest}, then PYTHON=python3.12 make setup")


def packages() -> Finding:
    """Whether the packages are those of the lock file."""
    installed = {name: _version(name) for name in _NEEDED}
    absent = [name for name, found in installed.items() if found is None]
    if absent:
        return fault("packages", f"{', '.join(absent)} not installed", "make setup")
    found = f"exp_platform {__version__}, " + ", ".join(f"{name} {one}" for name, one in installed.items())
    other = [
        f"{name} {have} (locked: {pin})"
        for name, pin in _locked().items()
        if (have := _version(name)) not in (None, pin)
    ]
    if other:
        return warning("packages", f"{found}; other than locked: {', '.join(other)}", "make setup")
    return ok("packages", found)


def _locked() -> dict[str, str]:
    """Package -> version of the lock file, for this Python and system; empty where there is no such file."""
    from packaging.requirements import InvalidRequirement, Requirement

    lock, pins = project_root() / "requirements.txt", {}
    for line in lock.read_text().splitlines() if lock.is_file() else ():
        try:
            wanted = Requirement(line.partition("#")[0].strip().rstrip("\\"))
        except InvalidRequirement:  # hashes, comments
            continue
        if wanted.marker is None or wanted.marker.evaluate():
            pins[wanted.name] = str(wanted.specifier).removeprefix("==")
    return pins


def java() -> Finding:
    """Whether Spark finds a Java that it runs on."""
    home = os.environ.get("JAVA_HOME")
    program = str(Path(home, "bin", "java")) if home else shutil.which("java")
    where = f"JAVA_HOME {home}" if home else "the PATH"
    remedy = (
        f"install Java {' or '.join(map(str, _JAVAS))} and set JAVA_HOME to its folder, which holds bin/java"
    )
    if program is None:
        return fault("java", "there is no java on the PATH and JAVA_HOME is not set", remedy)
    try:
        said = subprocess.run([program, "-version"], capture_output=True, text=True, timeout=_SECONDS).stderr
    except (OSError, subprocess.TimeoutExpired) as error:
        return fault("java", f"{program} (by {where}) does not start: {error}", remedy)
    number = re.search(r'version "(\d+)[^"]*"', said)
    if number is None:
        return fault("java", f"{program} (by {where}) says no version", remedy)
    if int(number[1]) not in _JAVAS:
        return fault("java", f"{program} (by {where}) is version {number[1]}", remedy)
    return ok("java", f"{number[0].removeprefix('version ')} at {program}")


def jars(environment: Environment) -> Iterator[Finding]:
    """Whether Spark has the jars it needs, for the Spark that is installed."""
    folder = jars_dir()
    runtimes = sorted(path.name for path in folder.glob("iceberg-spark-runtime-*.jar"))
    spark = ".".join((_version("pyspark") or "").split(".")[:2])
    fitting = [name for name in runtimes if name.startswith(f"iceberg-spark-runtime-{spark}_")]
    if not runtimes:
        yield fault("jars", f"{folder} has no iceberg-spark-runtime-*.jar", "make setup")
    elif not fitting:
        yield fault(
            "jars", f"{', '.join(runtimes)} is not for Spark {spark}", f"empty {folder}, then make setup"
        )
    elif len(runtimes) > 1:
        yield fault(
            "jars", f"{folder} has several: {', '.join(runtimes)}", f"leave the one for Spark {spark}"
        )
    else:
        yield ok("jars", f"{fitting[0]} in {folder}")
    for place, part, remedy in (
        (folder, "embedded", "make setup"),
        (folder / "cluster", "cluster", "make jars-cluster"),
    ):
        for jar in wrong(place, part):
            yield fault(
                "jars", f"{jar}: damaged, or not the file of this version", f"{remedy}, which replaces it"
            )
    slow = [name for name in ARCHIVES if not (folder / name).is_file()]
    if slow:
        yield warning("jars", f"{', '.join(slow)} missing: stages start seconds later", "make setup")
    needs_more = environment.uses_s3 or environment.catalog.kind == "postgres"
    if needs_more and not any((folder / "cluster").glob("*.jar")):
        yield warning(
            "jars", f"{folder}/cluster is empty: a Spark session cannot open the tables", "make jars-cluster"
        )


def disks(environment: Environment) -> Iterator[Finding]:
    """Whether the disks that are written to have room."""
    seen = set()
    for place in [*_places(environment).values(), Path(tempfile.gettempdir())]:
        there = _existing(place)
        device = there.stat().st_dev
        if device in seen:
            continue
        seen.add(device)
        usage = shutil.disk_usage(there)
        found = f"{usage.free / _GB:.1f} of {usage.total / _GB:.0f} GB are free at {there}"
        if usage.free < _FULL:
            yield fault("disk", found, "free some: nothing can be run")
        elif usage.free < _NEARLY_FULL:
            yield warning("disk", found, "free some, `exp maintain` removes what is of no use any more")
        else:
            yield ok("disk", found)


def rights(environment: Environment) -> Finding:
    """Whether this user may write all that a run writes."""
    refused = []
    for what, place in _places(environment).items():
        there = _existing(place)
        if not there.is_dir():
            refused.append(f"{there} (of {what}) is no folder")
            continue
        below = ("*/", "*/*/", "*/*/*/") if what == "warehouse" else ("*/",)  # to the folders of a table
        folders = [there, *(found for depth in below for found in place.glob(depth))]
        refused += [
            f"{folder} (of {what}) cannot be written"
            for folder in folders
            if not _may(folder, os.W_OK | os.X_OK)
        ]
    database = Path(environment.catalog.uri)
    if environment.catalog.kind == "sqlite":
        files = [Path(f"{database}{suffix}") for suffix in ("", "-wal", "-shm")]
        refused += [
            f"{file} cannot be written" for file in files if file.exists() and not _may(file, os.W_OK)
        ]
    if len(refused) > _MOST_PLACES:
        refused[_MOST_PLACES:] = [f"and {len(refused) - _MOST_PLACES} more"]
    if refused:
        return fault(
            "rights",
            "; ".join(refused),
            "let this user write there, or set EXP_STATE_DIR to another folder; results can be read all the same",
        )
    return ok(
        "rights", f"this user may write {environment.state_dir} and all other places of {environment.name}"
    )


def readers(environment: Environment) -> Finding:
    """Whether other users of the machine may read what is stored, as they may where an older version has written it."""
    named = sorted({place for place in _places(environment).values() if _is_reached(place)})
    places = [place for place in named if not set(place.parents) & set(named)]
    found = list(islice((file for place in places for file in open_to_others(place)), _MOST_COUNTED))
    if not found:
        return ok("readers", "no other user of this machine may read what is stored")
    many = f"at least {len(found):,}" if len(found) == _MOST_COUNTED else f"{len(found):,}"
    folders = " ".join(quote(str(place)) for place in places)
    return warning(
        "readers",
        f"every user of this machine may read {many} of the stored files, such as {found[0]}",
        f"chmod -R o-rwx,g-w {folders}",
    )


def _is_reached(place: Path) -> bool:
    """Whether others may come to a place at all: they may enter every folder above it."""
    return all(not above.exists() or above.stat().st_mode & stat.S_IXOTH for above in place.resolve().parents)


def _may(place: Path, rights: int) -> bool:
    return os.access(place, rights, effective_ids=os.access in os.supports_effective_ids)


def _places(environment: Environment) -> dict[str, Path]:
    """The local folders that a run writes to, by what they are."""
    named = {
        "raw_dir": environment.raw_dir,
        "warehouse": environment.warehouse.removeprefix("file://"),
        "memos_dir": environment.memos_dir,
    }
    places = {"state": environment.state_dir, "runs_dir": environment.runs_dir}
    if environment.catalog.kind == "sqlite":
        places["catalog"] = Path(environment.catalog.uri).parent
    return places | {what: Path(place) for what, place in named.items() if "://" not in place}


def _existing(place: Path) -> Path:
    """A path, or the nearest above it that is there: what is missing would be made in it."""
    return next(path for path in (place, *place.parents) if path.exists())


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
