"""Two published experiments through real Airflow and real spark-submits; every number of `ab` against SciPy and pandas."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm

from end_to_end.airflow_runs import DagRun, DagTest
from end_to_end.installation import CONFIGS, DATA, Installation, open_files
from end_to_end.references import agree, cuped, described, fieller, split, welch
from end_to_end.telemetry import heard_by_openlineage, heard_by_opentelemetry, heard_by_statsd
from exp_platform.analyses.rows import DidRow, PretrendDeltaRow, PretrendTestRow, ResultRow, Status
from exp_platform.config.analyses import NAMES
from orchestration.receivers import Posted, StatsD, http_receiver, statsd

HILLSTROM, COOKIE_CATS = DATA / "hillstrom.csv.gz", DATA / "cookie_cats.csv.gz"

pytestmark = pytest.mark.skipif(
    not (HILLSTROM.is_file() and COOKIE_CATS.is_file()),
    reason=f"hillstrom.csv.gz and cookie_cats.csv.gz are not in {DATA}; set EXP_DATA_DIR to where they are",
)

ARMS = {"no_email": "No E-Mail", "mens_email": "Mens E-Mail", "womens_email": "Womens E-Mail"}
EMAILS = ["mens_email", "womens_email"]
EMAIL_METRICS = ["visit", "conversion", "spend"]
ALPHA = 0.05  # one look at the end: nothing is spent on sequential evidence
EMAIL_LEVEL = 1 - ALPHA / (len(EMAIL_METRICS) * len(EMAILS))
GAME_METRICS = ["retention_7", "retention_1", "sum_gamerounds"]
GAME_LEVEL = 1 - ALPHA / len(GAME_METRICS)
STAGES = ["ingest", "quality", "publish", "aggregates", "decision", "memo"]  # and the analyses


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    made = Installation(tmp_path_factory.mktemp("real_data"))
    for name in ("hillstrom", "cookie_cats"):
        text = (CONFIGS / "experiments" / f"{name}.yaml").read_text()
        (made.configs / "experiments" / f"{name}.yaml").write_text(text)
    return made


@pytest.fixture(scope="module")
def statsd_server() -> Iterator[StatsD]:
    with statsd() as server:
        yield server


@pytest.fixture(scope="module")
def collector() -> Iterator[Posted]:
    """Takes the metrics of one run and the lineage of the other."""
    with http_receiver() as server:
        yield server


@pytest.fixture(scope="module")
def dag_runs(
    installation: Installation, statsd_server: StatsD, collector: Posted
) -> Iterator[dict[str, DagRun]]:
    """Both at once: two DAGs on one warehouse and one catalog. Each tells somebody else of itself, as Airflow is set."""
    started = {
        "hillstrom": DagTest(
            installation,
            "hillstrom",
            AIRFLOW__METRICS__STATSD_ON="True",
            AIRFLOW__METRICS__STATSD_HOST="127.0.0.1",
            AIRFLOW__METRICS__STATSD_PORT=str(statsd_server.port),
            AIRFLOW__OPENLINEAGE__TRANSPORT=json.dumps({"type": "http", "url": collector.url}),
            AIRFLOW__OPENLINEAGE__NAMESPACE="lake",
            AIRFLOW__OPENLINEAGE__EXECUTION_TIMEOUT="120",  # else a busy machine gives events up
        ),
        "cookie_cats": DagTest(
            installation,
            "cookie_cats",
            AIRFLOW__METRICS__OTEL_ON="True",
            OTEL_EXPORTER_OTLP_ENDPOINT=collector.url,
            OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE="delta",
        ),
    }
    yield {name: test.ended() for name, test in started.items()}
    for test in started.values():
        test.stop()


@pytest.fixture(scope="module")
def emails() -> pd.DataFrame:
    return pd.read_csv(HILLSTROM)


@pytest.fixture(scope="module")
def players() -> pd.DataFrame:
    frame = pd.read_csv(COOKIE_CATS)
    return frame.astype({"retention_1": float, "retention_7": float, "sum_gamerounds": float})


@pytest.fixture(scope="module")
def stored(installation: Installation, dag_runs: dict[str, DagRun]) -> dict[str, list[ResultRow]]:
    return {name: installation.results.rows(ResultRow, name) for name in dag_runs}


def test_no_other_user_may_read_what_the_runs_left(
    installation: Installation, dag_runs: dict[str, DagRun]
) -> None:
    """Databases, users' rows, run folders and memos, by Airflow, its tasks, spark-submit and Spark; the umask was 0."""
    assert {run.code for run in dag_runs.values()} == {0}
    assert open_files(installation.state) == []


def one(rows: list[ResultRow], method: str, metric: str, treatment: str, value: str = "all") -> ResultRow:
    found = [
        r
        for r in rows
        if (r.method, r.metric_id, r.treatment_id, r.segment_value) == (method, metric, treatment, value)
    ]
    assert len(found) == 1, f"{len(found)} rows of {method} {metric} {treatment} {value}"
    return found[0]


def arm(emails: pd.DataFrame, variant: str) -> pd.DataFrame:
    return emails[emails.treatment == ARMS[variant]]


# ---- the runs


@pytest.mark.parametrize(
    ("experiment_id", "idle"),
    [
        ("hillstrom", {"diluted", "guardrails", "stability", "bayes"}),
        ("cookie_cats", {"diluted", "segments", "stability", "bayes"}),
    ],
)
def test_every_task_succeeds_with_one_submit_and_one_manifest_a_stage(
    dag_runs: dict[str, DagRun], experiment_id: str, idle: set[str]
) -> None:
    run = dag_runs[experiment_id]
    stages = {*STAGES, *NAMES} - idle

    assert run.tasks == dict.fromkeys(stages | {"check", "ended", "release"}, "success"), run.log[-4000:]
    assert len(run.tasks) == len(STAGES) + len(NAMES) - len(idle) + 3
    assert run.code == 0
    assert set(run.tries.values()) == {1}
    submitted = [call[call.index("--stage") + 1] for call in run.submits]
    assert sorted(submitted) == sorted(stages)
    assert set(run.xcoms) == set(run.tasks) - {"ended"}  # which is no process
    for task, manifest in run.xcoms.items():
        assert (manifest["stage"], manifest["status"], manifest["try_number"]) == (task, "success", 1)
        assert manifest["experiment_id"] == experiment_id
    assert len({manifest["run_id"] for manifest in run.xcoms.values()}) == 1


def test_manifests_count_what_was_read_and_written(
    dag_runs: dict[str, DagRun], emails: pd.DataFrame, players: pd.DataFrame
) -> None:
    for run, frame, columns in ((dag_runs["hillstrom"], emails, 4), (dag_runs["cookie_cats"], players, 3)):
        ingest, publish = run.xcoms["ingest"], run.xcoms["publish"]
        assert ingest["rows_in"] == len(frame)
        each_user = 1 + columns  # an exposure, and an event for each column that is read
        assert ingest["rows_out"] == len(frame) * each_user
        published = {"exposures", "outcomes", "outcomes_aside", "outcomes_seen", "experiment_registry"}
        assert set(publish["snapshots"]) - {"ingested_files"} == published


def test_the_manifests_in_xcom_are_those_in_the_run_folder(dag_runs: dict[str, DagRun]) -> None:
    for run in dag_runs.values():
        folder = Path(run.xcoms["check"]["run_path"]).parent / "manifests"
        for task in set(run.tasks) - {"check", "ended", "release"}:
            assert json.loads((folder / f"{task}.1.json").read_text()) == run.xcoms[task]


def test_both_runs_on_one_catalog_lose_nothing(
    installation: Installation, dag_runs: dict[str, DagRun], emails: pd.DataFrame, players: pd.DataFrame
) -> None:
    registry = {row["experiment_id"]: row for row in installation.rows("experiment_registry")}
    assert set(registry) == {"hillstrom", "cookie_cats"}
    assert len(installation.rows("exposures", "hillstrom")) == len(emails)
    assert len(installation.rows("exposures", "cookie_cats")) == len(players)
    assert {row["experiment_id"] for row in installation.rows("decisions")} == set(registry)


# ---- ab


@pytest.mark.parametrize("treatment", EMAILS)
@pytest.mark.parametrize("metric", EMAIL_METRICS)
def test_hillstrom_ab_is_scipys_welch_and_fieller(
    stored: dict[str, list[ResultRow]], emails: pd.DataFrame, metric: str, treatment: str
) -> None:
    row = one(stored["hillstrom"], "ab", metric, treatment)
    control, treated = arm(emails, "no_email")[metric], arm(emails, treatment)[metric]

    expected = welch(control, treated, EMAIL_LEVEL)
    agree(row, expected | fieller(control, treated, EMAIL_LEVEL) | described(control, treated))
    agree(row, {"ci_level": EMAIL_LEVEL, "p_adjusted": min(1.0, 6 * expected["p_value"]), "alpha": ALPHA / 6})
    assert row.relative_kind == "BOUNDED"
    assert row.significant == (expected["p_value"] < ALPHA / 6)
    assert row.significant_uncorrected == (expected["p_value"] < ALPHA)
    assert row.always_valid_status == Status.NOT_APPLICABLE  # nothing of alpha is spent on it


@pytest.mark.parametrize("metric", ["retention_7", "retention_1"])
def test_cookie_cats_ab_is_scipys_welch_and_fieller(
    stored: dict[str, list[ResultRow]], players: pd.DataFrame, metric: str
) -> None:
    row = one(stored["cookie_cats"], "ab", metric, "gate_40")
    control, treated = (players[players.version == gate][metric] for gate in ("gate_30", "gate_40"))

    expected = welch(control, treated, GAME_LEVEL)
    agree(row, expected | fieller(control, treated, GAME_LEVEL) | described(control, treated))
    agree(row, {"p_adjusted": min(1.0, 3 * expected["p_value"])})
    assert row.significant == (expected["p_value"] < ALPHA / 3)


def test_cookie_cats_rounds_are_capped_at_the_pooled_order_statistic(
    stored: dict[str, list[ResultRow]], players: pd.DataFrame
) -> None:
    rounds = players.sum_gamerounds
    cap = rounds.sort_values().iloc[math.ceil(0.99 * len(rounds)) - 1]
    capped = rounds.clip(upper=cap)
    control, treated = (capped[players.version == gate] for gate in ("gate_30", "gate_40"))
    row = one(stored["cookie_cats"], "ab", "sum_gamerounds", "gate_40")

    agree(row, welch(control, treated, GAME_LEVEL) | fieller(control, treated, GAME_LEVEL))
    as_it_is = (rounds[players.version == gate] for gate in ("gate_30", "gate_40"))
    agree(row, described(*as_it_is) | {"capped_share": (rounds > cap).mean()})
    for side, gate in (("control", "gate_30"), ("treatment", "gate_40")):
        above = (rounds[players.version == gate] > cap).mean()
        agree(row, {f"capped_upper_{side}": above, f"capped_lower_{side}": 0.0})
    assert cap < rounds.max() / 10  # the cap is not idle: one player has 49,854 rounds


# ---- srm


def test_srm_is_scipys_chi_square_on_both(
    stored: dict[str, list[ResultRow]], emails: pd.DataFrame, players: pd.DataFrame
) -> None:
    counted = {
        "hillstrom": [len(arm(emails, variant)) for variant in ARMS],
        "cookie_cats": [int((players.version == gate).sum()) for gate in ("gate_30", "gate_40")],
    }
    for experiment_id, counts in counted.items():
        expected = split(counts, np.ones(len(counts)))
        e_value = expected.pop("e_value")
        for users in ("assigned", "analysed"):
            row = one(stored[experiment_id], "srm", "", "", users)
            agree(row, expected)
            assert row.e_value == pytest.approx(e_value, rel=1e-7)  # logarithms of a million cancel in it
            assert row.verdict == ("ok" if expected["p_value"] >= 0.001 else "mismatch")
    assert one(stored["cookie_cats"], "srm", "", "", "assigned").p_value == pytest.approx(0.0086, abs=5e-5)


# ---- cuped, did, pretrends


@pytest.mark.parametrize("metric", EMAIL_METRICS)
def test_hillstrom_cuped_is_a_regression_on_arms_and_history(
    stored: dict[str, list[ResultRow]], emails: pd.DataFrame, metric: str
) -> None:
    frame = pd.DataFrame({"arm": emails.treatment, "y": emails[metric], "x": emails.history})
    for treatment in EMAILS:
        row = one(stored["hillstrom"], "cuped", metric, treatment)
        agree(row, cuped(frame, ARMS["no_email"], ARMS[treatment], EMAIL_LEVEL))
        assert (row.covariates, row.slopes) == ("history", "pooled")
        assert row.health == ("ok" if (row.variance_reduction or 0) >= 0.01 else "unrelated")


@pytest.mark.parametrize("metric", EMAIL_METRICS)
def test_hillstrom_post_stratified_is_the_saturated_regression(
    stored: dict[str, list[ResultRow]], emails: pd.DataFrame, metric: str
) -> None:
    """By newbie crossed with channel: arm-by-stratum means, HC2 of them, and what the strata's shares add."""
    stratum = emails.newbie.astype(str) + emails.channel
    share = stratum.value_counts(normalize=True)
    cells = pd.get_dummies(emails.treatment + stratum, dtype=float)
    fit = sm.OLS(emails[metric], cells).fit(cov_type="HC2")
    for treatment in EMAILS:
        steps = pd.Series(0.0, cells.columns)
        steps[ARMS[treatment] + share.index] = share.to_numpy()
        steps[ARMS["no_email"] + share.index] = -share.to_numpy()
        effects = np.array(
            [fit.params[ARMS[treatment] + s] - fit.params[ARMS["no_email"] + s] for s in share.index]
        )
        between = share.to_numpy() @ (effects - share.to_numpy() @ effects) ** 2 / (len(emails) - 1)
        row = one(stored["hillstrom"], "post_stratified", metric, treatment)
        variance = steps @ fit.cov_params() @ steps + between
        agree(row, {"estimate": steps @ fit.params, "standard_error": math.sqrt(variance)})
        assert (row.stratified_by, row.strata) == ("newbie × channel", 6)


def test_hillstroms_theta_is_the_slope_of_a_regression_on_arms_and_history(
    stored: dict[str, list[ResultRow]], emails: pd.DataFrame
) -> None:
    arms = pd.get_dummies(emails.treatment, dtype=float)
    fit = sm.OLS(emails.spend, arms.assign(history=emails.history)).fit()
    assert one(stored["hillstrom"], "cuped", "spend", "mens_email").theta == pytest.approx(
        fit.params["history"], rel=1e-9
    )


def test_cookie_cats_has_no_covariate_and_says_so(stored: dict[str, list[ResultRow]]) -> None:
    rows = [row for row in stored["cookie_cats"] if row.method == "cuped"]
    assert {row.metric_id for row in rows} == set(GAME_METRICS)
    assert {(row.status, row.estimate, row.p_value) for row in rows} == {(Status.NOT_APPLICABLE, None, None)}


@pytest.mark.parametrize(
    ("experiment_id", "comparisons"),
    [("hillstrom", len(EMAIL_METRICS) * len(EMAILS)), ("cookie_cats", len(GAME_METRICS))],
)
def test_did_and_pretrends_do_not_apply_to_one_row_a_user(
    installation: Installation, dag_runs: dict[str, DagRun], experiment_id: str, comparisons: int
) -> None:
    did = installation.results.rows(DidRow, experiment_id)
    tests = installation.results.rows(PretrendTestRow, experiment_id)

    assert [(row.status, row.estimate) for row in did] == [(Status.NOT_APPLICABLE, None)] * comparisons
    assert [(row.status, row.p_value) for row in tests] == [(Status.NOT_APPLICABLE, None)] * comparisons
    assert installation.results.rows(PretrendDeltaRow, experiment_id) == []


# ---- segments, guardrails, decision


@pytest.mark.parametrize("segment", ["channel", "newbie", "zip_code"])
def test_hillstrom_segments_are_welch_within_each_value(
    stored: dict[str, list[ResultRow]], emails: pd.DataFrame, segment: str
) -> None:
    values = sum(emails[name].nunique() for name in ("channel", "newbie", "zip_code"))
    level = 1 - ALPHA / (values * len(EMAIL_METRICS) * len(EMAILS))
    for value, part in emails.groupby(segment):
        for treatment in EMAILS:
            row = one(stored["hillstrom"], "segments", "visit", treatment, str(value))
            agree(row, welch(arm(part, "no_email").visit, arm(part, treatment).visit, level))
            assert row.exploratory


def test_cookie_cats_guardrail_is_read_off_fiellers_interval(
    stored: dict[str, list[ResultRow]], players: pd.DataFrame
) -> None:
    control, treated = (players[players.version == gate].retention_1 for gate in ("gate_30", "gate_40"))
    row = one(stored["cookie_cats"], "guardrails", "retention_1", "gate_40")

    agree(row, welch(control, treated, 1 - ALPHA) | fieller(control, treated, 1 - ALPHA))
    agree(row, {"margin": -0.05 * control.mean(), "margin_relative": -0.05})
    low = fieller(control, treated, 1 - ALPHA)["relative_low"]
    assert row.verdict == ("non_inferior" if low > -0.05 else "unproven")


def test_hillstrom_ships_the_email_with_the_largest_significant_lift(
    installation: Installation, dag_runs: dict[str, DagRun], emails: pd.DataFrame
) -> None:
    decision = installation.decision("hillstrom")
    rates = {variant: arm(emails, variant).visit.mean() for variant in ARMS}

    assert (decision["winner"], decision["action"], decision["final"]) == ("treatment", "ship", True)
    assert decision["winning_variant"] == max(EMAILS, key=lambda variant: rates[variant]) == "mens_email"
    assert decision["effect"] == pytest.approx(rates["mens_email"] - rates["no_email"], rel=1e-9)
    assert decision["lift"] == pytest.approx(rates["mens_email"] / rates["no_email"] - 1, rel=1e-9)


def test_cookie_cats_finds_the_later_gate_worse_on_seventh_day_retention(
    installation: Installation, dag_runs: dict[str, DagRun], players: pd.DataFrame
) -> None:
    decision = installation.decision("cookie_cats")
    assert (decision["winner"], decision["action"]) == ("control", "investigate")
    assert decision["effect"] < 0


# ---------------------------------------------------------------- what others heard of the runs


def test_statsd_hears_of_every_stage_and_of_the_decision(
    statsd_server: StatsD, dag_runs: dict[str, DagRun], installation: Installation
) -> None:
    heard_by_statsd(statsd_server, dag_runs["hillstrom"], installation.decision("hillstrom")["action"])


def test_opentelemetry_hears_the_same_with_tags_and_each_process_its_own_part(
    collector: Posted, dag_runs: dict[str, DagRun], installation: Installation
) -> None:
    action = installation.decision("cookie_cats")["action"]
    heard_by_opentelemetry(collector, dag_runs["cookie_cats"], "cookie_cats", action)


def test_openlineage_hears_which_datasets_each_stage_read_and_wrote(
    collector: Posted, dag_runs: dict[str, DagRun], installation: Installation
) -> None:
    heard_by_openlineage(collector, dag_runs["hillstrom"], installation, HILLSTROM, STAGES)
