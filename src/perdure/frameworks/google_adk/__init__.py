"""Google's Agent Development Kit (ADK): agents, apps, runners, workflows."""

from perdure.frameworks.google_adk.adapter import adapt
from perdure.frameworks.google_adk.patch import install, installed, uninstall

__all__ = ["adapt", "install", "installed", "uninstall"]
