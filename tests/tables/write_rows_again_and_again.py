"""One of several writers at once: python write_rows_again_and_again.py EXPERIMENT_ID TIMES (used by test_write.py)."""

from __future__ import annotations

import sys
from datetime import UTC, date, datetime

import pyarrow as pa
from pyiceberg.expressions import And, EqualTo, LessThan

from exp_platform.tables.catalog import open_catalog
from exp_platform.tables.files import task_writer
from exp_platform.tables.write import delete_rows, replace_files, replace_rows

experiment_id, times = sys.argv[1], int(sys.argv[2])
catalog = open_catalog()
for n in range(times):
    run_id, day = f"run{n:03d}", date(2026, 3, 1 + n % 2)
    users = pa.table(
        {"user_id": [f"{experiment_id}-{n}"], "variant_id": ["c"], "event_id": pa.nulls(1, pa.string())}
    )
    users = users.append_column("exposed_at", pa.array([datetime(2026, 3, 1, tzinfo=UTC)]))
    users = users.append_column("attributes", pa.array([[]], pa.map_(pa.string(), pa.string())))
    path = task_writer(None, "exposures", experiment_id, run_id).write(0, users)
    replace_files(catalog, "exposures", experiment_id, [path], run_id)
    row = {"as_of_date": day, "metric_id": "m", "status": "OK", "estimate": float(n)}
    replace_rows(catalog, "did_results", {"experiment_id": experiment_id, "run_id": run_id}, [row], run_id)
    earlier = And(
        EqualTo("experiment_id", experiment_id), EqualTo("as_of_date", day), LessThan("run_id", run_id)
    )
    delete_rows(catalog, "did_results", earlier, run_id)
