"""An eval set: questions, and what is expected of their answers.

A file of JSON lines. Each has ``messages`` (as the provider's API has them) or ``input`` (a text),
any other field of the request, ``id`` (else the line's number), and ``expect``, which is one of

    "text"                        the answer, but for blanks around it
    {"contains": ["a", "b"]}      it contains these, in any case; or one text
    {"regex": "^\\d+$"}            it is somewhere in it
    {"json_schema": {...}}        it is JSON (also in a code fence) that this schema describes
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from perdure.errors import InvalidInput, MissingExtra

MOST = 100_000
_KINDS = ("contains", "regex", "json_schema")
_FENCE = re.compile(r"\A\s*```[a-zA-Z]*\n(.*?)\n?```\s*\Z", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Question:
    """``fields`` of the request; ``expect`` is None where a judge decides."""

    id: str
    fields: dict[str, Any]
    expect: Any = None


def read(path: Path, *, judged: bool) -> list[Question]:
    """The questions of a file. Raises InvalidInput, which names the line."""
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path} cannot be read: {error}") from None
    found: list[Question] = []
    for number, line in enumerate(lines, 1):
        if line.strip():
            found.append(_question(line, number, f"{path}:{number}", judged))
    if not found:
        raise InvalidInput(f"{path} holds no questions.", hint='{"input": "2+2?", "expect": "4"}')
    if len(found) > MOST:
        raise InvalidInput(f"{path} holds more than {MOST:,} questions.")
    twice = {one.id for one in found if sum(one.id == other.id for other in found) > 1}
    if twice:
        raise InvalidInput(f"{path}: the id {sorted(twice)[0]!r} is there twice.")
    return found


def _question(line: str, number: int, where: str, judged: bool) -> Question:
    try:
        fields = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"{where} is no JSON: {error}") from None
    if not isinstance(fields, dict) or not ("messages" in fields or "input" in fields):
        raise InvalidInput(f'{where} is no object with "messages" or "input".')
    name, expect = str(fields.pop("id", number)), fields.pop("expect", None)
    fields.pop("stream", None)  # whole answers are scored
    if expect is None:
        if not judged:
            raise InvalidInput(
                f'{where} has no "expect", and there is no judge.',
                hint='Such as "expect": {"contains": ["Paris"]}; or --judge COMMAND.',
            )
    elif not judged:
        _check(expect, where)
    return Question(name, fields, expect)


def _check(expect: Any, where: str) -> None:
    """Raises InvalidInput for what nothing could be held to."""
    if isinstance(expect, str):
        return
    if not isinstance(expect, dict) or len(expect) != 1 or next(iter(expect)) not in _KINDS:
        raise InvalidInput(
            f'{where}: "expect" is neither a text nor an object with one of {", ".join(_KINDS)}.'
        )
    ((kind, value),) = expect.items()
    texts = value if isinstance(value, list) else [value]
    if kind == "json_schema":
        _validator(value, where)
    elif not texts or not all(isinstance(text, str) for text in texts):
        raise InvalidInput(f"{where}: {kind} wants text.")
    elif kind == "regex":
        for text in texts:
            try:
                re.compile(text)
            except re.error as error:
                raise InvalidInput(f"{where}: {text!r} is no regular expression: {error}") from None


def score(expect: Any, answer: str) -> float:
    """1: it is as expected, 0: it is not."""
    if isinstance(expect, str):
        return float(answer.strip() == expect.strip())
    ((kind, value),) = expect.items()
    texts = value if isinstance(value, list) else [value]
    if kind == "contains":
        return float(all(text.casefold() in answer.casefold() for text in texts))
    if kind == "regex":
        return float(all(re.search(text, answer) for text in texts))
    return float(_described(value, answer))


def _described(schema: Mapping[str, Any], answer: str) -> bool:
    fenced = _FENCE.match(answer)
    try:
        document = orjson.loads(fenced.group(1) if fenced else answer)
    except orjson.JSONDecodeError:
        return False
    return bool(_validator(schema, "").is_valid(document))


def _validator(schema: Any, where: str) -> Any:
    try:
        from jsonschema import exceptions, validators
    except ModuleNotFoundError:
        raise MissingExtra("An eval set with json_schema", "drill") from None
    if not isinstance(schema, dict | bool):
        raise InvalidInput(f"{where}: json_schema is no schema.")
    kind = validators.validator_for(schema, default=validators.Draft202012Validator)
    try:
        kind.check_schema(schema)
    except exceptions.SchemaError as error:
        raise InvalidInput(f"{where}: json_schema is no schema: {error.message}") from None
    return kind(schema)
