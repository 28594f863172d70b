"""Whatever people and data have written reads as it was written, and does nothing, wherever it is shown."""

from __future__ import annotations

import ast
import html
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from exp_platform.escaping import Markdown, code, line, markdown, paragraphs, terminal, visible

READERS = {
    "CommonMark with tables": MarkdownIt("commonmark").enable("table"),
    "GitHub's dialect, which makes links of addresses": MarkdownIt("gfm-like", {"linkify": True}),
}
PLACES = ("{}", "- {}", "> {}", "# {}", "**a {} b**: {}", "| {} | y |\n|---|---|\n| {} | z |", "p\n{}\n{}")
HOSTILE = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<!-- hidden",
    "tail <",
    "&lt;script> &#60;script> &copy",
    "[here](javascript:alert(1))",
    "[here]( https://evil.test)",
    "![pixel](https://evil.test/p.png)",
    "[a]: https://evil.test",
    "[a][b] [a]",
    "[^1]: note [^1]",
    "<https://evil.test>",
    "https://[x](javascript:alert(1))",
    "see https://evil.test/`x`|y\\|www.evil.test, or a.b@evil.test!",
    "evil.test and EVIL.COM",
    "a | b\n| c |\n|---|",
    "# heading",
    "#heading",
    "- item",
    "+ item",
    "* item",
    "1. item",
    "2) item",
    "- [ ] task",
    "> quote",
    "---",
    "- - -",
    "***",
    "___",
    "===",
    "~~~",
    "```\ncode",
    "``",
    "\\",
    "\\*a\\*",
    "*bold* _em_ __strong__ ~~gone~~ snake_case_name",
    "    indented",
    "x  \ny",
)
KIND = "Über 5 % mehr R&D: p < 0.05 & a_b *c* ~d, “so”, 'x' \"y\" (z) 👩\u200d👩\u200d👧 ❤️ – nur für $5 [+1.2 %, ∞]!"


def shown(page: str, reader: MarkdownIt) -> str:
    """The text of a page as a browser shows it; nothing in it may be more than text and what we have made."""
    made = reader.render(page)
    assert not re.search(
        r"<(?!/?(p|li|ul|blockquote|h1|strong|table|thead|tbody|tr|th|td|code|br)\b)", made
    ), made
    return " ".join(html.unescape(re.sub(r"<[^>]+>", "", made)).split())


def tags(page: str, reader: MarkdownIt) -> list[str]:
    """The elements of a page, code left out: addresses are set so."""
    return [
        tag for tag in re.findall(r"<(/?\w+)", reader.render(page)) if tag.strip("/") not in ("code", "br")
    ]


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("place", PLACES)
def test_hostile_text_is_text_in_every_place_of_a_page(reader: str, place: str) -> None:
    harmless = tags(place.format("word", "word"), READERS[reader])
    for written in (*HOSTILE, KIND):
        page = place.format(markdown(written), markdown(written))
        assert tags(page, READERS[reader]) == harmless, written
        assert " ".join(line(written).split()) in shown(page, READERS[reader])


@given(
    st.lists(
        st.sampled_from(
            [
                "<",
                ">",
                "[",
                "]",
                "(",
                ")",
                "`",
                "|",
                "\\",
                "*",
                "_",
                "~",
                "#",
                "-",
                "&",
                ";",
                "!",
                " ",
                "a",
                "http://",
                "www.",
                "x.yz",
                "@",
                ":",
                "/",
                "1.",
                "=",
                "+",
                "\n",
                "lt",
                "^",
            ]
        ),
        max_size=14,
    )
)
def test_no_mixture_of_marks_is_more_than_text(parts: list[str]) -> None:
    written = "".join(parts)
    for reader in READERS.values():
        page = f"- a {markdown(written)} b\n\n| c | d |\n|---|---|\n| {markdown(written)} | e |"
        assert tags(page, reader) == tags("- a b\n\n| c | d |\n|---|---|\n| x | e |", reader)
        assert " ".join(line(written).split()) in shown(page, reader)


def test_paragraphs_keep_their_lines_and_are_text() -> None:
    written = "One *line*,\n# another\n\n- third [x](https://a.test)\n    fourth\n"
    for reader in READERS.values():
        made = reader.render(paragraphs(written))
        assert made.count("<p>") == 2
        assert made.count("<br") == 2
        assert not re.search("<(h1|ul|a|em|pre)", made)


def test_what_is_markdown_already_stays_and_code_is_code_where_it_can_be() -> None:
    assert markdown(Markdown("**ours**")) == "**ours**"
    assert markdown(markdown("a*b")) == r"a\*b"
    assert code("0.1.0+abc") == "`0.1.0+abc`"
    assert code("a`b|c") == r"a\`b\|c"


def test_a_line_has_no_order_to_a_terminal_and_hides_nothing() -> None:
    assert line("a\x1b[2J\x9b\x07b\r\n\tc\u2028d") == r"a\x1b[2J\x9b\x07b c d"
    assert line("\u202eevil\u2066 a\u200bb \ufeff \U000e0041 \udcff \xad") == (
        r"\u202eevil\u2066 a\u200bb \ufeff \U000e0041 \udcff \xad"
    )
    assert line("ios\u200d") == r"ios\u200d"  # it would look like ios


def test_what_people_write_in_their_languages_stays() -> None:
    for written in (KIND, "می\u200cخواهم", "क्\u200dष", "5\xa0% 50\u202f000", "日本\u3000語", "שלום", "🫨"):
        assert line(written) == written
    assert terminal("a\nb\x1b") == "a\nb\\x1b"


def test_a_message_shows_also_what_looks_like_a_space() -> None:
    assert visible("user\xa0id\n\u200b") == "user\\xa0id\n\\u200b"


def test_a_piece_of_a_sentence_keeps_its_distance() -> None:
    assert (markdown(" (primary)"), markdown(", "), markdown("\n# x"), markdown("  ")) == (
        " (primary)",
        ", ",
        " &#35; x",
        " ",
    )


def test_nothing_stays_nothing() -> None:
    assert (line(""), terminal(""), markdown(""), paragraphs(""), code("")) == ("",) * 5


PACKAGE = Path(__file__).parents[1] / "include" / "exp_platform"
# Their texts are the project's own; what runs before anything is installed can import nothing.
OF_OURS_ONLY = ("exp_validation", "exp_scenarios", "jar_checksums.py")
ESCAPE = {
    "terminal",
    "json.dumps",
    "render",
    "appendix",
    "Text",
    "Text.assemble",
}  # the memo and what is behind it
TABLES = {
    "decision_panel",
    "results_table",
    "rows_table",
    "plan_table",
    "durations_table",
    "log_table",
    "metrics_table",
    "uses_table",
    "Table",
}


def printed() -> list[tuple[str, ast.expr]]:
    """What stands in every `print(...)` of the package, its jobs and tools: its place, and the argument."""
    root = PACKAGE.parents[1]
    files = [*PACKAGE.rglob("*.py"), *root.glob("jobs/*.py"), *root.glob("tools/**/*.py")]
    found = []
    for file in files:
        if not set(OF_OURS_ONLY) & set(file.parts):
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in (
                    "print",
                    "echo",
                ):
                    found += [(f"{file.name}:{node.lineno}", argument) for argument in node.args]
    return found


def test_nothing_is_printed_that_was_not_made_safe_for_a_terminal() -> None:
    """A new `print` of an error, a path or a value of the data must say so itself."""
    found = printed()
    assert len(found) > 30
    for place, argument in found:
        if isinstance(argument, ast.Constant) or ast.unparse(argument) == "table":
            continue
        made_by = ast.unparse(argument.func) if isinstance(argument, ast.Call) else "nothing"
        assert made_by in ESCAPE | TABLES, f"{place} prints {ast.unparse(argument)}: wrap it in `terminal`"
