"""Answers that a browser or program keeps: the same tag again gets 304 and no content."""

from __future__ import annotations

from fastapi import Request, Response


def unchanged(request: Request, tag: str) -> Response | None:
    """The answer 304 where the asker holds what this tag is of; None where it is to be made."""
    held = [one.strip().removeprefix("W/") for one in request.headers.get("if-none-match", "").split(",")]
    return Response(status_code=304, headers=tagged(tag)) if f'"{tag}"' in held else None


def tagged(tag: str) -> dict[str, str]:
    """The header that names a content. Weak, as the server packs it in several ways."""
    return {"ETag": f'W/"{tag}"'}
