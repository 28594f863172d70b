"""Result rows that count no more, because another run has decided their day since: maintenance takes them away."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from datetime import date, datetime
from typing import Any

from pyiceberg import expressions
from pyiceberg.catalog import Catalog
from pyiceberg.expressions import AlwaysFalse, BooleanExpression

from exp_platform.tables.catalog import table
from exp_platform.tables.damage import naming_damage
from exp_platform.tables.schemas import RESULT_TABLES
from exp_platform.tables.selection import selection
from exp_platform.tables.write import delete_rows

# mypy's pydantic plugin expects fields where these classes have constructors of their own.
_and: Any = expressions.And
_or: Any = expressions.Or
_less_than: Any = expressions.LessThan
_greater_than: Any = expressions.GreaterThan


def delete_superseded(catalog: Catalog, experiment_id: str, run_id: str) -> int:
    """Delete them of one experiment, whose lease the caller holds, and return how many rows went.

    A table is left alone where its manifests say that it has just the rows that count; a file that holds one day of one run
    goes without being opened.
    """
    decisions = _decisions(catalog, experiment_id)
    counted = _counted(decisions)
    where = _superseded(experiment_id, decisions)
    went = 0
    for name in RESULT_TABLES:
        before = _lying(catalog, name, experiment_id)
        if counted is None or counted[name] != before:
            delete_rows(catalog, name, where, run_id)
            went += before - _lying(catalog, name, experiment_id)
    return went


def _decisions(catalog: Catalog, experiment_id: str) -> list[dict[str, Any]]:
    source, mine = table(catalog, "decisions"), selection({"experiment_id": experiment_id})
    columns = ("as_of_date", "run_id", "computed_at", "result_rows")
    there = tuple(
        name for name in columns if name in source.schema().column_names
    )  # an older table lacks the last
    with naming_damage(catalog, "decisions", mine):
        return list(source.scan(mine, selected_fields=there).to_arrow().to_pylist())


def _counted(decisions: list[dict[str, Any]]) -> Counter[str] | None:
    """Result table -> rows that count; None where a decision of an older version does not say how many it rests on."""
    counted: Counter[str] = Counter()
    for row in decisions:
        if not row.get("result_rows"):
            return None
        counted.update(json.loads(row["result_rows"]))
    return counted


def _lying(catalog: Catalog, name: str, experiment_id: str) -> int:
    mine = selection({"experiment_id": experiment_id})
    with naming_damage(catalog, name, mine):
        return sum(task.file.record_count for task in table(catalog, name).scan(mine).plan_files())


def _superseded(experiment_id: str, decisions: list[dict[str, Any]]) -> BooleanExpression:
    """Rows of a decided day whose run began before the one that decided it, by its id, or wrote them before that was decided.

    The latter has a later id where somebody cleared an older run. What was written after the decision stays: the failed checks
    of data that were refused since, or the beginning of what a killed run will go on with.
    """
    days: dict[tuple[str, datetime], list[date]] = defaultdict(list)
    for row in decisions:
        days[row["run_id"], row["computed_at"]].append(row["as_of_date"])
    terms = [
        _and(
            selection({"experiment_id": experiment_id, "as_of_date": of_run}),
            _or(
                _less_than("run_id", decided_by),
                _and(_greater_than("run_id", decided_by), _less_than("computed_at", at.isoformat())),
            ),
        )
        for (decided_by, at), of_run in days.items()
    ]
    chosen: BooleanExpression = _or(
        AlwaysFalse(), AlwaysFalse(), *terms
    )  # a balanced tree: one of a hundred days may be no chain
    return chosen
