"""A file of configs as it was read: its name, its document, and faults told with their lines."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from exp_platform.config.environment import project_root
from exp_platform.config.faults import (
    MOST_FAULTS,
    Fault,
    Key,
    SpecError,
    Words,
    one_line,
    render_found,
    render_key,
)
from exp_platform.config.yaml_file import Document, Flaw, RefusedError
from exp_platform.config.yaml_traps import syntax_remedy

LONGEST_PATH = 500  # characters of a file's name in a message

_SUFFIXES = (".yaml", ".yml")
_NOT_STORED = re.compile("[\x00\ud800-\udfff]")
_KINDS: dict[type, str] = {list: "a list", str: "text"}


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

    def line(self, key: Key) -> int | None:
        """The line (from 1) of a key, or of the nearest thing around it that the file holds."""
        return self.document.line(key) if self.document and key else None

    def error(self, fault: Fault, experiment_id: str | None = None) -> SpecError:
        """A fault of this file, with its line."""
        return self.error_at(self.line(fault.key), fault, experiment_id)

    def error_at(self, line: int | None, fault: Fault, experiment_id: str | None = None) -> SpecError:
        """A fault at a line that is known otherwise, in one line of one_line length."""
        found, allowed = one_line(render_found(fault.found)), one_line(fault.allowed)
        return SpecError(self.name, render_key(fault.key), found, allowed, line, experiment_id)


def yaml_files(folder: Path) -> list[Path]:
    """Everything in a folder that has a config's name, whatever it is: what is no file is told when it is read."""
    try:
        return sorted(filter(_is_config, folder.iterdir())) if folder.is_dir() else []
    except OSError:
        return [folder]  # reading it will tell


def _is_config(path: Path) -> bool:
    return path.suffix in _SUFFIXES and not path.name.startswith(".")


def unread(path: Path, error: OSError) -> Fault:
    """Why a file could not be read."""
    if path.suffix not in _SUFFIXES:  # `yaml_files` could not list it
        return Fault((), Words("a folder that cannot be read"), "let the user that runs this read it")
    return Fault((), Words(error.strerror or str(error)), "a file that can be read is required")


def mapping_of(path: Path, text: bytes) -> SpecFile | SpecError:
    """The file with its document, which is a mapping; or why it is none."""
    try:
        document = Document(text)
    except yaml.YAMLError as error:
        return _not_yaml(SpecFile(path), error)
    file = SpecFile(path, document)
    if isinstance(document.data, dict):
        return file
    kind = type(document.data)
    found = "an empty file" if document.data is None else _KINDS.get(kind, kind.__name__)
    return file.error(Fault((), Words(found), "a mapping of keys to values is required"))


def _not_yaml(file: SpecFile, error: yaml.YAMLError) -> SpecError:
    mark = getattr(error, "problem_mark", None)
    line = None if mark is None else mark.line + 1
    if isinstance(error, RefusedError):
        return file.error_at(line, Fault((), Words(error.found), error.allowed))
    problem = getattr(error, "problem", None) or str(error).partition("\n")[0]
    return file.error_at(line, Fault((), Words("text that is not YAML"), syntax_remedy(problem)))


def refused(flaw: Flaw, depth: int = 0) -> Fault:
    """What is refused for how it is written, with its key from `depth` on."""
    return Fault(flaw.key[depth:], Words(one_line(flaw.found, 80)), flaw.allowed)


def together(flaws: Sequence[Fault], faults: Sequence[Fault]) -> list[Fault]:
    """All of them, without what else is wrong at the place of a flaw: it follows from how it is written."""
    flawed = {tuple(map(str, flaw.key)) for flaw in flaws}
    return [*flaws, *(fault for fault in faults if tuple(map(str, fault.key)) not in flawed)]


def not_foreseen(error: Exception) -> Fault:
    """For an error that no check foresaw: what it says, and whose fault it is."""
    remedy = "this is a fault of the platform's: report it with the file, and leave the file out meanwhile"
    return Fault((), Words(f"what cannot be read ({type(error).__name__}: {one_line(str(error))})"), remedy)


def most(faults: list[Fault]) -> list[Fault]:
    """As many as anybody reads, and that there are more."""
    if len(faults) <= MOST_FAULTS:
        return faults
    more = Fault((), Words(f"more than {MOST_FAULTS} faults"), "mend those above first")
    return [*faults[:MOST_FAULTS], more]


def unstorable(content: Any) -> list[Fault]:
    """Texts with a character that PostgreSQL or UTF-8 cannot hold: NUL, and half of a pair of UTF-16."""
    return [
        Fault(key, Words(f"a character {found}"), "no database stores it: leave it out")
        for key, found in _unstorable(content, (), set())
    ]


def _unstorable(value: Any, key: Key, seen: set[int]) -> Iterator[tuple[Key, str]]:
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
