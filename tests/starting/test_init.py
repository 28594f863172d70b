"""What `exp init` makes of data: a spec that loads, or one clear reason, and never half a file."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from exp_platform.config.loading import load_experiment
from exp_platform.errors import ConfigError, DataError
from starting.data import users_csv
from starting.inputs import Init, N, arms, specs, table, told, users


def test_a_table_of_users_becomes_a_spec_that_loads_with_each_column_in_its_place(
    init: Init, tmp_path: Path
) -> None:
    written = init(users_csv(tmp_path / "signup.csv"))
    experiment = load_experiment("signup")
    assert (experiment.control.id, [t.id for t in experiment.treatments]) == ("control", ["short_form"])
    assert [(m.id, m.kind, m.role.value) for m in experiment.metrics] == [
        ("converted", "proportion", "primary"),
        ("revenue", "mean", "secondary"),
    ]
    assert experiment.metric("revenue").winsorise is not None  # lognormal with sd 2, a fifth are not zero
    assert [c.id for c in experiment.metric("converted").covariates] == ["visits_before"]
    assert experiment.segments == ("device",)
    assert (experiment.window.start, experiment.window.end) == (date(2026, 3, 18), date(2026, 3, 31))
    assert "control is control, by its name" in told(written)
    assert "the data say no dates" in told(written)


def test_the_same_data_give_the_same_file(init: Init, tmp_path: Path) -> None:
    path = users_csv(tmp_path / "signup.csv")
    first = init(path).path.read_bytes()
    assert init(path, force=True).path.read_bytes() == first


def test_editors_find_the_schema_where_it_is(init: Init, configs: Path, tmp_path: Path) -> None:
    path = users_csv(tmp_path / "signup.csv")
    assert "yaml-language-server" not in init(path, id="before").path.read_text()
    (configs / "schemas").mkdir()
    (configs / "schemas" / "spec.schema.json").write_text("{}")
    first = init(path, id="after").path.read_text().splitlines()[0]
    assert first == "# yaml-language-server: $schema=../schemas/spec.schema.json"


def test_a_spec_that_is_there_stays_unless_it_is_forced(init: Init, tmp_path: Path) -> None:
    path = users_csv(tmp_path / "signup.csv")
    mine = init(path).path
    mine.write_text(mine.read_text().replace("hypothesis:", "hypothesis: I know better.  #"))
    assert init(path).experiment_id == "signup_2"  # a guess makes room
    with pytest.raises(ConfigError, match="signup is taken by another spec"):
        init(path, id="signup")
    assert "I know better" in mine.read_text()
    init(path, id="signup", force=True)
    assert "I know better" not in mine.read_text()


def test_a_file_by_a_variable_is_named_by_it(
    init: Init, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXP_LAKE", str(tmp_path))
    spec = yaml.safe_load(init(users_csv(tmp_path / "signup.csv")).path.read_text())
    assert spec["source"]["path"] == "${EXP_LAKE}/signup.csv"


def test_control_is_the_largest_where_none_is_called_so_and_it_is_said(init: Init, tmp_path: Path) -> None:
    names = ["gate_30", "gate_40", "gate_40"]
    path = table(tmp_path / "t.parquet", user_id=users(), version=arms(names=names), converted=[0, 1] * 200)
    written = init(path)
    assert load_experiment("t").control.id == "gate_40"
    assert "control is gate_40, as the largest" in told(written)


def test_what_is_said_is_taken_and_what_fits_nothing_is_told(init: Init, tmp_path: Path) -> None:
    path = users_csv(tmp_path / "signup.csv")
    init(path, id="mine", control="short_form", primary="revenue")
    experiment = load_experiment("mine")
    assert experiment.control.id == "short_form"
    assert experiment.metrics[0].id == "revenue"
    with pytest.raises(ConfigError, match="--control: found blue; the variants are control, short_form"):
        init(path, id="other", control="blue")
    with pytest.raises(ConfigError, match="--primary: found x; the metrics are converted, revenue"):
        init(path, id="other", primary="x")
    with pytest.raises(ConfigError, match="--id: found 'A b'"):
        init(path, id="A b")
    assert specs(tmp_path) == ["mine.yaml"]


def test_a_split_that_is_not_even_is_said_and_refuses_nothing(init: Init, tmp_path: Path) -> None:
    split = ["control"] * 300 + ["new"] * 100
    path = table(tmp_path / "t.parquet", user_id=users(), arm=split, converted=[0, 1] * 200)
    assert "not split evenly (control 75.0 %, new 25.0 %" in told(init(path))


def test_three_groups_and_rows_without_one(init: Init, tmp_path: Path) -> None:
    group = [None if i % 20 == 0 else f"g{i % 3}" for i in range(N)]
    path = table(tmp_path / "t.parquet", user_id=users(), group=group, converted=[0, 1] * 200)
    written = init(path)
    experiment = load_experiment("t")
    assert sorted(v.id for v in experiment.variants) == ["g0", "g1", "g2"]
    assert experiment.quality.max_null_share == pytest.approx(0.0555, abs=0.001)
    assert "5.00 % of the rows have no variant in group" in told(written)


def test_zero_and_one_are_control_and_treatment(init: Init, tmp_path: Path) -> None:
    path = table(tmp_path / "t.parquet", user_id=users(), treatment=[1.0, 0.0] * 200, converted=[0, 1] * 200)
    spec = yaml.safe_load(init(path).path.read_text())
    assert spec["variants"] == [
        {"id": "control", "value": "0", "control": True},
        {"id": "treatment", "value": "1"},
    ]


def test_what_may_have_come_after_exposure_is_no_segment_and_no_covariate(init: Init, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    path = table(
        tmp_path / "t.parquet",
        user_id=users(),
        arm=arms(),
        converted=rng.integers(0, 2, N),
        plan=[("free", "pro")[i % 2] for i in range(N)],
        order_channel=[("web", "app")[i % 2] for i in range(N)],
        minutes_before_order=rng.gamma(2, 10, N),
        visits_after=rng.integers(0, 90, N),
        history_since_exposure=rng.gamma(2, 10, N),
        pre_orders=rng.integers(0, 90, N),
        country=[("DE", "FR")[i % 2] for i in range(N)],
    )
    written = init(path)
    experiment = load_experiment("t")
    assert experiment.segments == ("country",)
    assert {c.id for m in experiment.metrics for c in m.covariates} == {"pre_orders"}
    assert (
        "not taken, as their names do not say whether they are outcomes or were known before: plan"
        in told(written)
    )


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"user_id": users(), "clicks": [0, 1] * 200}, "no column says which variant a user had: t has"),
        ({"user_id": users(), "arm": arms()}, "no column to measure beside user_id, arm"),
        (
            {"user_id": users(), "arm": ["control"] * N, "clicks": [0, 1] * 200},
            "no column says which variant",
        ),
        (
            {"user_id": users(200) * 2, "arm": arms(), "clicks": [0, 1] * 200},
            "2 rows per user_id and no column of times",
        ),
        ({"user_id": users(), "arm": users(), "clicks": [0, 1] * 200}, "arm has 400 values"),
    ],
)
def test_data_that_are_no_experiment_are_told_why_and_nothing_is_written(
    init: Init, tmp_path: Path, columns: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        init(table(tmp_path / "t.parquet", **columns))
    assert specs(tmp_path) == []


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.csv", b"", "it is empty"),
        ("header.csv", b"user_id,arm,clicks\n", "there are no rows to learn from"),
        ("x.parquet", b"PAR1 and then nothing", "x.parquet"),
        ("book.csv", b"PK\x03\x04" + b"0" * 100, "zip archive or an Excel workbook"),
        ("broken.jsonl", b'{"user_id": \n[1]\n', "not one of its lines is a JSON object"),
    ],
)
def test_files_that_are_no_tables(
    init: Init, tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises((DataError, ConfigError), match=message):
        init(tmp_path / name)
    assert specs(tmp_path) == []


def test_places_where_nothing_lies(init: Init, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no such file or folder"):
        init(tmp_path / "no.csv")
    with pytest.raises(ConfigError, match="has no such table"):
        init("shop.orders")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "README.txt").write_text("nothing")
    with pytest.raises(ConfigError, match=r"no file that ends in .*README\.txt"):
        init(tmp_path / "folder")


def test_a_folder_of_files_alike_is_one_table_and_one_of_mixed_files_is_told(
    init: Init, tmp_path: Path
) -> None:
    folder = tmp_path / "days"
    folder.mkdir()
    for part in range(2):
        rows = slice(part * 200, part * 200 + 200)
        columns = {"user_id": users()[rows], "arm": arms()[rows], "converted": [0, 1] * 100}
        table(folder / f"part-{part}.parquet", **columns)
    (folder / "README.txt").write_text("ours")
    written = init(folder)
    assert "days: 400 rows" in told(written)
    assert "left out of" in told(written)
    table(folder / "other.parquet", x=[1])
    with pytest.raises(DataError, match="have the same columns, other files there have others"):
        init(folder, id="again")


def test_of_two_columns_of_ids_the_users_is_taken_and_the_other_told(init: Init, tmp_path: Path) -> None:
    device = [f"d{i % 300}" for i in range(N)]
    path = table(
        tmp_path / "t.parquet", device_id=device, user_id=users(), arm=arms(), converted=[0, 1] * 200
    )
    assert "the user is user_id; device_id could be too" in told(init(path))


def test_ids_that_are_floats_are_users(init: Init, tmp_path: Path) -> None:
    path = table(
        tmp_path / "t.parquet", user_id=np.arange(N, dtype=float), arm=arms(), converted=[0, 1] * 200
    )
    init(path)
    assert dict(load_experiment("t").source.table.columns)["user_id"] == "user_id"  # type: ignore[union-attr]


def test_dates_as_text_make_the_window_and_strays_do_not_stretch_it(init: Init, tmp_path: Path) -> None:
    n = 3000
    days = [f"2026-02-{1 + i % 20:02d}" for i in range(n)]
    days[7] = "1999-01-01"
    path = table(
        tmp_path / "t.parquet", user_id=users(n), arm=arms(n), exposed_at=days, converted=[0, 1] * (n // 2)
    )
    init(path)
    window = load_experiment("t").window
    assert (window.start, window.end) == (date(2026, 2, 1), date(2026, 2, 20))
    assert "without strays from 1999-01-01" in (tmp_path / "configs/experiments/t.yaml").read_text()


def test_values_that_are_markup_for_yaml_stay_what_they_are(init: Init, tmp_path: Path) -> None:
    names = ["no: {x}", "yes # 1"]
    path = table(tmp_path / "t.parquet", user_id=users(), arm=arms(names=names), **{"conv # x": [0, 1] * 200})
    written = init(path)
    spec = yaml.safe_load(written.path.read_text())
    assert sorted(v["value"] for v in spec["variants"]) == names
    assert [m["column"] for m in spec["metrics"]] == ["conv # x"]


def test_columns_that_stand_twice_are_left_out_and_told(init: Init, tmp_path: Path) -> None:
    lines = [f"u{i},{('control', 'new')[i % 2]},{i % 2},{i % 3},{i % 3}" for i in range(N)]
    (tmp_path / "t.csv").write_text("user_id,arm,converted,revenue,revenue\n" + "\n".join(lines) + "\n")
    written = init(tmp_path / "t.csv")
    assert "left out, as the header has them twice: revenue" in told(written)
    assert [m.id for m in load_experiment("t").metrics] == ["converted"]


def test_values_near_the_largest_number_make_no_warning(init: Init, tmp_path: Path) -> None:
    """Warnings are errors here."""
    revenue = np.where(np.arange(N) % 3, 1e200 * np.arange(N), 0)
    init(table(tmp_path / "t.parquet", user_id=users(), arm=arms(), revenue=revenue))
    assert [m.id for m in load_experiment("t").metrics] == ["revenue"]


@pytest.mark.parametrize("encoding", ["cp1252", "utf-16"])
def test_the_encoding_is_told_by_the_file_and_said_in_the_spec(
    init: Init, tmp_path: Path, encoding: str
) -> None:
    lines = [f"ü{i},{('control', 'größer')[i % 2]},{i % 2}" for i in range(N)]
    text = "user_id,arm,converted\n" + "\n".join(lines) + "\n"
    (tmp_path / "t.csv").write_bytes(text.encode(encoding))
    spec = yaml.safe_load(init(tmp_path / "t.csv").path.read_text())
    assert spec["source"]["encoding"] == encoding
    assert spec["variants"][1] == {"id": "gr_er", "value": "größer"}


def test_what_a_run_would_not_read_becomes_no_spec(init: Init, tmp_path: Path) -> None:
    """Two names of one file, whose rows would count twice."""
    (tmp_path / "t").mkdir()
    path = table(tmp_path / "t" / "a.parquet", user_id=users(), arm=arms(), converted=[0, 1] * 200)
    (tmp_path / "t" / "b.parquet").symlink_to(path)
    with pytest.raises(DataError, match="2 rows per user_id"):
        init(tmp_path / "t")
    assert specs(tmp_path) == []
    rows = [
        f"u{i:04d},{('control', 'new')[i % 2]},{i % 2},2026-02-{1 + i % 9:02d}T10:00:00Z" for i in range(N)
    ]
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "a.csv").write_text("user_id,arm,amount,ts\n" + "\n".join(rows) + "\n")
    (tmp_path / "log" / "b.csv").symlink_to(tmp_path / "log" / "a.csv")
    with pytest.raises(DataError, match="are one file under two names"):
        init(tmp_path / "log")
    assert specs(tmp_path) == []
