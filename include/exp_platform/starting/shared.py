"""The tables of an events spec as a file that experiments share: the one that is there already, or a new one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exp_platform.config.environment import config_dir
from exp_platform.config.library import SOURCES, read_library
from exp_platform.starting.looked import slug
from exp_platform.starting.spec_text import source_text

_OF_THE_SPEC = ("kind", "key")
_ABOUT = ("id", "owner", "description")


@dataclass(frozen=True)
class SharedSource:
    """A source of the library: its id, its file, and the text that the file has, or is to have where it is `new`."""

    id: str
    path: Path
    text: str
    new: bool


def shared_source(source: dict[str, Any], locations: Sequence[str], owner: str) -> SharedSource:
    """The source of the library that has these tables, else a new one by a name that is free."""
    tables = {key: value for key, value in source.items() if key not in _OF_THE_SPEC}
    known = read_library(config_dir()).sources
    for definition in known.values():
        if definition.fault is None and _tables(definition.content) == tables:
            path = definition.file.path
            return SharedSource(definition.id, path, path.read_text(), new=False)
    guess = _name(locations[0])
    folder = config_dir() / SOURCES
    free = next(
        name
        for name in (guess, *(f"{guess}_{n}" for n in range(2, 1000)))
        if name not in known and not (folder / f"{name}.yaml").exists()
    )
    text = source_text(free, owner, tables, ", ".join(locations))
    return SharedSource(free, folder / f"{free}.yaml", text, new=True)


def _tables(content: Any) -> Any:
    return {key: value for key, value in content.items() if key not in _ABOUT}


def _name(location: str) -> str:
    """What the place of the data is called: the folder, or the namespace of a table."""
    path = Path(location.rstrip("/"))
    if "/" not in location and location.count(".") and not path.exists():
        return slug(location.rsplit(".", 1)[0].rsplit(".", 1)[-1]) or "source"
    return slug((path if path.is_dir() else path.absolute().parent).name) or "source"
