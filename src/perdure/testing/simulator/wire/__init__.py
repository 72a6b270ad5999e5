"""Wire formats: one file for each provider API, all behind ``Wire``."""

from __future__ import annotations

from perdure.testing.simulator.wire.anthropic import AnthropicWire
from perdure.testing.simulator.wire.base import Question, Wire, WireError
from perdure.testing.simulator.wire.chat import ChatWire
from perdure.testing.simulator.wire.google import PATH, GoogleWire
from perdure.testing.simulator.wire.responses import ResponsesWire

__all__ = ["WIRES", "Question", "Wire", "WireError", "wire_of"]

# Path -> format. The paths are the official ones, so a client needs only another base URL; what is
# in braces differs from request to request.
WIRES: dict[str, Wire] = {
    wire.path: wire
    for wire in (
        AnthropicWire(), ChatWire(), ResponsesWire(),
        GoogleWire("generateContent"), GoogleWire("streamGenerateContent"),
    )
}  # fmt: skip
_GOOGLE = next(wire for wire in WIRES.values() if wire.format == "google")


def wire_of(path: str) -> Wire | None:
    """The format that a request's path is of."""
    return WIRES.get(path) or (_GOOGLE if PATH.search(path) else None)
