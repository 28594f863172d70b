"""Templates are compiled once per installation, as Python's own modules are, and beside them: it takes as long as filling them ten times."""

from __future__ import annotations

import hashlib
import os
import sys
from contextlib import suppress
from importlib.util import cache_from_source
from pathlib import Path
from pickle import UnpicklingError

import jinja2
from jinja2.bccache import Bucket

from exp_platform.code_version import wording_version


class CompiledBeside(jinja2.BytecodeCache):
    """Code of templates in `__pycache__`, for this Python; Jinja looks whether it is of the template as it is now.

    Where it cannot be written, as in an installation of somebody else, or shall not be, a template is compiled each time.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get_cache_key(self, name: str, filename: str | None = None) -> str:
        """A template's own name."""
        return name

    def get_source_checksum(self, source: str) -> str:
        """Of the template, and of what else its code follows from: Jinja, and the settings that `sections` gives it."""
        made_of = f"{jinja2.__version__} {wording_version()} {source}"
        return hashlib.sha256(made_of.encode()).hexdigest()

    def load_bytecode(self, bucket: Bucket) -> None:
        """Fill the bucket with what is stored, if it is of this template."""
        with suppress(OSError, EOFError, UnpicklingError), self._file(bucket).open("rb") as file:
            bucket.load_bytecode(file)

    def dump_bytecode(self, bucket: Bucket) -> None:
        """Store what was compiled; the file is replaced whole."""
        if sys.dont_write_bytecode:
            return
        file = self._file(bucket)
        written = file.with_name(f"{file.name}.{os.getpid()}")
        with suppress(OSError):
            file.parent.mkdir(exist_ok=True)
            written.write_bytes(bucket.bytecode_to_string())
            written.replace(file)

    def _file(self, bucket: Bucket) -> Path:
        return Path(cache_from_source(str(self._folder / bucket.key)))
