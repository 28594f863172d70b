"""What the plugin costs processes that serve no page, and what it tells Airflow."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from typing import Any

import pytest

from exp_platform.config.environment import project_root
from exp_platform.web import lazy

_CODE = """
import json, runpy, sys, time
import airflow.plugins_manager
before = set(sys.modules)
began = time.process_time()
made = runpy.run_path(sys.argv[1])
seconds = time.process_time() - began
plugin = made["ExperimentPagesPlugin"]
views = [(v["destination"], v["url_route"], v["href"]) for v in plugin.external_views]
print(json.dumps([sorted(set(sys.modules) - before), seconds, views, plugin.fastapi_apps[0]["url_prefix"]]))
"""


def test_importing_the_plugin_loads_no_page_and_takes_next_to_nothing() -> None:
    plugin = project_root() / "plugins" / "experiment_pages.py"
    done = subprocess.run([sys.executable, "-c", _CODE, plugin], capture_output=True, text=True, check=True)
    loaded, seconds, views, prefix = json.loads(done.stdout.splitlines()[-1])
    assert {name for name in loaded if name.startswith("exp_platform.web")} == {
        "exp_platform.web",
        "exp_platform.web.lazy",
    }
    heavy = ("fastapi", "pyarrow", "pyiceberg", "numpy", "scipy", "yaml", "jinja2", "airflow.api_fastapi")
    assert not [name for name in loaded if name.startswith(heavy)]
    assert seconds < 0.05
    assert prefix == "/experiments"
    assert [view[:2] for view in views] == [
        ["nav", "experiments"],
        ["dag", "results"],
        ["dag_run", "run-results"],
    ]
    assert not [
        href for _, _, href in views if href.startswith("/")
    ]  # or a prefix of [api] base_url would be lost


def test_requests_that_come_at_once_import_the_pages_once(monkeypatch: pytest.MonkeyPatch) -> None:
    loads: list[int] = []

    def load() -> Any:
        time.sleep(0.05)  # others come meanwhile
        loads.append(1)
        return app

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope["answered"] = True

    async def ask() -> list[dict[str, Any]]:
        scopes: list[dict[str, Any]] = [{"type": "http"} for _ in range(8)]
        await asyncio.gather(*(pages(scope, None, None) for scope in scopes))  # type: ignore[arg-type]
        return scopes

    monkeypatch.setattr(lazy, "_load", load)
    pages = lazy.LazyApp()
    assert all(scope["answered"] for scope in asyncio.run(ask()))
    assert loads == [1]
