"""What is remembered between requests counts only as long as what it is of: specs, runs, in any of several workers."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from exp_platform.config.environment import Environment
from orchestration import airflow_home
from stages.frozen_runs import D2, D3, a_run, an_experiment, carry_out

SPEC = {"hypothesis": "A green button sells.", "days": 3, "n_users": 1000}
FULL = {
    "owner": "shop",
    "hypothesis": "A green button sells.",
    "window": {"start": "2025-03-01", "days": 3},
    "source": {"kind": "synthetic", "n_users": 1000},
    "variants": [{"id": "control", "control": True}, {"id": "green"}],
    "metrics": [{"id": "buys", "type": "proportion", "event": "purchase", "role": "primary"}],
}


def write(folder: Path, specs: dict[str, Any]) -> None:
    (folder / "dev.yaml").write_text(json.dumps({"environment": "embedded", "experiments": specs}))


@pytest.fixture
def configs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "configs"
    shutil.copytree(airflow_home.ROOT / "configs" / "environments", folder / "environments")
    monkeypatch.setenv("EXP_CONFIG_DIR", str(folder))
    return folder


def test_specs_are_read_again_when_a_file_changes_and_only_then(
    configs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from exp_platform.web import specs

    reads: list[None] = []
    load = specs.load_all
    monkeypatch.setattr(specs, "load_all", lambda: reads.append(None) or load())
    known = specs.Specs()
    write(configs, {"exp_a": SPEC})
    assert set(known.all().experiments) == set(known.all().experiments) == {"exp_a"}
    assert len(reads) == 1
    write(configs, {"exp_a": SPEC, "exp_b": SPEC})
    assert set(known.all().experiments) == {"exp_a", "exp_b"}
    (configs / "experiments").mkdir()
    (configs / "experiments" / "exp_c.yaml").write_text(json.dumps({"id": "exp_c", **SPEC}))
    known.all()
    assert len(reads) == 3


def test_a_broken_spec_hides_no_other(configs: Path) -> None:
    from exp_platform.web.specs import Specs

    write(configs, {"exp_a": SPEC, "exp_b": {"days": "many"}})
    known = Specs()
    assert known.one("exp_a") is not None
    assert known.one("exp_b") is None
    assert set(known.all().experiments) == {"exp_a"}
    assert set(known.all().broken) == {"exp_b"}
    assert known.one("exp_a") == known.all().experiments["exp_a"]


def test_a_new_run_is_seen_by_every_worker_and_an_old_report_is_read_once(
    configs: Path, environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    from exp_platform.web import reading, run_folders

    write(configs, {"exp_a": SPEC})
    for module in (reading, run_folders):
        monkeypatch.setattr(module, "environment", lambda: environment)
    reads: list[Any] = []
    load = reading.load_report
    monkeypatch.setattr(reading, "load_report", lambda *a, **k: reads.append(a[2]) or load(*a, **k))
    workers = [reading.Reports(), reading.Reports()]
    carry_out(a_run(environment, "r1", (D2, D3)))
    first, tag = read(workers[0])
    assert read(workers[0]) == (first, tag)
    assert read(workers[1])[1] == tag  # browsers ask now this, now that one
    assert reads == [D3, D3]
    carry_out(a_run(environment, "r2", (D3,), seed=2))
    for worker in workers:
        newer, another = read(worker)
        assert newer.stored.run_id == "r2"
        assert another != tag
    assert workers[0].read("exp_a", None) == workers[1].read("exp_a", D3)


def test_a_run_that_ends_while_a_page_is_read_is_shown_whole_with_its_own_spec(
    configs: Path, environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which run counts was looked up before: its spec would stand above the rows of the newer one."""
    from exp_platform.web import reading, run_folders

    write(configs, {"exp_a": SPEC})
    for module in (reading, run_folders):
        monkeypatch.setattr(module, "environment", lambda: environment)
    carry_out(a_run(environment, "r1", (D3,), of=replace(an_experiment(), hypothesis="Before.")))
    newer = a_run(environment, "r2", (D3,), of=replace(an_experiment(), hypothesis="After."), seed=2)
    waiting = [newer]
    load = reading.load_report

    def meanwhile(*given: Any, **more: Any) -> Any:
        if waiting:
            carry_out(waiting.pop())
        return load(*given, **more)

    monkeypatch.setattr(reading, "load_report", meanwhile)
    worker = reading.Reports()
    report, told = read(worker)
    assert (report.stored.run_id, report.experiment.hypothesis) == ("r2", "After.")
    assert read(worker) == (report, told)
    assert [kept.stored.run_id for kept in worker._kept.values()] == ["r2"]


def test_of_one_spec_no_other_is_parsed_whether_it_is_there_or_not(
    configs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page of an experiment that was removed, or is broken, would read hundreds of specs each time."""
    from exp_platform.config import loading
    from exp_platform.web.specs import Specs

    write(configs, {"exp_b": {"days": "many"}})
    (configs / "experiments").mkdir()
    for id in ("exp_a", "exp_c"):
        (configs / "experiments" / f"{id}.yaml").write_text(json.dumps({"id": id, **FULL}))
    parsed: list[str] = []
    entries_of = loading.entries_of
    monkeypatch.setattr(
        loading, "entries_of", lambda path, text: parsed.append(path.name) or entries_of(path, text)
    )
    known = Specs()
    assert [known.one(id) is None for id in ("exp_gone", "exp_b", "exp_a")] == [True, True, False]
    assert parsed == ["dev.yaml", "exp_a.yaml"]


def test_only_some_reports_are_kept(
    configs: Path, environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    from exp_platform.web import reading, run_folders

    write(configs, {"exp_a": SPEC})
    for module in (reading, run_folders):
        monkeypatch.setattr(module, "environment", lambda: environment)
    carry_out(a_run(environment, "r1", (D2, D3)))
    worker = reading.Reports()
    monkeypatch.setattr(worker, "MOST", 1)
    for day in (D2, D3):
        worker.read("exp_a", day)
    assert [report.as_of_date for report in worker._kept.values()] == [D3]


def read(worker: Any) -> tuple[Any, str]:
    found = worker.read("exp_a", None)
    assert found is not None
    return found
