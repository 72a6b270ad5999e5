"""Numbered migrations, one folder a dialect: which there are, which a database lacks.

Pure: a store reads what its database says it has and asks here what to do. Files are named
``0001_first.sql``; the number is the schema's version after it. A file that was released is
never changed.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import resources

from perdure.errors import SchemaNewer, SchemaOutdated


@dataclass(frozen=True, slots=True)
class Migration:
    """One file: ``version`` is its number, ``name`` its file name without the suffix."""

    version: int
    name: str
    sql: str


@cache
def available(dialect: str) -> tuple[Migration, ...]:
    """The migrations of ``sqlite`` or ``postgres``, in order."""
    found = []
    for file in resources.files(__name__).joinpath(dialect).iterdir():
        name, dot, suffix = file.name.rpartition(".")
        if dot and suffix == "sql":
            found.append(Migration(int(name.partition("_")[0]), name, file.read_text("utf-8")))
    return tuple(sorted(found, key=lambda migration: migration.version))


def needed(dialect: str) -> int:
    """The schema version that this Perdure works with."""
    return available(dialect)[-1].version


def missing(dialect: str, version: int) -> list[Migration]:
    """What a database at ``version`` (0 for none) lacks. Raises SchemaNewer."""
    _refuse_newer(dialect, version)
    return [migration for migration in available(dialect) if migration.version > version]


def check(dialect: str, version: int) -> None:
    """Raises SchemaOutdated or SchemaNewer unless ``version`` is the one needed."""
    lacking = missing(dialect, version)
    if lacking:
        raise SchemaOutdated(
            f"The database has schema version {version}; this Perdure needs {needed(dialect)}.",
            version=version,
            needed=needed(dialect),
            missing=[migration.name for migration in lacking],
        )


def _refuse_newer(dialect: str, version: int) -> None:
    if version > needed(dialect):
        raise SchemaNewer(
            f"The database has schema version {version}; this Perdure knows up to "
            f"{needed(dialect)}. Nothing was touched.",
            version=version,
            needed=needed(dialect),
        )
