"""What a wire format is: which part of a request shapes the answer, and what its stream says.

A format is data plus two small functions (``judge`` a stream's event, phrase an ``error``).
Rule K5, as it is applied here:

- In the digest: the format, the operation in the path (whole or streamed), and every field of the
  JSON body but ``neutral`` ones, with the headers listed in ``headers`` (Anthropic's opt-in
  features). ``stream`` shapes the answer: a recorded stream cannot answer who asked for a whole.
- Not in it: host, query string and every other header. They carry credentials, API versions that
  an SDK picks by itself, and tracing ids; they say how the answer is delivered, not what it is.

``parts`` are the request for storage (rule Z1): JSON objects that, merged in order with their
lists joined, are the request again. Conversations share their first parts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson

from perdure.codec import canonical
from perdure.core.digest import digest
from perdure.gateway.formats.multipart import read_form
from perdure.gateway.sse import Event

UNKNOWN_MODEL = "unknown"
MAX_NAME = 200  # characters of an effect's name


class Sign(NamedTuple):
    """What one event of a stream says.

    ``begun``: it carries a piece of the answer (what comes before may be thrown away and asked
    for again). ``text``: the words in it. ``end``: the answer is complete. ``may_end``: it is
    complete if the connection ends cleanly after it. ``error``: the provider gave up.
    """

    begun: bool = True
    text: str = ""
    end: bool = False
    may_end: bool = False
    error: Mapping[str, Any] | None = None


PREAMBLE = Sign(begun=False)
CONTENT = Sign()
END = Sign(end=True)


class Question(NamedTuple):
    """A request as an effect. ``name`` is "provider/model"."""

    name: str
    digest: bytes
    parts: tuple[bytes, ...]
    streamed: bool


@dataclass(frozen=True, slots=True)
class Format:
    """One provider API's way of asking and answering.

    ``path`` is searched in the request's path; its group ``model`` names the model where the body
    does not, its group ``op`` the operation. ``streams`` are the operations that stream; None:
    the body's ``stream`` says. ``own_parts`` are fields with a part of their own, ``lists`` those
    with a part for each item. ``judge`` is None where streams are opaque.
    """

    name: str
    path: re.Pattern[str]
    neutral: frozenset[str] = frozenset()
    own_parts: tuple[str, ...] = ()
    lists: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()
    streams: frozenset[str] | None = None
    judge: Callable[[Event], Sign] | None = None
    error: Callable[[int, str], Any] = field(default=lambda status, words: {"message": words})
    simplify: Callable[[dict[str, Any]], None] | None = None

    def ask(self, provider: str, path: str, headers: Mapping[str, str], body: bytes) -> Question:
        """The effect that a request to a ``path`` of this format is."""
        found = self.path.search(path)
        groups = found.groupdict() if found else {}
        op = groups.get("op") or ""
        fields, parts = self._read(headers.get("content-type", ""), body)
        model = groups.get("model") or (fields or {}).get("model")
        streamed = op in self.streams if self.streams else (fields or {}).get("stream") is True
        extra = [f"{name}:{_tokens(headers[name])}" for name in self.headers if name in headers]
        head = canonical([self.name, op, groups.get("model"), extra])
        # Each part's length comes first, so that no two lists of parts hash the same bytes.
        shaped = b"".join(b"%d:%b" % (len(part), part) for part in (head, *parts))
        return Question(_name(provider, model), digest(shaped), tuple(parts), streamed)

    def _read(self, content_type: str, body: bytes) -> tuple[dict[str, Any] | None, list[bytes]]:
        if content_type[:19].lower() == "multipart/form-data":
            form = read_form(content_type, body)
            if form is not None:
                fields: dict[str, Any] = {
                    part.name: part.text for part in form if part.text is not None
                }
                kept = [part for part in form if part.name not in self.neutral]
                return fields, [canonical(part.shape()) for part in kept]
        try:
            read = orjson.loads(body)
        except orjson.JSONDecodeError:
            return None, [body]
        if not isinstance(read, dict):
            return None, [canonical(read)]
        if self.simplify is not None:
            self.simplify(read)
        return read, list(self._split(read))

    def _split(self, body: dict[str, Any]) -> Iterator[bytes]:
        rest = {
            key: value
            for key, value in body.items()
            if key not in self.neutral and key not in self.own_parts and key not in self.lists
        }
        yield canonical(rest)
        for key in self.own_parts:
            if key in body:
                yield canonical({key: body[key]})
        for key in self.lists:
            value = body.get(key)
            if isinstance(value, list):
                for item in value:
                    yield canonical({key: [item]})
            elif key in body:
                yield canonical({key: value})


def _name(provider: str, model: object) -> str:
    text = model if isinstance(model, str) and model else UNKNOWN_MODEL
    return f"{provider}/{text}".replace("\0", "")[:MAX_NAME]


def _tokens(header: str) -> str:
    """A comma-separated header as a set: order and spaces say nothing."""
    return ",".join(sorted({token.strip() for token in header.split(",")} - {""}))


def read_json(event: Event) -> dict[str, Any]:
    """An event's data; {} when it is no JSON object."""
    try:
        data = orjson.loads(event.data)
    except orjson.JSONDecodeError:
        return {}
    return data if isinstance(data, dict) else {}
