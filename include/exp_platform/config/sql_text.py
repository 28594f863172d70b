"""SQL that people write in a spec: one `select`, none of which reaches beyond the parentheses that it is put into.

Databases read backslashes, comments and dollar signs differently. What two of them could end at different places is refused,
so that a text means the same here as there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

PARAMETERS = ("start", "end", "key")

_TOKEN = re.compile(
    r"""(?P<quoted>(?P<mark>['"`])(?:(?!(?P=mark)).|(?P=mark)(?P=mark))*+(?P=mark))"""
    r"|(?P<comment>--[^\n]*|/\*.*?\*/)"
    r"|(?<![\w:\]]):(?P<parameter>[A-Za-z_]\w*)"
    r"|(?P<other>.)",
    re.DOTALL,
)
_BEGINS = re.compile(r"\s*(select|with)\b", re.IGNORECASE)


def fault_of(sql: str) -> str | None:
    """What keeps a text from being one select that may stand in parentheses, with the remedy; None where nothing does."""
    depth, ended, plain = 0, False, ""
    for token in _TOKEN.finditer(sql):
        if fault := _fault_of_token(token, sql):
            return fault
        if token["comment"]:
            plain += " "
            continue
        if ended and not token[0].isspace() and token[0] != ";":
            return "a `;` ends it and more follows: say one select alone"
        plain += token[0]
        ended = ended or token[0] == ";"
        depth += {"(": 1, ")": -1}.get(token[0], 0)
        if depth < 0:
            return "a `)` closes what was never opened: take it away"
    if depth:
        return "a `(` is never closed: close it"
    if not _BEGINS.match(plain):
        return "it does not begin with `select` (or `with`): only what reads may stand here"
    return None


def _fault_of_token(token: re.Match[str], sql: str) -> str | None:
    found, after = token[0], sql[token.end() : token.end() + 1]
    if name := token["parameter"]:
        if name not in PARAMETERS:
            allowed = ", ".join(f":{one}" for one in PARAMETERS)
            return f":{name} is no parameter: allowed are {allowed}"
        return None
    if quoted := token["quoted"]:
        if f"\\{token['mark']}" in quoted:
            return "a backslash stands before a quote, which databases read differently: write the quote twice instead"
        return None
    if comment := token["comment"]:
        if "\r" in comment or "/*" in comment[2:] or comment.startswith("/*!"):
            return "databases end this comment at different places: take it away"
        return None
    if found in "'\"`":
        return f"a {found} is never closed: close it"
    if found == "$" and re.match(r"\$\w*\$", sql[token.start() :]):
        return "texts in dollar signs are not taken: write them in single quotes"
    if (found == "/" and after == "*") or (found == "#" and after not in (">", "-", "=")):
        return f"{found}{after.strip()} begins a comment in some databases: take it away, or write comments as -- ..."
    return None


def with_parameters(sql: str, literals: Mapping[str, str]) -> str:
    """The text with each parameter's literal in its place, without what ends it: ready to stand in parentheses.

    The closing one must stand on a line of its own, as the text may end in a comment.
    """

    def pieces() -> Iterator[str]:
        for token in _TOKEN.finditer(sql):
            if token["parameter"]:
                yield literals[token["parameter"]]
            elif token[0] != ";":
                yield token[0]

    return "".join(pieces()).strip()
