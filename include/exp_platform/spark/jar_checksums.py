"""Whether jars are the files whose SHA-256 the project keeps, whoever brought them: Maven Central, a cache, a copy by hand.

`jars/SHA256SUMS` has a line a jar, as sha256sum writes it, relative to `jars/`: those of `cluster` lie in a folder of their own.
What sets a machine up runs this file before anything is installed, so it needs the standard library only:

    python jar_checksums.py check <folder> embedded|cluster     0: all are right, 2: some are missing, 1: said why
    python jar_checksums.py lock <folder>                       writes jars/SHA256SUMS from the jars there
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

PARTS = ("embedded", "cluster")
SUMS = Path(__file__).resolve().parents[3] / "jars" / "SHA256SUMS"


@dataclass(frozen=True)
class WrongJar:
    """A jar that is not the file it should be."""

    path: Path
    found: str
    expected: str

    def __str__(self) -> str:
        return f"{self.path} has sha256 {self.found}, expected {self.expected} ({SUMS})"


def expected(part: str) -> dict[str, str]:
    """File name -> SHA-256 of the jars of a part.

    Raises:
        ValueError: for a line that is not `<64 hexadecimal digits>  <name>.jar`.
    """
    wanted = {}
    for line in SUMS.read_text().splitlines():
        checksum, _, name = line.partition("  ")
        path = PurePosixPath(name)
        if not re.fullmatch("[0-9a-f]{64}", checksum) or path.suffix != ".jar":
            raise ValueError(
                f"{SUMS}: {line!r} is no checksum and name of a jar: `make lock-jars` writes it anew"
            )
        if (path.parent.name == "cluster") == (part == "cluster"):
            wanted[path.name] = checksum
    return wanted


def wrong(folder: Path, part: str) -> list[WrongJar]:
    """The jars of a part that lie in a folder and are other files than those of the project."""
    found = ((folder / name, checksum) for name, checksum in expected(part).items())
    return [
        WrongJar(path, have, wanted)
        for path, wanted in found
        if path.is_file() and (have := checksum_of(path)) != wanted
    ]


def checksum_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check(folder: Path, part: str) -> int:
    """Remove the jars of a part that are wrong and say so; the exit code, as above."""
    refused = wrong(folder, part)
    for jar in refused:
        jar.path.unlink()
        print(
            f"{jar.path} was refused and removed: it is not the file that the project knows by this name.\n"
            f"  found     sha256 {jar.found}\n"
            f"  expected  sha256 {jar.expected}  ({SUMS})\n"
            "  Run the command again, which fetches it anew, or copy it again from a machine where this went well.\n"
            "  If it is refused again, whoever hands it out has another file: do not use it.",
            file=sys.stderr,
        )
    if refused:
        return 1
    return 0 if all((folder / name).is_file() for name in expected(part)) else 2


def lock(folder: Path) -> int:
    """Write the checksums of the jars in a folder and in its folder `cluster`."""
    jars = [*sorted(folder.glob("*.jar")), *sorted(folder.glob("cluster/*.jar"))]
    SUMS.write_text("".join(f"{checksum_of(jar)}  {jar.relative_to(folder).as_posix()}\n" for jar in jars))
    print(f"wrote {SUMS}: {len(jars)} jars")
    return 0


def main(arguments: Sequence[str]) -> int:
    """What the command line asks for; the exit code."""
    try:
        match arguments:
            case ["check", folder, part] if part in PARTS:
                return check(Path(folder), part)
            case ["lock", folder]:
                return lock(Path(folder))
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    print(__doc__, file=sys.stderr)
    return 64


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
