"""The command of `exp` for the library of metrics: what is defined, by whom, and who uses it since when."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.console import Console

from exp_platform.config.environment import load_environment
from exp_platform.config.faults import suggest
from exp_platform.config.loading import load_all
from exp_platform.errors import ConfigError
from exp_platform.escaping import terminal

commands = typer.Typer()
console = Console(markup=False, emoji=False)


@commands.command()
def metrics(
    metric_id: Annotated[
        str | None,
        typer.Argument(metavar="[METRIC_ID]", help="One metric, with what stored results used of it."),
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="Also the metrics that specs define for themselves.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print them as JSON.")] = False,
) -> None:
    """List what metrics measure, who answers for them, and which experiments use them since when."""
    from exp_platform.report.definitions import as_json as plain
    from exp_platform.report.definitions import listed, metrics_table, uses_table
    from exp_platform.results.reader import Results

    loaded = load_all()
    results = Results(load_environment(), skip_damaged=True)
    found = listed(loaded, results.definitions())
    if metric_id is not None:
        known = {metric.id for metric in found}
        found = [metric for metric in found if metric.id == metric_id]
        if not found:
            raise ConfigError(f"no metric has the id {metric_id!r}; {suggest(metric_id, known)}")
    elif not every:
        found = [metric for metric in found if metric.id in loaded.library.metrics]
    if as_json:
        print(json.dumps(plain(found), indent=1, default=str))
        return
    if metric_id is not None:
        for metric in found:
            console.print(uses_table(metric))
    elif found:
        console.print(metrics_table(found))
    else:
        console.print("No file of metrics/ beside the specs defines one; --all lists those of the specs.")
    for fault in results.unreadable:
        console.print(terminal(f"damaged, so not read: {fault}"), style="yellow", highlight=False)
    if loaded.errors:
        told = f"{len(loaded.errors)} config errors hide definitions or experiments: run exp validate"
        console.print(terminal(told), style="yellow")
