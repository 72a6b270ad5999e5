"""A simulated model provider: a real HTTP server that speaks Anthropic Messages, OpenAI Chat
Completions, OpenAI Responses and Google's Gemini API, answers from a scripted brain, fails on
demand, keeps rate limits and counts what was paid, and what was paid twice.

    from perdure.testing.simulator import Fault, Match, ProviderSimulator, Reply, script

    brain = script([Reply(tools=[("search", {"q": "tides"})]), "The moon does it."])
    with ProviderSimulator(brain, [Fault("529", Match(nth=2), times=1)]) as sim:
        ...  # run an agent against sim.url (Anthropic, Google) or sim.openai_url (OpenAI)
        assert not sim.counts().repeated
"""

from __future__ import annotations

from perdure.testing.simulator.brain import (
    Brain,
    BrainError,
    Reply,
    ToolUse,
    Usage,
    echo,
    script,
)  # fmt: skip
from perdure.testing.simulator.call import (
    Call,
    Message,
    Other,
    Text,
    Tool,
    ToolCall,
    ToolResult,
)  # fmt: skip
from perdure.testing.simulator.faults import Fault, FaultPlan, Match
from perdure.testing.simulator.ledger import Counts, DigestCount, Row
from perdure.testing.simulator.load import Sizes, load
from perdure.testing.simulator.process import Options, serve
from perdure.testing.simulator.quota.books import Accounting, MeterUse, Minute, Tally
from perdure.testing.simulator.quota.limit import Limit, Quota
from perdure.testing.simulator.quota.prompt_cache import PromptCache
from perdure.testing.simulator.research import research
from perdure.testing.simulator.server import ProviderSimulator
from perdure.testing.simulator.steering import SimulatorTimeout
from perdure.testing.simulator.tokens import NEUTRAL_FIELDS, count_tokens, digest_of

__all__ = [
    "NEUTRAL_FIELDS", "Accounting", "Brain", "BrainError", "Call", "Counts", "DigestCount", "Fault",
    "FaultPlan", "Limit", "Match", "Message", "MeterUse", "Minute", "Options", "Other",
    "PromptCache", "ProviderSimulator", "Quota", "Reply", "Row", "SimulatorTimeout", "Sizes",
    "Tally", "Text", "Tool", "ToolCall", "ToolResult", "ToolUse", "Usage", "count_tokens",
    "digest_of", "echo", "load", "research", "script", "serve",
]  # fmt: skip
