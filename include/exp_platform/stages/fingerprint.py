"""What a run's result depends on besides its config: the state of its input and the version of the code."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import datetime

from exp_platform.config.environment import Environment
from exp_platform.config.experiment import Experiment
from exp_platform.config.locations import without_values
from exp_platform.diagnosis import diagnosis
from exp_platform.errors import ExpPlatformError
from exp_platform.stages.pruning import may_hold, of_folders
from exp_platform.stages.reading import Reading, layout
from exp_platform.stages.source_files import file_system, found_at
from exp_platform.stages.sources import readings


def input_fingerprint(
    experiment: Experiment,
    environment: Environment,
    *,
    generate_synth: bool,
    generated_until: datetime | None = None,
    watermarks: Mapping[str, str] | None = None,
) -> str:
    """A hash that changes when the raw data change: files that may hold a row that is wanted, by path, size and modification time.

    For an Iceberg source its data files; for data that the run will generate, the spec that they follow from, and the instant
    `generated_until`, before which they occur, while that is not all of them; for a table in a database its watermark, and without
    one something new each time. It is for `ingest` to say what is missing or cannot be read: here that is a state like others. Raises ConfigError where a
    location names a variable that is not set.
    """
    if experiment.source.kind == "synthetic" and generate_synth:
        until = "" if generated_until is None else f" until {generated_until.isoformat()}"
        return _hash(f"{experiment.id} {sorted(asdict(experiment.source).items())}{until}")
    states = [
        f"{reading.table}|{state}"
        for reading in readings(experiment, environment)
        for state in (
            [(watermarks or {}).get(reading.table) or secrets.token_hex()]
            if reading.source.format == "sql"
            else _states(experiment, reading, environment)
        )
    ]
    return _hash("\n".join(sorted(states)))


def _states(experiment: Experiment, reading: Reading, environment: Environment) -> Iterator[str]:
    try:
        yield from _data_files(reading, environment)
    except Exception as error:  # whatever the libraries raise for data that they cannot list
        if isinstance(error, ExpPlatformError):
            raise
        if meaning := diagnosis(error):
            raise ExpPlatformError(without_values(meaning, experiment)) from error
        yield f"not readable|{type(error).__name__}"


def _data_files(reading: Reading, environment: Environment) -> Iterator[str]:
    """The files that may hold a row that is wanted: of a shared lake others come every day, and change no number."""
    source = reading.source
    if source.format == "iceberg":
        yield from _of_table(reading, environment)
        return
    files, path = file_system(source.location, environment)
    found = found_at(path, source.format, files)
    for info in found.files:
        if may_hold(reading.wanted, of_folders(reading, found.partition(info.path))):
            yield f"{info.path}|{info.size}|{info.mtime_ns}"


def _of_table(reading: Reading, environment: Environment) -> Iterator[str]:
    """Files of an Iceberg table: its snapshot id changes with every commit, they only with its rows."""
    from pyiceberg.io.pyarrow import schema_to_pyarrow

    from exp_platform.stages.iceberg_filter import iceberg_filter
    from exp_platform.tables.named import existing_table

    table = existing_table(reading.source.location, environment)
    if table is None:
        return
    where = layout(reading, schema_to_pyarrow(table.schema(), include_field_ids=False), {})
    for task in table.scan(iceberg_filter(reading.wanted, where)).plan_files():
        yield "|".join([task.file.file_path, *sorted(deletes.file_path for deletes in task.delete_files)])


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
