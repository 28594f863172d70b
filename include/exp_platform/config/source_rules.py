"""What an environment lets the locations of specs be: which variables they may name, and under which roots they may lie.

A spec's author is not whoever runs the platform. Without these rules a location prints any variable of the process
(`${AWS_SECRET_ACCESS_KEY}` in a message that says where no file is), and reads any file that its user may read.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Annotated, Any

from pydantic import Field

VariableName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
Root = Annotated[str, Field(min_length=1)]

OWN = "EXP_"  # how names of variables begin that need not be declared
_LOOKS_SECRET = re.compile(
    r"secret|passw|passphrase|pwd|token|credential|fernet|jwt|salt|pepper|private|dsn|conn(_|$)|(^|_)(api_?)?keys?(_|$)",
    re.IGNORECASE,
)
_S3 = re.compile(r"s3[an]?://")
_GLOB = re.compile(r"[*?\[]")


@dataclass(frozen=True)
class SourceRules:
    """The rules of one environment; `roots` are absolute paths or URIs, None: files may lie anywhere."""

    file: str = "configs/environments"  # where variables and roots are declared
    variables: frozenset[str] = frozenset()
    secrets: frozenset[str] = frozenset()  # variables that hold one, as the environment says itself
    roots: tuple[str, ...] | None = None

    def may_name(self, variable: str) -> bool:
        """Whether a location may name a variable: a declared one, or an EXP_ one that does not sound like a secret."""
        if variable.removesuffix("_FILE") in self.secrets:
            return False
        return variable in self.variables or (variable.startswith(OWN) and not _LOOKS_SECRET.search(variable))

    def allow(self, place: str) -> bool:
        """Whether a path or URI lies under a root, links and `..` followed; of a glob the folder above its first mark."""
        return self.roots is None or any(_lies_in(place, root) for root in self.roots)


NOTHING_DECLARED = SourceRules()


def secrets_of(content: Any) -> Iterator[str]:
    """The variables that an environment's file names as holding secrets: the values of keys that end in `_env`."""
    if isinstance(content, dict):
        for key, value in content.items():
            if str(key).endswith("_env") and isinstance(value, str):
                yield value
            yield from secrets_of(value)


def declared_secrets(variables: Iterable[str], secrets: Iterable[str]) -> list[str]:
    """Variables that are declared and hold a secret by the same file, in order."""
    return sorted(set(variables) & set(secrets))


def _lies_in(place: str, root: str) -> bool:
    if place.startswith("file://") or "://" not in place:
        if "://" in root.removeprefix("file://"):
            return False
        return _real(place).is_relative_to(_real(root))
    if ".." in PurePosixPath(place).parts:  # stores take it literally, what stands between may not
        return False
    inside, above = (_S3.sub("s3://", one).rstrip("/") for one in (_before_glob(place), root))
    return inside == above or inside.startswith(f"{above}/")


def _real(place: str) -> PurePosixPath:
    return PurePosixPath(os.path.realpath(_before_glob(place.removeprefix("file://"))))


def _before_glob(place: str) -> str:
    """The place up to the folder above its first part with a glob's mark; a file whose own name has one is itself."""
    if not _GLOB.search(place) or ("://" not in place and os.path.exists(place)):
        return place
    parts = place.split("/")
    marked = next(number for number, part in enumerate(parts) if _GLOB.search(part))
    return "/".join(parts[:marked]) or "/"
