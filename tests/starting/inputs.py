"""What the tests of `exp init` share: small tables, and what came of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from exp_platform.starting.init import Written

TODAY = date(2026, 4, 1)
N = 400

Init = Callable[..., Written]


def default(question: str, allowed: Sequence[str], proposed: str) -> str:
    return proposed


def specs(tmp_path: Path) -> list[str]:
    return sorted(
        path.name for path in (tmp_path / "configs").glob("*s/*") if "environments" not in path.parts
    )


def table(path: Path, **columns: Any) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


def users(n: int = N) -> list[str]:
    return [f"u{i:04d}" for i in range(n)]


def arms(n: int = N, names: Sequence[str] = ("control", "new")) -> list[str]:
    return [names[i % len(names)] for i in range(n)]


def told(written: Written) -> str:
    return "\n".join(written.told)
