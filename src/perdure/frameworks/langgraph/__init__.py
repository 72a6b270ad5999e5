"""LangGraph: compiled graphs, builders, LangChain's ``create_agent``, functional entrypoints."""

from perdure.frameworks.langgraph.adapter import adapt
from perdure.frameworks.langgraph.tools import install, installed, uninstall

__all__ = ["adapt", "install", "installed", "uninstall"]
