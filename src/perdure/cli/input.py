"""An agent's input as the command line gives it: text, JSON, a file, or standard input."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import orjson

from perdure.errors import InvalidInput

AROUND = 30  # characters of the input that an error shows on either side


def read(text: str | None, json_text: str | None, file: str | None) -> Any:
    """The input. ``text`` is taken as it is; ``json_text``, and a ``file`` (``-``: standard
    input), are JSON. Raises InvalidInput."""
    given = [x for x in (text, json_text, file) if x is not None]
    if len(given) > 1:
        raise InvalidInput(
            "The input is given twice.", hint="Give one of: INPUT, --input, --input-file."
        )
    if json_text is not None:
        return parse(json_text, "--input")
    if file is not None:
        return parse(_read(file), file if file != "-" else "standard input")
    return text


def parse(text: str | bytes, where: str) -> Any:
    """JSON. Raises InvalidInput that says where it is wrong."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        source = error.doc if isinstance(error.doc, str) else str(text)
        start = max(error.pos - AROUND, 0)
        excerpt = source[start : error.pos + AROUND].replace("\n", " ")
        mark = " " * (error.pos - start) + "^"
        raise InvalidInput(
            f"{where} is not JSON: {error.msg} (line {error.lineno}, column {error.colno})\n"
            f"  {excerpt}\n  {mark}",
            hint="A plain text goes without --input: perdure run TARGET 'some text'"
            if where == "--input"
            else None,
        ) from None


def _read(file: str) -> bytes:
    if file == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise InvalidInput(f"{file} cannot be read: {error.strerror}.") from None
