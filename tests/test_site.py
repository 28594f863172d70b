"""The pages make a site in which every link holds, and which nobody elsewhere hears of when it is read."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from exp_platform.config.environment import project_root


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `make docs` builds; it fails by itself where a link or an anchor leads nowhere."""
    folder = tmp_path_factory.mktemp("site")
    build = [sys.executable, "-m", "mkdocs", "build", "--site-dir", str(folder)]
    done = subprocess.run(build, cwd=project_root(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


def test_it_loads_nothing_from_elsewhere(site: Path) -> None:
    loads = r"""<(?:script|img|iframe|link)\b[^>]*?\b(?:src|href)=["']?(?:https?:)?//[^"'\s>]+"""
    pages = list(site.rglob("*.html"))
    assert [(page.name, found) for page in pages for found in re.findall(loads, page.read_text())] == []
    styles = "".join(style.read_text() for style in site.rglob("*.css"))
    assert not re.findall(r"(?:@import|url\()\s*[\"']?(?:https?:)?//[^)\"']+", styles)


def test_every_page_is_in_it_and_in_its_search(site: Path) -> None:
    docs = project_root() / "docs"
    pages = {page.relative_to(docs).with_suffix(".html").as_posix() for page in docs.rglob("*.md")}
    pages = {re.sub(r"README\.html$", "index.html", page) for page in pages}
    assert len(pages) > 20
    entries = json.loads((site / "search" / "search_index.json").read_text())["docs"]
    assert pages == {entry["location"].partition("#")[0] or "index.html" for entry in entries}
    assert all((site / page).is_file() for page in pages)
