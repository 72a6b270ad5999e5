"""Which migrations there are and which a database lacks."""

from __future__ import annotations

import sqlite3

import pytest

from perdure.errors import SchemaNewer, SchemaOutdated
from perdure.store import migrations
from perdure.store.sqlite.schema import split


def test_files_are_numbered_from_one_without_gaps() -> None:
    versions = [migration.version for migration in migrations.available("sqlite")]
    assert versions == list(range(1, len(versions) + 1))
    assert migrations.needed("sqlite") == versions[-1]
    first = migrations.available("sqlite")[0]
    assert first.name == "0001_first"
    assert "CREATE TABLE runs" in first.sql


def test_what_a_database_lacks() -> None:
    needed = migrations.needed("sqlite")
    assert migrations.missing("sqlite", 0) == list(migrations.available("sqlite"))
    assert migrations.missing("sqlite", needed) == []
    migrations.check("sqlite", needed)
    with pytest.raises(SchemaOutdated) as outdated:
        migrations.check("sqlite", needed - 1)
    assert outdated.value.detail["needed"] == needed
    assert len(outdated.value.detail["missing"]) == 1


def test_a_newer_database_is_refused() -> None:
    for call in (migrations.missing, migrations.check):
        with pytest.raises(SchemaNewer):
            call("sqlite", migrations.needed("sqlite") + 1)


def test_a_script_is_split_into_its_statements() -> None:
    script = """
    -- a comment; with a semicolon
    CREATE TABLE a (x TEXT DEFAULT ';');
    CREATE TRIGGER t AFTER INSERT ON a BEGIN
      DELETE FROM a; DELETE FROM a;
    END;
    CREATE TABLE b (y);
    """
    statements = split(script)
    assert len(statements) == 3
    link = sqlite3.connect(":memory:")
    for statement in statements:
        link.execute(statement)
    link.close()
