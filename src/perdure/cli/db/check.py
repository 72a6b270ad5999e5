"""``perdure db check``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from perdure.cli import options

if TYPE_CHECKING:
    from perdure.store.inspection import Finding

FAULTY = 1  # exit code: something is left that should not be
SHOWN = 20  # findings of one kind


@click.command("check")
@click.option("--schema", is_flag=True, help="Only whether the schema is this version's.")
@click.option("--repair", is_flag=True, help="Mend what can be mended without losing anything.")
@click.option("--contents", is_flag=True, help="Read every large value and compare its hash.")
@options.as_json
@options.settings
def command(
    schema: bool,
    repair: bool,
    contents: bool,
    json_: bool,
    store: str | None,
    config_file: Path | None,
) -> int:
    """Look for what should not be: in the schema, in runs and their logs, in large values.

    Workers may go on meanwhile. Each finding is explained, with what mending it would do, or what
    to do instead. The exit code is 0 where all is well (or was mended), 1 where something is left
    to do, 7 where the database cannot be reached or is not there, 8 where its schema is older or
    newer.

    --json prints {"store", "version", "needed", "current", "findings": [{"code", "subject",
    "detail", "meaning", "repair", "advice", "repaired"}]}; "repair" is null where nothing is safe.
    """
    import asyncio

    from perdure.cli import process
    from perdure.cli.db.looking import look, mend
    from perdure.cli.terminal import output
    from perdure.errors import PerdureError, SchemaNewer, SchemaOutdated
    from perdure.store.inspection import EXPLAINED

    config = options.load(config_file, store)
    process.prepare(config)
    blobs = process.open_blobs(config)

    async def main() -> int:
        wrong: PerdureError | None = None
        url = config.store.url
        found: list[tuple[Finding, bool]] = []
        try:
            async with process.open_store(config) as opened:
                url = opened.url
                version, needed = await opened.schema()
                if not schema:
                    findings = await look(opened, blobs, contents=contents)
                    found = [(finding, False) for finding in findings]
                    if repair:
                        found = await mend(opened, findings)
        except (SchemaOutdated, SchemaNewer) as error:
            wrong = error
            version, needed = error.detail.get("version", 0), error.detail.get("needed", 0)
        if json_:
            about = {"store": url, "version": version, "needed": needed, "current": wrong is None}
            output.document(
                {
                    **about,
                    "findings": [
                        {
                            **finding._asdict(),
                            **EXPLAINED[finding.code]._asdict(),
                            "repaired": repaired,
                        }
                        for finding, repaired in found
                    ],
                }
            )
        elif wrong is None:
            print(f"{url} has schema version {version}, as this Perdure needs.")
            if not schema:
                _print(found, repair)
        if wrong is not None:
            raise wrong
        return FAULTY if any(not repaired for _, repaired in found) else 0

    return asyncio.run(main())


def _print(found: list[tuple[Finding, bool]], repair: bool) -> None:
    from perdure.store.inspection import EXPLAINED

    if not found:
        print("Nothing is wrong.")
        return
    for code in dict.fromkeys(finding.code for finding, _ in found):
        mine = [(finding, repaired) for finding, repaired in found if finding.code == code]
        about = EXPLAINED[code]
        print(f"\n{code} ({len(mine)}): {about.meaning}")
        for finding, repaired in mine[:SHOWN]:
            detail = f"  {finding.detail}" if finding.detail else ""
            print(f"  {finding.subject}{detail}{'  repaired' if repaired else ''}".rstrip())
        if len(mine) > SHOWN:
            print(f"  and {len(mine) - SHOWN} more")
        if about.repair is None:
            print(f"  {about.advice}.")
        elif not repair:
            print(f"  With --repair: {about.repair}.")
        else:
            print(f"  Repaired: {about.repair}.")
