"""What to do about a file or a table that its library cannot read: one line with the cause and the remedy."""

from __future__ import annotations

import pyarrow as pa

from exp_platform.stages.source_files import without_compression


class UnreadableError(pa.ArrowInvalid):  # type: ignore[misc]
    """A file is not what it should be, in words that name the remedy; PyArrow's own errors name none."""


# What PyArrow says -> the remedy. The first that fits counts.
_REMEDIES: tuple[tuple[tuple[str, ...], str], ...] = (
    (("Permission denied", "errno 13"), "let the user that runs this read it"),
    (("Too many levels of symbolic links", "errno 40]"), "links lead in a circle: remove one of them"),
    (
        ("Not a directory", "errno 20]"),
        "a file lies where the path names a folder: correct the path in the spec",
    ),
    (("No such file", "errno 2]"), "it was deleted after this run began: deliver it and run again"),
    (("crypt",), "encrypted Parquet is not read: write it without encryption"),
    (
        ("codec", "compression type", "NotImplemented", "not supported", "not yet supported"),
        "write it in another way, such as with zstd compression",
    ),
    (
        ("invalid UTF8", "invalid UTF-8"),
        "say how it is written, such as `encoding: cp1252`, or write it as UTF-8",
    ),
    (
        ("straddling object",),
        "one line is longer than 8 MB: mend the quotes of that line, or write the file again",
    ),
    (
        ("incorrect data check", "CRC", "checksum", "orrupt", "decompress failed"),
        "it is damaged: deliver it again",
    ),
    (("Truncated", "inflate failed"), "it is not all there: deliver it again"),
)


def unreadable(path: str, error: Exception) -> str:
    """The message for a file or folder that cannot be read."""
    said = " ".join(str(error).split()).rstrip(".") or type(error).__name__
    remedy = "" if isinstance(error, UnreadableError) else f"; {_remedy(said, path)}"
    return f"{path} cannot be read: {said}{remedy}"


def _remedy(said: str, path: str) -> str:
    if "Parquet magic bytes not found" in said or "Parquet file size is" in said:
        text = without_compression(path).endswith((".csv", ".tsv", ".txt"))
        return "say `format: csv`" if text else "it is no Parquet file, or only part of one: write it again"
    for words, remedy in _REMEDIES:
        if any(word in said for word in words):
            return remedy
    return "write it again"


def unreadable_table(name: str, error: Exception) -> str:
    """The message for an Iceberg table that PyIceberg cannot read."""
    said = " ".join(str(error).split())
    if "equality delete" in said.lower():
        return (
            f"the Iceberg table {name} has equality deletes (Flink writes upserts so), which PyIceberg does not read: "
            "rewrite its data files so that they are applied (Spark: CALL system.rewrite_data_files with option "
            "delete-file-threshold = 1), or write it copy-on-write"
        )
    return (
        f"the Iceberg table {name} cannot be read ({type(error).__name__}: {said}): see that its metadata and data files "
        "are all there, or write its rows into a new table"
    )
