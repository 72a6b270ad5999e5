"""The kill switch."""

from __future__ import annotations

from perdure.core.halt import Halt, agent_key, decode, encode, halted, keys, tenant_key
from perdure.core.shared import TOLD, Document

HALT = Halt("ops", 12.5, "runaway")


def test_documents() -> None:
    assert decode(encode(HALT)) == HALT
    assert decode(b"") is None


def test_what_cannot_be_read_halts() -> None:
    for body in (b"nonsense", b"[]", b"{}", b"1"):
        found = decode(body)
        assert found is not None
        assert "cannot be read" in found.reason


def test_an_agent_and_a_tenant_are_halted_apart() -> None:
    halt = Document(1, encode(HALT))
    assert halted("a", "t", {}) is None
    assert halted("a", "t", {agent_key("a"): halt}) == ("agent a", HALT)
    assert halted("a", "t", {tenant_key("t"): halt}) == ("tenant t", HALT)
    assert halted("b", "", {agent_key("a"): halt, tenant_key(""): halt}) is None
    assert halted("a", "t", {agent_key("a"): Document(2, b"")}) is None  # it was lifted


def test_keys_are_told_and_hold_any_name() -> None:
    assert keys("a/b c", "") == ("halt/agent/a%2Fb+c",)
    assert keys("a", "t") == ("halt/agent/a", "halt/tenant/t")
    assert agent_key("x").startswith(TOLD)
