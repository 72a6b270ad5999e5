"""``perdure run``."""

from __future__ import annotations

from pathlib import Path

import click

from perdure.cli import options


@click.command("run")
@click.argument("target", metavar="TARGET|AGENT", type=options.TARGET_OR_AGENT)
@click.argument("text", metavar="[INPUT]", required=False)
@click.option("--input", "json_text", metavar="JSON", help="The input as JSON.")
@click.option("--input-file", metavar="FILE", help="The input as JSON from a file; - is stdin.")
@click.option("--agent", metavar="NAME", help="Which one, where TARGET holds several agents.")
@click.option("--timeout", metavar="TIME", help="The run's deadline, e.g. 90s or 2h.")
@click.option(
    "--resume", metavar="RUN_ID", type=options.RUN, help="Go on with this run instead of a new one."
)
@click.option(
    "--follow", "-f", is_flag=True, help="Show progress even where no terminal is attached."
)
@options.as_json
@options.settings
def command(
    target: str,
    text: str | None,
    json_text: str | None,
    input_file: str | None,
    agent: str | None,
    timeout: str | None,
    resume: str | None,
    follow: bool,
    json_: bool,
    store: str | None,
    config_file: Path | None,
) -> int:
    """Run an agent here and show how it goes.

    With a TARGET the run is executed in this process and kept in the configured store. With the
    name of an AGENT, workers that serve it execute the run, and this command follows it. INPUT is
    plain text, or JSON for an agent that takes no text; --input and --input-file are always JSON.

    Progress, and what the agent prints, go to stderr, the result to stdout: text as it is,
    everything else as JSON. --json
    prints the run as one JSON document; --json --follow prints its events as JSON lines, and then
    the run.

    The first Ctrl-C parks the run between two effects (run it on with --resume); a second one ends
    the process at once. The exit code is 0 for a run that succeeded, 10 failed, 11 dead, 12
    cancelled, 13 for one that ran out of time, 14 for the loop guard, 130 after Ctrl-C.
    """
    from perdure.cli import input as input_
    from perdure.cli import process, running
    from perdure.cli import target as targets
    from perdure.cli.agents import load_agents
    from perdure.errors import InvalidInput, TargetError

    config = options.load(config_file, store)
    limit = options.duration(timeout, "--timeout")
    given = text is not None or json_text is not None or input_file is not None
    if resume is not None and (given or timeout is not None):
        raise InvalidInput("--resume goes on with the run's own input and deadline.")
    show = running.Show(follow=follow, json=json_, target=target)
    process.prepare(config, shown=show.progress)
    if not targets.looks_like_target(target):
        value = input_.read(text, json_text, input_file)
        return running.remotely(config, target, value, limit, resume=resume, show=show)
    agents = load_agents([target], config)
    if agent is None and resume is None and len(agents) > 1:
        raise TargetError(
            f"{target} holds several agents.", hint=f"Say --agent {' or --agent '.join(agents)}"
        )
    if agent is not None and agent not in agents:
        raise TargetError(
            f"{target} holds no agent {agent!r}.", hint=f"Agents there: {', '.join(agents)}"
        )
    if resume is not None:
        return running.resumed(config, agents, resume, show=show)
    chosen = agents[agent or next(iter(agents))]
    value = input_.read(text, json_text, input_file)
    return running.here(config, agents, chosen, value, limit, is_text=text is not None, show=show)
