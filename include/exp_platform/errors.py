"""The exceptions of the platform, all under one root, and how long a message may be."""

from exp_platform.escaping import visible

LONGEST = 2_000  # characters of a line: a screen or two
MOST_LINES = 200
_END = 500  # characters kept of a long line's end, where the remedy stands


def bounded(text: str, longest: int = LONGEST) -> str:
    """What a message says of a text: shortened, and visible.

    Messages quote data, configs and libraries, any of which may hold a megabyte in one line, or orders to a terminal.
    """
    return visible(shortened(text, longest))


def shortened(text: str, longest: int = LONGEST) -> str:
    """The text with at most MOST_LINES lines; of one longer than `longest` the beginning and the end."""
    if len(text) <= longest:
        return text
    lines = text.split("\n", MOST_LINES)
    if len(lines) > MOST_LINES:
        lines[-1] = f"... and {lines[-1].count(chr(10)) + 1:,} lines more"
    return "\n".join(_cut(line, longest) for line in lines)


def _cut(line: str, longest: int) -> str:
    if len(line) <= longest:
        return line
    end = min(_END, longest // 4)
    begin = longest - end
    return f"{line[:begin]} ... ({len(line) - longest:,} characters left out) ... {line[-end:]}"


class ExpPlatformError(Exception):
    """Anything the platform itself reports as wrong; its text is bounded, whatever it quotes."""

    def __str__(self) -> str:
        """The message, bounded."""
        return bounded(super().__str__())


class ConfigError(ExpPlatformError):
    """A configuration that cannot be used; a retry gives the same."""


class DataError(ExpPlatformError):
    """Data that cannot be used; a retry gives the same."""


class NotExactError(ExpPlatformError):
    """New rows cannot be added to published ones so that it is as if all had been read at once; says why in a clause."""


class LeaseError(ExpPlatformError):
    """Another run of the same experiment is under way."""


def require_all(what: str, found: int, expected: int) -> None:
    """Raise ExpPlatformError where rows (or users) were lost or doubled on their way from one stage to the next."""
    if found != expected:
        raise ExpPlatformError(
            f"{what}: found {found:,}, but {expected:,} were handed on: some were lost or doubled, so nothing more is made of "
            "them. Run the experiment again from `ingest`; if it stays so, this is a fault of the platform"
        )
