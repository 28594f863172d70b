"""Which page of the validation each method is on: those of docs/06_methods, as far as they have something to count."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Topic:
    """The methods of one page: its name below the folder of pages, its title, what it says first."""

    name: str
    title: str
    methods: tuple[str, ...]  # the first part of a cell's name, up to its first comma
    introduction: tuple[str, ...] = ()


_BEHAVIOURS = (
    "Behaviours are what people do with an experiment without effect once they have seen its numbers: they look daily, move its end,",
    "add looks, raise alpha, make another metric the primary one, deliver more. Each is carried out reading by reading by the",
    "platform's own decision, which remembers what was read; counted is how often any of the readings said *ship*, and how often any",
    "named a winner, control among them. Without that memory the same behaviours are among the [methods known to be",
    "wrong](known_wrong.md#behaviours-without-memory).",
)

_PORTFOLIOS = (
    "Many experiments measured one metric with known errors; of each what was significantly better was shipped. Effects and errors are relative,",
    "on the scale of logarithms; *spread* and *mean* of the true effects are in middling standard errors. Judged is how often the interval of the",
    "sum holds the true sum, over portfolios that shipped anything. Told beside it is the average sum as a multiple of the true one: shrunken by",
    "all experiments, and of the plain estimates of the winners. Where effects are much smaller than their errors (spread 0.3) and experiments few,",
    "nearly all that was shipped was luck: then the shrunken sum is still too large on average, less than half as much as the plain one.",
)

TOPICS = (
    Topic("means_and_proportions", "Means, proportions, ratios", ("Welch", "score test", "ratio")),
    Topic(
        "adjustment", "Adjusted estimates", ("CUPED", "post-stratification", "post-stratification with CUPED")
    ),
    Topic("over_time", "Effects over time", ("DiD", "pre-trends", "DiD sensitivity")),
    Topic("quantiles", "Quantiles", ("0.5 quantile", "0.9 quantile")),
    Topic(
        "error_rates",
        "Families, looks, margins",
        (
            "corrected families",
            "segments",
            "confidence sequence",
            "group sequential",
            "guardrail at its margin",
        ),
    ),
    Topic(
        "trust", "Splits and beliefs", ("SRM chi-square", "SRM exact", "SRM sequential", "Bayesian reading")
    ),
    Topic("portfolios", "Portfolios", ("shrunken portfolio",), _PORTFOLIOS),
    Topic("behaviours", "What people do with what they see", ("behaviours",), _BEHAVIOURS),
)


def topic_of(method: str) -> Topic:
    """The page that a method's table is on. Raises KeyError where no topic names it."""
    by_method = {method: topic for topic in TOPICS for method in topic.methods}
    return by_method[method.partition(",")[0]]
