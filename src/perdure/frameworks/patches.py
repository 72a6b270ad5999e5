"""The process-wide patches by which tools of frameworks and SDKs become effects in plain functions.

Each is put in once its package is imported, changes nothing outside runs, and has an off switch:
``[gateway] tools = false``. Adapters whose agents are given as objects put their own in.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec

# a module that is there once the tools are used -> what patches them (install, uninstall)
_PATCHES = {
    "langchain_core.tools": "perdure.frameworks.langgraph.tools",
    "anthropic.lib.tools": "perdure.frameworks.anthropic_tools",
    "agents.run": "perdure.frameworks.openai_agents",
    "pydantic_ai.tool_manager": "perdure.frameworks.pydantic_ai",
    "agent_framework": "perdure.frameworks.agent_framework",
    "google.adk.tools": "perdure.frameworks.google_adk",
}

# packages without which nothing that they patch can be called, or patched
_NEEDS = {"perdure.frameworks.langgraph.tools": ("langgraph",)}


def install_imported() -> bool:
    """Patch what is imported by now; whether there is any of it. May be called often."""
    caught = False
    for there, patch in _PATCHES.items():
        if there in sys.modules and all(find_spec(needed) for needed in _NEEDS.get(patch, ())):
            import_module(patch).install()
            caught = True
    return caught


def uninstall() -> None:
    """Take out what was put in."""
    for patch in _PATCHES.values():
        module = sys.modules.get(patch)
        if module is not None:
            module.uninstall()
