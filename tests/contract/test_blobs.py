"""Where large values are: a folder, or a bucket of moto's server, which speaks S3 over HTTP."""

from __future__ import annotations

import os
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from perdure.codec import BLOB
from perdure.errors import BlobMissing, ConfigError, StoreUnavailable
from perdure.store import s3
from perdure.store.blobs import Blobs, FileBlobs, make_blobs, now
from tests.servers import free_port

DATA = b"a large value"
NAME = sha256(DATA).hexdigest()
HOUR = 3600.0


class Place:
    """Where the blobs under test are, and what others do there behind their back."""

    def __init__(self, blobs: Blobs) -> None:
        self.blobs = blobs

    def age(self, name: str, seconds: float) -> None:
        """Make it as old as that."""
        raise NotImplementedError

    def damage(self, name: str) -> None:
        raise NotImplementedError

    def litter(self) -> None:
        """Put something there that is no blob."""
        raise NotImplementedError


class Folder(Place):
    def __init__(self, path: Path) -> None:
        super().__init__(FileBlobs(path / "blobs"))
        self.path = path / "blobs"

    def age(self, name: str, seconds: float) -> None:
        os.utime(self.path / name[:2] / name, (now() - seconds,) * 2)

    def damage(self, name: str) -> None:
        (self.path / name[:2] / name).write_bytes(b"else")

    def litter(self) -> None:
        (self.path / NAME[:2]).mkdir(parents=True, exist_ok=True)
        (self.path / NAME[:2] / "notes.txt").write_text("mine")
        (self.path / "readme").write_text("mine")


class Bucket(Place):
    def __init__(self, endpoint: str) -> None:
        super().__init__(make_blobs(f"s3://bucket/some/where?endpoint={endpoint}&region=us-east-1"))
        self.s3 = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1")

    def age(self, name: str, seconds: float) -> None:
        from moto.s3.models import s3_backends

        for account in s3_backends.values():
            for backend in account.values():
                for key in backend.buckets["bucket"].keys.values():
                    if key.name.endswith(name):
                        moved = key.last_modified.timestamp() - seconds
                        key.last_modified = type(key.last_modified).fromtimestamp(
                            moved, key.last_modified.tzinfo
                        )

    def damage(self, name: str) -> None:
        self.s3.put_object(Bucket="bucket", Key=f"some/where/{name[:2]}/{name}", Body=b"else")

    def litter(self) -> None:
        for key in ("some/where/notes.txt", f"elsewhere/{NAME[:2]}/{NAME}", f"some/where/{NAME}"):
            self.s3.put_object(Bucket="bucket", Key=key, Body=b"mine")


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "simulated")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "simulated")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    place = Bucket(endpoint)
    place.s3.create_bucket(Bucket="bucket")
    yield place
    for item in place.s3.list_object_versions(Bucket="bucket").get("Versions", ()):
        place.s3.delete_object(Bucket="bucket", Key=item["Key"], VersionId=item["VersionId"])
    for item in place.s3.list_objects_v2(Bucket="bucket").get("Contents", ()):
        place.s3.delete_object(Bucket="bucket", Key=item["Key"])


@pytest.fixture(params=["folder", "bucket"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "folder":
        return Folder(tmp_path)
    found: Bucket = request.getfixturevalue("bucket")
    return found


def names(blobs: Blobs) -> list[str]:
    return sorted(item.name for item in blobs.stored())


def test_what_is_put_is_got(place: Place) -> None:
    reference = place.blobs.put(DATA)
    assert reference == BLOB + NAME.encode()
    assert place.blobs.get(reference) == DATA
    assert place.blobs.has(reference)
    assert place.blobs.put(DATA) == reference
    (item,) = place.blobs.stored()
    assert (item.name, item.size) == (NAME, len(DATA))
    assert abs(item.modified - now()) < 60


def test_what_is_not_there_says_so(place: Place) -> None:
    reference = BLOB + b"0" * 64
    assert not place.blobs.has(reference)
    assert names(place.blobs) == []
    with pytest.raises(BlobMissing) as missing:
        place.blobs.get(reference)
    assert "store.blobs" in str(missing.value.hint)


def test_what_was_damaged_is_not_used(place: Place) -> None:
    reference = place.blobs.put(DATA)
    place.damage(NAME)
    with pytest.raises(BlobMissing, match="damaged"):
        place.blobs.get(reference)


def test_only_blobs_are_listed(place: Place) -> None:
    place.litter()
    place.blobs.put(DATA)
    assert names(place.blobs) == [NAME]


def test_an_old_one_is_removed(place: Place) -> None:
    reference = place.blobs.put(DATA)
    place.age(NAME, 2 * HOUR)
    assert place.blobs.remove(NAME, now() - HOUR)
    assert not place.blobs.has(reference)
    assert names(place.blobs) == []
    assert not place.blobs.remove(NAME, now() - HOUR)


def test_a_young_one_is_not_removed(place: Place) -> None:
    reference = place.blobs.put(DATA)
    assert not place.blobs.remove(NAME, now() - HOUR)
    assert place.blobs.get(reference) == DATA


def test_an_old_one_that_is_written_again_is_young(place: Place) -> None:
    """It was found unreferenced; then a run came with the same value."""
    place.blobs.put(DATA)
    place.age(NAME, 2 * HOUR)
    reference = place.blobs.put(DATA)
    assert not place.blobs.remove(NAME, now() - HOUR)
    assert place.blobs.get(reference) == DATA


# -- a folder -------------------------------------------------------------------------------------


def test_a_put_in_the_middle_of_a_removal_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It finds the file there and renews it, and a reader finds it at any moment."""
    blobs = FileBlobs(tmp_path)
    reference = blobs.put(DATA)
    path = tmp_path / NAME[:2] / NAME
    os.utime(path, (now() - 2 * HOUR,) * 2)
    rename = Path.rename
    seen: list[bytes] = []

    def slow(self: Path, target: Path) -> Any:
        if not seen:
            os.utime(self)  # a put, after the age was read
        moved = rename(self, target)
        seen.append(blobs.get(reference))
        return moved

    monkeypatch.setattr(Path, "rename", slow)
    assert not blobs.remove(NAME, now() - HOUR)
    assert seen == [DATA, DATA]
    assert blobs.get(reference) == DATA


def test_a_folder_that_cannot_be_used_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(StoreUnavailable, match="cannot be used"):
        FileBlobs(tmp_path / "file").put(DATA)


# -- a bucket -------------------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["s3://", "s3:///x", "s3://b/p?endpont=x", "s3://b/p#x"])
def test_addresses_that_are_none(url: str) -> None:
    with pytest.raises(ConfigError, match=r"store\.blobs"):
        make_blobs(url)


def test_more_than_a_page_is_listed(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = sorted(bucket.blobs.put(b"%d" % n)[1:].decode() for n in range(5))
    client = bucket.blobs._client()  # type: ignore[attr-defined]
    listing = client.list_objects_v2
    monkeypatch.setattr(client, "list_objects_v2", lambda **given: listing(MaxKeys=2, **given))
    assert names(bucket.blobs) == wanted


def test_a_version_that_was_not_looked_at_stays(bucket: Bucket) -> None:
    bucket.s3.put_bucket_versioning(Bucket="bucket", VersioningConfiguration={"Status": "Enabled"})
    try:
        bucket.blobs.put(DATA)
        bucket.age(NAME, 2 * HOUR)
        client = bucket.blobs._client()  # type: ignore[attr-defined]
        delete = client.delete_object

        def late(**given: Any) -> Any:
            bucket.s3.put_object(Bucket="bucket", Key=given["Key"], Body=DATA)  # another's put
            return delete(**given)

        client.delete_object = late
        assert bucket.blobs.remove(NAME, now() - HOUR)
        assert bucket.blobs.get(BLOB + NAME.encode()) == DATA
    finally:
        bucket.s3.put_bucket_versioning(
            Bucket="bucket", VersioningConfiguration={"Status": "Suspended"}
        )


def test_a_bucket_that_is_not_there_is_a_wrong_setting(bucket: Bucket, endpoint: str) -> None:
    blobs = make_blobs(f"s3://nowhere/x?endpoint={endpoint}&region=us-east-1")
    with pytest.raises(ConfigError, match="nowhere"):
        blobs.put(DATA)


def test_no_credentials_are_a_wrong_setting(
    endpoint: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(ConfigError, match="credentials"):
        make_blobs(f"s3://bucket/x?endpoint={endpoint}&region=us-east-1").put(DATA)


def test_a_service_that_is_away_is_waited_for(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3, "TRIES", 1)
    port = free_port()
    blobs = make_blobs(f"s3://bucket/x?endpoint=http://127.0.0.1:{port}&region=us-east-1")
    with pytest.raises(StoreUnavailable) as away:
        blobs.put(DATA)
    assert away.value.retryable
    assert not isinstance(away.value, BlobMissing)
