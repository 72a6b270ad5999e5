"""Reports of what agent code does outside any effect (rule C9), where it does it."""

from __future__ import annotations

import linecache
import os

from rich.text import Text

from perdure.cli.terminal.output import stderr
from perdure.runtime.audit import Contact


def tell(contact: Contact) -> None:
    """Print where, what, the line itself, and what to do."""
    for text in lines(contact):
        stderr().print(text, soft_wrap=True)


def lines(contact: Contact) -> list[Text]:
    """The report, in lines."""
    where = f"{nearby(contact.file)}:{contact.line}"
    first = Text("  ! ", "yellow").append(where, "bold yellow")
    first.append(f" {contact.what} outside any effect: {contact.on}", "yellow")
    found = [first]
    source = linecache.getline(contact.file, contact.line).strip()
    if source:
        found.append(Text(f"      {source}"))
    found.append(
        Text(
            "      It happens again at every replay of the run. Put it into a function under "
            "@perdure.step or @perdure.tool.",
            "dim",
        )
    )
    return found


def nearby(path: str) -> str:
    """A path as short as it can be said from here."""
    try:
        short = os.path.relpath(path)
    except ValueError:  # another drive
        return path
    return path if short.startswith("..") else short
