"""Stored states of versions of the platform, unpacked where a test wants them: `make.py` made them."""

from __future__ import annotations

import json
import sqlite3
import tarfile
from pathlib import Path
from typing import Any

from pyiceberg.avro.file import AvroFile, AvroOutputFile
from pyiceberg.io.pyarrow import PyArrowFileIO
from pyiceberg.typedef import Record

HERE = Path(__file__).parent


def unpack(version: str, to: Path) -> Path:
    """Unpack `<version>.tar.xz` and return the state folder, with all that names locations naming the new ones."""
    with tarfile.open(HERE / f"{version}.tar.xz") as tar:
        tar.extractall(to, filter="data")
    state = to / "state"
    origin = (to / "origin").read_text()
    for path in state.rglob("*.json"):
        path.write_text(path.read_text().replace(origin, str(state)))
    manifests = sorted(state.rglob("*.avro"), key=lambda path: path.name.startswith("snap-"))  # lists last
    for path in manifests:
        _rewrite(path, origin, str(state))
    with sqlite3.connect(state / "catalog.db") as database:
        for column in ("metadata_location", "previous_metadata_location"):
            database.execute(
                f"UPDATE iceberg_tables SET {column} = replace({column}, ?, ?)", (origin, str(state))
            )
    database.close()
    return state


def _rewrite(path: Path, origin: str, state: str) -> None:
    """An Avro file with other locations in its records, and in a manifest list the new lengths of its manifests."""
    files = PyArrowFileIO()
    with AvroFile[Record](files.new_input(str(path))) as read:
        records = [_moved(record, origin, state) for record in read]
        fields = [field.name for field in read.schema.fields]
        metadata = {key: value for key, value in read.header.meta.items() if key != "avro.schema"}
        name = json.loads(read.header.meta["avro.schema"])["name"]
        schema = read.schema
    for record in records if "manifest_length" in fields else ():
        manifest = Path(record[fields.index("manifest_path")].removeprefix("file://"))
        if manifest.is_file():
            record[fields.index("manifest_length")] = manifest.stat().st_size
    metadata["avro.codec"] = "null"
    with AvroOutputFile[Record](files.new_output(str(path)), schema, name, metadata=metadata) as written:
        written.write_block(records)


def _moved(value: Any, origin: str, state: str) -> Any:
    if isinstance(value, str):
        return value.replace(origin, state)
    if isinstance(value, Record):
        return Record(*(_moved(one, origin, state) for one in value._data))
    if isinstance(value, list):
        return [_moved(one, origin, state) for one in value]
    return value
