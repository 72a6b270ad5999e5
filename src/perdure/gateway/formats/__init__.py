"""Wire formats: one file for each provider API."""

from __future__ import annotations

import re
from dataclasses import replace

from perdure.gateway.formats.anthropic import MESSAGES
from perdure.gateway.formats.base import Format, Question, Sign
from perdure.gateway.formats.bedrock import BEDROCK
from perdure.gateway.formats.cohere import COHERE
from perdure.gateway.formats.google import GENERATE
from perdure.gateway.formats.openai import OPENAI

__all__ = [
    "BEDROCK", "CLAUDE_ON_VERTEX", "COHERE", "GENERATE", "MESSAGES", "OPENAI", "Format",
    "Question", "Sign",
]  # fmt: skip

# Anthropic's messages under another roof: the model is in the path.
CLAUDE_ON_VERTEX = replace(
    MESSAGES,
    name="vertex.claude",
    path=re.compile(r"/models/(?P<model>[^/:]+):(?P<op>rawPredict|streamRawPredict)$"),
    streams=frozenset({"streamRawPredict"}),
)
