"""A new project's files: those of its framework, and those that every project has."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from perdure.errors import Conflict, InvalidInput

FOLDER = Path(__file__).parent / "skeletons"


TOOLS = """
[agents.agent.tools]
weather = "reads"       # may be run again freely; "once" is for what must not happen twice
"""


@dataclass(frozen=True, slots=True)
class Framework:
    """``name`` for people. ``key``: the variable that holds the provider's API key; ``host``: the
    provider's official address."""

    name: str
    key: str
    host: str


_CLAUDE = ("ANTHROPIC_API_KEY", "api.anthropic.com")
_GPT = ("OPENAI_API_KEY", "api.openai.com")
FRAMEWORKS = {
    "python": Framework("plain Python", *_CLAUDE),
    "langgraph": Framework("LangGraph", *_CLAUDE),
    "pydantic-ai": Framework("Pydantic AI", *_CLAUDE),
    "openai-agents": Framework("the OpenAI Agents SDK", *_GPT),
    "adk": Framework("Google ADK", "GOOGLE_API_KEY", "generativelanguage.googleapis.com"),
    "agent-framework": Framework("Microsoft Agent Framework", *_GPT),
}


def files(framework: str, name: str) -> dict[str, str]:
    """Path -> text of a project called ``name``."""
    about = FRAMEWORKS[framework]
    words = {
        "@NAME@": name,
        "@FRAMEWORK@": about.name,
        "@KEY@": about.key,
        "@HOST@": about.host,
        # In plain Python a tool's promise stands at the function.
        "@TOOLS@": "" if framework == "python" else TOOLS,
    }
    found = {}
    for folder in ("common", framework.replace("-", "_")):
        for path in sorted((FOLDER / folder).iterdir()):
            if path.is_file():
                text = path.read_text("utf-8")
                for word, value in words.items():
                    text = text.replace(word, value)
                # A file whose name begins with a dot would be left out of packages.
                found[path.name.replace("dot-", ".", 1)] = text
    return found


def write(folder: Path, framework: str) -> list[str]:
    """Write a project into ``folder``; returns its files' names. Raises Conflict where one of them
    is there already, InvalidInput where nothing can be written."""
    wanted = files(framework, folder.resolve().name or "agent")
    taken = [name for name in wanted if (folder / name).exists()]
    if taken:
        raise Conflict(
            f"{folder} has {', '.join(taken)} already; nothing was written.",
            hint="Name another folder: perdure init DIR",
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in wanted.items():
            (folder / name).write_text(text, "utf-8")
    except OSError as error:
        raise InvalidInput(f"{folder} cannot be written to: {error.strerror}.") from None
    return list(wanted)
