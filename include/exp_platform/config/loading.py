"""Reads every spec of a folder of configs and tells all faults of all files at once.

A folder holds `dev.yaml` (an environment's name and entries under `experiments:`) and `experiments/*.yaml` (one full
spec per file), and what these share (`library`). A broken entry never hurts another one. Imports neither NumPy nor Arrow: Airflow parses DAGs with it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from exp_platform.config.entries import FOLDER, ID_REMEDY, Entry, entries_of, is_id, resolve
from exp_platform.config.environment import config_dir as default_config_dir
from exp_platform.config.experiment import Experiment
from exp_platform.config.faults import Fault, Key, SpecError, one_line, render_found, suggest
from exp_platform.config.library import NO_LIBRARY, Library, library_files, read_library
from exp_platform.config.locations import current_rules, variable_faults
from exp_platform.config.source_rules import SourceRules
from exp_platform.config.spec_file import SpecFile, unread, yaml_files
from exp_platform.config.yaml_file import Document, read_bounded
from exp_platform.errors import ConfigError

MAIN_FILE = "dev.yaml"


@dataclass(frozen=True)
class Loaded:
    """The experiments that may run, by id in the order of their files, and everything wrong with the others."""

    experiments: dict[str, Experiment]
    errors: tuple[SpecError, ...]
    # Their ids, as far as they can be read, and `schedule.active` where it can
    broken: dict[str, bool] = field(default_factory=dict)
    library: Library = NO_LIBRARY


def spec_files(config_dir: Path | None = None) -> tuple[Path, ...]:
    """The files that may hold specs: `dev.yaml`, then `experiments/*.yaml` by name."""
    return _files((config_dir or default_config_dir()) / MAIN_FILE)


def load_all(config_dir: Path | None = None) -> Loaded:
    """Read every spec of a folder (default: the project's); never raises for what a file holds."""
    return _load((config_dir or default_config_dir()) / MAIN_FILE)


def load_experiment(experiment_id: str, config: Path | None = None) -> Experiment:
    """One experiment; `config` is a file of entries, which counts together with the `experiments/` beside it.

    No more files are read than it takes to find it: the one named `<experiment_id>.yaml` first, then those whose text holds
    the id. Raises ConfigError with every fault of that experiment, or with the known ids where it is unknown.
    """
    if config is not None and not config.is_file():
        raise ConfigError(
            f"{config}: there is no such file; the default is {default_config_dir() / MAIN_FILE}"
        )
    main = config or default_config_dir() / MAIN_FILE
    environment = _environment_of(config) if config else None
    found = _find(experiment_id, main, environment)
    return found or _pick(experiment_id, _load(main, environment))  # what is wrong is told as of all files


def find_experiment(experiment_id: str) -> Experiment | None:
    """The same, and None where it is unknown or has a fault: why, which takes reading all files, is not asked."""
    return _find(experiment_id, default_config_dir() / MAIN_FILE)


def _find(experiment_id: str, main: Path, environment: str | None = None) -> Experiment | None:
    own = _entry_of(experiment_id, main) if is_id(experiment_id) else None
    return _check([own], _library_of(main), environment).experiments.get(experiment_id) if own else None


def named_environment(config: Path) -> str | None:
    """The environment that a file of entries names, if it does. Raises ConfigError where that is no text."""
    try:
        data = Document(read_bounded(config)).data
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f"{config}: cannot be read: {one_line(str(error))}") from error
    name = data.get("environment") if isinstance(data, dict) else None
    if name is not None and not isinstance(name, str):
        found = render_found(name)
        raise ConfigError(f"{config}: environment: found {found}; allowed: the name of an environment")
    return name


def _environment_of(config: Path) -> str | None:
    """The environment that a file's experiments will be run in, as far as the file says; what is wrong in it is told elsewhere."""
    with suppress(ConfigError):
        return os.environ.get("EXP_ENVIRONMENT") or named_environment(config)
    return None


def _entry_of(experiment_id: str, main: Path) -> Entry | None:
    """The entry that has this id where several do: that of the file of its name, else the first."""
    for path in _likely_files(experiment_id, main):
        try:
            text = read_bounded(path)
        except OSError:
            continue
        if experiment_id.encode() in text:
            entries, _ = entries_of(path, text)
            if found := next((entry for entry in entries if entry.id == experiment_id), None):
                return found
    return None


def _likely_files(experiment_id: str, main: Path) -> Iterator[Path]:
    """The file named after the experiment, and only if that is not it (a generator) all the others."""
    own = main.parent / FOLDER / f"{experiment_id}.yaml"
    yield own
    yield from (path for path in _files(main) if path != own)


def _files(main: Path) -> tuple[Path, ...]:
    """Everything that has a spec's name, whatever it is: what is no file is told when it is read."""
    return (*((main,) if _is_there(main) else ()), *yaml_files(main.parent / FOLDER))


def _is_there(path: Path) -> bool:
    return path.is_symlink() or path.exists()


def _library_of(main: Path) -> Callable[[], Library]:
    """What the specs beside a file share, read when it is first asked for."""
    folder = main.parent.parent if main.parent.name == FOLDER else main.parent
    return cache(lambda: read_library(folder))


def _load(main: Path, environment: str | None = None) -> Loaded:
    paths, library = _files(main), _library_of(main)
    errors: list[SpecError] = []
    loaded = _check(_entries(paths, errors), library, environment)
    errors += (*loaded.errors, *library().errors)
    every = (*paths, *library_files(library().folder))
    order = {SpecFile(path).name: position for position, path in enumerate(every)}
    in_order = sorted(errors, key=lambda error: (order[error.file], error.line or 0))
    return Loaded(loaded.experiments, tuple(in_order), loaded.broken, library())


def _entries(paths: Iterable[Path], errors: list[SpecError]) -> Iterator[Entry]:
    """The entries of the files, one file after another; what is wrong with a file around them is added to `errors`."""
    for path in paths:
        try:
            text = read_bounded(path)
        except OSError as error:
            errors.append(SpecFile(path).error(unread(path, error)))
            continue
        entries, faults = entries_of(path, text)
        errors += faults
        yield from entries


@dataclass(frozen=True)
class _Checked:
    """What is kept of an entry: not its document, as those of 500 files are 30 MB, through which the garbage collector walks."""

    file: SpecFile
    id: Any
    place: Key  # of the id
    line: int | None
    experiment: Experiment | None  # None: something is wrong with it
    errors: tuple[SpecError, ...]
    active: bool


def _check(
    entries: Iterable[Entry], library: Callable[[], Library], environment: str | None = None
) -> Loaded:
    """Check every entry; of several with one id, the file named after it has it, else the first."""
    rules = cache(lambda: current_rules(environment))
    checked = [_checked(replace(entry, library=library), rules) for entry in entries]
    owners: dict[str, _Checked] = {}
    for one in sorted(checked, key=lambda one: one.file.path.stem != one.id):
        if isinstance(one.id, str):
            owners.setdefault(one.id, one)
    experiments: dict[str, Experiment] = {}
    errors: list[SpecError] = []
    broken: dict[str, bool] = {}
    for one in checked:
        owner = owners.get(one.id, one) if isinstance(one.id, str) else one
        if owner is not one:
            remedy = f"this id is taken by {owner.file.name}: ids are unique over all files"
            errors.append(one.file.error_at(one.line, Fault(one.place, one.id, remedy), one.id))
            continue
        errors += one.errors
        if one.experiment is not None:
            experiments[one.experiment.id] = one.experiment
        elif isinstance(one.id, str) and is_id(one.id):
            broken[one.id] = one.active
    return Loaded(experiments, tuple(errors), broken)


def _checked(entry: Entry, rules: Callable[[], SourceRules]) -> _Checked:
    result = resolve(entry)
    if isinstance(result, Experiment):
        faults = [entry.used.placed(fault) for fault in variable_faults(result, rules)]
    else:
        faults = result
    place = entry.key or ("id",)
    return _Checked(
        file=SpecFile(entry.file.path),
        id=entry.id,
        place=place,
        line=entry.file.line(place),
        experiment=result if isinstance(result, Experiment) and not faults else None,
        errors=tuple(entry.errors(faults)),
        active=_is_active(entry),
    )


def _is_active(entry: Entry) -> bool:
    schedule = entry.content.get("schedule") if isinstance(entry.content, dict) else None
    return isinstance(schedule, dict) and schedule.get("active") is True


def _pick(experiment_id: str, loaded: Loaded) -> Experiment:
    """That experiment, else a ConfigError that says why there is none."""
    if experiment_id in loaded.experiments:
        return loaded.experiments[experiment_id]
    own = [str(error) for error in loaded.errors if error.experiment_id == experiment_id]
    if own:
        raise ConfigError("\n".join(own))
    if not is_id(experiment_id):
        raise ConfigError(f"experiment {render_found(experiment_id)}: {ID_REMEDY}")
    unread = [str(error) for error in loaded.errors if error.experiment_id is None]
    raise ConfigError(
        "\n".join(
            [
                f"experiment {experiment_id!r} is unknown; {suggest(experiment_id, loaded.experiments)}",
                *unread,
            ]
        )
    )
