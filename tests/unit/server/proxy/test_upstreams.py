from __future__ import annotations

from pathlib import Path

import pytest

from perdure.config import Config, load
from perdure.errors import ConfigError, NotFound
from perdure.server.proxy.upstreams import Upstreams


def settings(folder: Path, text: str) -> Config:
    path = folder / "perdure.toml"
    path.write_text(text)
    return load(path, environ={})


def test_where_paths_lead(tmp_path: Path) -> None:
    config = settings(
        tmp_path,
        """
[proxy.upstreams]
openai = "http://eu.example/v1/"
groq = "https://api.groq.com/openai/v1"
deepseek = "https://api.deepseek.com"
""",
    )
    upstreams = Upstreams(config)

    def url(path: str) -> tuple[str, str, str]:
        asked = upstreams.find(path)
        name = asked.wire.name if asked.wire else ""
        return asked.upstream.provider, asked.upstream.url(asked.path), name

    assert url("/v1/messages") == (
        "anthropic", "https://api.anthropic.com/v1/messages", "anthropic.messages",
    )  # fmt: skip
    assert url("/v1/chat/completions") == (
        "openai", "http://eu.example/v1/chat/completions", "openai.chat",
    )  # fmt: skip
    assert url("/v1/responses")[1:] == ("http://eu.example/v1/responses", "openai.responses")
    assert url("/groq/v1/chat/completions") == (
        "groq", "https://api.groq.com/openai/v1/chat/completions", "openai.chat",
    )  # fmt: skip
    assert url("/v1/messages/count_tokens")[0] == "anthropic"
    assert url("/v1/files") == ("openai", "http://eu.example/v1/files", "")
    for nowhere in ("/", "", "/mistral/v1/chat/completions", "/groq/chat/completions", "/groq"):
        with pytest.raises(NotFound):
            upstreams.find(nowhere)


def test_whose_credential(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONE", "sk-one")
    config = settings(
        tmp_path,
        """
[proxy]
keys = { openai = "team" }
[keys.team]
env = "ONE"
[keys.anthropic]
env = "NONE"
""",
    )
    upstreams = Upstreams(config)
    openai = upstreams.find("/v1/chat/completions")
    assert upstreams.credential(openai.upstream, openai.wire) == ("authorization", "Bearer sk-one")
    anthropic = upstreams.find("/v1/messages")
    with pytest.raises(ConfigError, match="NONE"):
        upstreams.credential(anthropic.upstream, anthropic.wire)
    (trouble,) = upstreams.unreadable()
    assert "NONE" in trouble
    monkeypatch.setenv("NONE", "sk-two")
    assert upstreams.credential(anthropic.upstream, None) == ("x-api-key", "sk-two")
    bare = Upstreams(Config())
    assert bare.credential(bare.find("/v1/responses").upstream, None) is None


@pytest.mark.parametrize(
    "text",
    [
        '[proxy.upstreams]\nnobody = "https://x.example"',
        '[proxy.upstreams]\nopenai = "x.example/v1"',
        '[proxy.upstreams]\nopenai = "https://me:secret@x.example"',
        '[proxy.keys]\nopenai = "nobody"',
    ],
)
def test_what_cannot_be_meant(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError) as refused:
        Upstreams(settings(tmp_path, text))
    assert "secret" not in str(refused.value)
