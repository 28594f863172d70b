"""What experiments share: every file of `sources/` and `metrics/` beside the specs, read and checked.

A broken definition costs the experiments that use it and no other one. An id that two files have is broken in both: which
of them is meant, nobody can say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ValidationError

from exp_platform.config.faults import Fault, Key, SpecError, faults_of, suggest
from exp_platform.config.spec_file import (
    SpecFile,
    mapping_of,
    most,
    not_foreseen,
    refused,
    together,
    unread,
    unstorable,
    yaml_files,
)
from exp_platform.config.spec_library import MetricFileSpec, SourceFileSpec
from exp_platform.config.yaml_file import read_bounded

SOURCES, METRICS = "sources", "metrics"  # the folders
_OF_THE_FILE = ("owner", "description")  # of a file's metrics that do not say their own


class Definition(NamedTuple):
    """A source, metric or group as a file has it; `fault` is the first thing that is wrong with it."""

    id: str
    file: SpecFile
    key: Key
    content: Any  # the keys of a source or metric, the members of a group
    fault: SpecError | None = None

    @property
    def place(self) -> str:
        """The file and, where it is not all of it, the line."""
        line = self.file.line(self.key)
        return self.file.name if line is None else f"{self.file.name}:{line}"


Definitions = dict[str, Definition]


@dataclass(frozen=True)
class Library:
    """All definitions by their ids, and everything that is wrong with their files."""

    folder: Path
    sources: Definitions
    metrics: Definitions
    groups: Definitions
    errors: tuple[SpecError, ...] = ()

    def counted(self) -> str:
        """How many definitions without a fault there are, in words; empty where there are none."""
        kinds = (("sources", self.sources), ("metrics", self.metrics), ("groups", self.groups))
        valid = ((name, sum(d.fault is None for d in of.values())) for name, of in kinds)
        return ", ".join(f"{n} {name if n > 1 else name.removesuffix('s')}" for name, n in valid if n)


NO_LIBRARY = Library(Path(), {}, {}, {})


def library_files(folder: Path) -> list[Path]:
    """The files of a library: those of sources, then those of metrics, by name."""
    return [*yaml_files(folder / SOURCES), *yaml_files(folder / METRICS)]


def read_library(folder: Path) -> Library:
    """Read the library of a folder of configs; never raises for what its files hold."""
    reading = _Reading()
    for name, read in ((SOURCES, reading.source), (METRICS, reading.metrics)):
        for path in yaml_files(folder / name):
            reading.file(path, read)
    reading.check_groups()
    return Library(folder, *reading.found, tuple(reading.errors))


class _Reading:
    """What was read so far."""

    def __init__(self) -> None:
        self.found: tuple[Definitions, Definitions, Definitions] = ({}, {}, {})
        self.errors: list[SpecError] = []

    def file(self, path: Path, read: Callable[[SpecFile], None]) -> None:
        """Read one file, whatever it holds."""
        try:
            file = mapping_of(path, read_bounded(path))
            if isinstance(file, SpecError):
                self.errors.append(file)
            else:
                read(file)
        except OSError as error:
            self.errors.append(SpecFile(path).error(unread(path, error)))
        except Exception as error:  # one file must never take the others with it
            self.errors.append(SpecFile(path).error(not_foreseen(error)))

    def source(self, file: SpecFile) -> None:
        """The one source of a file."""
        faults = _faults(file, SourceFileSpec)
        self._tell(file, faults)
        data = _data(file)
        self._add(0, Definition(data.get("id", ""), file, (), data), faults)

    def metrics(self, file: SpecFile) -> None:
        """The metrics and groups of a file."""
        faults = _faults(file, MetricFileSpec)
        self._tell(file, faults)
        data = _data(file)
        said = {key: data[key] for key in _OF_THE_FILE if isinstance(data.get(key), str) and data[key]}
        metrics, groups = data.get("metrics"), data.get("groups")
        for position, content in enumerate(metrics if isinstance(metrics, list) else ()):
            if isinstance(content, dict):
                key: Key = ("metrics", position)
                self._add(1, Definition(content.get("id", ""), file, key, said | content), faults)
        for name, members in groups.items() if isinstance(groups, dict) else ():
            self._add(2, Definition(name, file, ("groups", name), members), faults)

    def check_groups(self) -> None:
        """That the metrics of groups are there, in whichever file."""
        _, metrics, groups = self.found
        for name, group in groups.items():
            for position, member in enumerate(group.content if group.fault is None else ()):
                id = member["metric"] if isinstance(member, dict) else member
                if id not in metrics:
                    remedy = f"no file of {METRICS}/ defines it; {suggest(id, metrics)}"
                    error = group.file.error(Fault((*group.key, position), id, remedy))
                    self.errors.append(error)
                    groups[name] = group._replace(fault=error)

    def _tell(self, file: SpecFile, faults: list[Fault]) -> None:
        self.errors += [file.error(fault) for fault in most(faults)]

    def _add(self, kind: int, definition: Definition, faults: list[Fault]) -> None:
        """Under its id, with the first of the file's faults that lies in it; nothing of what has no id."""
        known, depth = self.found[kind], len(definition.key)
        if not isinstance(definition.id, str) or not definition.id:
            return
        own = next((f for f in faults if f.key[:depth] == definition.key), None)
        if own is not None:
            definition = definition._replace(fault=definition.file.error(own))
        if (other := known.get(definition.id)) is not None:
            at = definition.key if kind == 2 else (*definition.key, "id")
            remedy = f"this id is taken by {other.place}: ids are unique over all files"
            error = definition.file.error(Fault(at, definition.id, remedy))
            self.errors.append(error)
            definition = other._replace(fault=error)
        known[definition.id] = definition


def _data(file: SpecFile) -> dict[Any, Any]:
    assert file.document is not None
    data: dict[Any, Any] = file.document.data
    return data


def _faults(file: SpecFile, model: type[BaseModel]) -> list[Fault]:
    """Everything that is wrong with a file by itself."""
    assert file.document is not None
    return together([refused(flaw) for flaw in file.document.flaws], list(_of_content(_data(file), model)))


def _of_content(content: dict[Any, Any], model: type[BaseModel]) -> Iterator[Fault]:
    yield from unstorable(content)
    try:
        model.model_validate(content)
    except ValidationError as error:
        yield from faults_of(error, model)
