"""The pages that tell what was said of every situation: docs/09_experiment_scenarios.md lists them, one per topic has them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from inspect import cleandoc
from pathlib import Path
from textwrap import fill, indent

from exp_platform import numbers
from exp_platform.aggregates import ALL
from exp_platform.analyses.rows import ANALYSED, ASSIGNED, CROSSOVERS, USERS, WITH_VALUE, ResultRow, Status
from exp_platform.config.analyses import SPLIT
from exp_platform.report.charts import small_png
from exp_platform.report.wording import headline, reading, relative
from exp_scenarios.listed import TOPICS, Topic
from exp_scenarios.scenario import Said, Scenario, Step

NAME = "09_experiment_scenarios"

_WIDTH = 124
_USERS = (ASSIGNED, ANALYSED, CROSSOVERS, WITH_VALUE)
_INTRODUCTION = """
What the platform says in situations that every team meets, beside what is true. Each is an ordinary experiment with
data whose truth is known: a spec, raw files, and runs through the whole platform (ingest, quality, publish, aggregates, analyses,
decision, memo). `make scenarios` runs them and writes these pages; tests hold every verdict and every line.

The effects are what chance made of the truth, so they are near it and not equal to it. Of each spec the lines that matter are shown.
What is left out is, with `days`, as in [flat.md](02_spec/flat.md); elsewhere there are two
arms of equal shares, `control` and `treatment`, a window of 14 days from 2026-01-05, and exposures and outcomes as events. *p* is the
plain test's; what is significant is told by *reading*, which knows the family, the alpha that is left and the day.
"""
_OF_A_TOPIC = f"How to read these, and what every spec leaves out: [09 Experiment scenarios](../{NAME}.md)."


@dataclass(frozen=True)
class Told:
    """A situation and what was said of it."""

    scenario: Scenario
    said: Sequence[Said]
    folder: Path  # of its raw data


def write_pages(told: Sequence[Told], docs: Path) -> Path:
    """Write the pages and their pictures into a folder; returns the path of the first, which lists the others."""
    folder = docs / NAME
    folder.mkdir(parents=True, exist_ok=True)
    for old in (*folder.glob("*.png"), *folder.glob("*.md")):
        old.unlink()
    for one in told:
        chart = one.scenario.picture and one.scenario.picture(one.said)
        if chart is not None:
            (folder / f"{one.scenario.id}.png").write_bytes(small_png(chart))
    for name, text in pages(told).items():
        (docs / name).write_text(text)
    return docs / f"{NAME}.md"


def pages(told: Sequence[Told]) -> dict[str, str]:
    """Each page as Markdown, by its place below docs: the same versions of all packages give the same text."""
    numbered = {one.scenario.id: (number, one) for number, one in enumerate(told, start=1)}
    by_topic = {topic: [numbered[s.id] for s in topic.scenarios if s.id in numbered] for topic in TOPICS}
    first = ["# 09 Experiment scenarios", "", *_paragraphs(_INTRODUCTION), "", *_contents(by_topic)]
    texts = {f"{NAME}.md": first}
    for topic, listed in by_topic.items():
        texts[_place(topic)] = [f"# {topic.title}", "", *_paragraphs(_OF_A_TOPIC)]
        for number, one in listed:
            texts[_place(topic)] += ["", f"## {_heading(number, one.scenario)}", "", *_section(one)]
    return {place: "\n".join(lines) + "\n" for place, lines in texts.items()}


def _place(topic: Topic) -> str:
    return f"{NAME}/{topic.name}.md"


def _contents(by_topic: dict[Topic, list[tuple[int, Told]]]) -> Iterator[str]:
    yield "| situation | truth | what was said |"
    yield "|---|---|---|"
    for topic, listed in by_topic.items():
        for number, one in listed:
            heading = _heading(number, one.scenario)
            anchor = re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-")
            said = "; then ".join(dict.fromkeys(_in_short(s) for s in one.said))
            yield f"| [{heading}]({_place(topic)}#{anchor}) | {one.scenario.truth} | {said} |"


def _heading(number: int, scenario: Scenario) -> str:
    return f"{number}. {scenario.title}"


def _in_short(said: Said) -> str:
    return "refused" if said.refused else f"**{headline(said.report.decision)}**"


def _section(one: Told) -> Iterator[str]:
    scenario = one.scenario
    yield from _paragraphs(f"**Situation.** {scenario.situation}")
    yield ""
    yield from _paragraphs(f"**Truth.** {scenario.truth}")
    yield ""
    yield from _specs(scenario.steps)
    yield ""
    yield "**What the platform said.**"
    for step, said in zip(scenario.steps, one.said, strict=True):
        yield ""
        yield from _answer(step, said, scenario.rows)
    if scenario.further is not None:
        yield ""
        yield from scenario.further(one.said)
    if scenario.picture is not None:
        yield ""
        yield f"![{scenario.title}]({scenario.id}.png)"
    yield ""
    yield from _paragraphs(f"**A naive reading.** {scenario.naive(one.said, one.folder)}")
    yield ""
    yield from _paragraphs(f"**Why.** {cleandoc(scenario.why)}")


def _specs(steps: Sequence[Step]) -> Iterator[str]:
    """The first step's spec, and of later ones what they add to it."""
    yield "```yaml"
    first = steps[0].spec.splitlines()
    yield from first
    for step in steps[1:]:
        added = [line for line in step.spec.splitlines() if line not in first]
        if added:
            yield f"# {step.name}:"
            yield from added
    yield "```"


def _answer(step: Step, said: Said, keys: Sequence[tuple[str, str]]) -> Iterator[str]:
    when = f"{step.name[0].upper()}{step.name[1:]}: " if step.name else ""
    if said.refused:
        yield from _paragraphs(f"{when}**refused.**")
        yield ""
        yield from (
            "    " + line for line in fill(said.refused, _WIDTH - 4, break_on_hyphens=False).splitlines()
        )
        if said.stored is not None:
            yield ""
            yield f"What is stored is still that of {said.report.as_of_date}."
        return
    report = said.report
    if said.up_to_date:
        yield f"{when}nothing was run, the stored result is *up to date*."
        return
    yield f"{when}**{headline(report.decision)}**, as of {report.as_of_date}."
    yield ""
    for reason in report.decision.reasons:
        bullet = fill(
            f"`{reason.code}` {reason.text}", _WIDTH - 2, break_long_words=False, break_on_hyphens=False
        )
        yield "- " + indent(bullet, "  ").lstrip()
    yield ""
    yield from _table(
        [r for method, metric in keys for r in report.of_method(method) if r.metric_id == metric]
    )


def _table(rows: Sequence[ResultRow]) -> Iterator[str]:
    split = sorted(
        (r for r in rows if r.method == SPLIT and r.status is Status.OK),
        key=lambda r: _USERS.index(r.segment_value) if r.segment == USERS else len(_USERS),
    )
    if split:
        yield "| users | control | treatment | p | verdict |"
        yield "|---|---|---|---|---|"
        for r in split:
            users = r.segment_value if r.segment == USERS else f"by {r.segment}"
            yield f"| {users} | {numbers.count(r.n_control)} | {numbers.count(r.n_treatment)} | {numbers.p_value(r.p_value, r.log10_p)} | {r.verdict} |"
        yield ""
    yield "| row | users | control | treatment | relative effect | p | reading |"
    yield "|---|---|---|---|---|---|---|"
    for r in rows:
        if r.method != SPLIT:
            yield _row(r)


def _row(r: ResultRow) -> str:
    of = f" where {r.segment} = {r.segment_value}" if r.segment != ALL else ""
    if r.segment != ALL and r.segment_value == ALL:
        of = f": does the effect differ by {r.segment}?"
    users = f"{numbers.count(r.n_control)} / {numbers.count(r.n_treatment)}"
    health = f"; health: {r.health}" if r.health and r.health != "ok" else ""
    cells = (
        f"`{r.method}` {r.metric_id}{of}",
        users,
        numbers.level(r.mean_control, r.metric_kind),
        numbers.level(r.mean_treatment, r.metric_kind),
        relative(r),
        numbers.p_value(r.p_value, r.log10_p),
        f"{reading(r)}{health}",
    )
    return f"| {' | '.join(cells)} |"


def _paragraphs(text: str) -> list[str]:
    """Paragraphs, wrapped anew."""
    return [
        line
        for position, paragraph in enumerate(cleandoc(text).split("\n\n"))
        for line in (*([""] if position else []), *_wrapped(paragraph))
    ]


def _wrapped(paragraph: str) -> list[str]:
    return fill(
        " ".join(paragraph.split()), _WIDTH, break_long_words=False, break_on_hyphens=False
    ).splitlines()
