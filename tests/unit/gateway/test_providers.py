from __future__ import annotations

import pytest

from perdure.errors import ConfigError
from perdure.gateway.providers import Providers


@pytest.mark.parametrize(
    ("url", "provider", "format"),
    [
        ("api.anthropic.com/v1/messages", "anthropic", "anthropic.messages"),
        ("api.openai.com/v1/chat/completions", "openai", "openai.chat"),
        ("api.openai.com/v1/responses", "openai", "openai.responses"),
        ("eu.api.openai.com/v1/responses", "openai", "openai.responses"),
        ("api.openai.com/v1/embeddings", "openai", "openai.embeddings"),
        ("api.openai.com/v1/completions", "openai", "openai.completions"),
        ("api.openai.com/v1/audio/transcriptions", "openai", "openai.plain"),
        ("api.groq.com/openai/v1/chat/completions", "groq", "openai.chat"),
        ("api.mistral.ai/v1/embeddings", "mistral", "openai.embeddings"),
        ("api.deepseek.com/chat/completions", "deepseek", "openai.chat"),
        ("api.deepseek.com/anthropic/v1/messages", "deepseek", "anthropic.messages"),
        ("api.x.ai/v1/chat/completions", "xai", "openai.chat"),
        ("openrouter.ai/api/v1/chat/completions", "openrouter", "openai.chat"),
        ("api.together.xyz/v1/chat/completions", "together", "openai.chat"),
        ("api.fireworks.ai/inference/v1/chat/completions", "fireworks", "openai.chat"),
        ("api.cohere.com/v2/chat", "cohere", "cohere"),
        (
            "generativelanguage.googleapis.com/v1beta/models/gemini-3:generateContent",
            "google",
            "google.generate",
        ),
        (
            "europe-west1-aiplatform.googleapis.com/v1/projects/p/locations/l/publishers/google"
            "/models/gemini-3:streamGenerateContent",
            "vertex",
            "google.generate",
        ),
        (
            "aiplatform.googleapis.com/v1/projects/p/locations/l/publishers/anthropic"
            "/models/claude-x:streamRawPredict",
            "vertex",
            "vertex.claude",
        ),
        (
            "mine.openai.azure.com/openai/deployments/gpt-5/chat/completions",
            "azure",
            "openai.chat",
        ),
        ("mine.services.ai.azure.com/anthropic/v1/messages", "azure", "anthropic.messages"),
        (
            "bedrock-runtime.eu-west-1.amazonaws.com/model/anthropic.claude-x/invoke",
            "bedrock",
            "bedrock",
        ),
    ],
)
def test_model_calls_are_known(url: str, provider: str, format: str) -> None:
    host, _, path = url.partition("/")
    route = Providers().route("POST", host, None, "/" + path)
    assert route is not None
    assert route.format is not None
    assert (route.provider, route.format.name) == (provider, format)


@pytest.mark.parametrize(
    "url",
    [
        "example.org/v1/messages",
        "openai.azure.com.evil.org/v1/responses",
        "api.anthropic.com.evil.org/v1/messages",
        "evil-api.anthropic.com/v1/messages",
        ".openai.azure.com/v1/responses",
        "bedrock-runtime.a.b.amazonaws.com/model/m/invoke",
        "a.b-aiplatform.googleapis.com/v1/models/m:generateContent",
    ],
)
def test_other_hosts_are_not_providers(url: str) -> None:
    host, _, path = url.partition("/")
    assert Providers().route("POST", host, None, "/" + path) is None


def test_only_posts_to_known_paths_are_model_calls() -> None:
    providers = Providers()
    assert providers.route("GET", "api.openai.com", None, "/v1/responses") is None
    for path in (
        "/v1/files",
        "/v1/models",
        "/v1/messages/count_tokens",
        "/v1/threads/t/messages",
        "/v1/chat/completions/c/messages",
        "/v1/responses/r/cancel",
    ):
        route = providers.route("POST", "api.openai.com", None, path)
        assert route is not None
        assert route.format is None, path


def test_added_hosts_are_matched_with_their_port() -> None:
    providers = Providers(extra={"my.host:8080": "openai", "LLM.local": "anthropic"})
    assert providers.route("POST", "my.host", 8080, "/v1/chat/completions")
    assert providers.route("POST", "my.host", 8081, "/v1/chat/completions") is None
    assert providers.route("POST", "my.host", None, "/v1/chat/completions") is None
    assert providers.route("POST", "llm.LOCAL", 1, "/v1/messages")
    both = providers.adding({"other": "groq"})
    assert both.host("other", None)
    assert both.host("my.host", 8080)
    assert providers.host("other", None) is None


def test_an_added_host_needs_a_known_provider() -> None:
    with pytest.raises(ConfigError, match="'opnai'"):
        Providers(extra={"my.host": "opnai"})
