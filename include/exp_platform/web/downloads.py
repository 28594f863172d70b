"""Files to take away: what is seen, for spreadsheets and programs."""

from __future__ import annotations

import re

from fastapi import Response

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def attachment(content: bytes, name: str, media_type: str, headers: dict[str, str] | None = None) -> Response:
    """A file that the browser saves under this name, of which only plain letters are kept."""
    plain = re.sub(r"[^A-Za-z0-9._-]", "_", name)
    how = {"Content-Disposition": f'attachment; filename="{plain}"', **(headers or {})}
    return Response(content, media_type=media_type, headers=how)


def text_cell(value: object) -> object:
    """A cell of a CSV file; a text that a spreadsheet would calculate gets a quote before it, as OWASP advises."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
