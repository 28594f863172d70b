"""A decision is read as it was stored, or refused by name where it says what this version cannot know."""

from __future__ import annotations

import json
from datetime import date
from typing import Any

import pytest

from exp_platform.errors import DataError
from exp_platform.results.stored import StoredDecision
from exp_platform.tables.schemas import TABLES

EMPTY = ("skipped", "assigned", "crossovers", "periods", "caps", "thresholds", "pooled", "too_large", "rows")


def a_row(**told: Any) -> dict[str, Any]:
    """A row of `decisions` with nothing in it but these."""
    row: dict[str, Any] = dict.fromkeys(column for column, _ in TABLES["decisions"].columns)
    known = {"experiment_id": "exp_a", "as_of_date": date(2026, 1, 8), "code_version": "9.9+abc"}
    return row | dict.fromkeys(EMPTY, "{}") | known | {"decision": "{}", "skipped": "[]"} | told


def test_what_older_versions_did_not_store_is_empty() -> None:
    row = a_row() | dict.fromkeys(
        ("periods", "thresholds", "pooled", "too_large", "rows", "result_rows", "definitions")
    )
    stored = StoredDecision.of(row)
    assert (stored.periods, stored.thresholds, stored.pooled, stored.too_large) == ({}, {}, {}, {})
    assert (stored.rows, stored.result_rows, stored.definitions, stored.sequential) == ({}, {}, {}, None)


@pytest.mark.parametrize(
    "told",
    [
        {"rows": {"exposures": {"read": 1, "counted": {}, "left_out": {}, "of_tomorrow": 2}}},
        {"periods": {"2026-01-05": {"assigned": {}, "of_tomorrow": {}}}},
        {"caps": {"revenue": [1, 2, 3]}},
        {"pooled": {"city": {"city": {"of_tomorrow": 1}}}},
    ],
)
def test_a_row_of_a_newer_version_is_refused_by_name(told: dict[str, Any]) -> None:
    row = a_row(**{column: json.dumps(value) for column, value in told.items()})
    with pytest.raises(
        DataError, match=r"^exp_a: what was decided as of 2026-01-08 .* version 9.9\+abc wrote it"
    ):
        StoredDecision.of(row)


def test_a_decision_of_a_newer_version_is_refused_by_name_when_it_is_unfolded() -> None:
    stored = StoredDecision.of(a_row(decision=json.dumps({"of_tomorrow": 1, "sequential": "always_valid"})))
    assert stored.sequential == "always_valid"
    with pytest.raises(DataError, match=r"version 9.9\+abc wrote it; use that one or a newer one"):
        _ = stored.decision
