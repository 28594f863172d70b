"""Environment variables in a value of a config: `${NAME}`, which must be set, and `${NAME:-default}`."""

from __future__ import annotations

import os
import re

from exp_platform.errors import ConfigError

_REFERENCE = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}")


def named(text: str) -> list[str]:
    """The names of the variables in a text, in order."""
    return [found[1] for found in _REFERENCE.finditer(text)]


def through_last(text: str) -> str:
    """The text up to the end of its last variable; empty where it names none."""
    ends = [found.end() for found in _REFERENCE.finditer(text)]
    return text[: ends[-1]] if ends else ""


def filled(text: str, place: str) -> str:
    """The text with its variables filled in; one that is empty counts as not set.

    Raises ConfigError, which begins with `place` (file and key), for one that is not set and has no default.
    """

    def value(reference: re.Match[str]) -> str:
        name, default = reference.groups()
        found = os.environ.get(name) or default
        if found is None:
            raise ConfigError(
                f"{place}: {text} needs the environment variable {name}, which is not set; set it: export {name}=..."
            )
        return found

    return _REFERENCE.sub(value, text)
