"""Rows survive their file: every type, every status, every float to the bit; numbers that are none are refused."""

from __future__ import annotations

import json
import math
from datetime import date
from pathlib import Path

import pytest

from exp_platform.analyses.row_codec import as_columns, read_rows, write_rows
from exp_platform.analyses.rows import DidRow, PretrendDeltaRow, PretrendTestRow, ResultRow, Row, Status

DAY = date(2025, 3, 14)
KEY = (DAY, "ab", "orders", "mean", "primary", "t1", "control", "all", "all")


def test_every_type_and_status_round_trips(tmp_path: Path) -> None:
    rows: list[Row] = [ResultRow(*KEY, status, message="why") for status in Status]
    rows += [
        ResultRow(
            *KEY,
            Status.OK,
            estimate=0.1 + 0.2,
            log10_p=-1e300,
            always_valid_status=Status.NOT_YET,
            significant=False,
        ),
        DidRow(DAY, "orders", "t1", "control", Status.OK, estimate=math.pi),
        PretrendDeltaRow(
            DAY, "orders", "t1", "control", Status.DEGENERATE, n_control=3, day=-3, reference_day=-1
        ),
        PretrendTestRow(DAY, "orders", "t1", "control", Status.OK, parallel=True, wald=5e-324),
    ]
    path = tmp_path / "rows" / "ab.json"
    write_rows(path, rows)
    back = read_rows(path)
    assert back == rows
    assert all(isinstance(r.status, Status) for r in back)
    assert isinstance(back[len(Status)].always_valid_status, Status)  # type: ignore[union-attr]
    assert [p.name for p in path.parent.iterdir()] == ["ab.json"]


def test_no_rows_are_a_file_too(tmp_path: Path) -> None:
    write_rows(tmp_path / "did.json", [])
    assert read_rows(tmp_path / "did.json") == []


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_not_finite_are_refused_and_leave_no_file(tmp_path: Path, number: float) -> None:
    path = tmp_path / "ab.json"
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_rows(path, [ResultRow(*KEY, Status.OK, estimate=number)])
    assert not path.exists()


def test_as_columns_has_every_column_plain() -> None:
    row = ResultRow(*KEY, Status.NOT_YET, always_valid_status=Status.OK)
    plain = as_columns(row)
    assert plain.keys() == vars(row).keys()
    assert (plain["as_of_date"], type(plain["status"]), plain["status"]) == (DAY, str, "NOT_YET")
    assert type(plain["always_valid_status"]) is str
    assert json.dumps({k: v for k, v in plain.items() if k != "as_of_date"})
