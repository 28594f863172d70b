"""The experiments that one file holds: found, checked and resolved, each by itself."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from exp_platform.config.experiment import Experiment
from exp_platform.config.faults import (
    MOST_FAULTS,
    NOTHING,
    UNKNOWN_KEY,
    Fault,
    Key,
    SpecError,
    faults_of,
    suggest,
)
from exp_platform.config.library import NO_LIBRARY, Library
from exp_platform.config.library_use import Substituted, substituted
from exp_platform.config.spec import ExperimentSpec
from exp_platform.config.spec_base import ID_PATTERN
from exp_platform.config.spec_checks import spec_faults
from exp_platform.config.spec_file import (
    SpecFile,
    mapping_of,
    most,
    not_foreseen,
    refused,
    together,
    unstorable,
)
from exp_platform.config.spec_flat import FlatSpec
from exp_platform.config.yaml_file import Document

FOLDER = "experiments"  # its files hold one full spec each; any other file may hold entries
ID_REMEDY = f"allowed: an id that matches {ID_PATTERN}"

_ID = re.compile(ID_PATTERN)
_FULL_KEYS = {"source", "variants", "metrics", "window"}  # any of them makes an entry a full spec
_FILE_KEYS = ("environment", "experiments")


def is_id(text: str) -> bool:
    """Whether a text may be an experiment's id."""
    return _ID.fullmatch(text) is not None


def _nothing_shared() -> Library:
    return NO_LIBRARY


@dataclass(frozen=True)
class Entry:
    """One experiment as it stands in a file, unchecked; `key` is where it stands ((): it is the whole file)."""

    file: SpecFile
    document: Document
    key: Key
    id: Any
    content: Any
    library: Callable[[], Library] = lambda: NO_LIBRARY

    @cached_property
    def used(self) -> Substituted:
        """The content with what it uses of the library."""
        return substituted(self.content, self.file.path.parent, self.library)

    def errors(self, faults: Iterable[Fault]) -> Iterator[SpecError]:
        """Faults of this entry (keys relative to it) as faults of its file."""
        known_id = self.id if isinstance(self.id, str) else None
        for key, found, allowed in most(list(faults)):
            yield self.file.error(Fault((*self.key, *key), found, allowed), known_id)


def entries_of(path: Path, text: bytes) -> tuple[list[Entry], list[SpecError]]:
    """The experiments of one file, unchecked, and what is wrong with the file around them. Never raises."""
    try:
        return _entries_of(path, text)
    except Exception as error:  # one file must never take the others with it
        return [], [SpecFile(path).error(not_foreseen(error))]


def _entries_of(path: Path, text: bytes) -> tuple[list[Entry], list[SpecError]]:
    file = mapping_of(path, text)
    if isinstance(file, SpecError):
        return [], [file]
    assert file.document is not None
    document, data = file.document, file.document.data
    if path.parent.name == FOLDER or "id" in data:
        return [Entry(file, document, (), data.get("id"), data)], []
    faults = [
        Fault((key,), UNKNOWN_KEY, suggest(str(key), _FILE_KEYS)) for key in data if key not in _FILE_KEYS
    ]
    faults += [refused(flaw) for flaw in document.flaws if not _is_inside_an_entry(flaw.key)]
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
    return entries, [file.error(fault) for fault in most(faults)]


def _is_inside_an_entry(key: Key) -> bool:
    """Whether a place lies in what `resolve` checks; keys that `<<` brings stand elsewhere too."""
    return len(key) > 1 and key[0] == "experiments" and key[1] != "<<"


def resolve(entry: Entry) -> Experiment | list[Fault]:
    """The experiment of one entry, or everything that is wrong with it. Never raises."""
    try:
        flaws = [refused(flaw, len(entry.key)) for flaw in entry.document.flaws_within(entry.key)]
        result = _resolve(entry)
    except Exception as error:  # one experiment must never take the others with it
        return [not_foreseen(error)]
    if isinstance(result, Experiment):
        return flaws or result
    return together(flaws, result)


def _resolve(entry: Entry) -> Experiment | list[Fault]:
    used = entry.used
    content = used.content
    if not isinstance(content, dict):
        return [Fault((), content, "a mapping of keys is required")]
    faults: list[Fault] = []
    if entry.key:
        if not isinstance(entry.id, str) or not is_id(entry.id):
            faults.append(Fault((), entry.id, f"{ID_REMEDY} (quote it if it is a number)"))
            content = {**content, "id": "_"}
        elif content.get("id", entry.id) != entry.id:
            faults.append(
                Fault(("id",), content["id"], f"allowed: {entry.id}, the entry's own key, or leave it out")
            )
        content = {"id": entry.id, **content} if "id" not in content else content
    faults += unstorable(content)
    flat = bool(entry.key) and not _FULL_KEYS & content.keys()
    model = FlatSpec if flat else ExperimentSpec
    try:
        written = model.model_validate(content)
    except ValidationError as error:
        return _together_with(used, faults + faults_of(error, model))
    if used.faults:
        return _together_with(used, faults)
    spec = written.spread() if isinstance(written, FlatSpec) else written
    found = islice(spec_faults(spec), MOST_FAULTS + 1)  # each may search many names for a like one
    faults += [_flat_key(fault) if flat else fault for fault in found]
    if faults:
        return [used.placed(fault) for fault in faults]
    return spec.resolve(entry.file.name, used.shared, used.source_file)


def _together_with(used: Substituted, faults: list[Fault]) -> list[Fault]:
    """The faults, of what is used first; what could not be put in is no further fault of its part of the spec."""
    left_out = {fault.key[0] for fault in used.faults}
    return [*used.faults, *(used.placed(f) for f in faults if not f.key or f.key[0] not in left_out)]


def _flat_key(fault: Fault) -> Fault:
    """Flat keys stand where a full spec has `source` around them."""
    return Fault(fault.key[1:] if fault.key[:1] == ("source",) else fault.key, fault.found, fault.allowed)
