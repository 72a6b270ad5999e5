"""Pydantic AI (``pydantic-ai-slim``): agents as they are."""

from __future__ import annotations

from perdure.frameworks.pydantic_ai.adapter import adapt
from perdure.frameworks.pydantic_ai.options import Configured
from perdure.frameworks.pydantic_ai.patch import install, installed, uninstall

__all__ = ["Configured", "adapt", "install", "installed", "uninstall"]
