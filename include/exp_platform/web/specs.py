"""Which experiments there are: read of the configs as the DAGs are, once per state of their files."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from threading import Lock

from exp_platform.config.environment import Environment, config_dir, load_environment
from exp_platform.config.experiment import Experiment
from exp_platform.config.library import library_files
from exp_platform.config.loading import Loaded, find_experiment, load_all, spec_files

_State = tuple[tuple[str, int, int, int], ...]


class Specs:
    """The specs of a folder of configs. One for a process; the files' names, times and sizes tell when to read again."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._state: _State | None = None
        self._loaded: Loaded | None = None

    def all(self) -> Loaded:
        """Every spec, and what is wrong with the others."""
        with self._lock:
            state = _state()
            if self._loaded is None or state != self._state:
                self._loaded, self._state = load_all(), state
            return self._loaded

    def one(self, experiment_id: str) -> Experiment | None:
        """One spec as it is now; None where there is none that can be used."""
        if self._loaded is not None and _state() == self._state:
            return self._loaded.experiments.get(experiment_id)
        return find_experiment(experiment_id)  # reads no more files than it takes


SPECS = Specs()


@cache
def environment() -> Environment:
    """The environment that is set, read once per process; the keys of its object store taken from Airflow's connection."""
    found = load_environment()
    if found.uses_s3:
        from exp_platform.orchestration.connections import use_object_store

        use_object_store(found)
    return found


def _state() -> _State:
    folder = config_dir()
    files = (*spec_files(folder), *library_files(folder), *sorted((folder / "environments").glob("*.yaml")))
    return tuple(_of_file(path) for path in files)


def _of_file(path: Path) -> tuple[str, int, int, int]:
    try:
        found = path.stat()
    except OSError:  # a link to nothing: its fault is told by whoever reads it
        return str(path), 0, 0, 0
    return str(path), found.st_mtime_ns, found.st_size, found.st_ino
