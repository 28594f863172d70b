"""The pages as Airflow's plugin hands them to the API server: imported by their first request, and by no other process."""

from __future__ import annotations

import gc
import os
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import contextmanager
from threading import Lock
from typing import Any

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class LazyApp:
    """An ASGI application that costs nothing until it is asked: scheduler and DAG processor import the plugin too."""

    def __init__(self) -> None:
        self._app: App | None = None
        self._lock = Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if self._app is None:
            import anyio.to_thread

            await anyio.to_thread.run_sync(self._load_once)
        assert self._app is not None
        await self._app(scope, receive, send)

    def _load_once(self) -> None:
        """One thread imports and the others wait: a page and its icon are asked for at once, and modules know each other."""
        with self._lock:
            if self._app is None:
                self._app = _load()


def _load() -> App:
    from threading import Thread

    from exp_platform.without_pandas import arrow_without_pandas

    # Arrow's own allocator keeps memory for each thread that ever read, of which a server has dozens: 30 MB more after a few pages
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    with _uncollected(), arrow_without_pandas():
        from exp_platform.web.app import build_app
        from exp_platform.web.static_files import charts_library

        app = build_app()
    Thread(target=charts_library, daemon=True).start()  # seconds, before somebody waits for the first chart
    return app


@contextmanager
def _uncollected() -> Iterator[None]:
    """Import without the collector of garbage, and spare it what is there by then.

    Airflow and what was imported are 350,000 objects that stay. Each collection that walks them takes 0.2 s, and a first page,
    or a list of 500 specs, sets off several.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
