"""Large values live outside the database, by content: a reference is their SHA-256.

A blob is durable (file and directory synced) before the reference to it is journaled, and never
changes, so writing it twice is harmless. What is read is held against its name. Blobs that nothing
refers to are removed only when they are older than a grace: a reference follows its blob within
moments, and a blob that is written again, though it is there, counts as new.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple, Protocol

from perdure.codec import BLOB
from perdure.errors import BlobMissing, MissingExtra, StoreUnavailable

MAX_INLINE = 256 * 1024  # bytes; a stored value over this becomes a blob
S3 = "s3://"
DOOMED = ".doomed"  # a file that is being removed


class Stored(NamedTuple):
    """A blob that is there: ``modified`` is when it was last written, in seconds since 1970."""

    name: str
    size: int
    modified: float


class Blobs(Protocol):
    """Where large values are. Calls block: run them in a thread. Any may raise
    StoreUnavailable."""

    url: str  # for people

    def put(self, data: bytes) -> bytes:
        """Store; returns the reference (codec bytes)."""

    def get(self, reference: bytes) -> bytes:
        """Raises BlobMissing when it is not there, or is not what was stored."""

    def has(self, reference: bytes) -> bool:
        """Whether it is there."""

    def stored(self) -> Iterator[Stored]:
        """All there are, in no order."""

    def remove(self, name: str, unless_after: float) -> bool:
        """Remove a blob that nothing refers to, unless it was written after that time (seconds
        since 1970) after all. Returns whether it is gone by this."""


def make_blobs(place: str | Path) -> Blobs:
    """The blobs at ``place``: a folder, or ``s3://bucket/prefix``. Raises ConfigError for an
    address that is none, MissingExtra without boto3."""
    if not str(place).startswith(S3):
        return FileBlobs(Path(place))
    try:
        from perdure.store.s3 import S3Blobs
    except ModuleNotFoundError as error:
        if error.name not in ("boto3", "botocore"):
            raise
        raise MissingExtra("Blobs in S3", "s3") from None
    return S3Blobs(str(place))


def name_of(reference: bytes) -> str:
    """The blob's name: its SHA-256 in hex."""
    return reference[1:].decode()


def reference_to(name: str) -> bytes:
    """What stands in a row for the blob of that name."""
    return BLOB + name.encode()


def is_name(text: str) -> bool:
    """Whether a blob could be called this; other files and objects are not ours."""
    return len(text) == 64 and all(c in "0123456789abcdef" for c in text)


def verified(name: str, data: bytes, where: str) -> bytes:
    """``data``. Raises BlobMissing where it is not what ``name`` says."""
    if sha256(data).hexdigest() != name:
        raise BlobMissing(
            f"The blob {name} in {where} is damaged: its content is not what was stored.",
            hint="Restore it from a backup; what it holds is not used as it is.",
        )
    return data


class FileBlobs:
    """Blobs as files under one folder, two levels deep."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.url = str(folder)

    def put(self, data: bytes) -> bytes:
        name = sha256(data).hexdigest()
        path = self._path(name)
        try:
            if not self._renewed(path):
                self._write(path, data)
        except OSError as error:
            raise self._trouble(error) from error
        return reference_to(name)

    def get(self, reference: bytes) -> bytes:
        path = self._path(name_of(reference))
        # Whoever removes it may change its mind: then it comes back by its name.
        for place in (path, _doomed(path), path):
            try:
                return verified(path.name, place.read_bytes(), self.url)
            except FileNotFoundError:
                continue
            except OSError as error:
                raise self._trouble(error) from error
        raise BlobMissing(
            f"The blob {path.name} is not in {self._folder}.",
            hint="Every worker needs the same blob folder (settings: store.blobs).",
        )

    def has(self, reference: bytes) -> bool:
        return self._path(name_of(reference)).exists()

    def stored(self) -> Iterator[Stored]:
        try:
            folders = sorted(entry.path for entry in os.scandir(self._folder) if entry.is_dir())
        except FileNotFoundError:
            return
        except OSError as error:
            raise self._trouble(error) from error
        for folder in folders:
            for entry in os.scandir(folder):
                if not is_name(entry.name):
                    continue
                try:
                    about = entry.stat()
                except FileNotFoundError:
                    continue
                yield Stored(entry.name, about.st_size, about.st_mtime)

    def remove(self, name: str, unless_after: float) -> bool:
        path = self._path(name)
        doomed = _doomed(path)
        try:
            path.rename(doomed)
            # A put that found it there renewed it before the rename, or writes it anew after.
            if doomed.stat().st_mtime > unless_after:
                doomed.rename(path)
                return False
            doomed.unlink()
        except FileNotFoundError:
            return False  # someone else removed it
        except OSError as error:
            raise self._trouble(error) from error
        return True

    def _path(self, name: str) -> Path:
        return self._folder / name[:2] / name

    def _renewed(self, path: Path) -> bool:
        """Whether it is there, and as good as new from now on."""
        try:
            os.utime(path)
        except FileNotFoundError:
            return False
        return True

    def _write(self, path: Path, data: bytes) -> None:
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

    def _trouble(self, error: OSError) -> StoreUnavailable:
        return StoreUnavailable(
            f"The blob folder {self._folder} cannot be used: {error.strerror}.",
            hint="Check the disk, and who may write there (settings: store.blobs).",
        )


def _doomed(path: Path) -> Path:
    return path.with_suffix(DOOMED)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def now() -> float:
    """Seconds since 1970, as blobs' ages are counted."""
    return time.time()
