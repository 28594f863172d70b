"""What a message about unreadable sources shows: columns' names of data files, and nothing else of any file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from exp_platform.config.environment import Environment
from exp_platform.config.experiment import Experiment
from exp_platform.errors import ConfigError
from exp_platform.stages.execute import execute
from exp_platform.stages.sources import plan_reading
from exp_platform.stages.start import start_run
from exp_platform.tables.catalog import open_catalog, table
from stages.raw_data import frozen, units, units_experiment, write_csv

SECRETS = {
    "passwd": "root:x:0:0:root:/root:/bin/bash\n",
    "id_rsa": "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAA\n",
    "token": "ghp_hunter2hunter2\n",
    ".env": "AWS_SECRET_ACCESS_KEY=hunter2\n",
    "passwords.json": '{"admin": "hunter2"}\n',
    "passwords.csv.bak": "admin,hunter2\n",
}


def csv_at(path: Path | str) -> Experiment:
    made = units_experiment(Path(path))
    source = replace(made.source.table, format="csv", location=str(path))
    return replace(made, source=replace(made.source, table=source))


def told(experiment: Experiment, environment: Environment) -> str:
    return "; ".join(problem.message for problem in plan_reading(experiment, environment).problems)


@pytest.mark.parametrize("name", SECRETS)
def test_of_a_file_that_is_not_called_a_csv_file_nothing_is_told(
    name: str, tmp_path: Path, environment: Environment
) -> None:
    """`path: /etc/passwd` told its first line in the log, in the UI and in `data_quality_results`."""
    (tmp_path / name).write_text(SECRETS[name])
    said = told(csv_at(tmp_path / name), environment)
    assert "has no column arm" in said
    assert not any(word in said for word in ("root:", "BEGIN", "b3Blb", "hunter2", "SECRET", "admin"))


def test_of_a_csv_file_names_are_told_and_values_are_not(tmp_path: Path, environment: Environment) -> None:
    header = "user,alice@example.com,2026-01-31 10:00,key=hunter2,https://x.test,Umsatz (€),größe,-12.5"
    (tmp_path / "u.csv").write_text(f"{header}\n")
    assert (
        "has no column arm (for variant_id) but Umsatz (€), größe, user and 5 that may be no names: name the right one"
        in told(csv_at(tmp_path / "u.csv"), environment)
    )


def test_a_link_out_of_the_roots_is_not_read(tmp_path: Path, environment: Environment) -> None:
    write_csv(tmp_path / "lake" / "u.csv", units())
    (tmp_path / "secret.csv").write_text("hunter2\n")
    (tmp_path / "lake" / "v.csv").symlink_to(tmp_path / "secret.csv")
    limited = environment.model_copy(update={"source_roots": (str(tmp_path / "lake"),)})
    plan = plan_reading(csv_at(tmp_path / "lake"), limited)
    (problem,) = plan.problems
    assert problem.message.startswith(f"units: {tmp_path}/lake/v.csv lies outside of the source_roots in ")
    assert not plan.pieces
    (tmp_path / "lake" / "v.csv").unlink()
    assert plan_reading(csv_at(tmp_path / "lake"), limited).problems == ()


def test_a_run_does_not_begin_with_a_place_outside_of_the_roots(
    tmp_path: Path, environment: Environment
) -> None:
    limited = environment.model_copy(update={"source_roots": (str(tmp_path / "lake"),)})
    with pytest.raises(
        ConfigError, match=r"source\.path: /etc/passwd lies outside of the source_roots in .*embedded\.yaml"
    ):
        start_run(csv_at("/etc/passwd"), limited)


@pytest.mark.parametrize("fault", ["absent", "columns", "secret"])
def test_what_is_told_and_stored_names_the_variable_and_not_its_value(
    fault: str, tmp_path: Path, environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Logs, manifests (Airflow's XCom), `quality.json` and `data_quality_results` keep the text of the spec."""
    place = tmp_path / "hunter2"
    if fault == "columns":
        place.mkdir()
        (place / "u.csv").write_text("some,other,columns\n")
    monkeypatch.setenv("EXP_LAKE", str(place))
    monkeypatch.setenv("SOME_KEY", str(place))
    location = "${SOME_KEY}/u.csv" if fault == "secret" else "${EXP_LAKE}/u.csv"
    run = frozen(environment, csv_at(location), "exp_told")
    manifest = execute(run, "ingest", 1)
    assert manifest.status == "failed"
    assert ("${SOME_KEY}" if fault == "secret" else "${EXP_LAKE}/u.csv") in (manifest.error or "")
    stored = [path.read_text() for path in run.path.rglob("*.json")]
    stored.append(str(table(open_catalog(environment), "data_quality_results").scan().to_arrow().to_pylist()))
    assert fault == "secret" or "u.csv" in stored[-1]
    assert not any("hunter2" in text for text in (manifest.error or "", *stored))
