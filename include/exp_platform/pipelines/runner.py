"""Runner 2: one experiment's stages in this process, under the same lease as the DAG."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Protocol

from exp_platform.config.environment import Environment
from exp_platform.config.experiment import Experiment
from exp_platform.errors import ExpPlatformError
from exp_platform.private_files import keep_private
from exp_platform.stages.execute import execute
from exp_platform.stages.graph import Stage
from exp_platform.stages.run import Manifest, Run
from exp_platform.stages.start import Started, start_run
from exp_platform.tables.holders import this_process
from exp_platform.tables.lease import held_lease


class StageFailedError(ExpPlatformError):
    """A required stage of a run failed; the message names the stage, the cause and the remedy."""


class Observer(Protocol):
    """Who is told how a run goes."""

    def started(self, run: Run, stages: Sequence[Stage]) -> None:
        """The run begins with these stages."""

    def stage_started(self, stage: Stage) -> None:
        """A stage begins."""

    def stage_finished(self, stage: Stage, manifest: Manifest) -> None:
        """A stage ended, well or not."""


@dataclass(frozen=True)
class Outcome:
    """How a run ended: what `start_run` said and, unless the results were up to date, each stage's manifest."""

    started: Started
    manifests: tuple[Manifest, ...] = ()


def run_experiment(
    experiment: Experiment,
    environment: Environment,
    observer: Observer,
    *,
    as_of_dates: Sequence[date] | None = None,
    force: bool = False,
    full: bool = False,
    skipped: Sequence[str] = (),
    generate_synth: bool = True,
) -> Outcome:
    """Run the experiment's stages in turn and return their manifests.

    `as_of_dates` None: the last complete local day. `full`: everything is read from the source. `skipped` stages use their stored results. A best-effort stage
    that fails is told to the observer and the run goes on. Raises StageFailedError where a required stage fails, LeaseError
    where another run of this experiment is under way, DataError and ConfigError as `start_run` does.
    """
    keep_private()
    holder = this_process()
    with held_lease(environment, experiment.id, holder):
        started = start_run(
            experiment,
            environment,
            as_of_dates=as_of_dates,
            force=force,
            full=full,
            skipped=skipped,
            generate_synth=generate_synth,
            holder=holder,
        )
        if started.run is None:
            return Outcome(started)
        stages = [s for s in started.run.stages if generate_synth or s.name != "synth"]
        observer.started(started.run, stages)
        return Outcome(started, tuple(_run_stages(started.run, stages, observer, execute)))


def _run_stages(
    run: Run, stages: Sequence[Stage], observer: Observer, run_stage: Callable[[Run, str, int], Manifest]
) -> list[Manifest]:
    manifests = []
    for stage in stages:
        observer.stage_started(stage)
        manifest = run_stage(run, stage.name, 1)
        observer.stage_finished(stage, manifest)
        manifests.append(manifest)
        if manifest.status == "failed" and stage.required:
            raise StageFailedError(f"{stage.name}: {manifest.error}")
    return manifests
