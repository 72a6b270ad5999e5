"""A run's model calls to a host that is no known provider are not captured and not silent."""

from __future__ import annotations

import pytest

from perdure.core.ports import Boundary
from perdure.gateway.capture import Capture, Passage
from perdure.gateway.providers import Providers
from tests.unit.gateway.boundary import MemoryRun


class InStep(MemoryRun):
    """What the body of a step sees."""

    scope = b"step"


def route(capture: Capture, run: Boundary | None, path: str, port: int | None = 9000) -> object:
    return capture.route(run, "POST", "llm.example", port, path)


@pytest.mark.parametrize(
    ("path", "speaks"),
    [
        ("/v1/chat/completions", "openai"),
        ("/v1/responses", "openai"),
        ("/proxy/v1/messages", "anthropic"),
        ("/v1beta/models/gemini-3:streamGenerateContent", "google"),
    ],
)
def test_it_is_warned_of_once_and_the_setting_named_captures_it(
    path: str, speaks: str, caplog: pytest.LogCaptureFixture
) -> None:
    capture = Capture()
    assert route(capture, MemoryRun(), path) is None
    assert route(capture, MemoryRun(), path) is None
    [record] = caplog.records
    assert f'[gateway.providers] "llm.example:9000" = "{speaks}"' in record.getMessage()
    assert "'agent'" in record.getMessage()
    capture = Capture(Providers({"llm.example:9000": speaks}))
    assert isinstance(route(capture, MemoryRun(), path), Passage)


def test_a_default_port_is_not_named(caplog: pytest.LogCaptureFixture) -> None:
    route(Capture(), MemoryRun(), "/v1/chat/completions", 443)
    assert '"llm.example" = "openai"' in caplog.text


def test_everything_else_passes_in_silence(caplog: pytest.LogCaptureFixture) -> None:
    capture = Capture()
    route(capture, MemoryRun(), "/v1/orders")
    route(capture, InStep(), "/v1/chat/completions")
    route(capture, None, "/v1/chat/completions")
    capture.route(MemoryRun(), "GET", "llm.example", None, "/v1/chat/completions")
    assert caplog.records == []
    assert capture.unknown.told == set()
