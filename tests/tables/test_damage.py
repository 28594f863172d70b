"""A file of a table that is missing or cut is named with a remedy, by readers and runs alike, and costs no more than its rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pyiceberg import manifest as iceberg_manifest
from pyiceberg.table import Table

from exp_platform.analyses.rows import DidRow, EventStudyRow, ResultRow
from exp_platform.checks import CheckResult
from exp_platform.config.analyses import NAMES
from exp_platform.config.environment import Environment, load_environment
from exp_platform.escaping import markdown
from exp_platform.json_file import write_json
from exp_platform.report.content import load_report
from exp_platform.report.memo import appendix, as_json
from exp_platform.results.reader import Results
from exp_platform.stages.execute import execute
from exp_platform.tables.catalog import open_catalog, table
from exp_platform.tables.damage import DamagedTableError
from exp_platform.tables.files import plan_buckets
from stages.frozen_runs import D1, D3, a_run, an_experiment, carry_out

METADATA, LIST, MANIFEST, DATA = "metadata file", "manifest list", "manifest", "data file"
KINDS = (METADATA, LIST, MANIFEST, DATA)


def missing(path: Path) -> None:
    path.unlink()


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def overwritten(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(
        content[: len(content) // 4] + b"\xff" * (len(content) // 2) + content[-len(content) // 4 :]
    )


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Environment]:
    """Results of two days, each of a run of its own. Tests damage a file and put it back."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EXP_STATE_DIR", str(tmp_path_factory.mktemp("damage")))
        made = load_environment("embedded")
        for run_id, day in (("r1", D1), ("r2", D3)):
            carry_out(a_run(made, run_id, (day,)))
        yield made


def file_of(stored: Table, kind: str, run_id: str = "r2") -> Path:
    """The newest file of a kind; of data files that of a run."""
    snapshot = stored.current_snapshot()
    assert snapshot is not None
    if kind == METADATA:
        location = stored.metadata_location
    elif kind == LIST:
        location = snapshot.manifest_list
    elif kind == MANIFEST:
        location = snapshot.manifests(stored.io)[0].manifest_path
    else:
        (location,) = [
            task.file.file_path for task in stored.scan().plan_files() if f"/{run_id}-" in task.file.file_path
        ]
    return Path(location.removeprefix("file://"))


@contextmanager
def damaged(
    environment: Environment, name: str, kind: str, how: Callable[[Path], None], run_id: str = "r2"
) -> Iterator[str]:
    """One file of a table is damaged for the length of the block; gives its path."""
    path = file_of(table(open_catalog(environment), name), kind, run_id)
    content = path.read_bytes()
    how(path)
    iceberg_manifest._manifest_cache.clear()  # a process that has read it would not notice
    try:
        yield str(path)
    finally:
        path.write_bytes(content)
        iceberg_manifest._manifest_cache.clear()


@pytest.mark.parametrize("how", [missing, cut, empty, overwritten])
@pytest.mark.parametrize("kind", KINDS)
def test_a_reader_is_told_which_file_is_damaged_and_what_to_do(
    kind: str, how: Callable[[Path], None], environment: Environment
) -> None:
    with (
        damaged(environment, "analysis_results", kind, how) as path,
        pytest.raises(DamagedTableError) as told,
    ):
        Results(environment).rows(ResultRow, "exp_a", D3)
    said = str(told.value)
    assert said.startswith(f"table analysis_results: the {kind} file://{path} ")
    assert ("is missing: " in said) == (how is missing)
    assert "a backup of the warehouse" in said
    assert "\n" not in said
    assert Results(environment).rows(ResultRow, "exp_a", D3)


@pytest.mark.parametrize("how", [missing, cut])
@pytest.mark.parametrize("kind", [METADATA, LIST, MANIFEST])
@pytest.mark.parametrize(("name", "stage"), [("exposures", "publish"), ("did_results", "decision")])
def test_a_run_that_meets_damage_tells_it_in_one_line_and_the_last_results_stay(
    name: str,
    stage: str,
    kind: str,
    how: Callable[[Path], None],
    environment: Environment,
    caplog: pytest.LogCaptureFixture,
) -> None:
    before = [decision.document for decision in Results(environment).decisions("exp_a")]
    run = a_run(environment, "r3", (D3,), seed=3)
    if stage == "decision":
        write_json(run.path / "publish.json", {"snapshots": {"exposures": 1, "outcomes": 1}})
        carry_out(run, *NAMES)
    with damaged(environment, name, kind, how) as path:
        manifest = execute(run, stage, 1)
        assert [decision.document for decision in Results(environment).decisions("exp_a")] == before
    assert manifest.error is not None
    assert path in manifest.error
    assert "\n" not in manifest.error
    assert "traceback" not in manifest.error
    assert "Traceback" not in caplog.text


def test_published_data_that_are_lost_are_told_by_the_stage_that_reads_them(environment: Environment) -> None:
    (row,) = Results(environment).experiments()
    with damaged(environment, "outcomes", DATA, cut) as path:
        plan = plan_buckets(environment, "outcomes", "exp_a", row["outcomes_snapshot"], ["user_id"])
        with pytest.raises(DamagedTableError, match=r"bytes instead of .* put it back from a backup") as told:
            [bucket.read() for bucket in plan.values()]
    assert path in str(told.value)


@pytest.mark.parametrize("name", ["analysis_results", "did_results", "data_quality_results"])
def test_a_lost_file_of_an_old_day_fails_no_report_of_today(name: str, environment: Environment) -> None:
    whole = load_report(Results(environment), an_experiment())
    with damaged(environment, name, DATA, missing, "r1") as path:
        report = load_report(Results(environment), an_experiment())
        with pytest.raises(DamagedTableError):
            Results(environment).rows(ResultRow, "exp_a") if name == "analysis_results" else damaged_day(
                environment, name
            )
    assert (report.rows, report.of(DidRow), report.checks) == (whole.rows, whole.of(DidRow), whole.checks)
    assert report.as_of_date == D3
    if name == "analysis_results":
        assert {row.as_of_date for row in whole.series} == {D1, D3}
        assert {row.as_of_date for row in report.series} == {D3}
        (fault,) = report.unreadable
        assert path in fault
        assert f"> **Damaged, so not in this memo:** {markdown(fault)}." in appendix(report)
        assert as_json(report)["unreadable"] == [fault]
    else:
        assert report.unreadable == ()


def damaged_day(environment: Environment, name: str) -> None:
    Results(environment).rows(DidRow if name == DidRow.TABLE else CheckResult, "exp_a", D1)


def test_what_the_decision_does_not_rest_on_may_be_damaged_and_is_told(environment: Environment) -> None:
    for kind in KINDS:
        with damaged(environment, "did_event_study", kind, missing) as path:
            report = load_report(Results(environment), an_experiment())
        assert report.of(EventStudyRow) == ()
        assert [path in fault for fault in report.unreadable] == [True]


def test_todays_own_rows_are_never_left_out(environment: Environment) -> None:
    with damaged(environment, "analysis_results", DATA, missing), pytest.raises(DamagedTableError):
        load_report(Results(environment), an_experiment())


def test_of_a_lost_decision_the_others_are_shown_and_it_is_told(environment: Environment) -> None:
    with damaged(environment, "decisions", DATA, missing, "r1") as path:
        report = load_report(Results(environment), an_experiment())
        assert report.as_of_date == D3
        assert [path in fault for fault in report.unreadable] == [True]
        with pytest.raises(DamagedTableError, match="put it back from a backup"):
            load_report(Results(environment), an_experiment(), D1)
    with damaged(environment, "decisions", DATA, missing, "r2"):
        assert load_report(Results(environment), an_experiment()).as_of_date == D1


def test_an_error_that_no_file_explains_is_left_as_it_is(environment: Environment) -> None:
    with pytest.raises(ValueError, match="no_such_column"):
        Results(environment)._scan("decisions", "no_such_column = 1", ())  # type: ignore[arg-type]
