"""``perdure``: the command line's root, and the one place where errors become exit codes.

An error is two lines on stderr, ``error:`` and ``hint:``; its exit code comes from the error tree.
Exit codes of its own: 2 for a call that cannot be right, 130 and 143 for SIGINT and SIGTERM.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import click

from perdure import __version__
from perdure.cli.lazy import Entry, LazyGroup
from perdure.errors import PerdureError

COMMANDS = {
    "init": Entry("perdure.cli.init", "A new project: an agent, its test, settings."),
    "dev": Entry("perdure.cli.dev", "Server and worker in one process, for development."),
    "run": Entry("perdure.cli.run", "Run an agent here and show how it goes."),
    "serve": Entry("perdure.cli.serve", "The HTTP server, with a worker in it or without."),
    "worker": Entry("perdure.cli.worker", "A worker: executes runs, serves nothing."),
    "gateway": Entry("perdure.cli.gateway", "The model gateway as an HTTP proxy."),
    "runs": Entry("perdure.cli.runs", "List, show, follow, answer and export runs."),
    "signal": Entry("perdure.cli.signal", "Send a signal to a run."),
    "replay": Entry("perdure.cli.replay", "Run an agent again on a journal, offline."),
    "check": Entry(
        "perdure.cli.check", "Which unfinished runs this code would break, before it is deployed."
    ),
    "limits": Entry("perdure.cli.limits", "How full the declared limits are, over all workers."),
    "costs": Entry("perdure.cli.costs", "What model calls cost, by agent, model, day and more."),
    "budgets": Entry("perdure.cli.budgets", "What each budget has left."),
    "routes": Entry(
        "perdure.cli.routes", "Where model calls go: routes, targets, breakers, costs."
    ),
    "drill": Entry("perdure.cli.drill", "Try a route's fallbacks before they have to stand in."),
    "halt": Entry("perdure.cli.halt", "Stop an agent's or a tenant's model calls, everywhere."),
    "keys": Entry("perdure.cli.keys", "API keys of the HTTP server."),
    "db": Entry("perdure.cli.db", "The database and the large values beside it."),
    "config": Entry("perdure.cli.config", "The settings and where they come from."),
    "simulate": Entry("perdure.cli.simulate", "Stand-ins for what costs money."),
    "completion": Entry("perdure.cli.completion", "A script that completes commands in a shell."),
    "demo": Entry("perdure.cli.demo", "See an agent survive kill -9, without any key."),
}

INTERRUPTED = 130


@dataclass(slots=True)
class Invocation:
    """What the root's own options say."""

    debug: bool = False


@click.group(
    cls=LazyGroup,
    entries=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, message="perdure %(version)s")
@click.option("--debug", is_flag=True, help="Show tracebacks of errors.")
@click.pass_obj
def command(invocation: Invocation, debug: bool) -> None:
    """Run AI agents in production.

    TARGET, in most commands, is module:attribute or path/file.py:attribute: an App, a function, or
    any supported agent object. The attribute may be left out where a file holds just one.

    Settings: defaults < perdure.toml < PERDURE_* variables < options of the command.
    """
    invocation.debug = debug


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code."""
    invocation = Invocation()
    try:
        code = command.main(args=argv, prog_name="perdure", standalone_mode=False, obj=invocation)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except click.exceptions.NoArgsIsHelpError as shown:
        shown.show()
        return shown.exit_code
    except click.ClickException as error:
        _say("error", error.format_message())
        if isinstance(error, click.UsageError) and error.ctx is not None:
            _say("Try", f"{error.ctx.command_path} --help")
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has seen enough; the interpreter's own flush must not complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except PerdureError as error:
        if _debugging(invocation):
            raise
        _say("error", error.message)
        if error.hint:
            _say("hint", error.hint)
        return error.exit_code
    except Exception as error:
        if _debugging(invocation):
            raise
        _say("error", f"{type(error).__name__}: {error}")
        _say("hint", "This is a defect of Perdure, or of a library. See where: perdure --debug …")
        return 1


def _say(word: str, text: str) -> None:
    """A line on stderr, its first word in colour where someone looks at it."""
    sys.stdout.flush()
    from perdure.cli.terminal.output import stderr

    if stderr().is_terminal:
        style = "bold red" if word == "error" else "bold"
        stderr().print(f"[{style}]{word}:[/] ", end="")
    else:
        sys.stderr.write(f"{word}: ")
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def _debugging(invocation: Invocation) -> bool:
    if invocation.debug:
        return True
    from perdure.config import load

    try:
        return load().log.level == "debug"
    except PerdureError:
        return False


if __name__ == "__main__":
    sys.exit(main())
