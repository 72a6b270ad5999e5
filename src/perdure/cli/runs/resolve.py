"""``perdure runs resolve``."""

from __future__ import annotations

from pathlib import Path

import click

from perdure.cli import options
from perdure.core.words import counted


@click.command("resolve")
@click.argument("run_id", metavar="RUN", type=options.RUN)
@click.argument("key", metavar="[KEY]", required=False)
@click.option("--result", "result", metavar="JSON", help="It happened, and this is what it gave.")
@click.option("--again", is_flag=True, help="It did not happen: do it again.")
@click.option("--who", default="", metavar="NAME", help="Who decided; kept in the run's log.")
@options.as_json
@options.settings
def command(
    run_id: str,
    key: str | None,
    result: str | None,
    again: bool,
    who: str,
    json_: bool,
    store: str | None,
    config_file: Path | None,
) -> None:
    """Answer an effect that nobody is certain about.

    KEY names the effect (perdure runs show); it may be left out where the run waits for one answer
    only.
    """
    from perdure import codec
    from perdure.cli import input as input_
    from perdure.cli.runs.changing import change
    from perdure.errors import Conflict, InvalidInput
    from perdure.store.base import Store
    from perdure.store.rows import Run

    if again == (result is not None):
        raise InvalidInput(
            "Say what became of it.", hint="--result JSON (it happened), or --again (it did not)."
        )
    value = None if result is None else codec.encode(input_.parse(result, "--result"))

    async def answer(opened: Store, run_id: str) -> Run:
        chosen = key
        if chosen is None:
            run = await opened.get(run_id, payloads=False)
            keys = [str(wait["key"]) for wait in run.waits if wait.get("key")]
            if len(keys) != 1:
                raise Conflict(
                    f"The run {run_id} {run.state.says} and waits for "
                    f"{counted(len(keys), 'answer')}.",
                    hint=f"Name the effect: {', '.join(keys)}" if keys else None,
                )
            chosen = keys[0]
        try:
            named = bytes.fromhex(chosen)
        except ValueError:
            raise InvalidInput(
                f"{chosen!r} is no effect's key.", hint=f"perdure runs show {run_id}"
            ) from None
        return await opened.resolve(run_id, named, value=value, who=who)

    change([run_id], answer, options.load(config_file, store), json_=json_)
