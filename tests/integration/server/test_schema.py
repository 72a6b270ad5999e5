"""The API is what its OpenAPI document says: schemathesis, all checks, right and wrong data."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jsonschema_rs import Draft202012Validator

from perdure.app import App
from perdure.server.asgi import make_app
from perdure.server.keys import SCOPES, create
from perdure.server.openapi import document
from perdure.server.service import Service
from perdure.store import make_store
from tests.integration.server.serving import serving, settings

ROOT = Path(__file__).parents[3]
HOOKS = "tests.integration.server.schema_hooks"
LIMIT = 110.0  # seconds


def _app() -> App:
    app = App()

    async def greet(value: Any = None) -> Any:
        """Greets."""
        return value

    async def fail(value: Any = None) -> None:
        raise TypeError("a bug")

    app.add(greet)
    app.add(fail, name="fail")
    return app


async def test_the_api_is_what_its_document_says(tmp_path: Path) -> None:
    async with serving(_app(), tmp_path, server__max_wait="0.2s") as served:
        token, _ = await create(served.store, "test", SCOPES)
        served.service.access._read_at = float("-inf")
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "schemathesis.cli", "run", f"{served.url}/api/openapi.json",
            "--header", f"Authorization: Bearer {token}", "--checks", "all", "--mode", "all",
            "--max-examples", "5", "--seed", "7", "--request-timeout", "20", "--no-color",
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT), "SCHEMATHESIS_HOOKS": HOOKS},
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        try:
            async with asyncio.timeout(LIMIT):
                said, _ = await process.communicate()
        except TimeoutError:
            process.kill()
            raise
    assert process.returncode == 0, said.decode()


def _routes(tmp_path: Path) -> set[tuple[str, str]]:
    config = settings(tmp_path, server__console=False)
    app = make_app(Service({}, config, make_store(config.store.url), None))
    return {
        (route.path, method.lower())  # type: ignore[attr-defined]
        for route in app.routes
        for method in getattr(route, "methods", None) or ()
        if method != "HEAD"
    }


def test_every_route_is_in_the_document_and_no_other(tmp_path: Path) -> None:
    told = {(path, method) for path, one in document()["paths"].items() for method in one}
    assert told == _routes(tmp_path)


def _examples(value: Any) -> Iterator[tuple[dict[str, Any], Any]]:
    """(schema, example) of everything that has one."""
    if isinstance(value, dict):
        if "example" in value and "schema" in value:
            yield value["schema"], value["example"]
        for example in value.get("examples", ()) if isinstance(value.get("examples"), list) else ():
            yield value, example
        for inner in value.values():
            yield from _examples(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _examples(inner)


def test_examples_fit_their_schemas() -> None:
    whole = document()
    found = list(_examples(whole))
    assert len(found) > 30
    for schema, example in found:
        rooted = {**schema, "components": whole["components"]}
        Draft202012Validator(rooted).validate(example)


def test_where_it_is_mounted_is_in_the_document() -> None:
    assert document("/sub")["servers"] == [{"url": "/sub"}]
