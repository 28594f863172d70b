"""Secrets by the name of a variable: its value, or the file that `<NAME>_FILE` names, as containers are handed secrets.

What stands in a file is in no process's environment, where every program that it starts would have it.
"""

from __future__ import annotations

import os
from pathlib import Path

from exp_platform.errors import ConfigError


def secret(name: str, key: str) -> str:
    """The secret of the variable `name`, which wins, or of the file that `<name>_FILE` names, without its last line's end.

    Raises ConfigError, which begins with `key` (where the name comes from), where neither is set or the file tells nothing.
    """
    if name in os.environ:
        return os.environ[name]
    file = os.environ.get(f"{name}_FILE")
    if not file:
        raise ConfigError(
            f"{key}: the variable {name} is not set, nor is {name}_FILE, which may name a file that holds it"
        )
    try:
        found = Path(file).read_text("utf-8").removesuffix("\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no UTF-8 text"
        raise ConfigError(
            f"{key}: {name}_FILE: {file} cannot be read ({reason}): name a file that this user may read"
        ) from None
    if not found:
        raise ConfigError(f"{key}: {name}_FILE: {file} is empty: write the secret into it")
    return found
