"""``perdure config``."""

from __future__ import annotations

from pathlib import Path

import click

from perdure.cli import options


@click.group("config")
def command() -> None:
    """The settings and where they come from."""


@command.command("show")
@options.as_json
@options.settings
def show(json_: bool, store: str | None, config_file: Path | None) -> None:
    """Every setting, its value, and its source.

    Sources: default < the settings file < a PERDURE_* variable < an option. --json prints
    {"settings": [{"name", "value", "source"}]}. Passwords are masked. Settings that no process
    would start with are refused, as it would.
    """
    from perdure.assembly import verify
    from perdure.cli import process
    from perdure.cli.terminal import output

    config = options.load(config_file, store)
    process.prepare(config)
    verify(config)
    rows = config.show()
    if json_:
        settings = [{"name": n, "value": v, "source": s} for n, v, s in rows]
        output.document({"settings": settings})
        return
    text = [(name, _text(value), source) for name, value, source in rows]
    styles = {(i, 2): "dim" for i, row in enumerate(text) if row[2] == "default"}
    output.table(("SETTING", "VALUE", "SOURCE"), text, cell_styles=styles, shrink=1)


def _text(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    if isinstance(value, dict):
        return ", ".join(f"{k} = {v}" for k, v in value.items()) or "none"
    return str(value) if value != "" else "none"
