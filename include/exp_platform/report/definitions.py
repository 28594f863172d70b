"""What the metrics of all experiments measure, in words, and who uses which definition since when: a list for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from exp_platform.config.experiment import Experiment
from exp_platform.config.library import Library
from exp_platform.config.loading import Loaded
from exp_platform.config.metrics import Metric, Provenance
from exp_platform.config.spec_metrics import MetricSpec
from exp_platform.errors import shortened
from exp_platform.escaping import terminal
from exp_platform.numbers import DASH

Stored = Mapping[str, Mapping[date, Mapping[str, str]]]  # experiment -> as_of date -> metric -> definition

_MOST_USERS = 3  # experiments that a line names; a metric's own list has all


@dataclass(frozen=True)
class Period:
    """A definition that stored decisions of an experiment used, and the first and last as_of date of them."""

    definition: str
    first: date
    last: date


@dataclass(frozen=True)
class Use:
    """An experiment that has a metric: what it measures there today, since which decision, and what it measured in others."""

    experiment_id: str
    role: str
    definition: str
    since: date | None  # as_of date of the first decision with this definition; None: there is none
    otherwise: tuple[Period, ...] = ()


@dataclass(frozen=True)
class Listed:
    """A metric as it is defined, by the library or by a spec itself, and the experiments that have it of there."""

    id: str
    type: str
    definition: str
    owner: str
    description: str
    file: str
    unit: str = ""
    uses: tuple[Use, ...] = ()


def listed(loaded: Loaded, stored: Stored) -> list[Listed]:
    """The metrics of the library by id, then those that specs define themselves, by id and file."""
    uses: dict[tuple[str, str], list[tuple[Experiment, Metric]]] = {}
    for experiment in loaded.experiments.values():
        for metric in experiment.metrics:
            file = experiment.provenance.get(metric.id, Provenance()).file
            uses.setdefault((metric.id, file or experiment.spec_file), []).append((experiment, metric))
    found = [
        _listed(metric, whose, unit, [_use(e, m, stored) for e, m in uses.pop((metric.id, whose.file), ())])
        for metric, whose, unit in _of_library(loaded.library)
    ]
    for (id, file), own in sorted(uses.items(), key=lambda item: item[0]):
        experiment, metric = own[0]
        whose = experiment.provenance.get(id, Provenance(experiment.owner))
        whose = Provenance(whose.owner or experiment.owner, whose.description, file)
        unit = experiment.units.get(id, "")
        found.append(_listed(metric, whose, unit, [_use(e, m, stored) for e, m in own]))
    return found


def _of_library(library: Library) -> Iterable[tuple[Metric, Provenance, str]]:
    for id in sorted(library.metrics):
        found = library.metrics[id]
        if found.fault is None:
            spec = MetricSpec.model_validate(found.content)
            yield (
                spec.resolve((), spec.missing or "zero", None),
                Provenance(spec.owner or "", spec.description, found.file.name),
                spec.unit or "",
            )


def _listed(metric: Metric, whose: Provenance, unit: str, uses: list[Use]) -> Listed:
    said = (metric.id, metric.kind, metric.definition, whose.owner, whose.description, whose.file, unit)
    return Listed(*said, tuple(sorted(uses, key=lambda use: use.experiment_id)))


def _use(experiment: Experiment, metric: Metric, stored: Stored) -> Use:
    periods: dict[str, Period] = {}
    for day, definitions in sorted(stored.get(experiment.id, {}).items()):
        if (told := definitions.get(metric.id)) is not None:
            first = periods[told].first if told in periods else day
            periods[told] = Period(told, first, day)
    now = periods.pop(metric.definition, None)
    since = None if now is None else now.first
    return Use(experiment.id, metric.role.value, metric.definition, since, tuple(periods.values()))


def as_json(metrics: Iterable[Listed]) -> list[dict[str, Any]]:
    """The same as plain values; dates are text."""
    return [asdict(metric) for metric in metrics]


def metrics_table(metrics: Iterable[Listed]) -> Table:
    """A line per metric."""
    table = _table("Metric", "Definition", "Owner", "Used by", "Defined in")
    for metric in metrics:
        used = "\n".join(_used(use) for use in metric.uses[:_MOST_USERS])
        if len(metric.uses) > _MOST_USERS:
            used += f"\nand {len(metric.uses) - _MOST_USERS} more: exp metrics {metric.id}"
        table.add_row(*map(_text, (metric.id, metric.definition, metric.owner, used, metric.file)))
    return table


def uses_table(metric: Listed) -> Table:
    """A line per experiment that has the metric, and one per definition that stored results of it used."""
    table = _table("Experiment", "Role", "As of", "Definition")
    table.title, table.title_justify = _text(_head(metric)), "left"
    for use in metric.uses:
        since = f"since {use.since}" if use.since else "not yet decided"
        table.add_row(*map(_text, (use.experiment_id, use.role, since, use.definition)))
        for period in use.otherwise:
            days = f"{period.first} to {period.last}"
            table.add_row(*map(_text, ("", "", days, period.definition)))
    return table


def _head(metric: Listed) -> str:
    whose = ", ".join(
        part for part in (metric.unit and f"in {metric.unit}", metric.owner, metric.file) if part
    )
    about = f"\n{metric.description}" if metric.description else ""
    return f"{metric.id}: {metric.definition} ({whose}){about}"


def _used(use: Use) -> str:
    otherwise = ", defined otherwise before" if use.otherwise else ""
    return f"{use.experiment_id} since {use.since or DASH}{otherwise}"


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for name in columns:
        table.add_column(name, overflow="fold", no_wrap=name in ("Metric", "Experiment"))
    return table


def _text(cell: str) -> Text:
    """Text as it is: no markup, and no orders to the terminal."""
    return Text(terminal(shortened(cell)) or DASH)
