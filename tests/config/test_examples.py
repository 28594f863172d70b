"""The gallery: each example is a valid spec where it lies, none is an experiment of the project's own, docs/01 names all."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from exp_platform.config.environment import project_root
from exp_platform.config.loading import load_all, load_experiment
from exp_platform.config.sources import EventsSource

CONFIGS = project_root() / "configs"
EXAMPLES = CONFIGS / "examples"
SPECS = [*sorted(EXAMPLES.glob("*.yaml")), *sorted(EXAMPLES.glob("*/experiments/*.yaml"))]


def id_of(path: Path) -> str:
    return str(yaml.safe_load(path.read_text())["id"])


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_it_is_valid_where_it_lies(path: Path) -> None:
    assert load_experiment(id_of(path), path).id == id_of(path)


def test_the_lake_is_a_whole_folder_of_configs() -> None:
    loaded = load_all(EXAMPLES / "lake")

    assert [str(error) for error in loaded.errors] == []
    assert loaded.experiments.keys() == {"checkout_v2", "free_shipping"}


def test_the_lakes_experiments_share_what_they_measure() -> None:
    """One source, two keys; a metric that both use is the same series of the same fact."""
    both = load_all(EXAMPLES / "lake").experiments
    sources = [experiment.source for experiment in both.values()]
    assert all(isinstance(source, EventsSource) for source in sources)
    assert [source.key for source in sources if isinstance(source, EventsSource)] == [
        "checkout_v2",
        "free_shipping",
    ]
    shared = {m.id for m in both["checkout_v2"].metrics} & {m.id for m in both["free_shipping"].metrics}
    assert shared == {"conversion", "revenue", "order_value"}
    for metric in shared:
        one, other = (experiment.metric(metric) for experiment in both.values())
        assert (one.numerator, one.denominator) == (other.numerator, other.denominator)


def test_none_is_an_experiment_of_the_projects_own() -> None:
    assert len(SPECS) >= 5
    assert {id_of(path) for path in SPECS} & load_all(CONFIGS).experiments.keys() == set()


def test_the_first_page_names_every_one() -> None:
    page = (project_root() / "docs" / "01_first_experiment.md").read_text()

    named = {path.relative_to(EXAMPLES).parts[0] for path in SPECS}
    assert {name for name in named if f"`configs/examples/{name}`" not in page} == set()
