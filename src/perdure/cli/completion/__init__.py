"""``perdure completion``."""

from __future__ import annotations

import click

SHELLS = ("bash", "zsh", "fish")
VARIABLE = "_PERDURE_COMPLETE"


@click.command("completion")
@click.argument("shell", type=click.Choice(SHELLS))
def command(shell: str) -> None:
    """A script that completes commands in a shell.

    Commands, options, files, and the names of agents and runs of the store are completed (those of
    an SQLite file, or of a PostgreSQL that answers within a second).

    \b
    bash: eval "$(perdure completion bash)"    in ~/.bashrc (bash 4.4 or newer)
    zsh:  eval "$(perdure completion zsh)"     in ~/.zshrc, after compinit
    fish: perdure completion fish | source     in ~/.config/fish/config.fish
    """
    from click.shell_completion import get_completion_class

    from perdure.cli.main import command as root

    found = get_completion_class(shell)
    assert found is not None
    # The class itself would run bash to see its version, which whoever pastes the line knows.
    script = found(root, {}, "perdure", VARIABLE)
    print(script.source_template % script.source_vars())
