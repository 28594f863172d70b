"""What was measured of every metric on each experiment's newest day, by the estimate that decides: read once per decision."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from threading import Lock
from typing import Any

from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import NoSuchTableError
from pyiceberg.table import Table

from exp_platform.aggregates import ALL
from exp_platform.config.analyses import DECISIVE, RESULTS
from exp_platform.config.environment import Environment
from exp_platform.results.newest import Newest, may_hold, rows_of_all, there
from exp_platform.tables.catalog import existing_catalog, table
from exp_platform.tables.damage import naming_damage
from exp_platform.tables.selection import selection

_KEY = ("experiment_id", "run_id", "as_of_date")
_WHERE = ("method", "segment", "status")
_KEPT = (
    *("metric_id", "treatment_id", "control_id", "mean_control", "mean_treatment"),
    *("relative", "relative_low", "relative_high", "ci_level", "degrees_of_freedom"),
)


@dataclass(frozen=True)
class Measured:
    """An effect as the row of it that decides has it: relative to |control|, with its interval of coverage `ci_level`."""

    metric_id: str
    treatment_id: str
    control_id: str  # of a comparison of two treatments the other one
    mean_control: float | None
    mean_treatment: float | None
    relative: float | None
    relative_low: float | None
    relative_high: float | None
    ci_level: float | None
    degrees_of_freedom: float | None  # None: of a test of counts


_Of = tuple[str, str, date]  # experiment, run, day


class MeasuredEffects:
    """Reads the effects that newest decisions rest on, of every metric; those of a decision that it has met, never again.

    One for a process. Of files that cannot be read the experiment has no effects.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._kept: dict[_Of, tuple[Measured, ...]] = {}

    def read(self, environment: Environment, newest: Mapping[str, Newest]) -> dict[str, tuple[Measured, ...]]:
        """Experiment -> what was measured, of these decisions."""
        wanted = {(one.experiment_id, one.run_id, one.as_of_date): one for one in newest.values()}
        with self._lock:
            unread = {key: one for key, one in wanted.items() if key not in self._kept}
            if unread:
                self._kept = {k: kept for k, kept in self._kept.items() if _may_be_asked_for(k, newest)}
                self._kept |= dict.fromkeys(unread, ()) | _read(environment, unread)
            return {key[0]: self._kept[key] for key in wanted}


def _may_be_asked_for(key: _Of, newest: Mapping[str, Newest]) -> bool:
    """Whether what is kept may be asked for again: nobody has seen a newer run of the experiment."""
    one = newest.get(key[0])
    return one is None or (one.run_id, one.as_of_date) == key[1:]


def _read(environment: Environment, wanted: dict[_Of, Newest]) -> dict[_Of, tuple[Measured, ...]]:
    catalog = existing_catalog(environment)
    if catalog is None:
        return {}
    try:
        results = table(catalog, RESULTS)
    except NoSuchTableError:
        return {}
    found: dict[_Of, list[Measured]] = {}
    for row in _rows(catalog, results, wanted):
        key: _Of = (row["experiment_id"], row["run_id"], row["as_of_date"])
        if key in wanted:
            kept: dict[str, Any] = {name: row.get(name) for name in _KEPT}
            found.setdefault(key, []).append(Measured(**kept))
    return {key: tuple(rows) for key, rows in found.items()}


def _rows(catalog: Catalog, results: Table, wanted: dict[_Of, Newest]) -> Iterator[dict[str, Any]]:
    where = {"segment": ALL, "status": "OK", "method": DECISIVE}
    scan = results.scan(selection(where), there(results, (*_KEY, *_WHERE, *_KEPT)))
    by_id = {one.experiment_id: one for one in wanted.values()}
    with naming_damage(catalog, RESULTS):
        tasks = [task for task in scan.plan_files() if may_hold(scan, task, by_id)]
    yield from rows_of_all(scan, results, tasks)
