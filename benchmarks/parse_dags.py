"""How long Airflow takes to parse 500 specs, and one task its own DAG among them.

Run with `. scripts/airflow-env.sh && .venv/bin/python benchmarks/parse_dags.py`; prints CPU seconds, least and median of
five rounds. A DAG processor stops after `dagbag_import_timeout` (180 seconds here, 30 by default).
"""

from __future__ import annotations

import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[1]
FLAT = {"hypothesis": "A green button sells.", "days": 3, "n_users": 1000}


def main() -> None:
    """Time both after a first round to warm up."""
    with tempfile.TemporaryDirectory() as folder:
        _write(Path(folder))
        os.environ["EXP_CONFIG_DIR"] = folder
        _time("500 specs", _all)
        os.environ["_AIRFLOW_PARSING_CONTEXT_DAG_ID"] = "exp__e121"
        _time("one task's own", _one)


def _write(folder: Path) -> None:
    """250 full specs in files of their own, and 250 flat ones in one file."""
    (folder / "experiments").mkdir()
    full = (ROOT / "configs" / "experiments" / "hillstrom.yaml").read_text()
    for number in range(250):
        spec = full.replace("id: hillstrom", f"id: e{number}")
        (folder / "experiments" / f"e{number}.yaml").write_text(spec)
    flat = {f"flat_{number}": FLAT for number in range(250)}
    (folder / "dev.yaml").write_text(json.dumps({"environment": "embedded", "experiments": flat}))


def _all() -> int:
    from airflow.dag_processing.dagbag import DagBag

    return len(DagBag(ROOT / "dags" / "experiments.py").dags)


def _one() -> int:
    names: dict[str, object] = {"__name__": "experiments"}
    exec((ROOT / "dags" / "experiments.py").read_text(), names)
    return sum(name.startswith("exp__") for name in names)


def _time(what: str, parse: Callable[[], int]) -> None:
    seconds = []
    for _ in range(6):
        began = time.process_time()
        dags = parse()
        seconds.append(time.process_time() - began)
    print(
        f"{what}: {dags} DAGs, least {min(seconds[1:]):.3f} s, median {statistics.median(seconds[1:]):.3f} s of CPU"
    )


if __name__ == "__main__":
    main()
