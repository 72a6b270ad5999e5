"""Large values live outside the database, by content: a reference is their SHA-256.

A blob is durable (file and directory synced) before the reference to it is journaled, and never
changes, so writing it twice is harmless.
"""

from __future__ import annotations

import os
from hashlib import sha256
from pathlib import Path
from typing import Protocol

from perdure.codec import BLOB
from perdure.errors import StoreUnavailable

MAX_INLINE = 256 * 1024  # bytes; a stored value over this becomes a blob


class Blobs(Protocol):
    """Where large values are. Calls block: run them in a thread."""

    def put(self, data: bytes) -> bytes:
        """Store; returns the reference (codec bytes)."""

    def get(self, reference: bytes) -> bytes:
        """Raises StoreUnavailable when it is not there."""


class FileBlobs:
    """Blobs as files under one folder, two levels deep."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, data: bytes) -> bytes:
        name = sha256(data).hexdigest()
        path = self._path(name)
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.with_suffix(f".{os.getpid()}.{os.urandom(4).hex()}")
            try:
                with temporary.open("wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                temporary.replace(path)
            finally:
                temporary.unlink(missing_ok=True)
            _sync_folder(path.parent)
        return BLOB + name.encode()

    def get(self, reference: bytes) -> bytes:
        path = self._path(reference[1:].decode())
        try:
            return path.read_bytes()
        except FileNotFoundError:
            raise StoreUnavailable(
                f"The blob {path.name} is not in {self._folder}.",
                hint="Every worker needs the same blob folder (settings: store.blobs).",
            ) from None

    def _path(self, name: str) -> Path:
        return self._folder / name[:2] / name


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
