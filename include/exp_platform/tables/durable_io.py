"""Files of the tables that are on the disk when they are closed, not only on their way there.

A commit names files: data, manifests, metadata. SQLite brings the commit itself to the disk, so without this a power
loss could leave a catalog that names files which are empty or gone. An object store does so by itself.
"""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import Any

from pyiceberg.io.pyarrow import PyArrowFile, PyArrowFileIO

from exp_platform.json_file import sync_folder


class DurableFileIO(PyArrowFileIO):
    """PyIceberg's own, but for local files that are written."""

    def new_output(self, location: str) -> PyArrowFile:
        """The file to write at a location."""
        made = super().new_output(location)
        if self.parse_location(location, self.properties)[0] != "file":
            return made
        return _LocalFile(
            location=location, path=made._path, fs=made._filesystem, buffer_size=made._buffer_size
        )


class _LocalFile(PyArrowFile):
    def create(self, overwrite: bool = False) -> Any:
        """Open the file for writing, with the folders that it needs; raises FileExistsError where it is there."""
        path = Path(self._path)
        if not overwrite and path.exists():
            raise FileExistsError(f"Cannot create file, already exists: {self.location}")
        missing = [folder for folder in path.parents if not folder.exists()]
        path.parent.mkdir(parents=True, exist_ok=True)
        return _Synced(path, missing)


class _Synced:
    """A file that `close` brings to the disk with its name, and with the names of the folders that were made for it."""

    def __init__(self, path: Path, made_folders: list[Path]) -> None:
        self._stream = path.open("wb", buffering=1 << 20)
        self._folders = [path.parent, *(folder.parent for folder in made_folders)]

    @property
    def closed(self) -> bool:
        return self._stream.closed

    def write(self, content: Any) -> int:
        return self._stream.write(content)

    def tell(self) -> int:
        return self._stream.tell()

    def flush(self) -> None:
        self._stream.flush()

    def close(self) -> None:
        if self._stream.closed:
            return
        with self._stream as stream:
            stream.flush()
            os.fsync(stream.fileno())
        for folder in self._folders:
            sync_folder(folder)

    def __enter__(self) -> _Synced:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
