"""The kill switch: a document for each agent or tenant whose new model calls are refused.

Workers are told when one appears (its keys are among ``perdure.core.shared.TOLD``) and read the
documents anew now and then, so that a lost notice costs a second at most.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import NamedTuple

from perdure.core.keys import part
from perdure.core.shared import Document

PREFIX = "halt/"


class Halt(NamedTuple):
    """``by`` whom, ``at`` (seconds since 1970), and why; ``name`` is what is halted."""

    by: str
    at: float
    reason: str = ""
    name: str = ""


def agent_key(name: str) -> str:
    """The document that halts an agent."""
    return f"{PREFIX}agent/{part(name)}"


def tenant_key(name: str) -> str:
    """The document that halts a tenant."""
    return f"{PREFIX}tenant/{part(name)}"


KEYS = {"agent": agent_key, "tenant": tenant_key}


def keys(agent: str, tenant: str) -> tuple[str, ...]:
    """The documents that a call of ``agent`` for ``tenant`` depends on."""
    return (agent_key(agent), tenant_key(tenant)) if tenant else (agent_key(agent),)


def encode(halt: Halt) -> bytes:
    """The document's body."""
    return json.dumps(halt._asdict(), separators=(",", ":")).encode()


def decode(body: bytes) -> Halt | None:
    """None: there is none. What cannot be read halts all the same: someone wanted it to."""
    if not body:
        return None
    try:
        found = json.loads(body)
        texts = str(found.get("reason", "")), str(found.get("name", ""))
        return Halt(str(found["by"]), float(found["at"]), *texts)
    except (ValueError, TypeError, KeyError, AttributeError):
        return Halt("", 0.0, "the document cannot be read")


def halted(agent: str, tenant: str, documents: Mapping[str, Document]) -> tuple[str, Halt] | None:
    """(What is halted, by whom and why), such as ``("agent research", Halt(...))``; None: go on."""
    for key in keys(agent, tenant):
        halt = decode(documents[key].body) if key in documents else None
        if halt is not None:
            kind = key.split("/")[1]
            return f"{kind} {agent if kind == 'agent' else tenant}", halt
    return None
