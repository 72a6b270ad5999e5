"""Wire formats: one file for each provider API, all behind ``Wire``."""

from __future__ import annotations

from perdure.testing.simulator.wire.anthropic import AnthropicWire
from perdure.testing.simulator.wire.base import Question, Wire, WireError
from perdure.testing.simulator.wire.chat import ChatWire
from perdure.testing.simulator.wire.responses import ResponsesWire

__all__ = ["WIRES", "Question", "Wire", "WireError"]

# Path -> format. The paths are the official ones, so a client needs only another base URL.
WIRES: dict[str, Wire] = {
    wire.path: wire for wire in (AnthropicWire(), ChatWire(), ResponsesWire())
}
