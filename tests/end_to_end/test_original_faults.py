"""What went wrong in the platform that this one replaces: each fault is one test, named after what it prevents."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import special

from end_to_end.conftest import CHECKOUT
from end_to_end.installation import Installation, Said
from end_to_end.own_data import events, events_spec, units_spec
from end_to_end.raw_events import Raw
from exp_platform.analyses.rows import DidRow, ResultRow, Status
from exp_platform.checks import CheckResult
from exp_platform.cli import main as exp
from exp_platform.pipelines.run_end_to_end import main as run_end_to_end
from exp_platform.tables.forgotten import NAME as FORGOTTEN

NUMBERS = [
    "exposures",
    "outcomes",
    "unit_days",
    "metric_aggregates_overall",
    "metric_aggregates_daily",
    "analysis_results",
    "did_results",
    "did_event_study",
    "did_sensitivity",
    "did_pretrend_delta",
    "did_pretrend_tests",
]


@pytest.fixture
def empty(tmp_path: Path) -> Installation:
    """An installation that nobody has used yet: it has no state at all."""
    made = Installation(tmp_path)
    made.entries(some_test={"days": 3, "n_users": 500})
    return made


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """An events experiment on CSV files, run once. Tests only read what is stored here."""
    made = Installation(tmp_path_factory.mktemp("shop"))
    made.run(events_spec(made, made.folder / "delivered", *events()))
    return made


def numbers(installation: Installation, experiment_id: str) -> dict[str, list[str]]:
    content = installation.content(experiment_id)
    return {name: content[name] for name in NUMBERS}


def refused(said: Said, *words: str) -> None:
    """One line that names the trouble, exit code 1, no traceback."""
    assert said.code == 1
    assert "Traceback" not in said.out + said.err
    assert len(said.err.splitlines()) == 1, said.err
    for word in words:
        assert word in said.err


# ---- what is computed


def test_results_do_not_depend_on_the_time_zone_of_machine_or_session(
    shop: Installation, tmp_path: Path
) -> None:
    """The tables have clock times without a zone; 214 users would change their day."""
    elsewhere = Installation(tmp_path)
    spec = shop.configs / "experiments" / "shop.yaml"
    (elsewhere.configs / "experiments" / "shop.yaml").write_text(spec.read_text())
    arguments = ("-m", "exp_platform.pipelines.run_end_to_end", "--experiment-id", "shop")
    process = elsewhere.process(*arguments, TZ="America/New_York")
    said, _ = process.communicate()
    assert process.returncode == 0, said

    assert numbers(elsewhere, "shop") == numbers(shop, "shop")


def test_duplicated_exposures_and_outcomes_count_once_everywhere(shop: Installation, tmp_path: Path) -> None:
    exposures, outcomes = events()
    again = [pd.concat([frame, frame.sample(frac=0.009, random_state=1)]) for frame in (exposures, outcomes)]
    twice = Installation(tmp_path)
    twice.run(events_spec(twice, tmp_path / "delivered", *again))

    assert numbers(twice, "shop") == numbers(shop, "shop")
    (check,) = [c for c in twice.results.rows(CheckResult, "shop") if c.check == "duplicates"]
    assert check.status == "passed"
    assert check.observed > 0.008  # dropped, and told


def test_aggregates_and_analyses_use_the_same_users_and_windows(checkout: Installation) -> None:
    blocks = {
        (row["metric_id"], row["variant_id"]): row
        for row in checkout.rows("metric_aggregates_overall", CHECKOUT)
        if (row["kind"], row["segment"]) == ("total", "all")
    }
    daily = pd.DataFrame(checkout.rows("metric_aggregates_daily", CHECKOUT))
    sums = daily.groupby(["metric_id", "variant_id"])[["value_sum", "new_users"]].sum()
    rows = [
        row for row in checkout.results.rows(ResultRow, CHECKOUT, method="ab") if row.metric_kind != "ratio"
    ]
    assert {row.metric_id for row in rows} == {"conversion", "revenue", "orders", "pageviews"}
    for row in rows:
        for side, variant in (("control", row.control_id), ("treatment", row.treatment_id)):
            block, series = blocks[row.metric_id, variant], sums.loc[(row.metric_id, variant)]
            n, mean = getattr(row, f"n_{side}"), getattr(row, f"mean_{side}")
            assert (block["n"], block["mean"][0]) == (n, mean)
            assert series.new_users == n
            assert series.value_sum == pytest.approx(n * mean, rel=1e-9)


def test_cuped_takes_variance_out_of_generated_data(checkout: Installation) -> None:
    """The original's covariate was drawn apart from the outcome: it took out 0.0009 %."""
    rows = {row.metric_id: row for row in checkout.results.rows(ResultRow, CHECKOUT, method="cuped")}
    plain = {row.metric_id: row for row in checkout.results.rows(ResultRow, CHECKOUT, method="ab")}
    for metric in ("conversion", "revenue", "orders", "pageviews"):
        assert rows[metric].variance_reduction > 0.05
        gain = 1 - (rows[metric].standard_error / plain[metric].standard_error) ** 2
        assert gain == pytest.approx(rows[metric].variance_reduction, rel=1e-9)


def test_did_uses_that_a_users_periods_belong_together(checkout: Installation, raw: Raw) -> None:
    days = raw.days("pageview", "count")
    pre, post = days[range(-7, 0)].mean(axis=1), days[range(7)].mean(axis=1)
    as_if_apart = math.sqrt(
        sum(period.var(ddof=1) / len(period) for values in (pre, post) for period in raw.by_arm(values))
    )
    (row,) = [r for r in checkout.results.rows(DidRow, CHECKOUT) if r.metric_id == "pageviews"]
    assert pre.corr(post) > 0.1
    assert row.standard_error < 0.95 * as_if_apart


@pytest.fixture(scope="module")
def extreme(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ResultRow]:
    """Metrics that are zero in control, zero in both arms, and 1,400 standard errors apart."""
    n, rng = 400, np.random.default_rng(8)
    arm = np.repeat(["control", "treatment"], n)
    treated = arm == "treatment"
    frame = pd.DataFrame(
        {
            "variant_id": arm,
            "bought": (treated & (np.arange(2 * n) % 10 == 0)).astype(int),
            "never": 0,
            "apart": rng.normal(size=2 * n) + 100.0 * treated,
        }
    )
    made = Installation(tmp_path_factory.mktemp("extreme"))
    metrics = [
        {"id": "bought", "type": "proportion", "column": "bought", "role": "primary", "mde": "10%"},
        {"id": "never", "type": "proportion", "column": "never"},
        {"id": "apart", "type": "mean", "column": "apart"},
    ]
    made.run(units_spec(made, frame, metrics))
    assert (made.state / "memos" / "users.md").is_file()
    return {row.metric_id: row for row in made.results.rows(ResultRow, "users", method="ab")}


def test_zero_conversions_in_control_are_a_result_and_no_crash(extreme: dict[str, ResultRow]) -> None:
    row = extreme["bought"]
    assert (row.status, row.mean_control, row.mean_treatment, row.estimate) == (Status.OK, 0.0, 0.1, 0.1)
    assert (row.relative, row.relative_low, row.relative_high) == (None, None, None)
    assert row.relative_kind == "UNDEFINED"
    assert extreme["never"].status == Status.DEGENERATE
    assert (extreme["never"].p_value, extreme["never"].estimate) == (None, None)  # no p = 1


def test_p_values_that_underflow_keep_their_logarithm(extreme: dict[str, ResultRow]) -> None:
    row = extreme["apart"]
    a, x = row.degrees_of_freedom / 2, row.degrees_of_freedom / (row.degrees_of_freedom + row.statistic**2)
    # The incomplete beta function by its series (DLMF 8.17.8), in logarithms.
    series = math.log(special.hyp2f1(a + 0.5, 1.0, a + 1.0, x))
    log_p = a * math.log(x) + 0.5 * math.log1p(-x) - math.log(a) - special.betaln(a, 0.5) + series
    assert row.p_value == 0.0
    assert row.log10_p == pytest.approx(log_p / math.log(10), rel=1e-9)
    assert row.log10_p < -400


# ---- what is refused


def test_one_variant_only_is_an_error(tmp_path: Path) -> None:
    exposures, outcomes = events(users=400)
    made = Installation(tmp_path)
    one_arm = exposures[exposures.variant_id == "control"]
    events_spec(made, tmp_path / "delivered", one_arm, outcomes)

    refused(made.call(run_end_to_end, "--experiment-id", "shop"), "quality", "missing_arm", "treatment")
    assert made.rows("decisions") == made.rows("exposures") == made.rows("analysis_results") == []
    assert not (made.state / "memos").exists()


def test_missing_outcomes_leave_the_last_good_pair_and_its_results(
    shop: Installation, tmp_path: Path
) -> None:
    made = Installation(tmp_path)
    exposures, outcomes = events(users=600)
    made.run(events_spec(made, tmp_path / "delivered", exposures, outcomes))
    before, memo = made.content("shop"), (made.state / "memos" / "shop.md").read_bytes()
    checks = made.results.rows(CheckResult, "shop")
    assert all(
        rows for name, rows in before.items() if name not in (FORGOTTEN, "late_days", "outcomes_aside")
    )

    more, _ = events(users=700)
    more.to_csv(tmp_path / "delivered" / "exposures.csv", index=False)
    (tmp_path / "delivered" / "outcomes.csv").unlink()
    refused(made.call(run_end_to_end, "--experiment-id", "shop"), "ingest", "outcomes", "outcomes.csv")

    assert made.content("shop") == before
    # What failed is kept, and does not stand among the checks of the run that decided.
    lying = made.lying_rows("data_quality_results", "shop")
    assert [row["status"] for row in lying if row not in made.rows("data_quality_results", "shop")] == [
        "failed"
    ]
    assert made.results.rows(CheckResult, "shop") == checks
    assert (made.state / "memos" / "shop.md").read_bytes() == memo


DRY_RUN = ("--experiment-id", CHECKOUT, "--generate-synth", "--dry-run")


def test_dry_run_writes_nothing(empty: Installation) -> None:
    said = empty.call(run_end_to_end, "--experiment-id", "some_test", "--generate-synth", "--dry-run")
    assert (said.code, said.err) == (0, "")
    assert "aggregates" in said.out
    assert not empty.state.exists()


def test_dry_run_leaves_memo_and_tables_as_they_are(checkout: Installation) -> None:
    before = checkout.files()
    for more in ((), ("--force",), ("--skip-ab", "--skip-dq")):
        assert checkout.call(run_end_to_end, *DRY_RUN, *more).code == 0
    assert checkout.files() == before


@pytest.mark.parametrize("more", [(), ("--generate-synth",), ("--dry-run",), ("--force", "--skip-metrics")])
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--experiment-id", "some_tset"), ("'some_tset' is unknown", "some_test")),
        (
            ("--experiment-id", "some_test", "--config", "nowhere/dev.yaml"),
            ("nowhere/dev.yaml", "no such file"),
        ),
        (("--experiment-id", "../../x"), ("'../../x'", "[a-z0-9_]{1,64}")),
        (("--experiment-id", ""), ("[a-z0-9_]{1,64}",)),
    ],
)
def test_a_missing_config_an_unknown_id_or_a_path_is_refused_and_writes_nothing(
    empty: Installation, arguments: tuple[str, ...], words: tuple[str, ...], more: tuple[str, ...]
) -> None:
    """The original blanked or created memos, wrote outside its folder, and made experiments up with --generate-synth."""
    refused(empty.call(run_end_to_end, *arguments, *more), *words)
    assert not empty.state.exists()


@pytest.fixture
def victim(empty: Installation) -> list[Path]:
    """What a path in an id would reach from the state's folders, and everything that lies there before a command runs."""
    (empty.folder / "victim").mkdir()
    (empty.folder / "victim" / "file").touch()
    (empty.state / "runs" / "some_test").mkdir(parents=True)
    return sorted(empty.folder.rglob("*"))


@pytest.mark.parametrize("command", ["run", "results", "memo", "plan"])
@pytest.mark.parametrize("experiment_id", ["some_tset", "../../victim", "/etc"])
def test_every_command_refuses_ids_that_are_unknown_or_try_a_path(
    empty: Installation, victim: list[Path], command: str, experiment_id: str
) -> None:
    refused(empty.call(exp, command, experiment_id), experiment_id)
    assert sorted(empty.folder.rglob("*")) == victim


@pytest.mark.parametrize("experiment_id", ["../../victim", "/etc"])
def test_delete_refuses_paths(empty: Installation, victim: list[Path], experiment_id: str) -> None:
    refused(empty.call(exp, "delete", experiment_id, "--yes"), experiment_id)
    assert sorted(empty.folder.rglob("*")) == victim


def test_unlock_and_delete_of_a_mistyped_id_say_that_there_was_nothing(
    empty: Installation, victim: list[Path]
) -> None:
    """Both must work for an experiment whose spec is gone, so the id need not be one of the configs'."""
    assert "some_tset was not held" in empty.call(exp, "unlock", "some_tset").out
    assert "nothing was stored of some_tset" in empty.call(exp, "delete", "some_tset", "--yes").out
    assert set(victim) <= set(empty.folder.rglob("*"))


def test_generate_synth_is_refused_for_data_of_ones_own(shop: Installation) -> None:
    before = shop.files()
    refused(
        shop.call(run_end_to_end, "--experiment-id", "shop", "--generate-synth"), "--generate-synth", "shop"
    )
    assert shop.files() == before


def test_an_id_that_tries_a_path_is_refused_in_a_config_too(empty: Installation) -> None:
    empty.entries(**{"../../x": {"days": 3, "n_users": 500}, "some_test": {"days": 3, "n_users": 500}})
    said = empty.call(exp, "validate")
    assert said.code == 1
    assert "../../x" in said.out
    assert "[a-z0-9_]{1,64}" in said.out
    assert not empty.state.exists()


def test_a_failure_is_one_line_in_a_process_of_its_own_too(empty: Installation) -> None:
    arguments = (
        "-m",
        "exp_platform.pipelines.run_end_to_end",
        "--experiment-id",
        "some_tset",
        "--generate-synth",
    )
    process = empty.process(*arguments)
    said, _ = process.communicate()
    assert process.returncode == 1
    assert len(said.splitlines()) == 1, said
    assert not empty.state.exists()


def test_a_day_before_the_window_is_refused_before_anything_starts(empty: Installation) -> None:
    refused(
        empty.call(run_end_to_end, "--experiment-id", "some_test", "--as-of", "2025-01-01"),
        "as_of",
        "2026-01-05",
    )
    # The lease was held in the catalog's database; there is no run.
    assert {path.name for path in empty.state.iterdir()} <= {"catalog.db", "warehouse"}


def test_a_run_without_raw_data_says_what_is_missing(empty: Installation) -> None:
    said: Any = empty.call(run_end_to_end, "--experiment-id", "some_test")
    refused(said, "ingest", "exposures")
