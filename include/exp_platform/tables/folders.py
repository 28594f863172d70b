"""Folders and files by their location: a path, or a URI on the object store that the catalog's properties describe."""

from __future__ import annotations

import mimetypes
import os
from contextlib import suppress
from pathlib import Path

from pyarrow.fs import FileInfo, FileSelector, FileSystem, FileType, LocalFileSystem
from pyiceberg.io.pyarrow import PyArrowFileIO

from exp_platform.config.environment import Environment
from exp_platform.json_file import unfinished

MEMO_FILES = (".md", ".html", ".json")  # what a memo's files end with; the rest lies in a folder of its name


def plain_path(location: str) -> str:
    """The path that a file system knows a location by: Spark writes `file:/a`, PyIceberg `file:///a`, both are `/a`."""
    return PyArrowFileIO.parse_location(location)[2]


def located(folder: str, path: str) -> str:
    """The location of a plain path, with the scheme of the folder that it lies in."""
    scheme, separator, _ = folder.partition("://")
    return f"{scheme}{separator}{path}" if separator else path


def files_below(environment: Environment, folder: str) -> list[FileInfo]:
    """All files below a folder; none where it does not exist."""
    selector = FileSelector(plain_path(folder), recursive=True, allow_not_found=True)
    return [
        info
        for info in _file_system(environment, folder).get_file_info(selector)
        if info.type == FileType.File
    ]


def folders_in(environment: Environment, folder: str) -> list[str]:
    """The locations of the folders that lie in a folder itself; none where it does not exist."""
    selector = FileSelector(plain_path(folder), allow_not_found=True)
    found = _file_system(environment, folder).get_file_info(selector)
    return [located(folder, info.path) for info in found if info.type == FileType.Directory]


def run_folders(environment: Environment) -> list[Path]:
    """The experiments' folders of runs: beside them lie files, as the key of the forgotten does, and hidden folders."""
    return sorted(path for path in environment.runs_dir.glob("[!.]*") if path.is_dir())


def last_written(folder: Path) -> float:
    """When anything in a local folder was last written, in seconds since 1970; a file that is gone meanwhile tells nothing."""
    times = []
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):  # a run renames what it has written
            times.append(path.stat().st_mtime)
    return max(times) if times else folder.stat().st_mtime


def read_file(environment: Environment, location: str) -> bytes | None:
    """A file's content; None where it does not exist. Raises OSError where the store does not answer."""
    files, path = _file_system(environment, location), plain_path(location)
    if files.get_file_info(path).type != FileType.File:
        return None
    with files.open_input_stream(path, compression=None) as stream:
        return bytes(stream.read())


def write_file(environment: Environment, location: str, content: bytes) -> None:
    """Write a file so that a reader sees the old one or the whole new one."""
    files, path = _file_system(environment, location), plain_path(location)
    local = isinstance(files, LocalFileSystem)  # an object appears whole, when it is complete
    partial = unfinished(path) if local else path
    if local:
        files.create_dir(os.path.dirname(path))
    about = None if local else {"Content-Type": _content_type(path)}
    try:
        with files.open_output_stream(partial, compression=None, metadata=about) as stream:
            stream.write(content)
        if local:
            files.move(partial, path)
    except OSError:
        if local and os.path.isfile(partial):
            os.unlink(partial)  # on a full disk its room is needed
        raise


def move_file(environment: Environment, location: str, to: str) -> None:
    """Move a file within its store: a rename, or a copy and a deletion on an object store."""
    files, target = _file_system(environment, location), plain_path(to)
    if isinstance(files, LocalFileSystem):
        files.create_dir(os.path.dirname(target))
    files.move(plain_path(location), target)


def delete_file(environment: Environment, location: str) -> bool:
    """Delete one file, and tell whether it was there."""
    files, path = _file_system(environment, location), plain_path(location)
    if files.get_file_info(path).type != FileType.File:
        return False
    files.delete_file(path)
    return True


def delete_folder(environment: Environment, folder: str) -> bool:
    """Delete a folder with all in it, and tell whether it was there."""
    files, path = _file_system(environment, folder), plain_path(folder)
    if files.get_file_info(path).type != FileType.Directory:
        return False
    files.delete_dir(path)
    return True


def _content_type(path: str) -> str:
    """What a browser is told that an object is."""
    kind = mimetypes.guess_type(path)[0] or "application/octet-stream"
    return f"{kind}; charset=utf-8" if kind.startswith("text/") else kind


def _file_system(environment: Environment, location: str) -> FileSystem:
    scheme, netloc, _ = PyArrowFileIO.parse_location(location)
    return PyArrowFileIO(environment.pyiceberg_properties()).fs_by_scheme(scheme, netloc)
