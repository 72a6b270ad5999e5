"""What a run that ended tells its parent."""

from __future__ import annotations

from perdure.codec import BLOB, RAW
from perdure.core.run import RunState
from perdure.store.base import INLINE_VALUE


def outcome(state: RunState, result: bytes | None, error: bytes | None) -> bytes:
    """The payload of the signal a run sends its parent, as ``Store.settle`` describes it."""
    head = b'{"state":"' + state.encode() + b'","error":' + (error or b"null")
    if result is None:
        return head + b',"result":null}'
    if result[:1] in (RAW, BLOB) or len(result) > INLINE_VALUE:
        return head + b',"result":null,"result_ref":true}'
    return head + b',"result":' + result + b"}"
