"""Blobs in S3-compatible storage: ``s3://bucket/prefix``, through boto3 (extra ``s3``).

An object is named ``prefix/<first two digits>/<SHA-256>``. Credentials, region and endpoint come
from where boto3 finds them (variables, profiles, roles); ``?endpoint=URL`` and ``?region=NAME`` go
before that. A write that is there already is written again once it is older than RENEW_S, so
that a sweep never removes what a run is about to refer to; where the bucket keeps versions, only
the very version that was looked at is removed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from hashlib import sha256
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    NoCredentialsError,
    NoRegionError,
    PartialCredentialsError,
    ProfileNotFound,
)

from perdure.errors import BlobMissing, ConfigError, StoreUnavailable
from perdure.store.blobs import Stored, is_name, name_of, now, reference_to, verified

T = TypeVar("T")
CONNECT_S = 5.0
READ_S = 30.0  # without a byte
TRIES = 4  # of one request in all, with boto3's standard back-off
LINKS = 32  # connections that threads share
RENEW_S = 600.0  # an object this old is written again: far below the shortest grace of a sweep
MISSING = ("404", "NoSuchKey", "NotFound")
WRONG = ("NoSuchBucket", "AccessDenied", "403", "InvalidAccessKeyId", "SignatureDoesNotMatch",
         "AllAccessDisabled", "InvalidBucketName", "PermanentRedirect")  # fmt: skip


class S3Blobs:
    """See ``Blobs`` for every method. Raises ConfigError for an address that is none."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        options = dict(parse_qsl(parts.query, keep_blank_values=True))
        unknown = sorted(set(options) - {"endpoint", "region"})
        if parts.scheme != "s3" or not parts.netloc or unknown or parts.fragment:
            raise ConfigError(
                f"store.blobs {url!r} is no address of a bucket.",
                hint="Write s3://bucket/prefix, if need be with ?endpoint=URL&region=NAME.",
            )
        self.url = url
        self._bucket = parts.netloc
        prefix = parts.path.strip("/")
        self._prefix = f"{prefix}/" if prefix else ""
        self._options = options
        self._lock = threading.Lock()
        self._made: Any = None

    def put(self, data: bytes) -> bytes:
        name = sha256(data).hexdigest()
        about = self._head(name)
        if about is None or now() - about["LastModified"].timestamp() > RENEW_S:
            self._ask(
                lambda s3: s3.put_object(
                    Bucket=self._bucket,
                    Key=self._key(name),
                    Body=data,
                    ContentType="application/octet-stream",
                )
            )
        return reference_to(name)

    def get(self, reference: bytes) -> bytes:
        name = name_of(reference)

        def read(s3: Any) -> bytes:
            answer = s3.get_object(Bucket=self._bucket, Key=self._key(name))
            body: bytes = answer["Body"].read()
            return body

        try:
            data = self._ask(read)
        except _Missing:
            raise BlobMissing(
                f"The blob {name} is not in {self.url}.",
                hint="Every worker needs the same place for blobs (settings: store.blobs).",
            ) from None
        return verified(name, data, self.url)

    def has(self, reference: bytes) -> bool:
        return self._head(name_of(reference)) is not None

    def stored(self) -> Iterator[Stored]:
        token: str | None = None
        while True:
            given = {} if token is None else {"ContinuationToken": token}
            page = self._ask(
                lambda s3, given=given: s3.list_objects_v2(  # type: ignore[misc]
                    Bucket=self._bucket, Prefix=self._prefix, **given
                )
            )
            for item in page.get("Contents", ()):
                name = str(item["Key"]).rpartition("/")[2]
                if is_name(name) and item["Key"] == self._key(name):
                    yield Stored(name, int(item["Size"]), item["LastModified"].timestamp())
            token = page.get("NextContinuationToken")
            if not page.get("IsTruncated") or token is None:
                return

    def remove(self, name: str, unless_after: float) -> bool:
        about = self._head(name)
        if about is None or about["LastModified"].timestamp() > unless_after:
            return False
        version = about.get("VersionId")
        given = {} if version in (None, "null") else {"VersionId": version}
        self._ask(lambda s3: s3.delete_object(Bucket=self._bucket, Key=self._key(name), **given))
        return True

    def _key(self, name: str) -> str:
        return f"{self._prefix}{name[:2]}/{name}"

    def _head(self, name: str) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = self._ask(
                lambda s3: s3.head_object(Bucket=self._bucket, Key=self._key(name))
            )
        except _Missing:
            return None
        return found

    def _ask(self, call: Callable[[Any], T]) -> T:
        """Ask the service. Raises what its errors mean."""
        try:
            return call(self._client())
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", ""))
            if code in MISSING:
                raise _Missing from error
            if code in WRONG:
                raise ConfigError(
                    f"{self.url} cannot be used: {error}",
                    hint="Check the bucket's name, region and policy, and the credentials.",
                ) from error
            raise self._trouble(error) from error
        except (NoCredentialsError, PartialCredentialsError, NoRegionError, ProfileNotFound) as e:
            raise ConfigError(
                f"{self.url} cannot be used: {e}",
                hint="Perdure takes credentials and region from where boto3 finds them.",
            ) from e
        except (BotoCoreError, OSError) as error:
            raise self._trouble(error) from error

    def _client(self) -> Any:
        with self._lock:
            if self._made is None:
                session = boto3.session.Session()
                self._made = session.client(
                    "s3",
                    endpoint_url=self._options.get("endpoint"),
                    region_name=self._options.get("region"),
                    config=Config(
                        connect_timeout=CONNECT_S,
                        read_timeout=READ_S,
                        retries={"mode": "standard", "max_attempts": TRIES},
                        max_pool_connections=LINKS,
                        # Services other than Amazon's do not all know the newer checksums; what
                        # is read is verified anyway.
                        request_checksum_calculation="when_required",
                        response_checksum_validation="when_required",
                    ),
                )
            return self._made

    def _trouble(self, error: Exception) -> StoreUnavailable:
        return StoreUnavailable(
            f"{self.url} does not answer as it should: {error}",
            hint="Runs wait for it; none is lost.",
        )


class _Missing(Exception):
    """There is no such object."""
