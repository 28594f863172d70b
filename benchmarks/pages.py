"""What the pages cost: the list of 500 experiments and their portfolio, a page of 28 days, 10 metrics and 3 arms, memory, and the import of the plugin.

Run with `. scripts/airflow-env.sh && .venv/bin/python benchmarks/pages.py`, about five minutes; an Airflow of its own, nothing
of yours is touched. A request goes through Airflow's whole application with its login, in one process without a socket. What a
process does first is measured in several processes, whose medians are told; CPU beside wall, as others may work on the machine.
"""

from __future__ import annotations

import json
import logging
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
EXPERIMENTS = 500
PROCESSES = 3  # in which what is first is measured
PAGE = "page_28"
METRICS = [
    {"id": "conversion", "type": "proportion", "event": "purchase", "role": "primary", "mde": "10%"},
    {"id": "revenue", "type": "mean", "event": "purchase"},
    {"id": "orders", "type": "count", "event": "purchase"},
    {
        "id": "order_value",
        "type": "ratio",
        "numerator": {"sum": "purchase"},
        "denominator": {"count": "purchase"},
    },
    {"id": "pageviews", "type": "count", "event": "pageview", "role": "guardrail"},
    {"id": "conversion_3", "type": "proportion", "event": "purchase", "window": {"to_day": 3}},
    {"id": "conversion_7", "type": "proportion", "event": "purchase", "window": {"to_day": 7}},
    {"id": "revenue_7", "type": "mean", "event": "purchase", "window": {"to_day": 7}},
    {"id": "pageviews_3", "type": "count", "event": "pageview", "window": {"to_day": 3}},
    {"id": "revenue_capped", "type": "mean", "event": "purchase", "winsorise": {"upper": 0.99}},
]
SPEC = {
    "owner": "benchmark",
    "hypothesis": "A page that is read at once is read.",
    "variants": [{"id": "control", "control": True}, {"id": "green"}, {"id": "blue"}],
    "window": {"start": "2026-01-05", "days": 28},
    "source": {"kind": "synthetic", "n_users": 12000, "effect_lift_conversion": 0.02, "seed": 1},
    "metrics": METRICS,
    "guardrails": [{"metric": "pageviews", "margin": "5%", "severity": "warning"}],
    "segments": ["device_type", "user_type"],
    "schedule": {"active": False},
}


def main() -> None:
    """Store the results, and measure each thing in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        _prepare(Path(folder))
        subprocess.run([sys.executable, __file__, "import"], check=True)
        for what in ("list", "portfolio", "page"):
            _tell([_in_a_process(what) for _ in range(PROCESSES)])


def _in_a_process(what: str) -> list[dict[str, Any]]:
    """What a process of its own measured, its last line."""
    done = subprocess.run([sys.executable, __file__, what], check=True, stdout=subprocess.PIPE, text=True)
    told: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return told


def _tell(processes: list[list[dict[str, Any]]]) -> None:
    for same in zip(*processes, strict=True):
        first, first_cpu, then, then_cpu, kB, grown = (
            statistics.median(one[name] for one in same)
            for name in ("first", "first_cpu", "then", "then_cpu", "kB", "grown")
        )
        print(
            f"{same[0]['what']}: first {first:.2f} s ({first_cpu:.2f} of CPU), then {1000 * then:.0f} ms ({1000 * then_cpu:.0f}); "
            f"{kB:,.0f} kB; the process has grown by {grown:.0f} MB"
        )


def _prepare(folder: Path) -> None:
    configs = folder / "configs"
    for shared in ("environments", "spark"):
        shutil.copytree(ROOT / "configs" / shared, configs / shared)
    os.environ |= {
        "EXP_CONFIG_DIR": str(configs),
        "EXP_STATE_DIR": str(folder / "state"),
        "AIRFLOW_HOME": str(folder / "airflow"),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{folder}/airflow.db",
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": "vera:viewer",
        "AIRFLOW__API_AUTH__JWT_SECRET": "of the benchmark alone, " * 4,
    }
    experiments: dict[str, Any] = {PAGE: SPEC}
    experiments |= {
        f"e{number:03}": {**SPEC, "hypothesis": f"Number {number}."} for number in range(EXPERIMENTS)
    }
    (configs / "experiments").mkdir()
    (configs / "dev.yaml").write_text(json.dumps({"environment": "embedded", "experiments": {}}))
    for id, spec in experiments.items():
        (configs / "experiments" / f"{id}.yaml").write_text(json.dumps({"id": id, **spec}))
    run = [ROOT / ".venv" / "bin" / "exp", "run", PAGE, "--from", "2026-01-05", "--to", "2026-02-01"]
    subprocess.run(run, check=True, stdout=subprocess.DEVNULL)
    _multiply()


def _multiply() -> None:
    """The newest day's rows once more for each experiment of the list, in one commit a table: as after maintenance."""
    import pyarrow as pa
    import pyarrow.compute as pc

    from exp_platform.config.environment import load_environment
    from exp_platform.tables.catalog import open_catalog, table

    catalog = open_catalog(load_environment())
    for name in ("decisions", "analysis_results"):
        stored = table(catalog, name)
        rows = stored.scan().to_arrow()
        rows = rows.filter(pc.equal(rows["as_of_date"], pc.max(rows["as_of_date"])))
        at = rows.column_names.index("experiment_id")
        copies = [
            rows.set_column(
                at, rows.schema.field(at), pa.array([f"e{n:03}"] * len(rows), rows.schema.field(at).type)
            )
            for n in range(EXPERIMENTS)
        ]
        stored.append(pa.concat_tables(copies))


def _browser() -> Any:
    """A viewer's browser on Airflow's application, whose database knows a DAG for each experiment."""
    warnings.simplefilter("ignore")
    import airflow.api_fastapi.execution_api.app  # noqa: F401  before the database is made
    from airflow.utils.db import initdb

    if (
        not Path(os.environ["AIRFLOW_HOME"]).exists()
        or not (Path(os.environ["AIRFLOW_HOME"]).parent / "airflow.db").exists()
    ):
        initdb()
    from airflow.api_fastapi.app import create_app, get_auth_manager
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
    from airflow.models.dag import DagModel
    from airflow.models.dagbundle import DagBundleModel
    from airflow.utils.session import create_session
    from starlette.testclient import TestClient

    with create_session() as session:
        session.merge(DagBundleModel(name="benchmark"))
        session.flush()
        for id in (PAGE, *(f"e{number:03}" for number in range(EXPERIMENTS))):
            session.merge(DagModel(dag_id=f"exp__{id}", bundle_name="benchmark", fileloc="experiments.py"))
    app = create_app(apps="core")
    client = TestClient(app)
    client.cookies.set(
        "_token", get_auth_manager().generate_jwt(SimpleAuthManagerUser(username="vera", role="viewer"))
    )
    return client


def _time(client: Any, grown_from: float, what: str, path: str) -> dict[str, Any]:
    """The first request of its kind, which imports and reads, and the median of twenty after it."""
    wall, cpu = [], []
    for _ in range(21):
        began, used = time.perf_counter(), time.process_time()
        answer = client.get(path)
        wall.append(time.perf_counter() - began)
        cpu.append(time.process_time() - used)
        assert answer.status_code == 200, answer.text
    return {
        "what": what,
        "first": wall[0],
        "first_cpu": cpu[0],
        "then": statistics.median(wall[1:]),
        "then_cpu": statistics.median(cpu[1:]),
        "kB": len(answer.content) / 1000,
        "grown": _memory() - grown_from,
    }


def _memory() -> float:
    """The most that the process has had at a time, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


def _import() -> None:
    """What the plugin's file costs a process that has Airflow's own plugin base already."""
    import airflow.plugins_manager  # noqa: F401

    began = time.process_time()
    names: dict[str, object] = {"__name__": "experiment_pages"}
    exec((ROOT / "plugins" / "experiment_pages.py").read_text(), names)
    print(
        f"import of the plugin: {1000 * (time.process_time() - began):.1f} ms of CPU; FastAPI loaded: {'fastapi' in sys.modules}"
    )


def _list() -> None:
    """The list first, a page and the portfolio after it: as a server is used whose worker has met nothing yet."""
    client = _ready()
    before = _memory()
    told = [
        _time(client, before, f"list of {EXPERIMENTS}, first of its process", "/experiments/"),
        _time(client, before, "and a page after it", f"/experiments/e/{PAGE}"),
        _time(client, before, "and the portfolio after both", "/experiments/portfolio"),
    ]
    print(json.dumps(told))


def _portfolio() -> None:
    """The portfolio alone, which reads what the list reads."""
    client = _ready()
    before = _memory()
    told = _time(
        client, before, f"portfolio of {EXPERIMENTS}, first of its process", "/experiments/portfolio"
    )
    print(json.dumps([told]))


def _page() -> None:
    """The page alone, in a process that has met no other: and once more after another day's page."""
    client = _ready()
    before = _memory()
    first = "page of 28 days, 10 metrics, 3 arms, first of its process"
    told = [
        _time(client, before, first, f"/experiments/e/{PAGE}"),
        _time(client, before, "another day of it", f"/experiments/e/{PAGE}?as_of=2026-01-20"),
    ]
    print(json.dumps(told))


def _ready() -> Any:
    """The browser, on a server that has answered something else already: Airflow's own first request is not the pages' cost."""
    client = _browser()
    client.__enter__()  # one loop for all requests, as in a server: else each has threads of its own
    logging.disable(logging.CRITICAL)
    assert client.get("/api/v2/dags?limit=1").status_code == 200
    return client


if __name__ == "__main__":
    {"import": _import, "list": _list, "portfolio": _portfolio, "page": _page}.get(sys.argv[-1], main)()
