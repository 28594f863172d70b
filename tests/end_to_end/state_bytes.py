"""Every byte of a state folder, with what is compressed in it unpacked."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq


def files_with(folder: Path, text: str) -> list[str]:
    """The files below a folder, by relative path, that hold a text: in their names, bytes, values or bounds."""
    wanted = text.encode()
    return sorted(
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file()
        and (
            wanted in str(path.relative_to(folder)).encode()
            or any(wanted in found for found in _contents(path))
        )
    )


def _contents(path: Path) -> Iterator[bytes]:
    content = path.read_bytes()
    yield content
    if path.suffix == ".parquet":
        try:
            rows = pq.read_table(pa.BufferReader(content), partitioning=None)
        except pa.ArrowInvalid:
            return
        yield repr(rows.to_pylist()).encode()
    elif path.suffix == ".avro":
        yield from _avro_blocks(content)
    elif path.suffix == ".gz":
        yield zlib.decompress(content, 31)


def _avro_blocks(content: bytes) -> Iterator[bytes]:
    """The blocks of an Avro container file (its specification, "Object Container Files"), deflated or plain."""
    at = 4
    deflated = b"deflate" in content[:8192]
    while True:  # the header's map of metadata
        count, at = _long(content, at)
        if not count:
            break
        if count < 0:
            _, at = _long(content, at)
        for _ in range(2 * abs(count)):
            size, at = _long(content, at)
            at += size
    at += 16
    while at < len(content):
        _, at = _long(content, at)
        size, at = _long(content, at)
        block = content[at : at + size]
        yield zlib.decompress(block, -15) if deflated else block
        at += size + 16


def _long(content: bytes, at: int) -> tuple[int, int]:
    value, shift = 0, 0
    while True:
        byte = content[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            return (value >> 1) ^ -(value & 1), at
