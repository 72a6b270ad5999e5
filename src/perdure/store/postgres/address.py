"""Where a PostgreSQL database is, and what to call it where people read it."""

from __future__ import annotations

import os
import re
import socket
import uuid
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from perdure.errors import ConfigError

DEFAULT_PORT = 5432
_SECRET = re.compile(r"password|secret|key", re.IGNORECASE)


@dataclass(frozen=True, slots=True, repr=False)
class Address:
    """``dsn`` is for the driver, with its password; ``url`` and ``place`` are for people.
    ``process`` is the application_name of all connections of one store."""

    dsn: str
    url: str
    place: str
    process: str

    @classmethod
    def parse(cls, url: str) -> Address:
        """``postgresql://user:password@host:port/database?sslmode=…``. Raises ConfigError."""
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            port = None  # several hosts: host1:1,host2:2
            parts = urlsplit(url)
        if parts.scheme not in ("postgresql", "postgres"):
            raise ConfigError(
                "store.url is no address of a PostgreSQL database.",
                hint="Write postgresql://user:password@host:5432/database",
            )
        options = parse_qsl(parts.query, keep_blank_values=True)
        named = dict(options)
        user, at, hosts = parts.netloc.rpartition("@")
        shown = user.partition(":")[0] + at + hosts
        public = urlencode([(k, v) for k, v in options if not _SECRET.search(k)], safe="/:")
        host = hosts or named.get("host", "localhost")
        if port is None and ":" not in host:
            host = f"{host}:{named.get('port', DEFAULT_PORT)}"
        name = parts.path.lstrip("/") or named.get("dbname", "")
        return cls(
            dsn=url,
            url=urlunsplit((parts.scheme, shown, parts.path, public, "")),
            place=f"{host}/{name}" if name else host,
            process=f"perdure {host_name()} {os.getpid()} {uuid.uuid4().hex[:8]}",
        )


def host_name() -> str:
    """This host's name as far as an application_name may hold it."""
    return re.sub(r"[^A-Za-z0-9.-]", "_", socket.gethostname())[:24]
