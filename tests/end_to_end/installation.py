"""A platform of the tests' own: configs and state under one folder, run in this process or in others."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import yaml

from exp_platform.config.environment import Environment, load_environment, project_root
from exp_platform.config.loading import load_experiment
from exp_platform.pipelines.runner import Outcome, run_experiment
from exp_platform.results.reader import Results
from exp_platform.stages.graph import Stage
from exp_platform.stages.run import Manifest, Run
from exp_platform.tables.catalog import open_catalog, table
from exp_platform.tables.schemas import NAMED, RESULT_TABLES, TABLES
from exp_platform.tables.selection import selection

ROOT = project_root()
CONFIGS = ROOT / "configs"
DATA = Path(os.environ.get("EXP_DATA_DIR") or ROOT.parent / "shared" / "data").resolve()

# What a rerun may change: which run it was, when, and the snapshots that it committed.
OF_THE_RUN = {"run_id", "computed_at", "published_at", *(f"{name}_snapshot" for name in NAMED)}


@dataclass(frozen=True)
class Said:
    """How a command ended and what it printed."""

    code: int
    out: str
    err: str


@dataclass
class Silent:
    """An observer that only remembers."""

    manifests: list[Manifest] = field(default_factory=list)

    def started(self, run: Run, stages: Sequence[Stage]) -> None:
        pass

    def stage_started(self, stage: Stage) -> None:
        pass

    def stage_finished(self, stage: Stage, manifest: Manifest) -> None:
        self.manifests.append(manifest)


class Installation:
    """Configs and state of one test. Nothing of a developer's own is read or written."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.configs, self.state = folder, folder / "configs", folder / "state"
        shutil.copytree(CONFIGS / "environments", self.configs / "environments")
        (self.configs / "experiments").mkdir()
        self.rewrite("embedded", "driver_memory: 4g", "driver_memory: 1g")

    # ---- configs

    def rewrite(self, environment: str, old: str, new: str) -> None:
        """Change one setting of an environment."""
        path = self.configs / "environments" / f"{environment}.yaml"
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))

    def entries(self, **experiments: Mapping[str, Any]) -> None:
        """Write `dev.yaml` with these entries."""
        content = {"environment": "embedded", "experiments": experiments}
        (self.configs / "dev.yaml").write_text(yaml.safe_dump(content, sort_keys=False))

    def spec(self, **content: Any) -> str:
        """Write a full spec into a file of its own, and return its id."""
        path = self.configs / "experiments" / f"{content['id']}.yaml"
        path.write_text(yaml.safe_dump(content, sort_keys=False))
        return str(content["id"])

    # ---- running

    @property
    def variables(self) -> dict[str, str]:
        return {
            "EXP_CONFIG_DIR": str(self.configs),
            "EXP_STATE_DIR": str(self.state),
            "EXP_DATA_DIR": str(DATA),
            "EXP_ENVIRONMENT": "embedded",
        }

    @property
    def variables_of_airflow(self) -> dict[str, str]:
        """The same for Airflow and the tasks that it runs."""
        return self.variables

    @contextmanager
    def here(self) -> Iterator[None]:
        """This process works on this installation for the length of a `with` block."""
        before = {name: os.environ.get(name) for name in self.variables}
        os.environ.update(self.variables)
        try:
            yield
        finally:
            for name, value in before.items():
                os.environ.pop(name) if value is None else os.environ.__setitem__(name, value)

    @property
    def environment(self) -> Environment:
        with self.here():
            return load_environment()

    def run(self, experiment_id: str, **options: Any) -> Outcome:
        """The pipeline runner in this process, in the Spark session that all tests share."""
        with self.here():
            return run_experiment(load_experiment(experiment_id), load_environment(), Silent(), **options)

    def call(self, main: Callable[[], None], *arguments: str, answer: str = "") -> Said:
        """A command's own entry point, called in this process as if it had been typed, and `answer` to its question."""
        out, err, argv, stdin = io.StringIO(), io.StringIO(), sys.argv, sys.stdin
        sys.argv, sys.stdin = ["command", *arguments], io.StringIO(answer + "\n")
        code: Any = 0
        try:
            with self.here(), redirect_stdout(out), redirect_stderr(err):
                main()
        except SystemExit as end:
            code = end.code
        finally:
            sys.argv, sys.stdin = argv, stdin
        return Said(code or 0, out.getvalue(), err.getvalue())

    def process(self, *command: str, **variables: str) -> subprocess.Popen[str]:
        """Python with these arguments, in a process of its own."""
        return subprocess.Popen(
            [sys.executable, *command],
            env=os.environ | self.variables | variables,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    # ---- what is stored

    @property
    def results(self) -> Results:
        return Results(self.environment)

    def rows(self, name: str, experiment_id: str | None = None) -> list[dict[str, Any]]:
        """All rows of a table, of one experiment or of all; of results those that count."""
        return self.tables([name], experiment_id)[name]

    def tables(
        self, names: Iterable[str] = TABLES, experiment_id: str | None = None
    ) -> dict[str, list[dict[str, Any]]]:
        """The same of several tables: which results count is read once."""
        found = {name: self.lying_rows(name, experiment_id) for name in names}
        if results := found.keys() & RESULT_TABLES:
            decisions = found.get("decisions") or self.lying_rows("decisions", experiment_id)
            counts = {run_of(row) for row in decisions}
            found |= {name: [row for row in found[name] if run_of(row) in counts] for name in results}
        return found

    def lying_rows(self, name: str, experiment_id: str | None = None) -> list[dict[str, Any]]:
        """All rows of a table as they lie there, those that a later run superseded among them."""
        with self.here():  # a catalog may take its password and keys from there
            stored = table(open_catalog(self.environment), name)
            scan = (
                stored.scan(selection({"experiment_id": experiment_id})) if experiment_id else stored.scan()
            )
            return scan.to_arrow().to_pylist()

    def content(
        self, experiment_id: str | None = None, also_without: Sequence[str] = ()
    ) -> dict[str, list[str]]:
        """Every table's rows in a canonical order, without what names the run: equal content is equal here, to the bit."""
        left_out = OF_THE_RUN | set(also_without)

        def kept(row: dict[str, Any]) -> dict[str, Any]:
            return {name: value for name, value in row.items() if name not in left_out}

        rows = self.tables(experiment_id=experiment_id)
        return {name: sorted(repr(kept(row)) for row in found) for name, found in rows.items()}

    def decision(self, experiment_id: str) -> dict[str, Any]:
        """The newest decision as its JSON document."""
        stored = self.results.latest_decision(experiment_id)
        assert stored is not None
        return json.loads(stored.document)

    def files(self) -> dict[str, bytes]:
        """Every file of the state by its path: what a command that writes nothing leaves as it was."""
        return {
            str(path.relative_to(self.state)): path.read_bytes()
            for path in sorted(self.state.rglob("*"))
            if path.is_file()
        }


def run_of(row: dict[str, Any]) -> tuple[str, date, str]:
    """What makes a result row count, where `decisions` has it: maintenance takes other rows away, in its time."""
    return row["experiment_id"], row["as_of_date"], row["run_id"]


def shipped(experiment_id: str) -> dict[str, Any]:
    """An entry of the project's own `configs/dev.yaml`."""
    return dict(yaml.safe_load((CONFIGS / "dev.yaml").read_text())["experiments"][experiment_id])


def open_files(folder: Path) -> list[str]:
    """What lies below a folder and other users of the machine may read, write or enter, or the group may write."""
    modes = {path: path.lstat().st_mode for path in folder.rglob("*") if not path.is_symlink()}
    return sorted(
        f"{mode & 0o777:o} {path.relative_to(folder)}" for path, mode in modes.items() if mode & 0o027
    )
