"""The body of a model call, as far as limits, budgets and routes need to understand it, and the
changes they make to it. Formats that are not listed here pass as they are.

Bounds of the output, per format (docs.claude.com "Messages", platform.openai.com "Chat" and
"Responses", November 2026): Anthropic requires ``max_tokens``; chat completions know
``max_completion_tokens`` and, older and understood by everyone who copied the API, ``max_tokens``;
responses have ``max_output_tokens``. Reasoning is part of each.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import orjson

# Encoded files cost tokens by their pixels and pages, not by their bytes: each counts as the most
# that a picture costs (Anthropic: 1,568 tokens after scaling; OpenAI: about as much), at the two
# bytes a token that texts are estimated by.
_ENCODED = re.compile(rb"[A-Za-z0-9+/_=-]{1024,}")
_ENCODED_AS = b"x" * 3200


@dataclass(frozen=True, slots=True)
class Shape:
    """Where a format says what. ``outputs`` are the fields that bound the output, the one to set
    first; ``choices`` the field that multiplies it; ``operation`` is the path after a base URL."""

    outputs: tuple[str, ...]
    operation: str
    choices: str = ""
    asks_usage: bool = False


SHAPES: Mapping[str, Shape] = {
    "anthropic.messages": Shape(("max_tokens",), "/v1/messages"),
    "openai.chat": Shape(
        ("max_completion_tokens", "max_tokens"), "/chat/completions", "n", asks_usage=True
    ),
    "openai.responses": Shape(("max_output_tokens",), "/responses"),
}


class Request:
    """One call's body, read where it is needed. ``shape`` is None where the format is not known
    here; ``streamed``: it asks for a stream."""

    def __init__(self, format: str, body: bytes, model: str, *, streamed: bool) -> None:
        self.streamed = streamed
        self.format = format
        self.shape = SHAPES.get(format)
        self.body = body
        self.model = model

    @cached_property
    def fields(self) -> dict[str, Any]:
        """The JSON body; {} where it is none."""
        try:
            read = orjson.loads(self.body)
        except orjson.JSONDecodeError:
            return {}
        return read if isinstance(read, dict) else {}

    @cached_property
    def size(self) -> int:
        """Bytes of the prompt, with encoded files at what they cost."""
        if len(self.body) < 2048 or b"base64" not in self.body:
            return len(self.body)
        return len(_ENCODED.sub(_ENCODED_AS, self.body))

    @cached_property
    def bound(self) -> int | None:
        """The most output tokens that were asked for, over all choices; None: no bound."""
        if self.shape is None:
            return None
        for name in self.shape.outputs:
            value = self.fields.get(name)
            if isinstance(value, int) and not isinstance(value, bool) and value > 0:
                return value * self.choices
        return None

    @cached_property
    def choices(self) -> int:
        """How many answers are asked for."""
        value = self.fields.get(self.shape.choices) if self.shape and self.shape.choices else 1
        return value if isinstance(value, int) and value > 0 else 1

    def changed(
        self,
        *,
        model: str = "",
        bound: int | None = None,
        field: str = "",
        usage: bool = False,
        fields: Mapping[str, Any] | None = None,
    ) -> bytes:
        """The body with another ``model``, or with an output of at most ``bound`` tokens over all
        choices, said in ``field`` where the request has none of its own. ``usage``: a stream says
        at its end what it took. ``fields`` take the place of its own."""
        fields = dict(self.fields if fields is None else fields)
        if model:
            fields["model"] = model
        if bound is not None and self.shape is not None:
            there = [name for name in self.shape.outputs if fields.get(name) is not None]
            for name in there or [field or self.shape.outputs[0]]:
                fields[name] = max(bound // self.choices, 1)
        if usage and self.asks_for_usage:
            options = fields.get("stream_options")
            about = options if isinstance(options, dict) else {}
            fields["stream_options"] = {**about, "include_usage": True}
        return orjson.dumps(fields)

    @property
    def asks_for_usage(self) -> bool:
        """Whether its stream says what it took only if asked to, and was not asked."""
        if self.shape is None or not self.shape.asks_usage or not self.streamed:
            return False
        options = self.fields.get("stream_options")
        return not (isinstance(options, dict) and options.get("include_usage"))
