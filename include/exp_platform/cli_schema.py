"""The command of `exp` for editors: JSON Schemas of the files that people write."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from exp_platform.errors import ConfigError
from exp_platform.escaping import terminal

commands = typer.Typer()


@commands.command()
def schema(
    file: Annotated[
        Literal["spec", "source", "metrics"] | None,
        typer.Argument(metavar="[spec|source|metrics]", help="Of which file; absent: of all three."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FOLDER", help="Write <file>.schema.json there.")
    ] = None,
) -> None:
    """Print the JSON Schema by which an editor completes and checks a file, or write all of them to a folder."""
    from exp_platform.config.json_schema import NAMES, text

    if out is None:
        if file is None:
            raise ConfigError(
                "say which one is to be printed, spec, source or metrics, or where all go: --out FOLDER"
            )
        print(terminal(text(file)), end="")
        return
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name in [file] if file else NAMES:
            place = out / f"{name}.schema.json"
            place.write_text(text(name), encoding="utf-8")
            print(terminal(str(place)))
    except OSError as error:
        raise ConfigError(f"{out}: cannot be written: {error.strerror}; name a folder that can") from error
