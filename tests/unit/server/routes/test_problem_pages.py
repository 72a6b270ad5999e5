"""Every error has its page."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest

from docs.generate import error_classes
from perdure.config import load
from perdure.errors import tree
from perdure.server.asgi import make_app
from perdure.server.remedies import REMEDIES
from perdure.server.routes.problems import codes, explained
from perdure.server.service import Service
from perdure.store import make_store


@pytest.fixture
async def http(tmp_path: Path) -> AsyncIterator[httpx2.AsyncClient]:
    config = load(environ={}, flags={"store.url": f"sqlite:///{tmp_path}/x.db"})
    app = make_app(Service({}, config, make_store(config.store.url), None))
    transport = httpx2.ASGITransport(app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://x") as client:
        yield client


async def test_every_error_code_has_a_page_that_its_type_leads_to(
    http: httpx2.AsyncClient,
) -> None:
    for cls in error_classes():
        page = await http.get(f"/problems/{cls.code}")
        assert page.status_code == 200, cls
        assert page.headers["content-type"].startswith("text/html")
        assert f"<code>{cls.code}</code>" in page.text
        shown = (
            await http.get(f"/problems/{cls.code}", headers={"accept": "application/json"})
        ).json()
        assert (shown["code"], shown["status"]) == (cls.code, cls.status)
        assert shown["meaning"], cls


def test_every_error_of_the_tree_says_what_to_do() -> None:
    own = {cls.code for cls in tree() if cls.__module__ == "perdure.errors"}
    assert own - REMEDIES.keys() == set()
    assert REMEDIES.keys() - set(codes()) == set()


async def test_the_list_links_to_all_of_them(http: httpx2.AsyncClient) -> None:
    page = (await http.get("/problems")).text
    assert all(f'href="/problems/{code}"' in page for code in codes())


async def test_what_http_itself_refuses_has_one_too(http: httpx2.AsyncClient) -> None:
    refused = await http.delete("/problems")
    assert refused.status_code == 405
    assert (await http.get(refused.json()["type"])).status_code == 200


async def test_no_page_for_what_is_no_error(http: httpx2.AsyncClient) -> None:
    answer = await http.get("/problems/<script>")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


def test_rules_of_the_design_are_no_words_for_users() -> None:
    mismatch = explained("idempotency_mismatch")
    assert mismatch is not None
    assert mismatch["meaning"] == "The Idempotency-Key was used before with another body."
