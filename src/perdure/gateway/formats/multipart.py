"""multipart/form-data (RFC 7578), read only to say what is in it: the boundary is random for each
request and must not reach a digest (rule K5)."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from perdure.core.digest import digest

_PARAMETER = re.compile(r';\s*([\w*-]+)=(?:"((?:\\.|[^"\\])*)"|([^;\s]*))')


class Part(NamedTuple):
    """One field. ``text`` is None for files."""

    name: str
    filename: str | None
    content_type: str
    data: bytes

    @property
    def text(self) -> str | None:
        """A plain field's value."""
        if self.filename is not None:
            return None
        return self.data.decode("utf-8", "replace")

    def shape(self) -> dict[str, Any]:
        """What of it shapes an answer: of a file its name, type and the digest of its bytes."""
        if self.filename is None:
            return {self.name: self.text}
        content = digest(self.data).hex()
        return {self.name: {"file": self.filename, "type": self.content_type, "digest": content}}


def read_form(content_type: str, body: bytes) -> list[Part] | None:
    """The fields of a form in order; None when it is not well-formed."""
    boundary = _parameters(content_type).get("boundary")
    if not boundary:
        return None
    pieces = (b"\r\n" + body).split(b"\r\n--" + boundary.encode("latin-1", "replace"))
    if len(pieces) < 2 or not pieces[-1].startswith(b"--"):
        return None
    parts = []
    for piece in pieces[1:-1]:
        head, blank, data = piece.partition(b"\r\n\r\n")
        if not blank:
            return None
        headers = _headers(head)
        disposition = _parameters(headers.get("content-disposition", ""))
        name, filename = disposition.get("name", ""), disposition.get("filename")
        parts.append(Part(name, filename, headers.get("content-type", ""), data))
    return parts


def _headers(head: bytes) -> dict[str, str]:
    found = {}
    for line in head.decode("utf-8", "replace").split("\r\n"):
        name, colon, value = line.partition(":")
        if colon:
            found[name.strip().lower()] = value.strip()
    return found


def _parameters(value: str) -> dict[str, str]:
    return {name.lower(): quoted or plain for name, quoted, plain in _PARAMETER.findall(value)}
