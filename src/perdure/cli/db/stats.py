"""``perdure db stats``."""

from __future__ import annotations

from pathlib import Path

import click

from perdure.cli import options
from perdure.core.words import counted


@click.command("stats")
@options.as_json
@options.settings
def command(json_: bool, store: str | None, config_file: Path | None) -> None:
    """What takes how much space: tables, runs by agent and state, large values.

    --json prints {"store", "bytes", "tables": [{"name", "rows", "bytes", "exact"}], "runs":
    [{"agent", "state", "count", "oldest"}], "blobs": {"place", "count", "bytes"}}. "exact" is
    false where the rows of a large table are an estimate; "bytes" of a table may be null.
    """
    import asyncio
    from dataclasses import asdict

    from perdure.cli import process
    from perdure.cli.terminal import output
    from perdure.cli.terminal.sizes import short_bytes
    from perdure.store.inspection import Usage

    config = options.load(config_file, store)
    process.prepare(config)
    blobs = process.open_blobs(config)

    async def main() -> tuple[str, Usage]:
        async with process.open_store(config) as opened:
            return opened.url, await opened.usage()

    url, usage = asyncio.run(main())
    count = size = 0
    for blob in blobs.stored():
        count += 1
        size += blob.size
    if json_:
        output.document(
            {
                "store": url,
                "bytes": usage.size,
                "tables": [
                    {"name": t.name, "rows": t.rows, "bytes": t.size, "exact": t.exact}
                    for t in usage.tables
                ],
                "runs": [asdict(run) for run in usage.runs],
                "blobs": {"place": blobs.url, "count": count, "bytes": size},
            }
        )
        return
    print(f"{url}  {short_bytes(usage.size)}\n")
    tables = [
        [
            table.name,
            f"{'' if table.exact else '~'}{table.rows}",
            "" if table.size is None else short_bytes(table.size),
        ]
        for table in usage.tables
    ]
    output.table(["table", "rows", "size"], tables)
    if usage.runs:
        print()
        output.table(
            ["agent", "state", "runs", "oldest"],
            [[r.agent, r.state, str(r.count), f"{r.oldest:%Y-%m-%d %H:%M}"] for r in usage.runs],
        )
    print(f"\n{counted(count, 'blob')}, {short_bytes(size)}, in {blobs.url}")
