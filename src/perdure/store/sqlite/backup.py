"""Copying a database that is in use, by SQLite's online backup.

The copy is made into a file beside the one asked for, which appears whole or not at all. In WAL
mode the source is read in one snapshot: writers neither wait nor make the copy begin again.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from perdure.errors import Conflict, StoreUnavailable
from perdure.store.sqlite.verbs import retention

PAGE = 1000  # references read together


def back_up(link: sqlite3.Connection, file: Path) -> list[bytes]:
    """See ``Store.back_up``. Blocks for as long as copying takes."""
    if file.exists():
        raise Conflict(f"{file} is there already; it is not overwritten.")
    part = file.with_name(f"{file.name}.part{os.getpid()}")
    try:
        with closing(sqlite3.connect(part)) as copy:
            link.backup(copy)
            # So that the copy is one file.
            copy.execute("PRAGMA journal_mode = DELETE")
            references: list[bytes] = []
            while page := retention.references(copy, references[-1] if references else b"", PAGE):
                references += page
        with part.open("rb") as written:
            os.fsync(written.fileno())
        os.link(part, file)  # unlike a rename it never replaces
    except FileExistsError:
        raise Conflict(f"{file} is there already; it is not overwritten.") from None
    except OSError as error:
        raise StoreUnavailable(f"{file} cannot be written: {error.strerror}.") from error
    finally:
        part.unlink(missing_ok=True)
    return references
