"""``perdure runs diff``."""

from __future__ import annotations

from pathlib import Path

import click

from perdure.cli import options

DIFFER = 1  # exit code, as diff's


@click.command("diff")
@click.argument("a", metavar="A", type=options.RUN_OR_FILE)
@click.argument("b", metavar="B", type=options.RUN_OR_FILE)
@options.as_json
@options.settings
def command(a: str, b: str, json_: bool, store: str | None, config_file: Path | None) -> int:
    """Where two runs part.

    A and B are runs of the store, or files of perdure runs export. Their effects are compared in
    each branch of the agent's concurrency: the first that one run asked for otherwise, that gave
    it something else, or that only one of them has, is shown with a unified diff of what was asked
    or answered. Clocks, random numbers, and the names that providers make anew for every call are
    no difference.

    The exit code is 0 where the runs are alike (input, effects and end), 1 where they differ, and
    another where one cannot be read. --json prints {"same", "same_input", "same_end", "alike": N,
    effects that are the same in both, "differences": N, branches that part, "first": {"how":
    "request"|"answer"|"effect"|"only in a"|"only in b", "inside": [...], the effects around it,
    "a" and "b": {"key", "kind", "name", "branch", "seq", "state", "asked", "answer"} or null,
    "diff": [lines]} or null, "a" and "b": {"run", "agent", "state"}}.
    """
    from perdure.cli import process
    from perdure.cli.offline.comparison import compare
    from perdure.cli.offline.source import exports
    from perdure.cli.terminal import output
    from perdure.cli.terminal.difference import print_comparison

    config = options.load(config_file, store)
    process.prepare(config)
    first, second = exports([a, b], config)
    found = compare(first, second)
    if json_:
        output.document(
            {
                "same": found.same,
                "same_input": found.same_input,
                "same_end": found.same_end,
                "alike": found.alike,
                "differences": found.differences,
                "first": None if found.first is None else found.first.to_dict("a", "b"),
                **{
                    name: {
                        "run": export.run.id,
                        "agent": export.run.agent,
                        "state": export.run.state.value,
                    }
                    for name, export in (("a", first), ("b", second))
                },
            }
        )
    else:
        print_comparison(found)
    return 0 if found.same else DIFFER
