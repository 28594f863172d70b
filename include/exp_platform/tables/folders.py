"""Folders and files by their location: a path, or a URI on the object store that the catalog's properties describe."""

from __future__ import annotations

from pyarrow.fs import FileInfo, FileSelector, FileSystem, FileType
from pyiceberg.io.pyarrow import PyArrowFileIO

from exp_platform.config.environment import Environment


def plain_path(location: str) -> str:
    """The path that a file system knows a location by: Spark writes `file:/a`, PyIceberg `file:///a`, both are `/a`."""
    return PyArrowFileIO.parse_location(location)[2]


def files_below(environment: Environment, folder: str) -> list[FileInfo]:
    """All files below a folder; none where it does not exist."""
    selector = FileSelector(plain_path(folder), recursive=True, allow_not_found=True)
    return [
        info
        for info in _file_system(environment, folder).get_file_info(selector)
        if info.type == FileType.File
    ]


def delete_file(environment: Environment, location: str) -> None:
    """Delete one file; nothing happens where it does not exist."""
    files, path = _file_system(environment, location), plain_path(location)
    if files.get_file_info(path).type == FileType.File:
        files.delete_file(path)


def delete_folder(environment: Environment, folder: str) -> bool:
    """Delete a folder with all in it, and tell whether it was there."""
    files, path = _file_system(environment, folder), plain_path(folder)
    if files.get_file_info(path).type != FileType.Directory:
        return False
    files.delete_dir(path)
    return True


def _file_system(environment: Environment, location: str) -> FileSystem:
    scheme, netloc, _ = PyArrowFileIO.parse_location(location)
    return PyArrowFileIO(environment.pyiceberg_properties()).fs_by_scheme(scheme, netloc)
