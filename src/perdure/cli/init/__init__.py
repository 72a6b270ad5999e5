"""``perdure init``."""

from __future__ import annotations

from pathlib import Path

import click

from perdure.cli import options
from perdure.cli.init.skeleton import FRAMEWORKS


@click.command("init")
@click.argument("folder", metavar="[DIR]", default=".", type=click.Path(path_type=Path))
@click.option(
    "--framework",
    type=click.Choice(list(FRAMEWORKS)),
    default="python",
    show_default=True,
    help="What the agent is written with.",
)
@options.as_json
def command(folder: Path, framework: str, json_: bool) -> None:
    """A new project: an agent, its test, settings.

    It writes agent.py, test_agent.py, perdure.toml, requirements.txt, pytest.ini, README.md and
    .gitignore into DIR (here, when left out). Files that are there already are never overwritten:
    then nothing is written at all. The test needs no key.
    """
    from perdure.cli.init.skeleton import write
    from perdure.cli.terminal import output

    files = write(folder, framework)
    if json_:
        found = [str(folder / name) for name in files]
        output.document({"folder": str(folder), "framework": framework, "files": found})
        return
    for name in files:
        print(folder / name)
    about = FRAMEWORKS[framework]
    steps = [] if folder == Path() else [f"cd {folder}"]
    steps += ["pip install -r requirements.txt", "pytest", f"export {about.key}=…",
              "perdure dev agent.py:agent"]  # fmt: skip
    output.note("\nNext:\n" + "\n".join(f"  {step}" for step in steps))
