"""What every request passes before any route: who asks, that it only reads, and the headers of every answer."""

from __future__ import annotations

import logging

from airflow.api_fastapi.core_api.security import bearer_scheme, get_user
from fastapi import HTTPException, Request
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from exp_platform.web.failures import failure

log = logging.getLogger(__name__)

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "font-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'self'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "private, no-cache",  # kept by the browser alone, and asked for again each time
    "Vary": "Cookie, Authorization",
}


class Gate:
    """Refuses whoever Airflow does not know, on every path, whether there is a route or not; and whatever would write."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer it with what went wrong."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":  # there is no websocket here, and none is asked who it is
            await send({"type": "websocket.close", "code": 1008})
            return
        request, answer = Request(scope, receive), _Answer(send)
        try:
            request.state.reader = await get_user(request, None, await bearer_scheme(request))
            if scope["method"] != "GET":
                raise HTTPException(405)
            await self.app(scope, receive, answer.send)
        except HTTPException as refused:
            await failure(request, refused.status_code)(scope, receive, answer.send)
        except Exception:
            log.exception("a page of experiments failed: %s", scope["path"])
            if answer.begun:
                raise
            await failure(request, 500)(scope, receive, answer.send)


class _Answer:
    """An answer on its way: gets the headers that it does not bring itself."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.begun = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.begun = True
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
        await self._send(message)
