"""A CSV file is read as it was written, or refused in one line: no row is lost to a quote, an encoding or a delimiter."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from exp_platform.aggregates import LeftOut
from exp_platform.config.environment import Environment
from exp_platform.config.experiment import Experiment
from exp_platform.config.sources import CsvDialect
from exp_platform.stages import csv_files
from exp_platform.stages.shards import read_and_split
from exp_platform.stages.sources import plan_reading
from stages.raw_data import units_experiment

HEADER = "arm,visited,spent,history,channel,note"
ROWS = [["A", "TRUE", "1.5", "2", "wéb", "plain"], ["B", "FALSE", "0", "", "phöne", "x"]] * 40


def experiment(path: Path, **dialect: Any) -> Experiment:
    made = units_experiment(path)
    source = replace(made.source, table=replace(made.source.table, csv=CsvDialect(**dialect)))
    return replace(made, source=source)


def read(made: Experiment, environment: Environment) -> tuple[list[list[str | None]], int, str]:
    """Rows (arm, spent, channel), lines that were skipped, and every problem told."""
    plan = plan_reading(made, environment)
    problems = [problem.message for problem in plan.problems]
    rows, bad = [], 0
    for _, shard in read_and_split(enumerate(plan.pieces), 1):
        problems += [shard.problem] if shard.problem else []
        if not shard.problem:
            columns = ("variant_id", "outcome.spent", "attribute.channel")
            rows += [list(row) for row in zip(*(shard.rows[c].to_pylist() for c in columns), strict=True)]
            bad += sum(reasons.get(LeftOut.LINE.value, 0) for reasons in shard.measured.left_out.values())
    return rows, bad, "\n".join(problems)


def written(rows: list[list[str]], **options: Any) -> str:
    text = io.StringIO()
    csv.writer(text, **{"lineterminator": "\n", **options}).writerows([HEADER.split(","), *rows])
    return text.getvalue()


def expected(rows: list[list[str]]) -> list[list[str | None]]:
    return [[row[0], row[2] or None, row[4].strip() or None] for row in rows]


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "cp1252", "latin-1"]
)
@pytest.mark.parametrize("compress", [bytes, gzip.compress, bz2.compress])
def test_every_row_of_a_declared_encoding_is_read(
    tmp_path: Path, environment: Environment, monkeypatch, encoding: str, compress: Any
) -> None:
    """Also where a character lies across two blocks: Python's own codecs wrote the file."""
    monkeypatch.setattr(csv_files, "BLOCK_BYTES", 997)
    path = tmp_path / "units.csv"  # compression is told by content, not by the name
    path.write_bytes(compress(written(ROWS).encode(encoding)))
    declared = {} if encoding.startswith("utf-8") else {"encoding": encoding}
    assert read(experiment(path, **declared), environment) == (expected(ROWS), 0, "")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (written(ROWS).encode("utf-16"), "it is written in UTF-16: say `encoding: utf-16`"),
        (written(ROWS).encode("utf-16-le"), "has a NUL byte"),
        (b"\xf6" + written(ROWS).encode("cp1252"), "it is not UTF-8 (its first line has the byte 0xF6): say"),
        (written(ROWS).encode("cp1252"), "say how it is written, such as `encoding: cp1252`"),
        (b"", "it is empty"),
        (b"\xef\xbb\xbf", "it is empty"),
        (b"\n\n", "it is empty"),
        (b"PAR1\x15\x04", "it is a Parquet file: say `format: parquet`"),
        (b"PK\x03\x04\x14", "it is a zip archive or an Excel workbook"),
        (gzip.compress(written(ROWS).encode(), mtime=0)[:-40], "it is not all there"),
        (written(ROWS).encode() + b"\0" * 50, "line 82 has a NUL byte"),
        (written(ROWS, delimiter=";").encode() + b"A;1\n", 'say `delimiter: ";"`'),
        (written(ROWS, delimiter="\t").encode() + b"A\t1\n", 'say `delimiter: "\\t"`'),
        (written(ROWS).replace("\n", ",\n").replace("note,", "note", 1).encode(), "its lines end in a delimiter"),
    ],
)  # fmt: skip
def test_a_file_that_is_something_else_is_refused_in_one_line(
    tmp_path: Path, environment: Environment, content: bytes, told: str
) -> None:
    path = tmp_path / "units.csv"
    path.write_bytes(content)
    rows, _, problems = read(experiment(path), environment)
    assert rows == [] or "line 82" in told
    assert told in problems
    assert str(path) in problems
    assert "\n" not in problems or "schema" in problems or "delimiter" in told


@pytest.mark.parametrize("mark", [";", "\t", "|"])
def test_what_separates_values_is_recognised_where_nobody_says_it(
    tmp_path: Path, environment: Environment, mark: str
) -> None:
    path = tmp_path / "units.csv"
    path.write_text(written(ROWS, delimiter=mark))
    assert read(experiment(path), environment) == (expected(ROWS), 0, "")


def test_a_wrong_encoding_is_refused(tmp_path: Path, environment: Environment) -> None:
    path = tmp_path / "units.csv"
    path.write_bytes(written(ROWS).encode())
    assert "it is not utf-16" in read(experiment(path, encoding="utf-16"), environment)[2]
    path.write_bytes(written(ROWS).encode("utf-8-sig"))
    assert "leave out `encoding: latin-1`" in read(experiment(path, encoding="latin-1"), environment)[2]
    path.write_bytes(written(ROWS).encode("utf-16"))
    assert "NUL byte" in read(experiment(path, encoding="cp1254"), environment)[2]


def test_a_quote_that_is_not_closed_swallows_no_rows(tmp_path: Path, environment: Environment) -> None:
    """The columns add up: by Arrow alone all rows behind the quote would be one value, without a word."""
    lines = written(ROWS).splitlines()
    path = tmp_path / "units.csv"
    for broken in (lines[41].replace("plain", '"plain'), lines[41].replace("plain", '"12" pipe')):
        path.write_text("\n".join([*lines[:41], broken, *lines[42:]]) + "\n")
        _, _, problems = read(experiment(path), environment)
        assert "line 42" in problems
    twice = [*lines[:41], lines[41].replace("plain", '"plain'), *lines[42:60], lines[60].replace("x", '"x')]
    path.write_text("\n".join([*twice, *lines[61:]]) + "\n")
    assert "line 61 goes on behind the quote" in read(experiment(path), environment)[2]


def test_a_quote_within_a_value_without_quotes_means_itself(tmp_path: Path, environment: Environment) -> None:
    rows = [[*row[:4], '5" pipe', 'a "b" c'] for row in ROWS]
    path = tmp_path / "units.csv"
    path.write_text("\n".join([HEADER, *(",".join(row) for row in rows)]) + "\n")
    assert read(experiment(path), environment) == (expected(rows), 0, "")


def spark_line(row: list[str]) -> str:
    """A line as Spark's CSV writer documents it: a value with a delimiter, a quote or a line break is quoted, and within
    it a quote stands behind a backslash, and so does a backslash before a quote."""

    def value(text: str) -> str:
        if not any(mark in text for mark in ',"\n'):
            return text
        return '"' + text.replace('\\"', "\\\\\x00").replace('"', '\\"').replace("\x00", '\\"') + '"'

    return ",".join(value(text) for text in row)


SPARK = [
    [*row[:4], channel, note]
    for row, channel, note in zip(
        ROWS * 2,
        ['the "Wien" office', "C:\\new", "two\nlines", "plain"] * 40,
        ['{"a":1,"b":"x, y"}', '{"a":"say \\"hi\\""}', "C:\\dir\\", ""] * 40,
        strict=True,
    )
]


@pytest.mark.parametrize("declared", [{}, {"escape": "backslash"}])
@pytest.mark.parametrize("block", [64, 1000, 8 << 20])
def test_sparks_backslashes_make_no_row_malformed(
    tmp_path: Path, environment: Environment, monkeypatch, declared: dict[str, Any], block: int
) -> None:
    monkeypatch.setattr(csv_files, "BLOCK_BYTES", max(block, 512))
    path = tmp_path / "units.csv"
    path.write_text("\n".join([HEADER, *map(spark_line, SPARK)]) + "\n")
    assert read(experiment(path, **declared), environment) == (expected(SPARK), 0, "")


def test_backslashes_that_begin_late_are_told_and_not_taken_for_values(
    tmp_path: Path, environment: Environment, monkeypatch
) -> None:
    monkeypatch.setattr(csv_files, "SAMPLE_BYTES", 500)
    path = tmp_path / "units.csv"
    path.write_text("\n".join([written(ROWS).rstrip(), *map(spark_line, SPARK)]) + "\n")
    _, _, problems = read(experiment(path), environment)
    assert "line 82 has quotes behind backslashes within a value" in problems
    assert "say `escape: backslash`" in problems
    rows, bad, problems = read(experiment(path, escape="backslash"), environment)
    assert (rows, bad, problems) == (expected([*ROWS, *SPARK]), 0, "")


def test_backslashes_of_plain_csv_stay(tmp_path: Path, environment: Environment) -> None:
    """JSON within CSV with doubled quotes, and folders of Windows: Python's writer wrote them."""
    rows = [[*row[:4], 'say \\"hi\\"', "C:\\dir\\"] for row in ROWS]
    path = tmp_path / "units.csv"
    path.write_text(written(rows, quoting=csv.QUOTE_ALL))
    assert read(experiment(path), environment) == (expected(rows), 0, "")


def test_any_text_is_read_as_pythons_writer_wrote_it(
    tmp_path: Path, environment: Environment, monkeypatch
) -> None:
    """Values of quotes, delimiters, line breaks and backslashes over blocks of every length: Python's csv is the truth."""
    rng = random.Random(8)
    path = tmp_path / "units.csv"
    for case in range(60):
        monkeypatch.setattr(csv_files, "BLOCK_BYTES", rng.choice([256, 300, 1000, 4096]))
        marks = 'ab",\n\\ö;'
        rows = [
            [*row[:4], *("".join(rng.choices(marks, k=rng.randint(1, 9))) for _ in range(2))] for row in ROWS
        ]
        delimiter = rng.choice(",;")
        path.write_text(
            written(rows, delimiter=delimiter, quoting=rng.choice([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]))
        )
        found = read(experiment(path, delimiter=delimiter, escape="quote"), environment)
        assert found == (expected(rows), 0, ""), case


def test_rows_are_numbered_over_files_whose_types_seem_to_change(
    tmp_path: Path, environment: Environment, monkeypatch
) -> None:
    """Counting must not guess types: numbers in the first block and text in the second ended in a traceback."""
    monkeypatch.setattr(csv_files, "BLOCK_BYTES", 1000)
    rows = [[*row[:2], str(i) if i < 60 else "none", *row[3:]] for i, row in enumerate(ROWS)]
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text(written(rows))
    found, bad, problems = read(experiment(tmp_path), environment)
    assert (len(found), bad, problems) == (160, 0, "")
    plan = plan_reading(experiment(tmp_path), environment)
    assert [piece.first_row for piece in plan.pieces] == [0, 80]


def test_ragged_lines_are_counted_with_an_example(tmp_path: Path, environment: Environment) -> None:
    path = tmp_path / "units.csv"
    path.write_text(written(ROWS) + "A,TRUE,1,2,web,x,more\n" + "A,TRUE\n")
    plan = plan_reading(experiment(path), environment)
    parts = [part for piece in plan.pieces for part in piece.parts()]
    assert sum(part.bad_rows for part in parts) == 2
    assert parts[-1].bad_example == "7 fields instead of 6: A,TRUE,1,2,web,x,more"


def test_a_column_that_is_read_stands_once(tmp_path: Path, environment: Environment) -> None:
    """Which of two is meant cannot be told; one that is not read does no harm, nor does another spelling."""
    path = tmp_path / "units.csv"
    path.write_text(written(ROWS).replace("note", "spent", 1))
    assert "units.csv has 2 columns spent (for outcome.spent)" in read(experiment(path), environment)[2]
    path.write_text(written([[*row, "1"] for row in ROWS]).replace("note", "note,note", 1))
    assert read(experiment(path), environment) == (expected(ROWS), 0, "")
    path.write_text(written(ROWS).replace("note", "Spent", 1))
    assert read(experiment(path), environment) == (expected(ROWS), 0, "")


@pytest.mark.parametrize("ending", ["", "\n", "\r\n"])
def test_a_header_alone_is_a_table_without_rows(
    tmp_path: Path, environment: Environment, ending: str
) -> None:
    path = tmp_path / "units.csv"
    path.write_bytes((HEADER + ending).encode())
    assert read(experiment(path), environment) == ([], 0, "")


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("last", [True, False])
def test_every_line_ending_ends_a_line(
    tmp_path: Path, environment: Environment, monkeypatch, ending: str, last: bool
) -> None:
    monkeypatch.setattr(csv_files, "BLOCK_BYTES", 512)
    path = tmp_path / "units.csv"
    text = written(ROWS).replace("\n", ending)
    path.write_bytes((text if last else text.removesuffix(ending)).encode())
    assert read(experiment(path), environment) == (expected(ROWS), 0, "")


def test_a_name_that_only_looks_like_the_column_is_shown_as_it_is(
    tmp_path: Path, environment: Environment
) -> None:
    path = tmp_path / "units.csv"
    path.write_text(written(ROWS).replace("arm", "\u00a0arm", 1))
    assert (
        "has no column arm (for variant_id) but '\\xa0arm', channel" in read(experiment(path), environment)[2]
    )


def test_a_ragged_line_that_is_no_utf_8_is_counted_and_leaves_no_traceback(
    tmp_path: Path, environment: Environment, capfd: pytest.CaptureFixture[str]
) -> None:
    """Arrow could not show such a line: it refused the file, and a traceback stood beside."""
    path = tmp_path / "units.csv"
    path.write_bytes(written(ROWS).encode() + b"A,TRUE,1,2,web,x,\xe4\n")
    rows, bad, problems = read(experiment(path), environment)
    assert (rows, bad, problems) == (expected(ROWS), 1, "")
    assert "Traceback" not in capfd.readouterr().err


def test_bytes_that_are_no_utf_8_do_harm_only_where_they_are_read(
    tmp_path: Path, environment: Environment, monkeypatch
) -> None:
    monkeypatch.setattr(csv_files, "BLOCK_BYTES", 700)
    path = tmp_path / "units.csv"
    path.write_bytes(written(ROWS).encode() + b"A,TRUE,1.5,2,web,\xe4\n")
    assert read(experiment(path), environment) == (
        expected([*ROWS, ["A", "TRUE", "1.5", "2", "web", ""]]),
        0,
        "",
    )
    path.write_bytes(written(ROWS).encode() + b"A,TRUE,1.5,2,w\xe4b,x\n")
    assert "it is not UTF-8 (line 82): say how it is written" in read(experiment(path), environment)[2]


@pytest.mark.parametrize("mark", [";", "\t", "|"])
def test_another_delimiter_is_told_by_a_header_that_a_comma_does_not_divide(
    tmp_path: Path, environment: Environment, mark: str
) -> None:
    path = tmp_path / "units.csv"
    path.write_text(written(ROWS, delimiter=mark))
    assert read(experiment(path), environment) == (expected(ROWS), 0, "")


def spent(values: list[str]) -> str:
    return written([["A", "TRUE", value, "2", "web", "plain"] for value in values], delimiter=";")


@pytest.mark.parametrize(
    ("values", "dialect", "numbers"),
    [
        (["1,5", "-2", "+0,25", ""], {}, ["1.5", "-2", "+0.25", None]),
        (["1,500", "2,5"], {}, ["1.500", "2.5"]),  # 2,5 proves it
        (["1,500", "2,000"], {}, ["1,500", "2,000"]),  # may be thousands: no number, unless the spec says so
        (["1,500", "2,000"], {"decimal": ","}, ["1.500", "2.000"]),
        (["1,5", "2.5"], {}, ["1,5", "2.5"]),
        (["1,5", "1,234,567"], {}, ["1,5", "1,234,567"]),
        (["1,5", "1.234,5", "1.234"], {}, ["1.5", "1.234,5 (no decimal comma)", "1.234 (no decimal comma)"]),
        (["1,5"], {"decimal": "."}, ["1,5"]),
    ],
)
def test_a_decimal_comma_is_told_by_numbers_that_can_be_nothing_else(
    tmp_path: Path, environment: Environment, values: list[str], dialect: Any, numbers: list[str | None]
) -> None:
    path = tmp_path / "units.csv"
    path.write_text(spent(values))
    rows, _, problems = read(experiment(path, **dialect), environment)
    assert ([row[1] for row in rows], problems) == (numbers, "")


def test_text_with_commas_stays_where_numbers_have_decimal_commas(
    tmp_path: Path, environment: Environment
) -> None:
    path = tmp_path / "units.csv"
    path.write_text(written([["A", "TRUE", "1,5", "2", "web, phone", "plain"]], delimiter=";"))
    assert read(experiment(path), environment) == ([["A", "1.5", "web, phone"]], 0, "")
