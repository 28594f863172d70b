"""What a reader is told where something went wrong: a sentence and a way on, no path, no trace, no name of a thing they may not see."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace

from fastapi import Request
from fastapi.responses import HTMLResponse, JSONResponse, Response

from exp_platform.web.rendering import render


@dataclass(frozen=True)
class Words:
    """The title of a failure, and what to do."""

    title: str
    says: str


_WORDS = {
    401: Words("You are not logged in", "Your session is over, or has not begun. Log in and come back."),
    403: Words("You may not see this", "Your login was not accepted. Log in again."),
    404: Words(
        "There is nothing to see here",
        "No such page, experiment or day, or none that you may read. If it should be here, ask who looks after Airflow whether "
        "you may read its DAG.",
    ),
    405: Words(
        "These pages only read", "Nothing can be changed here. Runs are started through Airflow's own API."
    ),
    422: Words(
        "The address cannot be read",
        "A part of it has another form than expected: a day is written 2026-01-31.",
    ),
}
_UNKNOWN = Words(
    "The results cannot be shown",
    "Something is wrong with the stored state or its configuration. The log of Airflow's API server says what; "
    "The command exp doctor finds most causes.",
)


def failure(request: Request, status: int, which: str = "") -> Response:
    """The answer to a request that failed: JSON under /api/, else a page. `which`: the parts of the address that are meant."""
    words = _WORDS.get(status, _UNKNOWN)
    words = replace(words, says=f"{words.says} {which}".strip())
    if is_api(request):
        return JSONResponse({"detail": f"{words.title}. {words.says}"}, status)
    if status in (401, 403):
        return _login(request, status, words)
    return HTMLResponse(render(request, "failure.html.j2", words=words), status)


def is_api(request: Request) -> bool:
    """Whether a program asks."""
    path: str = request.scope["path"]
    return path.removeprefix(request.scope.get("root_path", "")).startswith("/api/")


def _login(request: Request, status: int, words: Words) -> Response:
    """A page that needs no other file, as none is given to strangers; its link takes the whole window to the login."""
    nonce = secrets.token_urlsafe(16)
    text = render(request, "login.html.j2", words=words, nonce=nonce)
    policy = f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; base-uri 'none'; frame-ancestors 'self'"
    return HTMLResponse(text, status, {"Content-Security-Policy": policy, "Cache-Control": "no-store"})
