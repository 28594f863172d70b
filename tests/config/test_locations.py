"""A location prints no variable that may hold a secret, and leads to no file outside of the roots."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from exp_platform.config.environment import load_environment, project_root
from exp_platform.config.experiment import Experiment
from exp_platform.config.loading import load_all, load_experiment
from exp_platform.config.locations import expand_location, without_values
from exp_platform.config.plans import Schedule
from exp_platform.config.source_rules import SourceRules
from exp_platform.config.sources import EventsSource, TableSource
from exp_platform.errors import ConfigError

SPEC = "configs/experiments/x.yaml"
PLACE = f"{SPEC}: source.exposures.path"
DECLARED = SourceRules("environments/e.yaml", frozenset({"LAKE"}), frozenset({"EXP_CATALOG_PW", "EXP_DB"}))


def expanded(location: str, rules: SourceRules = DECLARED) -> str:
    return expand_location(location, SPEC, PLACE, rules)


class TestVariables:
    def test_own_and_declared_ones_are_filled_in(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("EXP_DATA_DIR", "/lake")
        monkeypatch.setenv("LAKE", "s3://lake")
        assert expanded("${EXP_DATA_DIR}/users.csv") == "/lake/users.csv"
        assert expanded("${LAKE}/users") == "s3://lake/users"
        assert expanded("${EXP_NOT_SET:-/d}/users") == "/d/users"

    def test_an_unset_variable_is_told_with_the_remedy(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("EXP_DATA_DIR", raising=False)
        wanted = r"x\.yaml: source\.exposures\.path: .* needs the environment variable EXP_DATA_DIR, .*export"
        with pytest.raises(ConfigError, match=wanted):
            expanded("${EXP_DATA_DIR}/users.csv")

    @pytest.mark.parametrize(
        "name",
        [
            *(
                "HOME",
                "PATH",
                "AWS_SECRET_ACCESS_KEY",
                "AWS_ACCESS_KEY_ID",
                "AIRFLOW__CORE__FERNET_KEY",
                "exp_data_dir",
            ),
            *("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", "AIRFLOW_CONN_AWS_DEFAULT", "DATABASE_URL"),
            *(
                "EXP_CATALOG_PASSWORD",
                "EXP_PSEUDONYM_KEY",
                "EXP_TOKEN",
                "EXP_CATALOG_CREDENTIAL",
                "EXP_API_KEY",
                "EXP_SALT",
            ),
            *("EXP_CATALOG_PW", "EXP_DB"),  # as the environment says itself
        ],
    )
    @pytest.mark.parametrize("form", ["${%s}", "/data/${%s}/x.csv", "s3://${%s}/x", "${%s:-/data}/x"])
    def test_others_are_refused_with_their_name_and_never_their_value(
        self, name: str, form: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A location printed any variable of the process: in errors, in DAG pages and in `data_quality_results`."""
        monkeypatch.setenv(name, "hunter2")
        with pytest.raises(ConfigError) as refused:
            expanded(form % name)
        told = str(refused.value)
        assert told.startswith(f"{SPEC}: source.exposures.path: found ${{{name}}}; ")
        assert "environments/e.yaml" in told
        assert "hunter2" not in told

    def test_a_declared_one_may_sound_like_a_secret_but_hold_none_by_the_same_file(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("EXP_TOKENS_DIR", "/tokens")
        with pytest.raises(ConfigError):
            expanded("${EXP_TOKENS_DIR}/x")
        assert (
            expanded("${EXP_TOKENS_DIR}/x", replace(DECLARED, variables=frozenset({"EXP_TOKENS_DIR"})))
            == "/tokens/x"
        )
        both = replace(DECLARED, variables=frozenset({"EXP_DB"}))
        with pytest.raises(ConfigError, match="holds a secret"):
            expanded("${EXP_DB}/x", both)

    def test_validation_tells_it_with_its_line_before_anything_runs(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        configs = written_configs(tmp_path, monkeypatch, "variables: [LAKE]\n")
        monkeypatch.setenv("FERNET_KEY", "hunter2")
        spec(configs, "refused", "${FERNET_KEY}/exposures", "[s3://lake/x, '${HOME}/y']")
        spec(configs, "declared", "${LAKE}/exposures", "[s3://lake/x]")
        loaded = load_all()
        assert set(loaded.experiments) == {"declared"}
        told = [str(error) for error in loaded.errors]
        assert [error.line for error in loaded.errors] == [11, 17]
        assert "refused.yaml:11: source.exposures.path: found ${FERNET_KEY}; " in told[0]
        assert "schedule.wait_for[1]: found ${HOME}; " in told[1]
        assert all(
            "or have" in one and str(configs / "environments" / "embedded.yaml") in one for one in told
        )
        assert "hunter2" not in "".join(told)
        monkeypatch.setenv("EXP_ENVIRONMENT", "other")
        assert set(load_all().experiments) == set()  # which declares nothing

    def test_the_file_of_entries_says_which_environment_declares(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        configs = written_configs(tmp_path, monkeypatch, "variables: [LAKE]\n")
        spec(configs, "declared", "${LAKE}/exposures", "[s3://lake/x]")
        (configs / "dev.yaml").write_text("environment: other\n")
        assert load_experiment("declared").id == "declared"
        with pytest.raises(ConfigError, match=r"\$\{LAKE\}"):
            load_experiment("declared", configs / "dev.yaml")


class TestPlaces:
    def test_relative_paths_lie_beside_the_spec(self) -> None:
        assert expanded("users.csv") == str(project_root() / "configs" / "experiments" / "users.csv")
        assert expand_location("data/*.csv", "/etc/specs/x.yaml", PLACE, DECLARED) == "/etc/specs/data/*.csv"

    def test_uris_stay(self) -> None:
        assert expanded("s3://lake/users/") == "s3://lake/users/"

    @pytest.mark.parametrize(
        "location",
        [
            *(
                "/data/lake",
                "/data/lake/",
                "/data/lake/a/b.csv",
                "/data/lake/*.csv",
                "/data/lake/a/../b",
                "file:///data/lake/x",
            ),
            *("s3://lake/ads", "s3a://lake/ads/x.csv", "s3n://lake/ads/**/x", "s3://lake/ads/*"),
        ],
    )
    def test_what_lies_under_a_root_may_be_read(self, location: str) -> None:
        assert expanded(location, ROOTS) == location.removesuffix("e/") + "e" * location.endswith("e/")

    @pytest.mark.parametrize(
        "location",
        [
            *(
                "/etc/passwd",
                "/data",
                "/data/lake2/x",
                "/data/lake/../x",
                "/data/lake/../../etc/passwd",
                "/*/lake/x",
                "/",
            ),
            *("file:///etc/passwd", "file:/etc/passwd", "../../../../etc/passwd", "~/x.csv", "relative.csv"),
            *(
                "s3://lake",
                "s3://lake/adsx",
                "s3://lake/ad*",
                "s3://other/ads/x",
                "s3://lake/ads/../x",
                "s3://lake/*/ads",
            ),
            *("gs://lake/ads", "hdfs:///data/lake", "S3://lake/ads", "http://lake/ads"),
        ],
    )
    def test_what_does_not_is_refused_before_anything_is_read(self, location: str) -> None:
        """`path: /etc/passwd` printed that file's first line."""
        with pytest.raises(
            ConfigError, match=r"x\.yaml: source\.exposures\.path: .*source_roots in environments/e\.yaml"
        ):
            expanded(location, ROOTS)

    def test_links_are_followed(self, tmp_path: Path) -> None:
        (tmp_path / "root" / "in").mkdir(parents=True)
        (tmp_path / "out").mkdir()
        (tmp_path / "root" / "link").symlink_to(tmp_path / "out")
        (tmp_path / "way").symlink_to(tmp_path / "root")
        rules = replace(ROOTS, roots=(str(tmp_path / "way"),))  # the root itself may be reached by a link
        assert expanded(str(tmp_path / "root" / "in"), rules)
        for out in ("link", "link/x.csv", "link/*.csv", "in/../link"):
            with pytest.raises(ConfigError, match="links and"):
                expanded(str(tmp_path / "root" / out), rules)

    def test_without_roots_files_may_lie_anywhere_and_with_an_empty_list_nowhere(self) -> None:
        assert expanded("/etc/passwd") == "/etc/passwd"
        with pytest.raises(ConfigError):
            expanded("/data/lake", replace(ROOTS, roots=()))


ROOTS = replace(DECLARED, roots=("/data/lake", "s3://lake/ads/"))


class TestMessages:
    @pytest.mark.parametrize(
        ("value", "location", "said", "told"),
        [
            ("/srv/lake", "${EXP_D}/x/*.csv", "/srv/lake/x/a.csv is gone", "${EXP_D}/x/a.csv is gone"),
            ("/srv/lake/", "${EXP_D}/x.csv", "open '/srv/lake/x.csv'", "open '${EXP_D}/x.csv'"),
            ("lake", "/srv/${EXP_D}/x", "/srv/lake/x is a lake", "/srv/${EXP_D}/x is a lake"),
            ("/srv", "${EXP_D}/x", "/srv2/x, /old/srv/x", "/srv2/x, /old/srv/x"),
            ("s3://lake/ads", "${EXP_D}/x", "no s3://lake/ads/x: lake/ads/x", "no ${EXP_D}/x: ${EXP_D}/x"),
            ("lake", "s3://${EXP_D}/x", "s3://lake/x is gone", "s3://${EXP_D}/x is gone"),
        ],
    )
    def test_they_tell_a_location_as_it_is_written(
        self, value: str, location: str, said: str, told: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("EXP_D", value)
        assert without_values(said, experiment(location)) == told

    def test_an_unset_variable_changes_no_message(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("EXP_D", raising=False)
        assert without_values("/x/y", experiment("${EXP_D}/x")) == "/x/y"


class TestEnvironmentFile:
    def test_roots_are_absolute_and_may_name_variables(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("EXP_STATE_DIR", str(tmp_path / "state"))
        monkeypatch.setenv("LAKE", "s3://lake")
        written_configs(
            tmp_path, monkeypatch, "source_roots: [lake, /data, '${LAKE}/ads']\nvariables: [LAKE]\n"
        )
        rules = load_environment().source_rules
        assert rules.roots == (str(tmp_path / "state" / "lake"), "/data", "s3://lake/ads")
        assert rules.file == str(tmp_path / "configs" / "environments" / "embedded.yaml")

    @pytest.mark.parametrize(
        ("more", "told"),
        [
            ("variables: [A B]\n", r"variables\[0\]: .*pattern"),
            ("variables: LAKE\n", "variables: "),
            ("source_roots: ['']\n", r"source_roots\[0\]: "),
            (
                "variables: [X]\nleases: {uri: l.db, password_env: X}\n",
                "variables: found X, which .* holds a secret",
            ),
        ],
    )
    def test_its_faults_are_told(
        self, more: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        written_configs(tmp_path, monkeypatch, more)
        with pytest.raises(ConfigError, match=told):
            load_environment()

    def test_a_password_in_a_uri_is_refused_and_not_told(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """`exp backup`, the doctor and errors name a database by its URI."""
        written_configs(tmp_path, monkeypatch, "leases: {uri: 'postgresql://me:hunter2@db/x'}\n")
        with pytest.raises(
            ConfigError, match=r"leases\.uri: .*password_env.*postgresql://\.\.\.@db/x"
        ) as refused:
            load_environment()
        assert "hunter2" not in str(refused.value)

    def test_a_message_shows_no_variable_of_the_environments_file(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SOME_SECRET", "hunter2")
        written_configs(
            tmp_path, monkeypatch, "spark: {driver_memory: '${SOME_SECRET}', nope: '${SOME_SECRET}'}\n"
        )
        with pytest.raises(ConfigError) as refused:
            load_environment()
        assert "hunter2" not in str(refused.value)
        assert "${SOME_SECRET}" in str(refused.value)
        assert refused.value.__cause__ is None


def experiment(location: str) -> Experiment:
    table = TableSource("csv", location, {})
    source = EventsSource(table, TableSource("iceberg", "lake.y", {}), {}, "none")
    return Experiment("x", "me", "", (), None, source, (), schedule=Schedule(), spec_file=SPEC)  # type: ignore[arg-type]


def written_configs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: str) -> Path:
    configs = tmp_path / "configs"
    (configs / "environments").mkdir(parents=True)
    (configs / "experiments").mkdir()
    for name, text in (("embedded", more), ("other", "")):
        (configs / "environments" / f"{name}.yaml").write_text(
            f"name: {name}\nraw_dir: raw\nwarehouse: warehouse\nruns_dir: runs\nmemos_dir: memos\n"
            f"catalog: {{kind: sqlite, uri: catalog.db}}\n{text}"
        )
    monkeypatch.setenv("EXP_CONFIG_DIR", str(configs))
    monkeypatch.delenv("EXP_ENVIRONMENT", raising=False)
    return configs


def spec(configs: Path, name: str, exposures: str, wait_for: str) -> None:
    (configs / "experiments" / f"{name}.yaml").write_text(f"""\
id: {name}
owner: growth
hypothesis: A shorter form raises sign-ups.
variants:
  - {{id: control, control: true}}
  - {{id: treatment}}
window: {{start: 2026-03-02, days: 14}}
source:
  kind: events
  exposures:
    path: {exposures}
  outcomes: {{path: s3://lake/outcomes}}
metrics:
  - {{id: signup, type: proportion, event: signup, role: primary}}
schedule:
  wait_hours: 2
  wait_for: {wait_for}
""")
