"""A run that is started on files of its own, and carried out on made-up aggregates."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from exp_platform.code_version import wording_version
from exp_platform.config.environment import Environment
from exp_platform.config.experiment import Experiment
from exp_platform.config.sources import EventsSource, TableSource
from exp_platform.json_file import write_json
from exp_platform.stages.run import Run
from exp_platform.stages.start import Started
from stages.frozen_runs import a_run, an_experiment, carry_out


def of_files(tmp_path: Path) -> Experiment:
    """Two files of events; the window is 1 to 14 March 2025."""
    sources = []
    for name in ("exposures", "outcomes"):
        folder = tmp_path / "input" / name
        folder.mkdir(parents=True)
        (folder / "part-0.parquet").write_bytes(b"some rows")
        sources.append(TableSource("parquet", str(folder), {}))
    return replace(an_experiment(), source=EventsSource(*sources, {}, "none"))


def store(environment: Environment, started: Started) -> Run:
    """Carry out a started run on made-up aggregates."""
    assert started.run is not None
    made_up = a_run(environment, "made up", started.run.as_of_dates)
    for part in ("ingest.json", "quality.json", "aggregates.json"):
        (started.run.path / part).write_text((made_up.path / part).read_text())
    carry_out(started.run)
    memo = {"run_id": started.run.run_id, "wording_version": wording_version()}
    write_json(Path(environment.memos_dir) / "exp_a.json", memo)
    return started.run
