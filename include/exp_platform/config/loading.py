"""Reads every spec of a folder of configs and tells all faults of all files at once.

A folder holds `dev.yaml` (an environment's name and entries under `experiments:`) and `experiments/*.yaml` (one full
spec per file). A broken entry never hurts another one. Imports neither NumPy nor Arrow: Airflow parses DAGs with it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import yaml

from exp_platform.config.entries import FOLDER, ID_REMEDY, Entry, SpecFile, entries_of, is_id, resolve
from exp_platform.config.environment import config_dir as default_config_dir
from exp_platform.config.experiment import Experiment
from exp_platform.config.faults import Fault, SpecError, Words, one_line, render_found, suggest
from exp_platform.config.locations import current_rules, variable_faults
from exp_platform.config.yaml_file import Document, read_bounded
from exp_platform.errors import ConfigError

MAIN_FILE = "dev.yaml"

_SUFFIXES = (".yaml", ".yml")


@dataclass(frozen=True)
class Loaded:
    """The experiments that may run, by id in the order of their files, and everything wrong with the others."""

    experiments: dict[str, Experiment]
    errors: tuple[SpecError, ...]
    # Their ids, as far as they can be read, and `schedule.active` where it can
    broken: dict[str, bool] = field(default_factory=dict)


def spec_files(config_dir: Path | None = None) -> tuple[Path, ...]:
    """The files that may hold specs: `dev.yaml`, then `experiments/*.yaml` by name."""
    return _files((config_dir or default_config_dir()) / MAIN_FILE)


def load_all(config_dir: Path | None = None) -> Loaded:
    """Read every spec of a folder (default: the project's); never raises for what a file holds."""
    return _load(spec_files(config_dir))


def load_experiment(experiment_id: str, config: Path | None = None) -> Experiment:
    """One experiment; `config` is a file of entries, which counts together with the `experiments/` beside it.

    Raises ConfigError with every fault of that experiment, or with the known ids where it is unknown.
    """
    if config is not None and not config.is_file():
        raise ConfigError(
            f"{config}: there is no such file; the default is {default_config_dir() / MAIN_FILE}"
        )
    if config is None:
        return _pick(experiment_id, _load(spec_files()))
    return _pick(experiment_id, _load(_files(config), _environment_of(config)))


def load_one_for_parse(experiment_id: str, config_dir: Path | None = None) -> Experiment:
    """One experiment, reading no more files than it takes to find it; raises as `load_experiment` does.

    The file named `<experiment_id>.yaml` is tried first, then those whose text holds the id.
    """
    for path in _likely_files(experiment_id, config_dir) if is_id(experiment_id) else ():
        try:
            text = read_bounded(path)
        except OSError:
            continue
        if experiment_id.encode() in text:
            entries, _ = entries_of(path, text)
            loaded = _check(entry for entry in entries if entry.id == experiment_id)
            if loaded.experiments:
                return loaded.experiments[experiment_id]
    return _pick(experiment_id, load_all(config_dir))


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


def _likely_files(experiment_id: str, config_dir: Path | None) -> Iterator[Path]:
    """The file named after the experiment, and only if that is not it (a generator) all the others."""
    own = (config_dir or default_config_dir()) / FOLDER / f"{experiment_id}.yaml"
    yield own
    yield from (path for path in spec_files(config_dir) if path != own)


def _files(main: Path) -> tuple[Path, ...]:
    """Everything that has a spec's name, whatever it is: what is no file is told when it is read."""
    folder = main.parent / FOLDER
    beside: list[Path] = []
    try:
        beside = [path for path in folder.iterdir() if _is_spec_file(path)] if folder.is_dir() else []
    except OSError:
        beside = [folder]  # reading it will tell
    return (*((main,) if _is_there(main) else ()), *sorted(beside))


def _is_spec_file(path: Path) -> bool:
    return path.suffix in _SUFFIXES and not path.name.startswith(".")


def _is_there(path: Path) -> bool:
    return path.is_symlink() or path.exists()


def _load(paths: Sequence[Path], environment: str | None = None) -> Loaded:
    entries: list[Entry] = []
    errors: list[SpecError] = []
    for path in paths:
        try:
            text = read_bounded(path)
        except OSError as error:
            errors.append(SpecFile(path).error(_unread(path, error)))
            continue
        found_entries, faults = entries_of(path, text)
        entries += found_entries
        errors += faults
    loaded = _check(entries, environment)
    errors += loaded.errors
    order = {SpecFile(path).name: position for position, path in enumerate(paths)}
    in_order = sorted(errors, key=lambda error: (order[error.file], error.line or 0))
    return Loaded(loaded.experiments, tuple(in_order), loaded.broken)


def _unread(path: Path, error: OSError) -> Fault:
    if path.name == FOLDER:  # `_files` could not list it
        return Fault((), Words("a folder that cannot be read"), "let the user that runs this read it")
    return Fault((), Words(error.strerror or str(error)), "a file that can be read is required")


def _check(entries: Iterable[Entry], environment: str | None = None) -> Loaded:
    """Check every entry; of several with one id, the file named after it has it, else the first."""
    entries = list(entries)
    owners: dict[str, Entry] = {}
    for entry in sorted(entries, key=lambda entry: entry.file.path.stem != entry.id):
        if isinstance(entry.id, str):
            owners.setdefault(entry.id, entry)
    experiments: dict[str, Experiment] = {}
    errors: list[SpecError] = []
    broken: dict[str, bool] = {}
    rules = cache(lambda: current_rules(environment))
    for entry in entries:
        owner = owners.get(entry.id, entry) if isinstance(entry.id, str) else entry
        if owner is not entry:
            remedy = f"this id is taken by {owner.file.name}: ids are unique over all files"
            errors += entry.errors([Fault(("id",) if entry.key == () else (), entry.id, remedy)])
            continue
        result = resolve(entry)
        if isinstance(result, Experiment):
            faults = list(variable_faults(result, rules))
            if not faults:
                experiments[result.id] = result
        else:
            faults = result
        errors += entry.errors(faults)
        if faults and isinstance(entry.id, str) and is_id(entry.id):
            broken[entry.id] = _is_active(entry)
    return Loaded(experiments, tuple(errors), broken)


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
