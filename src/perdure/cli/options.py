"""Options that many commands share, and the settings they make.

Precedence: defaults < ``perdure.toml`` < ``PERDURE_*`` variables < these options.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.shell_completion import CompletionItem

from perdure.errors import ConfigError, NotFound

if TYPE_CHECKING:
    from datetime import timedelta

    from perdure.config import Config

F = TypeVar("F", bound=Callable[..., Any])

FILE = click.Path(dir_okay=False, path_type=Path)


class RunId(click.types.StringParamType):
    """A run's id, whole; shells complete it. ``or_file``: or a file of ``perdure runs export``."""

    name = "run"

    def __init__(self, *, or_file: bool = False) -> None:
        self._or_file = or_file

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        from uuid import UUID

        try:
            return str(UUID(value))
        except ValueError:
            if self._or_file:
                return str(value)  # whoever opens it says what is wrong with it
            raise NotFound(
                f"There is no run {value}.",
                hint="Run ids are UUIDs, given whole: `perdure runs list` has them.",
            ) from None

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        from perdure.cli.completion import names

        return names.runs(ctx, incomplete)


class AgentName(click.types.StringParamType):
    """An agent's name; shells complete those of the store."""

    name = "agent"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        from perdure.cli.completion import names

        return names.agents(ctx, incomplete)


class Target(click.types.StringParamType):
    """A TARGET; shells complete the file. ``or_agent``: or an agent's name."""

    name = "target"

    def __init__(self, *, or_agent: bool = False) -> None:
        self._or_agent = or_agent

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        from perdure.cli.completion import names

        found = [CompletionItem(incomplete, type="file")]
        return names.agents(ctx, incomplete) + found if self._or_agent else found


RUN, AGENT, TARGET, TARGET_OR_AGENT = RunId(), AgentName(), Target(), Target(or_agent=True)
RUN_OR_FILE = RunId(or_file=True)


def settings(function: F) -> F:
    """``--store`` and ``--config``."""
    function = click.option(
        "--config", "config_file", type=FILE, metavar="FILE", help="Settings file (perdure.toml)."
    )(function)
    return click.option(
        "--store", metavar="URL", help="sqlite:///path or postgresql://… (PERDURE_STORE)."
    )(function)


def as_json(function: F) -> F:
    """``--json``."""
    return click.option("--json", "json_", is_flag=True, help="Print JSON.")(function)


def online(function: F) -> F:
    """``--online``."""
    return click.option(
        "--online",
        is_flag=True,
        help="Let code between effects reach the outside: MCP servers, say.",
    )(function)


def worker_options(function: F) -> F:
    """What bounds a worker."""
    for option in (
        click.option(
            "--drain", metavar="TIME", help="How long SIGTERM lets effects finish, e.g. 30s."
        ),
        click.option(
            "--max-attempt", metavar="TIME", help="Park a run between two effects at this age."
        ),
        click.option("--concurrency", type=int, metavar="N", help="Runs executed at a time."),
    ):
        function = option(function)
    return function


def server_options(function: F) -> F:
    """Where to listen."""
    for option in (
        click.option(
            "--insecure", is_flag=True, default=None, help="Serve other hosts without any API key."
        ),
        click.option("--port", type=int, metavar="N", help="Port; 0 takes a free one."),
        click.option("--host", metavar="ADDRESS", help="Address to listen on (127.0.0.1)."),
    ):
        function = option(function)
    return function


def load(config_file: Path | None, store: str | None = None, **flags: Any) -> Config:
    """The settings. ``flags``: ``section__key=value``. Raises ConfigError."""
    from perdure.config import load as load_config

    dotted = {name.replace("__", ".", 1): value for name, value in flags.items()}
    return load_config(config_file, flags={"store.url": store, **dotted})


def duration(text: str | None, option: str) -> timedelta | None:
    """An option's value as a duration. Raises ConfigError naming the option."""
    from perdure.config import duration as read

    if text is None:
        return None
    try:
        return read(text)
    except ValueError as error:
        raise ConfigError(f"{option}: {error}") from None
