"""The files that pages load: of one package, held in memory, under an address that changes with their content."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from functools import cache
from importlib.metadata import version
from pathlib import Path

from fastapi import APIRouter, HTTPException, Response

from exp_platform.code_version import wording_version
from exp_platform.report.html import stylesheet

FOLDER = Path(__file__).parent / "static"
_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_FOR_EVER = "private, max-age=31536000, immutable"
_FOR_NOW = "private, max-age=3600"
VEGA = "vega.js"  # made of the installed renderer, and no file of ours

router = APIRouter(prefix="/static")


def static_path(name: str) -> str:
    """The address of a file below the app's root; another content has another one, so browsers keep it for ever."""
    return f"/static/{pages_version()}/{name}"


@router.get("/{of}/{name}")
def versioned(of: str, name: str) -> Response:
    """A file under the address that pages name; of another version the same file, but for now only."""
    return _answer(name, _FOR_EVER if of == pages_version() else _FOR_NOW)


@router.get("/{name}")
def unversioned(name: str) -> Response:
    """A file under a fixed address: what Airflow's own pages load."""
    return _answer(name, _FOR_NOW)


def _answer(name: str, cached: str) -> Response:
    content = charts_library() if name == VEGA else _files().get(name)
    if content is None:
        raise HTTPException(404)
    media_type = _TYPES[Path(name).suffix]
    return Response(content, media_type=media_type, headers={"Cache-Control": cached})


@cache
def _files() -> dict[str, bytes]:
    own = {path.name: path.read_bytes() for path in sorted(FOLDER.iterdir()) if path.suffix in _TYPES}
    return {**own, "report.css": stylesheet().encode()}


@cache
def pages_version() -> str:
    """A hash of all that makes a page look as it does: this room's files, the report's, and the renderer of charts."""
    digest = hashlib.sha256((version("vl-convert-python") + wording_version()).encode())
    for path in sorted(FOLDER.parent.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:12]


@cache
def charts_library() -> bytes:
    """Vega, Vega-Lite and Vega-Embed as one module: 0.9 MB, made by the renderer that draws the memo's pictures.

    In a process of its own, as making it takes two seconds and 90 MB that would stay with the server; browsers keep it.
    """
    code = "import sys, vl_convert; sys.stdout.write(vl_convert.javascript_bundle())"
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True).stdout
