"""Microsoft Agent Framework: agents, workflows, functional workflows."""

from perdure.frameworks.agent_framework.adapter import adapt
from perdure.frameworks.agent_framework.patch import install, installed, uninstall

__all__ = ["adapt", "install", "installed", "uninstall"]
