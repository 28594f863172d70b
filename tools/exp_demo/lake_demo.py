"""`make lake-demo`: a company's lake is made up, and two experiments that share its source and metrics run through Airflow.

Every number of their `ab` rows is compared with the one that DuckDB finds in the same files (`lake_reference`).
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

from exp_demo.lake import write_lake
from exp_demo.lake_reference import METRICS, Lake, differences
from exp_demo.laptop import DemoError, main, run_demo
from exp_platform.analyses.rows import ResultRow
from exp_platform.config.environment import load_environment, project_root, state_dir
from exp_platform.escaping import terminal
from exp_platform.results.reader import Results

EXAMPLE = project_root() / "configs" / "examples" / "lake"


def run_lake_demo(console: Console) -> None:
    """Write the lake where there is none yet, run both experiments and check their numbers. Raises DemoError.

    Their state is their own: in that of others they would be experiments whose specs are gone.
    """
    folder = state_dir() / "lake_demo"
    lake = made(folder / "lake", console)
    place = {
        "EXP_LAKE": str(lake),
        "EXP_CONFIG_DIR": str(configured(folder / "configs")),
        "EXP_STATE_DIR": str(folder / "state"),
    }
    os.environ |= place
    for experiment_id in METRICS:
        run_demo(console, experiment_id)
    reference, results = Lake(lake), Results(load_environment())
    rows = {id: list(results.rows(ResultRow, id, method="ab")) for id in METRICS}
    faults = [fault for id, found in rows.items() for fault in faults_of_rows(id, found, reference)]
    if faults:
        raise DemoError("\n".join(faults))
    said = f"{sum(map(len, rows.values()))} rows of ab are what DuckDB finds in the lake's files, to 1e-9"
    console.print(terminal(said), highlight=False)
    variables = " ".join(f"{name}={shlex.quote(value)}" for name, value in place.items())
    console.print(
        terminal(f"To see them again: {variables} exp results {next(iter(METRICS))}"),
        highlight=False,
        soft_wrap=True,
    )


def made(lake: Path, console: Console) -> Path:
    """The lake's folder; written beside and renamed, so that half a lake is none."""
    if not lake.is_dir():
        console.print(terminal(f"writing three years of a shop to {lake}"), highlight=False, soft_wrap=True)
        half = lake.with_name("half")
        shutil.rmtree(half, ignore_errors=True)
        write_lake(half)
        half.rename(lake)
    return lake


def configured(folder: Path) -> Path:
    """The example's source, metrics and specs as a folder of configs of their own, with this machine's environments."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(EXAMPLE, folder)
    shutil.copytree(project_root() / "configs" / "environments", folder / "environments")
    return folder


def faults_of_rows(experiment_id: str, rows: list[ResultRow], reference: Lake) -> Iterator[str]:
    """What stored rows of `ab` say otherwise than DuckDB, and metrics without a row, or with several."""
    for metric_id, expected in reference.expected(experiment_id):
        of_metric = [row for row in rows if (row.metric_id, row.segment_value) == (metric_id, "all")]
        if len(of_metric) != 1:
            yield f"{experiment_id}: {metric_id} has {len(of_metric)} rows of ab"
            continue
        yield from (f"{experiment_id}: {fault}" for fault in differences(metric_id, expected, of_metric[0]))


if __name__ == "__main__":
    sys.exit(main(run_lake_demo))
