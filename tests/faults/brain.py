"""What the simulated provider answers the agents under fire: a pure function of the request."""

from __future__ import annotations

import hashlib

from perdure.testing.simulator import Call, Reply
from tests.faults.books import LOOKED

MODEL_CALLS = {
    "plain_async": 6, "plain_sync": 6, "graph_async": 6, "graph_sync": 6,
    "plain_generations": 6, "plain_lives": 6, "maf_agent": 6, "maf_flow": 6,
    "oai_agent": 6, "oai_sync": 6, "oai_chat": 6,
    "pai_agent": 6, "pai_sync": 6, "pai_events": 6, "adk_agent": 6,
}  # fmt: skip
PACE = 0.02  # seconds between pieces, so that a stream has a middle
TOOL_CALLS = 4  # three looks and a payment


def brain(call: Call) -> Reply:
    """Agents with tools ask for three looks at once, then for the payment, then end."""
    if not call.tools:
        name = hashlib.sha256(call.prompt.encode()).hexdigest()[:8]
        return Reply(f"words about {name}, and more words to stream in pieces", chunk=8, pace=PACE)
    key = next(m for m in call.messages if m.role == "user").text.split(":")[0]
    if call.turn == 0:
        return Reply(
            "I look.",
            pace=PACE,
            chunk=3,
            tools=[("look", {"key": key, "what": what}) for what in LOOKED],
        )
    if call.turn == 1:
        return Reply("I pay.", tools=[("charge", {"key": key})])
    return Reply("All done.", chunk=3, pace=PACE)
