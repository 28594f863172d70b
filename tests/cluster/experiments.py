"""The experiments of these tests: one with every analysis, and others as small as a run on a cluster can be."""

from __future__ import annotations

from typing import Any


def small(seed: int) -> dict[str, Any]:
    """Every stage that touches a server, and one analysis; a full spec, without its id, as an entry of `dev.yaml`."""
    return {
        "owner": "growth",
        "hypothesis": "A shorter form lets more visitors sign up.",
        "variants": [{"id": "control", "control": True}, {"id": "treatment"}],
        "window": {"start": "2026-03-02", "days": 7},
        "source": {"kind": "synthetic", "n_users": 1000, "seed": seed},
        "metrics": [{"id": "conversion", "type": "proportion", "event": "purchase", "role": "primary"}],
        "analyses": dict.fromkeys(("srm", "cuped", "did", "pretrends", "segments", "guardrails"), False),
    }


UNTIDY = {"duplicate_share": 0.005, "crossover_share": 0.005, "late_share": 0.01}
EXPERIMENTS: dict[str, dict[str, Any]] = {
    "exp_a": {"days": 14, "n_users": 1500, "seed": 1, **UNTIDY},
    "exp_b": small(seed=2),
    "exp_c": small(seed=3),
}
# What names files by where they lie, and when they were written.
ELSEWHERE = ("spec", "code_version", "input_fingerprint")
