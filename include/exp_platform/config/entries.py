"""The experiments that one file holds: found, checked and resolved, each by itself."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from exp_platform.config.environment import project_root
from exp_platform.config.experiment import Experiment
from exp_platform.config.faults import (
    MOST_FAULTS,
    NOTHING,
    UNKNOWN_KEY,
    Fault,
    Key,
    SpecError,
    Words,
    faults_of,
    one_line,
    render_found,
    render_key,
    suggest,
)
from exp_platform.config.spec import ExperimentSpec
from exp_platform.config.spec_base import ID_PATTERN
from exp_platform.config.spec_checks import spec_faults
from exp_platform.config.spec_flat import FlatSpec
from exp_platform.config.yaml_file import Document, Flaw, RefusedError
from exp_platform.config.yaml_traps import syntax_remedy

LONGEST_PATH = 500  # characters of a file's name in a message
FOLDER = "experiments"  # its files hold one full spec each; any other file may hold entries
ID_REMEDY = f"allowed: an id that matches {ID_PATTERN}"

_ID = re.compile(ID_PATTERN)
_FULL_KEYS = {"source", "variants", "metrics", "window"}  # any of them makes an entry a full spec
_FILE_KEYS = ("environment", "experiments")
_NOT_STORED = re.compile("[\x00\ud800-\udfff]")
_KINDS: dict[type, str] = {list: "a list", str: "text"}


def is_id(text: str) -> bool:
    """Whether a text may be an experiment's id."""
    return _ID.fullmatch(text) is not None


@dataclass(frozen=True)
class SpecFile:
    """A file that was read; `document` is None where it is not YAML."""

    path: Path
    document: Document | None = None

    @property
    def name(self) -> str:
        """As messages and memos show it: from the project's root where it lies there."""
        try:
            path = self.path.resolve()
        except (OSError, RuntimeError):  # links in a circle
            path = self.path.absolute()
        root = project_root()
        return one_line(str(path.relative_to(root) if path.is_relative_to(root) else path), LONGEST_PATH)

    def error(self, fault: Fault, experiment_id: str | None = None) -> SpecError:
        """A fault of this file, with its line."""
        line = self.document.line(fault.key) if self.document and fault.key else None
        return self.error_at(line, fault, experiment_id)

    def error_at(self, line: int | None, fault: Fault, experiment_id: str | None = None) -> SpecError:
        """A fault at a line that is known otherwise, in one line of one_line length."""
        found, allowed = one_line(render_found(fault.found)), one_line(fault.allowed)
        return SpecError(self.name, render_key(fault.key), found, allowed, line, experiment_id)


@dataclass(frozen=True)
class Entry:
    """One experiment as it stands in a file, unchecked; `key` is where it stands ((): it is the whole file)."""

    file: SpecFile
    document: Document
    key: Key
    id: Any
    content: Any

    def errors(self, faults: Iterable[Fault]) -> Iterator[SpecError]:
        """Faults of this entry (keys relative to it) as faults of its file."""
        known_id = self.id if isinstance(self.id, str) else None
        for key, found, allowed in _most(list(faults)):
            yield self.file.error(Fault((*self.key, *key), found, allowed), known_id)


def _most(faults: list[Fault]) -> list[Fault]:
    """As many as anybody reads, and that there are more."""
    if len(faults) <= MOST_FAULTS:
        return faults
    more = Fault((), Words(f"more than {MOST_FAULTS} faults"), "mend those above first")
    return [*faults[:MOST_FAULTS], more]


def entries_of(path: Path, text: bytes) -> tuple[list[Entry], list[SpecError]]:
    """The experiments of one file, unchecked, and what is wrong with the file around them. Never raises."""
    try:
        return _entries_of(path, text)
    except Exception as error:  # one file must never take the others with it
        return [], [SpecFile(path).error(not_foreseen(error))]


def not_foreseen(error: Exception) -> Fault:
    """For an error that no check foresaw: what it says, and whose fault it is."""
    remedy = "this is a fault of the platform's: report it with the file, and leave the file out meanwhile"
    return Fault((), Words(f"what cannot be read ({type(error).__name__}: {one_line(str(error))})"), remedy)


def _entries_of(path: Path, text: bytes) -> tuple[list[Entry], list[SpecError]]:
    try:
        document = Document(text)
    except yaml.YAMLError as error:
        return [], [_not_yaml(SpecFile(path), error)]
    file = SpecFile(path, document)
    data = document.data
    if not isinstance(data, dict):
        found = "an empty file" if data is None else _KINDS.get(type(data), type(data).__name__)
        return [], [file.error(Fault((), Words(found), "a mapping of keys to values is required"))]
    if path.parent.name == FOLDER or "id" in data:
        return [Entry(file, document, (), data.get("id"), data)], []
    faults = [
        Fault((key,), UNKNOWN_KEY, suggest(str(key), _FILE_KEYS)) for key in data if key not in _FILE_KEYS
    ]
    faults += [_refused(flaw) for flaw in document.flaws if not _is_inside_an_entry(flaw.key)]
    if not isinstance(data.get("environment", ""), str):
        faults.append(Fault(("environment",), data["environment"], "allowed: the name of an environment"))
    experiments = data.get("experiments", NOTHING)
    if not isinstance(experiments, dict):
        faults.append(
            Fault(("experiments",), experiments, "a mapping of experiment ids to their keys is required")
        )
        experiments = {}
    entries = [
        Entry(file, document, ("experiments", key), key, content) for key, content in experiments.items()
    ]
    return entries, [file.error(fault) for fault in _most(faults)]


def _is_inside_an_entry(key: Key) -> bool:
    """Whether a place lies in what `resolve` checks; keys that `<<` brings stand elsewhere too."""
    return len(key) > 1 and key[0] == "experiments" and key[1] != "<<"


def _refused(flaw: Flaw, depth: int = 0) -> Fault:
    return Fault(flaw.key[depth:], Words(one_line(flaw.found, 80)), flaw.allowed)


def _not_yaml(file: SpecFile, error: yaml.YAMLError) -> SpecError:
    mark = getattr(error, "problem_mark", None)
    line = None if mark is None else mark.line + 1
    if isinstance(error, RefusedError):
        return file.error_at(line, Fault((), Words(error.found), error.allowed))
    problem = getattr(error, "problem", None) or str(error).partition("\n")[0]
    return file.error_at(line, Fault((), Words("text that is not YAML"), syntax_remedy(problem)))


def resolve(entry: Entry) -> Experiment | list[Fault]:
    """The experiment of one entry, or everything that is wrong with it. Never raises."""
    try:
        flaws = [_refused(flaw, len(entry.key)) for flaw in entry.document.flaws_within(entry.key)]
        result = _resolve(entry)
    except Exception as error:  # one experiment must never take the others with it
        return [not_foreseen(error)]
    if not flaws:
        return result
    # What else is wrong at the same place follows from how it is written.
    refused = {tuple(map(str, fault.key)) for fault in flaws}
    others = [] if isinstance(result, Experiment) else result
    return flaws + [fault for fault in others if tuple(map(str, fault.key)) not in refused]


def _resolve(entry: Entry) -> Experiment | list[Fault]:
    faults: list[Fault] = []
    content = entry.content
    if not isinstance(content, dict):
        return [*faults, Fault((), content, "a mapping of keys is required")]
    if entry.key:
        if not isinstance(entry.id, str) or not is_id(entry.id):
            faults.append(Fault((), entry.id, f"{ID_REMEDY} (quote it if it is a number)"))
            content = {**content, "id": "_"}
        elif content.get("id", entry.id) != entry.id:
            faults.append(
                Fault(("id",), content["id"], f"allowed: {entry.id}, the entry's own key, or leave it out")
            )
        content = {"id": entry.id, **content} if "id" not in content else content
    faults += [
        Fault(key, Words(f"a character {found}"), "no database stores it: leave it out")
        for key, found in _unstorable(content, (), set())
    ]
    flat = bool(entry.key) and not _FULL_KEYS & content.keys()
    model = FlatSpec if flat else ExperimentSpec
    try:
        written = model.model_validate(content)
    except ValidationError as error:
        return [*faults, *faults_of(error, model)]
    spec = written.spread() if isinstance(written, FlatSpec) else written
    found = islice(spec_faults(spec), MOST_FAULTS + 1)  # each may search many names for a like one
    faults += [_flat_key(fault) if flat else fault for fault in found]
    return faults or spec.resolve(entry.file.name)


def _unstorable(value: Any, key: Key, seen: set[int]) -> Iterator[tuple[Key, str]]:
    """Texts with a character that PostgreSQL or UTF-8 cannot hold: NUL, and half of a pair of UTF-16."""
    if isinstance(value, str):
        if found := _NOT_STORED.search(value):
            yield key, f"U+{ord(found[0]):04X}"
    # An alias may stand many times, and in itself
    elif isinstance(value, (dict, list)) and id(value) not in seen:
        seen.add(id(value))
        if isinstance(value, dict):
            for name, inner in value.items():
                yield from _unstorable(name, key, seen)
                yield from _unstorable(inner, (*key, str(name)), seen)
        else:
            for position, inner in enumerate(value):
                yield from _unstorable(inner, (*key, position), seen)


def _flat_key(fault: Fault) -> Fault:
    """Flat keys stand where a full spec has `source` around them."""
    return Fault(fault.key[1:] if fault.key[:1] == ("source",) else fault.key, fault.found, fault.allowed)
