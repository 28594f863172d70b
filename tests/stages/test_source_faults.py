"""Data that cannot be read, for whatever reason the machine has, are refused in one short line with a remedy, at once."""

from __future__ import annotations

import os
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from exp_platform.config.environment import Environment
from exp_platform.config.experiment import Experiment
from exp_platform.errors import LONGEST, DataError
from exp_platform.stages import ingest, quality
from exp_platform.stages.sources import plan_reading
from machine import open_folder, without_root
from stages.raw_data import frozen, units, units_experiment, write_csv

COLUMNS = "arm,visited,spent,history,channel"


def refusals(experiment: Experiment, environment: Environment) -> list[str]:
    found = [problem.message for problem in plan_reading(experiment, environment).problems]
    assert all("\n" not in message and "Traceback" not in message for message in found)
    return found


def csv_at(path: Path) -> Experiment:
    made = units_experiment(path)
    return replace(made, source=replace(made.source, table=replace(made.source.table, format="csv")))


@pytest.mark.parametrize("kind", ["pipe", "socket", "device"])
def test_what_is_no_file_is_refused_and_never_waited_for(
    kind: str, tmp_path: Path, environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_csv(tmp_path / "data" / "u.csv", units())
    odd = tmp_path / "data" / "odd.csv"
    if kind == "pipe":
        os.mkfifo(odd)
    elif kind == "device":
        odd.symlink_to("/dev/zero")
    else:
        monkeypatch.chdir(odd.parent)  # the path of a socket may not be long
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(odd.name)
    for location in (tmp_path / "data", odd):
        (told,) = refusals(csv_at(location), environment)
        assert f"{odd} cannot be read: it is no file (but a pipe, a device or a socket)" in told


def test_a_path_that_is_a_circle_of_links_is_told_as_one(tmp_path: Path, environment: Environment) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    (told,) = refusals(csv_at(tmp_path / "a"), environment)
    assert told.endswith("links lead in a circle: remove one of them")


def test_a_file_where_the_path_names_a_folder_is_told(tmp_path: Path, environment: Environment) -> None:
    (tmp_path / "data").write_text("x")
    (told,) = refusals(csv_at(tmp_path / "data" / "day=*" / "u.csv"), environment)
    assert told.endswith("a file lies where the path names a folder: correct the path in the spec")


def test_a_folder_or_file_that_this_user_may_not_read_is_told(environment: Environment) -> None:
    with open_folder() as folder:
        inside = write_csv(folder / "data" / "day=1" / "u.csv", units())
        write_csv(folder / "data" / "day=2" / "u.csv", units())
        assert refusals(csv_at(folder / "data"), environment) == []
        for closed in (inside, inside.parent):
            closed.chmod(0)
            with without_root():
                (told,) = refusals(csv_at(folder / "data"), environment)
            assert "let the user that runs this read it" in told
            assert str(closed) in told
            closed.chmod(0o755)


def test_a_quote_that_the_header_opens_is_told_by_its_line_and_not_by_the_whole_file(
    tmp_path: Path, environment: Environment
) -> None:
    path = tmp_path / "u.csv"
    path.write_text(f'"{COLUMNS}\n' + "A,1,2,3,web\n" * 5_000)
    (told,) = refusals(csv_at(path), environment)
    assert "line 1 opens a quote that is never closed" in told
    path.write_text(f'"{COLUMNS}\n' + "A,1,2,3,web\n" * 50_000)
    (told,) = refusals(csv_at(path), environment)
    assert "it opens a quote that is never closed" in told
    assert len(told) < 500


def test_of_thousands_of_columns_those_like_the_missing_one_are_told(
    tmp_path: Path, environment: Environment
) -> None:
    path = tmp_path / "u.csv"
    wide = ",".join(f"feature_{i}" for i in range(3_000))
    path.write_text(f"{wide},{COLUMNS.replace('spent', 'Spent')}\n")
    (told,) = refusals(csv_at(path), environment)
    assert "has no column spent" in told
    assert ", Spent" in told or "but Spent" in told
    assert " and 2,955 more: name the right one" in told
    assert len(told) < LONGEST


def test_a_column_with_a_name_of_a_hundred_kilobytes_is_told_by_its_beginning(
    tmp_path: Path, environment: Environment
) -> None:
    path = tmp_path / "u.csv"
    path.write_text("h" * 100_000 + "," + COLUMNS.replace("spent", "x") + "\n")
    (told,) = refusals(csv_at(path), environment)
    assert len(told) < LONGEST
    path.write_text("h;" * 50_000 + "\n")
    assert max(map(len, refusals(csv_at(path), environment))) < LONGEST


def test_of_thousands_of_bad_files_ten_faults_are_told_and_the_others_counted(
    tmp_path: Path, environment: Environment
) -> None:
    for number in range(300):
        path = tmp_path / "data" / f"{number}.csv"
        path.parent.mkdir(exist_ok=True)
        path.write_text("nothing\n1\n")
    run = frozen(environment, csv_at(tmp_path / "data"))
    with pytest.raises(DataError, match=r"and 1,\d\d0 faults more, see .*quality\.json") as refused:
        ingest.run(run)
    assert len(str(refused.value)) < 2 * LONGEST


@pytest.mark.parametrize("column", ["arm", "spent"])
def test_a_value_of_a_megabyte_is_never_quoted_whole(
    column: str, tmp_path: Path, environment: Environment
) -> None:
    rows = units()
    rows[column][7] = "v" * 1_000_000
    write_csv(tmp_path / "u.csv", rows)
    run = frozen(environment, units_experiment(tmp_path / "u.csv"))
    ingest.run(run)
    with pytest.raises(DataError) as refused:
        quality.run(run)
    assert "vvv" in str(refused.value)
    assert len(str(refused.value)) < LONGEST + 100
    assert len((run.path / "quality.json").read_bytes()) < 50_000


def test_a_file_with_a_header_alone_is_refused_as_empty(tmp_path: Path, environment: Environment) -> None:
    path = tmp_path / "u.csv"
    for text in (COLUMNS, f"{COLUMNS}\n"):
        path.write_text(text)
        run = frozen(environment, units_experiment(path))
        ingest.run(run)
        with pytest.raises(DataError, match="empty: no rows in units: deliver the data"):
            quality.run(run)
