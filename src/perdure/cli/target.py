"""TARGET: ``module:attribute`` or ``path/file.py:attribute``, and the App it leads to.

The file's folder (or the folder above its package) goes on ``sys.path`` first, for a module the
current folder does. The attribute may be left out where there is exactly one App, or no App and one
agent object, or neither and one function. An agent that is not in an App is named after its
attribute.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
import traceback
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType
from typing import Any

from perdure.app import App, as_app
from perdure.errors import PerdureError, TargetError
from perdure.runtime.handle import AgentHandle

# (top package, class) in an object's class hierarchy: what tells a framework's agent object from
# everything else of that framework, without importing it.
_AGENT_CLASSES = frozenset(
    {
        ("agent_framework", "BaseAgent"),
        ("agent_framework", "Workflow"),
        ("agents", "AgentBase"),
        ("google", "BaseAgent"),
        ("langgraph", "Pregel"),
        ("langgraph", "PregelProtocol"),
        ("perdure", "Configured"),  # a framework's agent with options
        ("pydantic_ai", "AbstractAgent"),
    }
)
# What an agent may import, and what brings it.
_INSTALL = {
    "agent_framework": "agent-framework-core agent-framework-openai",
    "agents": "openai-agents",
    "anthropic": "anthropic",
    "google.adk": "google-adk",
    "google.genai": "google-genai",
    "langchain": "langchain",
    "langchain_anthropic": "langchain-anthropic",
    "langchain_core": "'perdure[langgraph]'",
    "langchain_openai": "langchain-openai",
    "langgraph": "'perdure[langgraph]'",
    "mcp": "mcp",
    "openai": "openai",
    "pydantic_ai": "pydantic-ai-slim",
}
FRAMES = 3  # of the user's own code that an import error shows


def looks_like_target(text: str) -> bool:
    """Whether ``text`` is a TARGET and not an agent's name."""
    place = text.partition(":")[0]
    if ":" in text or place.endswith(".py") or "/" in place:
        return True
    if not all(part.isidentifier() for part in place.split(".")):
        return False
    sys.path.insert(0, "")
    try:
        return importlib.util.find_spec(place) is not None
    except (ImportError, ValueError):
        return False
    finally:
        sys.path.remove("")


def load(target: str) -> App:
    """The App that ``target`` leads to, or one made around its agent. Raises TargetError."""
    place, _, attribute = target.rpartition(":") if ":" in target else (target, "", "")
    if not place:
        raise TargetError(
            f"The target {target!r} names no file or module.",
            hint="Write path/file.py:attribute or module:attribute.",
        )
    module = _module(place, target)
    if not attribute:
        attribute = _only_agent(module, place)
    found = _attribute(module, attribute, place)
    if isinstance(found, AgentHandle):
        return _app_of(found.agent)
    if not isinstance(found, App):
        # Declared on an App beside it: its name and policy are there.
        for app in _members(module).values():
            if isinstance(app, App):
                for agent in app.agents.values():
                    if agent.target is found:
                        return _app_of(agent)
    try:
        return as_app(found, name=attribute.rpartition(".")[2])
    except TargetError as error:
        if isinstance(found, App) or _is_framework_agent(found):
            raise
        raise TargetError(
            f"{target!r} is {_kind(found)}: no agent that Perdure knows.",
            hint=_hint(module) or error.hint,
        ) from None


def _app_of(agent: Any) -> App:
    app = App()
    app.agents[agent.name] = agent
    return app


# -- the module -----------------------------------------------------------------------------------


def _module(place: str, target: str) -> ModuleType:
    if place.endswith(".py") or "/" in place:
        path = Path(place)
        if not path.is_file():
            raise TargetError(f"There is no file {place}.", hint=_similar_file(path))
        name = _put_on_path(path.resolve())
    else:
        path = None
        name = place
        if "" not in sys.path:
            sys.path.insert(0, "")
    try:
        if path is not None:
            return _from_file(name, path.resolve())
        return importlib.import_module(name)
    except PerdureError:
        raise
    except ModuleNotFoundError as error:
        if path is None and error.name is not None and f"{name}.".startswith(f"{error.name}."):
            raise TargetError(
                f"There is no module {error.name!r} here.",
                hint="For a file write its path: path/file.py:attribute",
            ) from None
        raise _broken(place, error) from error
    except (Exception, SystemExit) as error:
        raise _broken(place, error) from error


def _put_on_path(path: Path) -> str:
    """Make the file's module importable; returns its name, dotted where it is in a package."""
    folder, parts = path.parent, [path.stem]
    while (folder / "__init__.py").is_file():
        parts.insert(0, folder.name)
        folder = folder.parent
    if str(folder) in sys.path:
        sys.path.remove(str(folder))
    sys.path.insert(0, str(folder))
    return ".".join(parts)


def _from_file(name: str, path: Path) -> ModuleType:
    """Import exactly this file: another module may have its name already (``test``, ``json``)."""
    if "." in name:
        return importlib.import_module(name)
    loaded = sys.modules.get(name)
    if loaded is not None:
        if getattr(loaded, "__file__", None) == str(path):
            return loaded
        name = f"{name}__target"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise TargetError(f"{path} is no Python file.")
    module = importlib.util.module_from_spec(spec)
    # Dataclasses, and recorded failures (F2), look their module up by name.
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(name, None)
        raise
    return module


def _broken(place: str, error: BaseException) -> TargetError:
    """What the user needs of a failed import: the last frames of their own code."""
    ours = str(Path(__file__).resolve().parent.parent)
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith((ours, "<frozen importlib"))
        and "importlib" not in Path(frame.filename).parts
    ]
    tail = traceback.format_list(frames[-FRAMES:])
    told = traceback.format_exception_only(type(error), error)
    text = "".join([*tail, *told]).rstrip()
    hint = "Correct the file; nothing was started."
    if isinstance(error, ModuleNotFoundError):
        name = error.name or ""
        known = _INSTALL.get(name.partition(".")[0]) or _INSTALL.get(".".join(name.split(".")[:2]))
        hint = (
            f"pip install {known}"
            if known
            else f"Install what {error.name!r} comes from into the environment of this perdure: "
            f"{sys.executable}"
        )
    if isinstance(error, SystemExit):
        text = f"{text or ''}\nIt called sys.exit({error.code!r}) while it was imported.".lstrip()
    return TargetError(f"{place} cannot be imported.\n{text}", hint=hint)


def _similar_file(path: Path) -> str | None:
    if not path.parent.is_dir():
        return f"There is no folder {path.parent} either."
    names = [other.name for other in path.parent.glob("*.py")]
    close = get_close_matches(path.name, names, n=1)
    return f"Did you mean {path.with_name(close[0])}?" if close else None


# -- the attribute --------------------------------------------------------------------------------


def _attribute(module: ModuleType, dotted: str, place: str) -> Any:
    found: Any = module
    for part in dotted.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            close = get_close_matches(dotted, _candidates(module), n=1)
            raise TargetError(
                f"{place} has no {dotted!r}.",
                hint=f"Did you mean {close[0]!r}?" if close else _hint(module),
            ) from None
    return found


def _only_agent(module: ModuleType, place: str) -> str:
    members = _members(module)
    for kind in (
        [name for name, value in members.items() if isinstance(value, App)],
        [name for name, value in members.items() if _is_framework_agent(value)],
        [name for name, value in members.items() if _is_own_function(module, value)],
    ):
        # An object may have two names.
        kind = list({id(members[name]): name for name in reversed(kind)}.values())[::-1]
        if len(kind) == 1:
            return kind[0]
        if kind:
            raise TargetError(
                f"{place} holds several agents.",
                hint=f"Say which: {', '.join(f'{place}:{name}' for name in kind)}",
            )
    raise TargetError(
        f"{place} holds no agent.",
        hint="Define a function, or an App, or an agent object at the top of the file.",
    )


def _candidates(module: ModuleType) -> list[str]:
    return [
        name
        for name, value in _members(module).items()
        if isinstance(value, App | AgentHandle)
        or _is_framework_agent(value)
        or _is_own_function(module, value)
    ]


def _members(module: ModuleType) -> dict[str, Any]:
    return {name: value for name, value in vars(module).items() if not name.startswith("_")}


def _is_framework_agent(value: Any) -> bool:
    return any(
        (cls.__module__.partition(".")[0], cls.__name__) in _AGENT_CLASSES
        for cls in type(value).__mro__
    )


def _is_own_function(module: ModuleType, value: Any) -> bool:
    """A function of this very module that is no step or tool."""
    return (
        inspect.isroutine(value)
        and getattr(value, "__module__", None) == module.__name__
        and not hasattr(value, "__perdure__")
    )


def _hint(module: ModuleType) -> str | None:
    names = _candidates(module)
    # Beside an App, or agents that say what they are, other functions (routes and such) are none.
    members = _members(module)
    apps = [value for value in members.values() if isinstance(value, App)]
    held = {id(agent.target) for app in apps for agent in app.agents.values()}
    sure = [
        name
        for name in names
        if id(members[name]) in held or not _is_own_function(module, members[name])
    ]
    names = sure or names
    return f"Agents there: {', '.join(names)}" if names else None


def _kind(value: Any) -> str:
    if inspect.isclass(value):
        return f"the class {value.__name__}"
    if inspect.ismodule(value):
        return "a module"
    return f"a {type(value).__name__}"
