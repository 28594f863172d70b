"""The doctor asks Airflow, in a process of its own, for the notifiers that are named, and for none where none is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from exp_platform.config.environment import project_root
from exp_platform.doctor import word
from exp_platform.doctor.finding import Finding

SPEC: dict[str, Any] = {"hypothesis": "A green button sells.", "owner": "shop", "days": 3, "n_users": 1000}


def examined(folder: Path, monkeypatch: pytest.MonkeyPatch, *listeners: dict[str, Any]) -> list[Finding]:
    from exp_platform.config.environment import load_environment

    (folder / "environments").mkdir(parents=True)
    shipped = (project_root() / "configs" / "environments" / "embedded.yaml").read_text()
    (folder / "environments" / "embedded.yaml").write_text(f"{shipped}\nnotifiers: [no_such_package.Pager]\n")
    spec = SPEC | ({"notify": list(listeners)} if listeners else {})
    (folder / "dev.yaml").write_text(json.dumps({"environment": "embedded", "experiments": {"one": spec}}))
    monkeypatch.setenv("EXP_CONFIG_DIR", str(folder))
    monkeypatch.setenv("EXP_STATE_DIR", str(folder / "state"))
    return list(word.notifiers(load_environment("embedded")))


def test_where_nobody_is_named_airflow_is_not_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(word, "_MODULE", "no.such.module")
    assert examined(tmp_path / "configs", monkeypatch) == []


def test_what_airflow_finds_wrong_is_a_warning_with_its_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path / "airflow"))
    (found,) = examined(tmp_path / "configs", monkeypatch, {"notifier": "no_such_package.Pager"})
    assert (found.state, found.check) == ("warning", "notifiers")
    assert "no_such_package.Pager cannot be imported: ModuleNotFoundError" in found.found
    assert found.found.endswith("(named by one)")
    assert found.remedy.startswith("install it")


def test_an_airflow_that_does_not_start_is_told_and_is_no_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(word, "_MODULE", "no.such.module")
    (found,) = examined(tmp_path / "configs", monkeypatch, {"notifier": "slack"})
    assert found.state == "warning"
    assert "Airflow does not say whether they work" in found.found
