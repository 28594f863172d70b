"""The pages as Airflow's plugin hands them to the API server: imported by their first request, and by no other process."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class LazyApp:
    """An ASGI application that costs nothing until it is asked: scheduler and DAG processor import the plugin too."""

    def __init__(self) -> None:
        self._app: Callable[[Scope, Receive, Send], Awaitable[None]] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if self._app is None:
            import anyio.to_thread

            self._app = await anyio.to_thread.run_sync(_load)  # may run twice at once, which is harmless
        await self._app(scope, receive, send)


def _load() -> Callable[[Scope, Receive, Send], Awaitable[None]]:
    from threading import Thread

    from exp_platform.web.app import build_app
    from exp_platform.web.static_files import charts_library

    Thread(target=charts_library, daemon=True).start()  # seconds, before somebody waits for the first chart
    return build_app()
