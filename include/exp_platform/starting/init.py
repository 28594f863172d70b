"""`exp init`: from data to a starter spec that is valid at once, or to the reason why there can be none."""

from __future__ import annotations

import getpass
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

from exp_platform.config.entries import FOLDER, ID_REMEDY, is_id
from exp_platform.config.environment import Environment, config_dir
from exp_platform.config.library import SOURCES
from exp_platform.config.loading import load_all, load_experiment
from exp_platform.errors import ConfigError, DataError
from exp_platform.json_file import write_whole
from exp_platform.stages.sources import plan_reading
from exp_platform.starting.draft import Ask, Draft, Said
from exp_platform.starting.looked import look
from exp_platform.starting.of_events import draft_of_events
from exp_platform.starting.of_users import draft_of_users
from exp_platform.starting.roles import Table, linked, roles_of
from exp_platform.starting.shared import SharedSource, shared_source
from exp_platform.starting.spec_text import spec_text

_SEVERAL = 1.01  # rows per user from which a table with times is a log


@dataclass(frozen=True)
class Written:
    """The spec that was written, and what there is to say of it."""

    experiment_id: str
    paths: tuple[Path, ...]  # of a source that experiments share, and of the spec, which is the last
    told: tuple[str, ...]

    @property
    def path(self) -> Path:
        """The spec."""
        return self.paths[-1]


def write_spec(
    locations: Sequence[str],
    environment: Environment,
    said: Said,
    ask: Ask,
    today: date,
    *,
    force: bool = False,
) -> Written:
    """Look at the data, draft a spec, check it as a run would, and only then put it in its place.

    Raises ConfigError or DataError, with nothing written, where the data cannot be an experiment, an answer fits nothing,
    the id is taken, or a spec of that name is there (unless `force`).
    """
    tables = [roles_of(looked) for looked in look(locations, environment)]
    for table in tables:
        if not len(table.looked.sample.rows):
            raise DataError(f"{table.name}: there are no rows to learn from")
    draft = _drafted(tables, said, ask, today)
    draft = replace(draft, id=_id(draft.id, said, ask, force=force))
    owner, source = getpass.getuser(), None
    if draft.source["kind"] == "events":
        source = shared_source(draft.source, locations, owner)
        key = {"key": draft.source["key"]} if "key" in draft.source else {}
        draft = replace(draft, source={"use": source.id} | key)
    text = spec_text(draft, owner, ", ".join(locations))
    path = config_dir() / FOLDER / f"{draft.id}.yaml"
    if path.exists() and not force:
        raise ConfigError(f"{path} is there already: give another --id, or --force to replace it")
    _require_valid(draft.id, text, source, environment)
    made = _placed(path, text, source)
    sizes = [_size(table) for table in tables]
    notes = [note for table in tables for note in (*table.looked.notes, *table.notes)]
    return Written(draft.id, made, (*sizes, *draft.told, *_of_source(source), *notes))


def _placed(path: Path, text: str, source: SharedSource | None) -> tuple[Path, ...]:
    """Both files or none."""
    if source is None or not source.new:
        return (write_whole(path, text),)
    write_whole(source.path, source.text)
    try:
        return (source.path, write_whole(path, text))
    except OSError:
        source.path.unlink(missing_ok=True)
        raise


def _of_source(source: SharedSource | None) -> tuple[str, ...]:
    if source is None or source.new:
        return ()
    return (f"these tables are the source {source.id} already ({source.path}), which the spec uses",)


def _drafted(tables: Sequence[Table], said: Said, ask: Ask, today: date) -> Draft:
    with_arms = [table for table in tables if table.variant is not None]
    if not with_arms:
        raise DataError(_without_arms(tables))
    if len(tables) == 1 and not _is_log(tables[0]):
        (table,) = tables
        return draft_of_users(table, said, ask, table.name, today)
    exposures = max(with_arms, key=_like_exposures)
    events = [linked(exposures, table) for table in tables if table is not exposures]
    if events:
        exposures = events[0][0]
    draft, _ = draft_of_events(exposures, [table for _, table in events] or [exposures], said, ask, None)
    return draft


def _is_log(table: Table) -> bool:
    """Whether a table alone has the events with the variant on each, or one of several experiments."""
    several = table.experiment is not None and table.experiment.distinct > 1
    return table.time is not None and (table.rows_per_user > _SEVERAL or several)


def _like_exposures(table: Table) -> tuple[bool, bool, float]:
    called = any(word in table.name for word in ("exposure", "assign", "expose"))
    return table.experiment is not None, called, -table.rows_per_user


def _without_arms(tables: Sequence[Table]) -> str:
    seen = "; ".join(
        f"{table.name} has {', '.join(column.path for column in table.columns[:20])}" for table in tables
    )
    notes = [note for table in tables for note in table.notes]
    return (
        f"no column says which variant a user had: {seen}. It has 2 to 20 different values and is called variant, arm, group "
        f"or the like: rename it, or give the table of exposures too{'. ' + '; '.join(notes) if notes else ''}"
    )


def _id(guess: str, said: Said, ask: Ask, *, force: bool) -> str:
    """The experiment's id, which no other spec has. A taken guess gets a number, a taken id that was said is an error."""
    loaded = load_all()
    taken = {*loaded.experiments, *loaded.broken}
    own = config_dir() / FOLDER
    if force:
        taken = {name for name in taken if not (own / f"{name}.yaml").exists()}
    free = next(name for name in (guess, *(f"{guess}_{n}" for n in range(2, 1000))) if name not in taken)
    answer = said.id or ask("Id of the experiment?", (), free)
    if not is_id(answer):
        raise ConfigError(f"--id: found {answer!r}; {ID_REMEDY}")
    if answer in taken:
        raise ConfigError(
            f"--id: {answer} is taken by another spec: give another one, or --force to replace its file"
        )
    return answer


def _require_valid(
    experiment_id: str, text: str, source: SharedSource | None, environment: Environment
) -> None:
    """Load the text as a spec and plan its reading, away from the other specs."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / FOLDER / f"{experiment_id}.yaml"
        path.parent.mkdir()
        path.write_text(text)
        if source is not None:
            (Path(folder) / SOURCES).mkdir()
            (Path(folder) / SOURCES / source.path.name).write_text(source.text)
        try:
            experiment = load_experiment(experiment_id, _entries(Path(folder)))
        except ConfigError as error:
            raise DataError(
                f"no valid spec can be made of these data: {str(error).replace(str(path), path.name)}"
            ) from error
    plan = plan_reading(experiment, environment)
    if plan.problems:
        raise DataError("; ".join(problem.message for problem in plan.problems))


def _entries(folder: Path) -> Path:
    """A file of entries without any, beside which the spec lies."""
    path = folder / "dev.yaml"
    path.write_text("experiments: {}\n")
    return path


def _size(table: Table) -> str:
    sample = table.looked.sample
    rows = (
        f"{sample.total:,} rows"
        if sample.whole
        else (
            f"about {sample.total:,} rows, of which {len(sample.rows):,} were looked at: dates, counts and values are of these"
        )
    )
    return f"{table.name}: {rows}"
