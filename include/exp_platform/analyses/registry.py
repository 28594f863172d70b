"""The analyses by name: what the stages of these names call."""

from __future__ import annotations

from collections.abc import Callable

from exp_platform.aggregates import Aggregates
from exp_platform.analyses import ab, bayes, cuped, did, guardrails, pretrends, segments, srm, stability
from exp_platform.analyses.rows import Row
from exp_platform.config.experiment import Experiment

Analyse = Callable[[Experiment, Aggregates], list[Row]]

ANALYSES: dict[str, Analyse] = {
    "srm": srm.analyse,
    "ab": ab.analyse,
    "cuped": cuped.analyse,
    "did": did.analyse,
    "pretrends": pretrends.analyse,
    "segments": segments.analyse,
    "stability": stability.analyse,
    "guardrails": guardrails.analyse,
    "bayes": bayes.analyse,
}
