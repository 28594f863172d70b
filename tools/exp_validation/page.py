"""The pages that tell what was found: docs/08_statistical_validation.md, and below it one per topic with the tables."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from exp_platform import numbers
from exp_platform.report.charts import small_png
from exp_validation import figures
from exp_validation.bands import ERROR, UNIFORMITY, Check, judged
from exp_validation.drawn import SEED
from exp_validation.run import PIPELINE_REPLICATES, REPLICATES, Outcome, checks_of
from exp_validation.topics import TOPICS, topic_of
from exp_validation.verdicts import BY_DAY

COMMAND = "make validate"
NAME = "08_statistical_validation"
PACKAGES = ("numpy", "scipy", "pyarrow", "pyiceberg")


class Table(NamedTuple):
    """What was found of one method or setting."""

    heading: str
    lines: list[str]


@dataclass(frozen=True)
class Findings:
    """All that a run of the validation found. `settings` are of the whole pipeline, `wrong` of methods that must miss."""

    cells: Sequence[Outcome]
    settings: Sequence[Outcome]
    wrong: Sequence[Outcome]
    replicates: int
    pipeline_replicates: int
    processes: int

    @property
    def judged(self) -> int:
        """Over how many checks the error of the page is shared."""
        return judged(checks_of([*self.cells, *self.settings]))

    @property
    def misses(self) -> list[Check]:
        """Promises that are not kept."""
        return [c for c in checks_of([*self.cells, *self.settings]) if not c.holds(self.judged)]


def write_pages(found: Findings, docs: Path) -> Path:
    """Write the pages and their figures into `docs`; returns the path of the first, which lists the others."""
    folder = docs / NAME
    folder.mkdir(parents=True, exist_ok=True)
    for name, chart in figures.all_of(found.cells, found.settings, found.judged).items():
        (folder / f"{name}.png").write_bytes(small_png(chart.to_dict()))
    for place, text in pages(found).items():
        (docs / place).write_text(text)
    return docs / f"{NAME}.md"


def pages(found: Findings) -> dict[str, str]:
    """Each page as Markdown, by its place below docs."""
    return laid_out(
        [*_how(found), "", "## Promises that are not kept", "", *_misses(found)],
        _tables(found.cells, found.judged),
        _pipeline(found),
        _tables(found.wrong, found.judged),
    )


def laid_out(
    first: Sequence[str], cells: Sequence[Table], settings: Sequence[Table], wrong: Sequence[Table]
) -> dict[str, str]:
    """The pages of these tables: those of `cells` by topic, and what the first page says before it lists them."""
    texts = {f"{NAME}.md": ["# 08 Statistical validation", "", *_INTRODUCTION, "", *first, "", *_CONTENTS]}
    for topic in TOPICS:
        listed = [table for table in cells if topic_of(table.heading) is topic]
        introduction = [*topic.introduction, ""] if topic.introduction else []
        texts[f"{NAME}/{topic.name}.md"] = [
            f"# {topic.title}",
            "",
            *_OF_A_PAGE,
            "",
            *introduction,
            *_lines(listed),
        ]
    about = ["# The platform as a whole", "", *_SETTINGS, "", "![Looked at daily](by_day.png)", ""]
    texts[f"{NAME}/platform.md"] = [*about, *_lines(settings)]
    texts[f"{NAME}/known_wrong.md"] = [
        "# Methods that are known to be wrong",
        "",
        *_WRONG,
        "",
        *_lines(wrong),
    ]
    return {place: "\n".join(lines).rstrip("\n") + "\n" for place, lines in texts.items()}


def _lines(tables: Sequence[Table]) -> list[str]:
    return [line for table in tables for line in (f"## {table.heading}", "", *table.lines, "")]


_INTRODUCTION = (
    "Does every method do what it promises: is a 5 % test wrong 5 % of the time, does a 95 % interval hold the truth 95 % of",
    "the time, does the planned size find the planned effect as often as planned? These pages are the answer of",
    f"`{COMMAND}`, which draws experiments whose truth is known and counts.",
)

_CELLS = (
    "Each row is one cell: a method, a population, and the users of control and treatment. Replicates are drawn as Moments,",
    "from the laws of the sufficient statistics where they have one (normal means with Wishart co-moments, multinomial counts)",
    "and from users elsewhere; then the platform's own functions judge them. *False positives* and *uniformity* (Kolmogorov's",
    "distance of the p-values to the uniform law; shown only, without a verdict, where a count makes p come in steps) are",
    "without an effect, *coverage* and *power* with the effect that the plan finds with 80 %, where there is one. The plan is",
    "told the spread of both arms. **Bold** is outside its band.",
)

_CONTENTS = (
    "## What was judged",
    "",
    *_CELLS,
    "",
    "| page | of |",
    "|---|---|",
    *(f"| [{t.title}]({NAME}/{t.name}.md) | {', '.join(t.methods)} |" for t in TOPICS),
    f"| [The platform as a whole]({NAME}/platform.md) | synthetic experiments that went through every stage |",
    f"| [Methods that are known to be wrong]({NAME}/known_wrong.md) | what the machinery must find out |",
    "",
    f"![False positive rates]({NAME}/false_positives.png)",
)

_OF_A_PAGE = (f"What a row and a column are: [08 Statistical validation](../{NAME}.md#what-was-judged).",)

_SETTINGS = (
    "Each setting is one synthetic experiment whose users belong to replicates: generated, ingested, checked, published and",
    "aggregated by an ordinary run, with the replicate as a segment. The stored aggregates are read back by the public reader,",
    "and every replicate is analysed and decided by itself. 14 days; conversion (30 %, correlated with the past) decides and has",
    "all of alpha: .045 for the test at the end, .005 for always-valid evidence. Rates without a promise are told only.",
)

_WRONG = ("If the machinery did not find these out, the other pages would prove nothing.",)


def _how(found: Findings) -> list[str]:
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    seconds = sum(o.seconds for o in (*found.cells, *found.settings, *found.wrong))
    return [
        "| | |",
        "|---|---|",
        f"| command | `{_command(found)}` |",
        f"| replicates | {found.replicates:,} a cell of drawn Moments (fewer where a table says so), {found.pipeline_replicates:,} a setting of the pipeline |",
        f"| judged | {found.judged} rates. All bands together hold with {numbers.share(1 - ERROR, 0)} where every promise is kept: exact binomial "
        "(Kolmogorov's law for uniformity), Bonferroni over the rates, one-sided for methods that promise *at most* |",
        f"| seed | {SEED}, with a stream of its own for each cell: the same versions give the same digits |",
        f"| versions | Python {platform.python_version()}, {versions} |",
        f"| time | {seconds / 60:.0f} minutes of one core, so {seconds / 60 / found.processes:.0f} minutes in {found.processes} processes on cores of their own |",
    ]


def _command(found: Findings) -> str:
    if (found.replicates, found.pipeline_replicates) == (REPLICATES, PIPELINE_REPLICATES):
        return COMMAND
    told = f"--replicates {found.replicates} --pipeline-replicates {found.pipeline_replicates}"
    return f'{COMMAND} VALIDATE_ARGS="{told}"'


def _misses(found: Findings) -> list[str]:
    if not found.misses:
        return ["None."]
    lines = [*_MISSES, "", "| where | found | reading | warned |", "|---|---|---|---|"]
    for outcome in (*found.cells, *found.settings):
        missed = [c for c in outcome.checks if not c.holds(found.judged)]
        if missed:
            rates = ", ".join(f"{c.measure} {_number(c)}" for c in missed)
            readings = ", ".join(dict.fromkeys(_meaning(c) for c in missed))
            warned = next(
                (numbers.share(c.rate, 0) for c in outcome.checks if c.measure.startswith("warned")), ""
            )
            lines.append(f"| {outcome.name} | {rates} | {readings} | {warned} |")
    return lines


_MISSES = (
    "*Too narrow* is the direction that does harm: a test finds too much, an interval misses too often. *Too wide* costs users",
    "and nothing else. Where the platform can tell from the data that a row lies in such a region it says so in the row's",
    "`caution` ([06_methods.md](06_methods/trust.md#cautions)); *warned* is how often it did. Power beside the plan is no error: with",
    "skewed values in unequal arms an increase is found more often than planned, and a decrease less. A post-stratified row",
    "names in its `message` the strata that were merged because an arm has too few users in them: what is skewed in those stays",
    "in the estimate.",
)


def _meaning(check: Check) -> str:
    if check.measure == UNIFORMITY:
        return "p-values are not uniform"
    if check.measure == "power":
        return "less power than planned" if check.rate < check.promised else "more power than planned"
    errors = check.rate if check.promised < 0.5 else 1 - check.rate
    promised = check.promised if check.promised < 0.5 else 1 - check.promised
    return "too narrow" if errors > promised else "too wide"


def _tables(outcomes: Sequence[Outcome], judged: int) -> list[Table]:
    tables = []
    for method, of_method in groupby(outcomes, key=lambda o: o.name.split(": ")[0]):
        listed = list(of_method)
        measures = list(dict.fromkeys(c.measure for o in listed for c in o.checks))
        lines = [f"| | {' | '.join(measures)} |", "|---|" + "---|" * len(measures)]
        for outcome in listed:
            by_measure = {c.measure: c for c in outcome.checks}
            cells = [_cell(by_measure.get(m), judged) for m in measures]
            lines.append(f"| {outcome.name.split(': ', 1)[1]} | {' | '.join(cells)} |")
        lines += ["", _bands([c for o in listed for c in o.checks], judged) + _fewer(listed)]
        tables.append(Table(method, lines))
    return tables


def _fewer(outcomes: Sequence[Outcome]) -> str:
    """Says so where cells had fewer replicates than asked for, because theirs take longer."""
    used = sorted({max(c.of for c in o.checks) for o in outcomes if o.checks})
    if used[0] > 0.95 * outcomes[0].replicates:
        return ""
    told = f"{used[0]:,}" if used[0] == used[-1] else f"{used[0]:,} to {used[-1]:,}"
    return f" Only {told} replicates a cell: these take longer."


def _cell(check: Check | None, judged: int) -> str:
    if check is None:
        return ""
    return _number(check) if check.holds(judged) else f"**{_number(check)}**"


def _bands(checks: Sequence[Check], judged: int) -> str:
    """The bands of a table, one a measure; replicates without an answer make those of some cells slightly wider."""
    widest = {c.measure: c for c in sorted(checks, key=lambda c: c.of) if c.side != "none"}
    told = [f"{m} {_promise(c)} ({_band(c, judged)})" for m, c in widest.items()]
    return f"Promised (band): {'; '.join(told)}."


def _number(check: Check) -> str:
    return f"{check.rate:.4f}" if check.promised != 0.001 else f"{check.rate:.5f}"


def _promise(check: Check) -> str:
    if check.measure == UNIFORMITY:
        return "0"
    words = {"both": "", "none": "", "at most": "at most ", "at least": "at least "}
    return f"{words[check.side]}{check.promised:.4g}"


def _band(check: Check, judged: int) -> str:
    low, high = check.band(judged)
    digits = 5 if check.promised == 0.001 else 4
    return f"{low:.{digits}f} to {high:.{digits}f}"


def _pipeline(found: Findings) -> list[Table]:
    tables = []
    for outcome in found.settings:
        lines = ["| | found | promised | band |", "|---|---|---|---|"]
        for check in outcome.checks:
            if BY_DAY in check.measure:
                continue
            told = check.side == "none"
            promised = ("", "") if told else (_promise(check), _band(check, found.judged))
            lines.append(
                f"| {check.measure} | {_cell(check, found.judged)} | {promised[0]} | {promised[1]} |"
            )
        tables.append(Table(outcome.name.split(": ", 1)[1], lines))
    return tables
