"""Each framework's new project: its own test passes, and its agent can be served as it says."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from perdure.cli.init.skeleton import FRAMEWORKS, write

NEEDS = {
    "python": ["anthropic"],
    "langgraph": ["langchain", "langchain_anthropic"],
    "pydantic-ai": ["pydantic_ai", "anthropic"],
    "openai-agents": ["agents"],
    "adk": ["google.adk"],
    "agent-framework": ["agent_framework", "agent_framework_openai"],
}
SERVED = """
from perdure.cli.agents import load_agents
from perdure.config import load

print(*load_agents(["agent.py"], load(None)))
"""


def _there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False


@pytest.mark.timeout(300)
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_new_project_works_as_it_is(framework: str, tmp_path: Path) -> None:
    missing = [module for module in NEEDS[framework] if not _there(module)]
    if missing:
        pytest.skip(f"{', '.join(missing)} is not installed")
    write(tmp_path, framework)
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("PERDURE_", "PYTEST_"))}

    def python(*args: str, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *args],
            cwd=tmp_path, env={**clean, **env}, capture_output=True, text=True, timeout=250,
        )  # fmt: skip

    tested = python("-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist")
    assert tested.returncode == 0, tested.stdout + tested.stderr
    assert "2 passed" in tested.stdout
    served = python("-c", SERVED, **{FRAMEWORKS[framework].key: "any"})
    assert served.stdout.split() == ["agent"], served.stderr
