"""The flags `--skip-...`: one per stage whose stored results may stand in for it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from functools import wraps
from typing import Annotated, Any

import typer

from exp_platform.config.analyses import ANALYSES, RESULTS, Analysis
from exp_platform.stages.graph import SKIPPABLE


def with_skip_flags(command: Callable[..., None]) -> Callable[..., None]:
    """The command with these flags in the place of its parameter `skipped`, which gets the stages that they name."""
    plain = inspect.signature(command, eval_str=True)
    flags = {f"skip_{name.replace('-', '_')}": stage for name, stage, _ in _flags()}

    @wraps(command)
    def skipping(**given: Any) -> None:
        skipped = tuple(stage for flag, stage in flags.items() if given.pop(flag))
        command(**given, skipped=skipped)

    own = [p for p in plain.parameters.values() if p.name != "skipped"]
    options = [
        inspect.Parameter(
            flag,
            inspect.Parameter.KEYWORD_ONLY,
            default=False,
            annotation=Annotated[bool, typer.Option(f"--skip-{name}", help=does)],
        )
        for flag, (name, _, does) in zip(flags, _flags(), strict=True)
    ]
    skipping.__signature__ = plain.replace(parameters=[*own, *options])  # type: ignore[attr-defined]
    return skipping


def _flags() -> Iterator[tuple[str, str, str]]:
    """Each flag's name, the stage it skips, and what it does; the first two are called as in the original platform."""
    yield "dq", "quality", "Publish the data unchecked; no decision is then trusted."
    yield "metrics", "aggregates", "Use the stored metric_aggregates_overall of this as_of date."
    for analysis in ANALYSES:
        if analysis.name not in SKIPPABLE:
            continue
        yield analysis.name.replace("_", "-"), analysis.name, f"Use the stored {_rows(analysis)}."


def _rows(analysis: Analysis) -> str:
    tables = list(dict.fromkeys(m.table for m in analysis.kinds_of_rows))
    named = " and ".join([", ".join(tables[:-1])] * (len(tables) > 1) + tables[-1:])
    return f"{named} rows" + (f" of method {analysis.name}" if RESULTS in tables else "")
