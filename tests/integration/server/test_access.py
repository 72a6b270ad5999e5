"""API keys and the loopback rule."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from perdure.app import App
from perdure.errors import ConfigError, StoreUnavailable
from perdure.server import auth
from perdure.server.auth import is_loopback
from perdure.server.keys import ADMIN, READ, WRITE, create
from tests.integration.server.serving import Served, serving


def _app() -> App:
    app = App()

    @app.agent
    async def greet(name: str) -> str:
        return name

    return app


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def _get(served: Served, path: str = "/api/runs", **headers: str) -> Any:
    return await served.http.get(path, headers=headers)


async def _post(served: Served, **headers: str) -> Any:
    return await served.http.post("/api/agents/greet/runs", json={"input": "x"}, headers=headers)


async def _forget(served: Served) -> None:
    """As if the time for which keys are trusted had passed."""
    served.service.access._read_at = float("-inf")


async def test_on_loopback_without_keys_it_is_open(tmp_path: Path) -> None:
    async with serving(_app(), tmp_path, work=False) as served:
        assert (await _get(served)).status_code == 200
        assert (await _post(served)).status_code == 202


@pytest.mark.parametrize(
    ("headers", "open_"),
    [
        ({"Host": "localhost:8080"}, True),
        ({"Host": "[::1]:8080"}, True),
        ({"Host": "127.0.0.1"}, True),
        ({"Host": "app.localhost"}, True),
        ({"Host": "evil.example"}, False),
        ({"Host": "127.0.0.1.evil.example"}, False),
        ({"Host": "localhost.evil.example:80"}, False),
        ({"Host": "10.0.0.1"}, False),
        ({"Origin": "http://localhost:3000"}, True),
        ({"Origin": "https://evil.example"}, False),
        ({"Origin": "null"}, False),
    ],
)
async def test_without_keys_only_this_machine_is_served(
    tmp_path: Path, headers: dict[str, str], open_: bool
) -> None:
    async with serving(_app(), tmp_path, work=False) as served:
        answer = await _post(served, **headers)
        assert answer.status_code == (202 if open_ else 403)
        assert (await _get(served, "/healthz", **headers)).status_code == 200


async def test_the_auth_matrix(tmp_path: Path) -> None:
    async with serving(_app(), tmp_path, work=False) as served:
        store = served.store
        tokens = {s: (await create(store, s, [s]))[0] for s in (READ, WRITE, ADMIN)}
        ended, _ = await create(store, "ended", [ADMIN], lifetime=timedelta(seconds=-1))
        revoked, key = await create(store, "revoked", [ADMIN])
        await store.revoke_key(key.id)
        await _forget(served)
        expected = {
            None: (401, 401),
            "pk_nobody_secret": (401, 401),
            "Basic": (401, 401),
            tokens[READ]: (200, 403),
            tokens[WRITE]: (403, 202),
            tokens[ADMIN]: (200, 202),
            tokens[ADMIN][:-1]: (401, 401),
            tokens[ADMIN] + "x": (401, 401),
            ended: (401, 401),
            revoked: (401, 401),
        }
        for token, codes in expected.items():
            headers = {} if token is None else _bearer(token)
            found = (
                (await _get(served, **headers)).status_code,
                (await _post(served, **headers)).status_code,
            )
            assert found == codes, token
        assert (await _get(served, **{"X-API-Key": tokens[READ]})).status_code == 200


async def test_with_keys_everything_but_the_probes_needs_one(tmp_path: Path) -> None:
    async with serving(_app(), tmp_path, work=False) as served:
        token, _ = await create(served.store, "ops", [READ])
        await _forget(served)
        for path in ("/healthz", "/readyz"):
            assert (await _get(served, path)).status_code == 200
        for path in ("/metrics", "/api/agents", "/api/runs", "/nope", "/scale"):
            answer = await _get(served, path)
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"].startswith("Bearer")
        assert (await _get(served, "/metrics", **_bearer(token))).status_code == 200
        # A key says more than an address: behind a proxy the host is another.
        headers = {**_bearer(token), "Host": "api.example.com"}
        assert (await _get(served, **headers)).status_code == 200


async def test_revoking_the_last_key_opens_nothing(tmp_path: Path) -> None:
    async with serving(_app(), tmp_path, work=False) as served:
        token, key = await create(served.store, "x", [ADMIN])
        await _forget(served)
        assert (await _get(served, **_bearer(token))).status_code == 200
        await served.store.revoke_key(key.id)
        await _forget(served)
        assert (await _get(served, **_bearer(token))).status_code == 401
        assert (await _get(served)).status_code == 401


async def test_a_new_key_is_known_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "AGAIN", 0.0)
    async with serving(_app(), tmp_path, work=False) as served:
        first, _ = await create(served.store, "1", [ADMIN])
        await _forget(served)
        assert (await _get(served, **_bearer(first))).status_code == 200
        second, _ = await create(served.store, "2", [ADMIN])
        assert (await _get(served, **_bearer(second))).status_code == 200


async def test_its_last_use_is_noted(tmp_path: Path) -> None:
    async with serving(_app(), tmp_path, work=False) as served:
        token, key = await create(served.store, "x", [READ])
        await _forget(served)
        for _ in range(3):
            await _get(served, **_bearer(token))
        await served.service.access.close()
        kept = await served.store.key(key.id)
        assert kept is not None
        assert kept.last_used_at is not None


async def test_a_store_that_is_away_locks_nobody_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(_app(), tmp_path, work=False) as served:
        token, _ = await create(served.store, "x", [READ])
        await _forget(served)
        assert (await _get(served, **_bearer(token))).status_code == 200

        async def away() -> Any:
            raise StoreUnavailable("away")

        monkeypatch.setattr(served.store, "keys", away)
        served.service.access._read_at -= auth.FRESH + 1
        assert (await _get(served, "/api/agents", **_bearer(token))).status_code == 200
        assert (await _get(served, "/api/agents")).status_code == 401


async def test_others_are_not_served_without_a_key(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        async with serving(_app(), tmp_path, work=False, server__host="0.0.0.0"):
            pass
    assert "perdure keys create" in str(caught.value.hint)


async def test_insecure_is_insecure(tmp_path: Path) -> None:
    async with serving(
        _app(), tmp_path, work=False, server__host="0.0.0.0", server__insecure=True
    ) as served:
        assert (await _get(served, Host="anything.example")).status_code == 200


async def test_with_a_key_others_may_be_served(tmp_path: Path) -> None:
    async with serving(_app(), tmp_path, work=False) as served:
        token, _ = await create(served.store, "x", [READ])
    async with serving(_app(), tmp_path, work=False, server__host="0.0.0.0") as served:
        assert (await _get(served)).status_code == 401
        assert (await _get(served, **_bearer(token))).status_code == 200


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("127.0.0.1", True), ("127.8.8.8", True), ("::1", True), ("[::1]", True),
        ("localhost", True), ("LOCALHOST", True), ("0.0.0.0", False), ("::", False),
        ("", False), ("10.1.1.1", False), ("example.com", False), ("localhost.com", False),
    ],
)  # fmt: skip
def test_loopback(host: str, local: bool) -> None:
    assert is_loopback(host) is local
