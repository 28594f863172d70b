"""`python -m exp_scenarios`: run every situation and write their pages."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from exp_platform.config.environment import load_environment, temporary_state
from exp_scenarios.listed import SCENARIOS
from exp_scenarios.page import Told, write_pages


def command(
    docs: Annotated[Path, typer.Option(help="The folder that the pages are written to.")] = Path("docs"),
) -> None:
    """Run every situation through the platform, and write docs/09_experiment_scenarios.md and the pages that it lists."""
    with temporary_state() as folder:
        environment = load_environment()
        told = []
        for scenario in SCENARIOS:
            print(scenario.title, flush=True)
            raw = folder / "delivered" / scenario.id
            told.append(Told(scenario, scenario.carry_out(environment, raw), raw))
        print(f"See {write_pages(told, docs)}")


if __name__ == "__main__":
    typer.run(command)
