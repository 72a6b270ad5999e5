"""Makes the pages of docs/reference that can be read from the code: ``make docs``.

``pages()`` is pure, so that a test can say which page is out of date.
"""

from __future__ import annotations

import inspect
import pkgutil
import re
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import MISSING, fields, is_dataclass
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

import click

FOLDER = Path(__file__).parent
NOTE = "<!-- Made from the code by `make docs`. Do not edit. -->\n"
WIDTH = 96
REQUIRED = object()  # a setting without a default


def pages() -> dict[str, str]:
    """Path below docs/ -> the page's text."""
    return {
        "compatibility.md": compatibility(),
        "reference/cli.md": cli(),
        "reference/json.md": json_documents(),
        "reference/settings.md": settings(),
        "reference/errors.md": errors(),
        "reference/crash-points.md": crash_points(),
        "reference/python.md": python(),
    }


def main() -> None:
    for path, text in pages().items():
        target = FOLDER / path
        if not target.is_file() or target.read_text("utf-8") != text:
            target.write_text(text, "utf-8")
            print(f"wrote docs/{path}")


# -- frameworks -----------------------------------------------------------------------------------


def frameworks() -> dict[str, dict[str, Any]]:
    """What docs/compatibility.toml says, by the framework's key."""
    found: dict[str, dict[str, Any]] = tomllib.loads(
        (FOLDER / "compatibility.toml").read_text("utf-8")
    )["frameworks"]
    return found


def compatibility() -> str:
    """Framework x tested versions x what is an effect x what is not."""
    out = [
        NOTE,
        "# Compatibility\n",
        "Agents of these frameworks are given as they are. CI runs the frameworks' tests with the "
        "oldest and with the newest version of each (`make test-oldest`, `make test`), the kill "
        "tests with the newest, and replays with the newest journals that were made with the "
        "oldest.\n",
        "| framework | oldest | newest | guide | example |",
        "|---|---|---|---|---|",
    ]
    for known in frameworks().values():
        guide = known["guide"].removeprefix("docs/")
        out.append(
            f"| {known['title']} (`{known['package']}`) | {known['oldest']} | {known['newest']} | "
            f"[guide]({guide}) | `{known['example']}` |"
        )
    out.append(
        "\n**An effect** is done once: a later attempt is answered from the journal. **Everything "
        "else** is your code or the framework's, and runs again at each replay: put what touches "
        "the world into a tool or a `@perdure.step`.\n"
    )
    for known in frameworks().values():
        out.append(f"## {known['title']}\n\nAn effect:\n")
        out += [f"- {what}" for what in known["effects"]]
        out.append("\nNot an effect:\n")
        out += [f"- {what}" for what in known["not_effects"]]
        out.append("")
    return "\n".join(out)


# -- the command line -----------------------------------------------------------------------------


def commands() -> Iterator[tuple[str, click.Command]]:
    """(full name, command), groups before what is in them, in the order of ``--help``."""
    from perdure.cli.main import command

    yield from _walk("perdure", command)


def _walk(name: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    yield name, command
    if isinstance(command, click.Group):
        context = click.Context(command, info_name=name)
        for child in command.list_commands(context):
            found = command.get_command(context, child)
            assert found is not None
            yield from _walk(f"{name} {child}", found)


def cli() -> str:
    """Every command with its options, and the exit codes."""
    text = [
        NOTE,
        "# Command line\n",
        "Results go to stdout, progress and notes to stderr.\n",
    ]
    for name, command in commands():
        context = click.Context(command, info_name=name)
        level = "##" if name.count(" ") < 2 else "###"
        text.append(f"{level} {name}\n")
        usage = " ".join([name, *command.collect_usage_pieces(context)])
        text.append(f"```text\n{usage}\n```\n")
        text.append(f"{_unwrapped(command.help or '')}\n")
        options = [_option(p, context) for p in command.params if isinstance(p, click.Option)]
        if options:
            text.append("\n".join(options) + "\n")
    text.append("## Exit codes\n")
    text.append("| code | when |\n|---|---|")
    text += [f"| {code} | {when} |" for code, when in _exit_codes()]
    return "\n".join(text) + "\n"


def _option(option: click.Option, context: click.Context) -> str:
    record = option.get_help_record(context)
    assert record is not None, option.name
    return f"- `{record[0]}`: {record[1]}"


def _exit_codes() -> list[tuple[int, str]]:
    rows = {0: "It did what was asked.", 130: "SIGINT (Ctrl-C).", 143: "SIGTERM, told twice."}
    by_code: dict[int, list[str]] = {}
    for error in error_classes():
        by_code.setdefault(error.exit_code, []).append(error.code)
    for code, names in by_code.items():
        shown = ", ".join(f"`{name}`" for name in dict.fromkeys(names))
        rows[code] = f"Errors: {shown}."
    rows[1] += " A replay that differs; a demo whose promise does not hold; anything unexpected."
    rows[2] += " A call of the command that cannot be right."
    return sorted(rows.items())


# -- what --json prints ---------------------------------------------------------------------------


def json_promises() -> dict[str, Any]:
    """``documents`` and ``commands`` of json.toml, with what a document is ``like`` put in."""
    found = tomllib.loads((FOLDER / "json.toml").read_text("utf-8"))
    for document in found["documents"].values():
        above = document
        while "like" in above:
            above = found["documents"][above["like"]]
            document["fields"] = {**above["fields"], **document["fields"]}
    return found


def json_documents() -> str:
    """Every field of everything that ``--json`` prints."""
    found = json_promises()
    text = [
        NOTE,
        "# JSON\n",
        "What commands print with `--json`, field by field. These fields stay; others may be added,"
        " so ignore what you do not know. A document goes to stdout, indented; JSON lines are one"
        " document a line. Errors are on stderr and in the exit code, as without `--json`.\n",
        "Times are RFC 3339 with their zone. A type with `[]` is a list, one with `?` may be null;"
        " a field in *italics* may be missing.\n",
        "| command | document | how |",
        "|---|---|---|",
    ]
    for command, (name, how) in found["commands"].items():
        text.append(f"| `{command} --json` | {_json_type(name, found)} | {how} |")
    text.append(
        "\n`perdure runs events` prints [events](#event) as JSON lines; `perdure runs export` a"
        " document for `perdure replay`, whose fields are not promised.\n"
    )
    for name, document in found["documents"].items():
        text.append(f"## {name}\n\n{document['text']}\n")
        text.append("| field | type | |\n|---|---|---|")
        for field, (kind, meaning) in document["fields"].items():
            shown = f"*`{field[1:]}`*" if field.startswith("?") else f"`{field}`"
            text.append(f"| {shown} | {_json_type(kind, found)} | {meaning} |")
        text.append("")
    return "\n".join(text)


def _json_type(kind: str, found: dict[str, Any]) -> str:
    name = kind.rstrip("?[]")
    return f"[{name}](#{name}){kind[len(name) :]}" if name in found["documents"] else kind


# -- settings -------------------------------------------------------------------------------------


def setting_rows() -> list[tuple[str, Any, str]]:
    """(name, default, variable or nothing) of every setting."""
    from perdure.config import AgentConfig, Config, KeyConfig, LimitConfig, PriceConfig
    from perdure.core.budget import Budget
    from perdure.core.routing import Route, Target

    rows = []
    for section in fields(Config()):
        part = getattr(Config(), section.name)
        if is_dataclass(part):
            for item in fields(part):
                default = getattr(part, item.name)
                variable = f"PERDURE_{section.name}_{item.name}".upper()
                name = f"{section.name}.{item.name}"
                rows.append((name, default, "" if isinstance(default, dict) else variable))
    agent = AgentConfig()
    rows += [(f"agents.NAME.{f.name}", getattr(agent, f.name), "") for f in fields(agent)]
    lists: list[tuple[str, type[Any]]] = [
        ("limits", LimitConfig), ("routes", Route), ("routes.targets", Target),
        ("budgets", Budget), ("prices", PriceConfig), ("keys.LABEL", KeyConfig),
    ]  # fmt: skip
    for name, cls in lists:
        for one in fields(cls):
            if one.name != "label":
                default = REQUIRED if one.default is MISSING else one.default
                rows.append((f"{name}.{one.name}", default, ""))
    return rows


def setting_texts() -> dict[str, str]:
    """What each means, written by hand."""
    found: dict[str, str] = tomllib.loads((FOLDER / "texts.toml").read_text("utf-8"))["settings"]
    return found


def settings() -> str:
    """Every setting with its default, its variable and its meaning."""
    from perdure.app import make_policy

    meant = setting_texts()
    text = [
        NOTE,
        "# Settings\n",
        "Defaults < `perdure.toml` in the current folder (or the file that `--config` or"
        " `PERDURE_CONFIG` names) < variables < options of a command. `perdure config show` prints"
        " every value with where it came from.\n",
        "Durations are a number of seconds, or `500ms`, `30s`, `5m`, `2h`, `1d`. Settings that are"
        " tables, and those of agents, are set in the file only. An unknown name is an error.\n",
        '```toml\n[store]\nurl = "postgresql://perdure@db/perdure"\n\n[worker]\ndrain = "1m"\n\n'
        '[gateway.providers]\n"llm.example.com" = "openai"\n\n[agents.clerk]\nattempts = 3\n\n'
        '[agents.clerk.tools]\nrefund = "once"\n```\n',
    ]
    before = ""
    policy = make_policy({})
    for name, default, variable in setting_rows():
        section, _, key = name.rpartition(".")
        if section != before:
            heading = _HEADINGS.get(section, f"[{section}]")
            text.append(f"\n## {heading}\n" if before else f"## {heading}\n")
            before = section
            if section in _ABOUT:
                text.append(_ABOUT[section] + "\n")
            if section == "agents.NAME":
                text.append(
                    "Policy of one agent. What is set here stands before what the code says"
                    " (`app.add(graph, timeout=60)`); the defaults are those of"
                    " [Policy](python.md#policy).\n"
                )
            short = section == "agents.NAME" or section in _ABOUT
            text.append("| setting | default | " + ("" if short else "variable | ") + "meaning |")
            text.append("|---|---|---|" + ("" if short else "---|"))
        if section == "agents.NAME":
            text.append(f"| `{key}` | {_agent_default(key, default, policy)} | {meant[name]} |")
            continue
        if section in _ABOUT:
            text.append(f"| `{key}` | {_default(default)} | {meant[name]} |")
            continue
        if name == "store.url":
            variable = "PERDURE_STORE"
        shown = f"`{variable}`" if variable else ""
        text.append(f"| `{key}` | {_default(default)} | {shown} | {meant[name]} |")
    return "\n".join(text) + "\n"


_HEADINGS = {
    "limits": "[[limits]]",
    "routes": "[[routes]]",
    "routes.targets": "targets of [[routes]]",
    "budgets": "[[budgets]]",
    "prices": "[[prices]]",
}
_ABOUT = {
    "limits": "What a provider allows, held over all workers. Of the tables without a `pool` that"
    " fit a call, the one that names its model closest holds; each with a `pool` holds beside"
    " it.\n\n"
    '```toml\n[[limits]]\nprovider = "anthropic"\nmodel = "claude-sonnet-*"\nrpm = 4_000\n'
    "itpm = 2_000_000\notpm = 400_000\n```",
    "routes": "Where calls of a model may go. The first table whose rules fit is taken, and its"
    " targets are tried in their order.\n\n"
    '```toml\n[[routes]]\nname = "chat"\nmodel = "gpt-5"\ntargets = [\n  { name = "first" },\n'
    '  { name = "eu", base_url = "https://eu.api.openai.com/v1", key = "eu" },\n'
    '  { name = "small", model = "gpt-5-mini" },\n]\n\n[keys.eu]\nenv = "OPENAI_KEY_EU"\n```',
    "routes.targets": "What is left out stays as the agent has it.",
    "budgets": "What may be spent. All budgets that fit a call hold.\n\n"
    '```toml\n[[budgets]]\nname = "day"\nusd = 50\nevery = "day"\nsoft = [0.5, 0.9]\n\n'
    '[[budgets]]\nname = "one run"\nusd = "0.25"\nper = "run"\n```',
    "prices": "US dollars for a million tokens, before the list that Perdure comes with. Of the"
    " tables that fit, the one that names the model closest holds.",
    "keys.LABEL": "Where a credential comes from, by the label that `key` names in `[[limits]]` and"
    " targets. One of the two; the secret itself is refused here.",
}


def _agent_default(key: str, own: Any, policy: Any) -> str:
    if key == "attempts":
        return _default(policy.retry.attempts)
    if key == "tools":
        return "none"
    if key.startswith("max_") and hasattr(policy.limits, key.removeprefix("max_")):
        return _default(getattr(policy.limits, key.removeprefix("max_")))
    return _default(getattr(policy, key, own))


def _default(value: Any) -> str:
    if value is REQUIRED:
        return "needed"
    if isinstance(value, tuple) and value:
        return ", ".join(f"`{item}`" for item in value)
    if value is None or value in ("", {}, ()):
        return "none"
    if isinstance(value, timedelta):
        return f"`{value.total_seconds():g}s`"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value}`"


# -- errors and crash points ----------------------------------------------------------------------


def error_classes() -> list[type[Any]]:
    """Perdure's error classes, wherever they are defined, parents first."""
    import perdure
    from perdure.errors import tree

    for found in pkgutil.walk_packages(perdure.__path__, "perdure."):
        if not found.name.endswith("__main__"):
            import_module(found.name)
    return [cls for cls in tree() if cls.__module__.partition(".")[0] == "perdure"]


def errors() -> str:
    """Every error code."""
    text = [
        NOTE,
        "# Errors\n",
        "Everything Perdure raises on purpose descends from `perdure.PerdureError` and has a"
        " `code`, a message, mostly a `hint`, and machine-readable details. Codes are stable.\n",
        "- On HTTP an error is a problem document (RFC 9457) with the status below;"
        " its `type` leads to what is said here. See [HTTP](http.md#errors).",
        "- On the command line it is two lines on stderr, `error:` and `hint:`, and the exit code"
        " below.",
        "- *Again*: the same may work later.\n",
        "| code | class | HTTP | exit | again | meaning |",
        "|---|---|---|---|---|---|",
    ]
    for cls in error_classes():
        meaning = _inline(cls.__doc__ or "")
        if cls.default_hint:
            meaning += f" {cls.default_hint.rstrip('.')}."
        again = "yes" if cls.retryable else ""
        text.append(
            f"| `{cls.code}` | {cls.__name__} | {cls.status} | {cls.exit_code} | {again} "
            f"| {meaning} |"
        )
    text.append(
        "\n`Parked` is not among them: it is a `BaseException` that unwinds synchronous agent code"
        " when its attempt ends. Let it pass."
    )
    from perdure.server.remedies import REMEDIES

    text.append("\n## What to do\n")
    text += [f"- `{code}`: {remedy}" for code, remedy in REMEDIES.items()]
    return "\n".join(text) + "\n"


def crash_points() -> str:
    """Every crash point, with the comment beside it."""
    from perdure.core.crash import Point

    text = [
        NOTE,
        "# Crash points\n",
        "Named places where a process may be killed, so that a test can do it there."
        " Their names are promised.\n",
        "`PERDURE_TESTING_CRASH=point[:n[:SIGNAL]]` arms one in any process that the command line"
        " starts: the n-th time it is reached (default: the first) the process sends itself the"
        " signal (default: SIGKILL). Several are separated by commas.\n",
        "```sh\nPERDURE_TESTING_CRASH=after_commit:3 perdure run trip.py:plan Lisbon\n```\n",
        "| point | reached when |",
        "|---|---|",
    ]
    source = inspect.getsource(Point)
    for point in Point:
        comment = re.search(rf'{point.name} = "{point.value}"\s+# (.+)', source)
        if comment is None:
            raise ValueError(f"crash point {point.value} has no comment in core/crash.py")
        text.append(f"| `{point.value}` | {comment[1]} |")
    text.append("\nSee [testing agents](../guides/testing.md#crashes).")
    return "\n".join(text) + "\n"


# -- Python ---------------------------------------------------------------------------------------


def sections() -> list[tuple[str, str, list[str]]]:
    """(heading, module, names) of what python.md shows."""
    import perdure

    public = [name for name in perdure.__all__ if not name.startswith("_")]
    return [
        ("perdure", "perdure", public),
        ("perdure.sync", "perdure.sync", ["sleep", "wait_for", "continue_as"]),
        ("What these use", "perdure.runtime.policy", ["Policy"]),
        ("", "perdure.runtime.handle", ["AgentHandle", "ChildRun"]),
        ("", "perdure.runtime.verbs", ["Current"]),
        ("", "perdure.core.hooks", ["BudgetCrossed", "SpendAnomaly", "usd"]),
        ("", "perdure.core.routing", ["Asked"]),
        (
            "perdure.client",
            "perdure.client",
            ["RunView", "AgentView", "Retries", "Event", "Status", "AttemptStarted",
             "EffectStarted", "Effect", "Delta", "Emitted", "Warned", "SignalReceived"],
        ),
        ("perdure.server.fastapi", "perdure.server.fastapi", ["router", "Caller"]),
        ("", "perdure.server.mounted", ["Mounted"]),
        (
            "perdure.gateway",
            "perdure.gateway",
            ["AsyncTransport", "Transport", "install", "uninstall"],
        ),
        ("perdure.observe.logs", "perdure.observe.logs", ["JsonLines", "RunContext"]),
        (
            "perdure.frameworks.pydantic_ai",
            "perdure.frameworks.pydantic_ai",
            ["Configured"],
        ),
        (
            "perdure.frameworks.openai_agents",
            "perdure.frameworks.openai_agents",
            ["Configured", "wait_for_approvals"],
        ),
        ("perdure.testing.local", "perdure.testing.local", ["LocalRuns"]),
        ("perdure.testing.redirect", "perdure.testing.redirect", ["redirect"]),
        ("perdure.testing.scripted", "perdure.testing.scripted", ["ScriptedProvider"]),
        (
            "perdure.testing.simulator",
            "perdure.testing.simulator",
            ["ProviderSimulator", "Reply", "script", "echo", "research", "load", "Sizes", "Fault",
             "Match", "Limit", "Quota", "PromptCache", "Call", "Counts", "Accounting", "Tally",
             "Minute", "MeterUse"],
        ),
        ("perdure.testing.crash", "perdure.testing.crash", ["arm", "disarm"]),
    ]  # fmt: skip


def python() -> str:
    """The public names with their signatures and docstrings."""
    text = [
        NOTE,
        "# Python\n",
        "What is listed here is public. Everything else may change without notice.\n",
    ]
    for heading, module, names in sections():
        if heading:
            text.append(f"## {heading}\n")
        for name in names:
            value = getattr(import_module(module), name)
            text += _documented(name, value, "###")
    return "\n".join(text) + "\n"


def _documented(name: str, value: Any, level: str) -> Iterator[str]:
    yield f"{level} {name}\n"
    if inspect.isclass(value):
        shown = _fields(name, value) if is_dataclass(value) else _class(name, value)
    else:
        shown = _signature(name, value)
    yield f"```text\n{shown}\n```\n"
    yield f"{_unwrapped(inspect.getdoc(value) or '')}\n"
    if inspect.isclass(value) and not issubclass(value, BaseException):
        for member, method in _methods(value):
            if not (method.__doc__ or "See").startswith("See"):  # a library's own method
                yield f"```text\n{_signature(f'{name}.{member}', method)}\n```\n"
                yield f"{_unwrapped(inspect.getdoc(method) or '')}\n"


def _methods(cls: type) -> Iterator[tuple[str, Any]]:
    for base in cls.__mro__:
        for name, method in vars(base).items():
            plain = inspect.isfunction(method) and not name.startswith("_")
            # Transports are called by their library only.
            if plain and base.__module__.startswith("perdure") and not name.startswith("handle_"):
                yield name, method


class _Bare(str):
    """An annotation as it was written."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def _signature(name: str, function: Any) -> str:
    found = inspect.signature(function)
    parameters = [_plainly(p) for p in found.parameters.values() if p.name != "self"]
    returns = found.return_annotation
    bare = _Bare(returns) if isinstance(returns, str) else returns
    sig = str(found.replace(parameters=parameters, return_annotation=bare))
    word = "async def" if inspect.iscoroutinefunction(function) else "def"
    line = f"{word} {name}{sig}"
    if len(line) <= WIDTH:
        return line
    inside, _, after = sig[1:].rpartition(")")
    return f"{word} {name}(\n" + "".join(f"    {p},\n" for p in _split(inside)) + f"){after}"


def _plainly(parameter: inspect.Parameter) -> inspect.Parameter:
    """With its annotation as it was written, and a function as default by its name."""
    if isinstance(parameter.annotation, str):
        parameter = parameter.replace(annotation=_Bare(parameter.annotation))
    if inspect.isfunction(parameter.default):
        parameter = parameter.replace(default=_Bare(parameter.default.__name__))
    return parameter


def _split(parameters: str) -> Iterable[str]:
    """At the commas that are in no bracket."""
    depth, start = 0, 0
    for i, char in enumerate(parameters):
        depth += (char in "([{") - (char in ")]}")
        if char == "," and not depth:
            yield parameters[start:i].strip()
            start = i + 1
    yield parameters[start:].strip()


def _class(name: str, cls: type) -> str:
    init = vars(cls).get("__init__")
    if init is None or init is object.__init__:
        return f"class {name}"
    return _signature(name, init).replace("def ", "class ", 1).partition(" -> ")[0]


def _fields(name: str, cls: type) -> str:
    """A dataclass as it was written, without its docstring."""
    source = inspect.getsource(cls)
    names = {f.name for f in fields(cls)}
    lines = [f"class {name}:"]
    for line in source.splitlines():
        match = re.match(r"    (\w+): ", line)
        if match and match[1] in names:
            lines.append(re.sub(r"\s*\([A-Z]\d+\)", "", line))
    return "\n".join(lines)


# -- words ----------------------------------------------------------------------------------------


def _unwrapped(text: str) -> str:
    """Docstring paragraphs as Markdown, a line each; indented parts stay code."""
    out = []
    for paragraph in re.split(r"\n\s*\n", inspect.cleandoc(text)):
        lines = paragraph.splitlines()
        if lines and all(line.startswith("    ") for line in lines):
            out.append("```text\n" + inspect.cleandoc(paragraph) + "\n```")
        else:
            out.append(_inline(paragraph))
    return "\n\n".join(out)


def _inline(text: str) -> str:
    text = re.sub(r"``([^`]+)``", r"`\1`", " ".join(text.split()))
    text = re.sub(r":\w+:`~?([^`]+)`", r"`\1`", text)
    # Numbers of design rules mean nothing to readers of the reference.
    return re.sub(r"\s*\((rules? )?[A-Z]\d+(, [A-Z]\d+)*\)", "", text)


if __name__ == "__main__":
    main()
