"""Whatever a file holds, loading it gives an experiment or faults, never an exception: others must not suffer."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from exp_platform.config.entries import entries_of, resolve
from exp_platform.config.experiment import Experiment

VALID = [
    yaml.safe_load(path.read_text()) for path in sorted((Path(__file__).parent / "specs" / "valid").glob("*"))
]
TEXTS = [path.read_text() for path in sorted((Path(__file__).parent / "specs" / "valid").glob("*"))]
FLAT = {"days": 14, "n_users": 1000, "treatment_share": 0.5, "start_date": "2026-01-05", "mde": "5%"}

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.dates()
    | st.text(max_size=8)
    | st.sampled_from(
        ["signup", "purchase", "value", "a", "2%", "UTC", "events", "units", "synthetic", "any"]
    ),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6) | st.integers(), inner, max_size=3)
    ),
    max_leaves=6,
)


def places(node: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) of a tree."""
    keys = list(node) if isinstance(node, dict) else list(range(len(node))) if isinstance(node, list) else []
    return [(node, key) for key in keys] + [place for key in keys for place in places(node[key])]


@settings(max_examples=150)
@given(st.data())
def test_a_spec_with_any_value_anywhere(data: st.DataObject) -> None:
    spec = copy.deepcopy(data.draw(st.sampled_from([*VALID, {"experiments": {"x": FLAT}}])))
    for _ in range(data.draw(st.integers(1, 2))):
        container, key = data.draw(st.sampled_from(places(spec) or [(spec, "id")]))
        container[key] = data.draw(values)
    folder = "configs" if "experiments" in spec else "experiments"

    entries, errors = entries_of(Path(folder) / "x.yaml", yaml.safe_dump(spec, allow_unicode=True).encode())

    for entry in entries:
        result = resolve(entry)
        told = [] if isinstance(result, Experiment) else [str(error) for error in entry.errors(result)]
        assert isinstance(result, Experiment) or told
        assert_foreseen(told)
    assert_foreseen([str(error) for error in errors])


@settings(max_examples=100)
@given(st.text(max_size=60) | st.binary(max_size=60))
def test_any_text(text: str | bytes) -> None:
    entries, errors = entries_of(Path("experiments/x.yaml"), text.encode() if isinstance(text, str) else text)

    assert entries or errors
    told = [str(error) for error in errors]
    for entry in entries:
        result = resolve(entry)
        assert not isinstance(result, Experiment)
        told += [str(error) for error in entry.errors(result)]
    assert_foreseen(told)


# What YAML itself gives a meaning, and what its versions read differently.
pieces = st.sampled_from(
    [
        *(
            "\n",
            "\n  ",
            "\n- ",
            " ",
            ": ",
            "- ",
            "? ",
            ", ",
            "[",
            "]",
            "{",
            "}",
            "# ",
            "---\n",
            "...",
            "%TAG ",
            "\t",
        ),
        *(
            "&a ",
            "*a",
            "*b",
            "<<: ",
            "<<",
            "=",
            "~",
            "!!int ",
            "!!set ",
            "!!str ",
            "!own ",
            "!",
            "|\n ",
            ">-\n  ",
        ),
        *(
            "'",
            '"',
            "\\x41",
            "\\",
            "@",
            "`",
            "\ufeff",
            "\x00",
            "\x85",
            "\u2028",
            "9" * 120,
            "010",
            "1:30",
            "0b1",
            "0x_",
        ),
        *(
            "1_000",
            "-.inf",
            ".nan",
            "1e5",
            "1.0e+999",
            "yes",
            "on",
            "null",
            "2026-02-30",
            "2026-01-01",
            "${X}",
        ),
        *("id", "experiments", "environment", "days", "n_users", "variants", "metrics", "window", "x", "14"),
    ]
)


@settings(max_examples=2000)
@given(
    st.lists(pieces, max_size=25).map("".join), st.sampled_from(["experiments/x.yaml", "configs/dev.yaml"])
)
def test_any_signs_of_yaml(text: str, place: str) -> None:
    assert_only_own_errors(text.encode(), place)


@settings(max_examples=1500)
@given(st.data())
def test_a_spec_with_signs_of_yaml_anywhere_in_its_text(data: st.DataObject) -> None:
    text = data.draw(st.sampled_from(TEXTS))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(text)))
        text = text[:at] + data.draw(pieces) + text[at + data.draw(st.sampled_from([0, 0, 1, 5])) :]
    assert_only_own_errors(
        text.encode(), data.draw(st.sampled_from(["experiments/x.yaml", "configs/dev.yaml"]))
    )


def assert_only_own_errors(text: bytes, place: str) -> None:
    entries, errors = entries_of(Path(place), text)
    told = [str(error) for error in errors]
    for entry in entries:
        result = resolve(entry)
        told += [] if isinstance(result, Experiment) else [str(error) for error in entry.errors(result)]
    assert_foreseen(told)


def assert_foreseen(told: list[str]) -> None:
    """Every message is one bounded line that a check made; none tells of an exception that no check foresaw."""
    for line in told:
        assert "fault of the platform" not in line
        assert line.isprintable()
        assert len(line) < 1500
