"""The OpenAI Agents SDK (``openai-agents``)."""

from __future__ import annotations

from perdure.frameworks.openai_agents.adapter import adapt
from perdure.frameworks.openai_agents.approvals import (
    wait_for_approvals,
    wait_for_approvals_blocking,
)
from perdure.frameworks.openai_agents.options import Configured
from perdure.frameworks.openai_agents.patch import install, installed, uninstall

__all__ = [
    "Configured", "adapt", "install", "installed", "uninstall", "wait_for_approvals",
    "wait_for_approvals_blocking",
]  # fmt: skip
