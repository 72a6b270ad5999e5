"""Settings: precedence, sources, and refusals that name the place."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from perdure.config import Config, client_settings, duration, load
from perdure.errors import ConfigError


def write(folder: Path, text: str) -> Path:
    path = folder / "perdure.toml"
    path.write_text(text)
    return path


def test_defaults_need_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = load(environ={})
    assert config == Config()
    assert {source for _, _, source in config.show()} == {"default"}


def test_flags_go_before_variables_before_the_file(tmp_path: Path) -> None:
    path = write(
        tmp_path, '[worker]\nconcurrency = 1\nlease = "3s"\ndrain = 4\n[store]\nurl = "sqlite:///f"'
    )
    config = load(
        path,
        environ={"PERDURE_WORKER_CONCURRENCY": "2", "PERDURE_WORKER_LEASE": "500ms"},
        flags={"worker.concurrency": 3, "worker.drain": None},
    )
    assert config.worker.concurrency == 3
    assert config.worker.lease == timedelta(milliseconds=500)
    assert config.worker.drain == timedelta(seconds=4)
    sources = {key: source for key, _, source in config.show()}
    assert sources["worker.concurrency"] == "flag"
    assert sources["worker.lease"] == "PERDURE_WORKER_LEASE"
    assert sources["worker.drain"] == sources["store.url"] == str(path)
    assert sources["server.port"] == "default"


def test_the_file_is_found_in_the_folder_or_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "[server]\nport = 1")
    other = tmp_path / "other.toml"
    other.write_text("[server]\nport = 2")
    monkeypatch.chdir(tmp_path)
    assert load(environ={}).server.port == 1
    assert load(environ={"PERDURE_CONFIG": str(other)}).server.port == 2
    assert load(other, environ={}).server.port == 2


@pytest.mark.parametrize("how", ["path", "variable"])
def test_a_file_that_was_named_must_be_there(tmp_path: Path, how: str) -> None:
    missing = tmp_path / "missing.toml"
    path = missing if how == "path" else None
    environ = {} if path else {"PERDURE_CONFIG": str(missing)}
    with pytest.raises(ConfigError, match="does not exist"):
        load(path, environ=environ)


def test_short_names_and_foreign_variables() -> None:
    config = load(
        environ={
            "PERDURE_STORE": "postgresql://u:secret@h/d",
            "PERDURE_HOME": "/elsewhere",
            "PATH": "/bin",
        }
    )
    assert config.store.url == "postgresql://u:secret@h/d"


def test_passwords_are_not_shown() -> None:
    config = load(environ={"PERDURE_STORE": "postgresql://u:s3cret@h/d"})
    shown = {key: value for key, value, _ in config.show()}
    assert shown["store.url"] == "postgresql://u:***@h/d"
    assert "s3cret" not in repr(config.show())


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30", 30), (30, 30), (1.5, 1.5), ("500ms", 0.5), ("2m", 120), ("1h", 3600), ("1d", 86400),
     (" 5 s ", 5), ("0", 0), (timedelta(seconds=9), 9)],
)  # fmt: skip
def test_durations(text: Any, seconds: float) -> None:
    assert duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "x", "5w", "-1", "1 2", "1e3", "inf", "nan", True])
def test_what_is_no_duration(text: Any) -> None:
    with pytest.raises(ValueError, match="no duration"):
        duration(text)


@pytest.mark.parametrize(
    ("toml", "why"),
    [
        ("[worker]\nconcurency = 1", r"no setting worker\.concurency .*perdure\.toml"),
        ("[wroker]\nconcurrency = 1", r"no setting \[wroker\]"),
        ("[worker]\nconcurrency = 'many'", r"worker\.concurrency = 'many' .* a whole number"),
        ("[worker]\nconcurrency = -1", "cannot be negative"),
        ("[worker]\nconcurrency = 0", r"worker\.concurrency = 0 .* say more than 0"),
        ("[worker]\nlease = '0s'", r"worker\.lease = '0s' .* say more than 0"),
        ("[worker]\nconcurrency = 1.5", "whole number"),
        ("[worker]\nconcurrency = true", "whole number"),
        ("[worker]\nlease = 'soon'", "a duration"),
        ("[server]\ninsecure = 'perhaps'", "true or false"),
        ("[server]\nhost = 5", "say a text"),
        ("[gateway]\nproviders = { a = 1 }", "table of strings"),
        ("[gateway]\nproviders = 'a'", "a table"),
        ("worker = 5", "must be a table"),
        ("agents = 5", "must hold tables"),
        ("[agents]\na = 5", r"agents\.a must be a table"),
        ("[agents.a]\ncolour = 'red'", r"no setting agents\.a\.colour"),
        ("[agents.a]\nattempts = 'x'", r"agents\.a\.attempts"),
        ("[agents.a]\nattempts = 0", r"agents\.a\.attempts = 0 .* say more than 0"),
        ("[agents.a]\ncap = 0", r"agents\.a\.cap = 0 .* say more than 0"),
        ("[server]\nport = 65536", r"server\.port = 65536 .*perdure\.toml.* they end at 65535"),
        ("[worker", "not valid TOML"),
    ],
)
def test_wrong_settings_are_named_with_their_place(tmp_path: Path, toml: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        load(write(tmp_path, toml), environ={})


def test_wrong_variables_are_named() -> None:
    with pytest.raises(ConfigError, match="PERDURE_SERVER_PORT"):
        load(environ={"PERDURE_SERVER_PORT": "http"})
    with pytest.raises(ConfigError, match=r"no setting server\.prot"):
        load(environ={"PERDURE_SERVER_PROT": "1"})


@pytest.mark.parametrize(
    ("text", "value"), [("true", True), ("1", True), ("ON", True), ("no", False), ("0", False)]
)
def test_booleans_in_variables(text: str, value: bool) -> None:
    assert load(environ={"PERDURE_SERVER_INSECURE": text}).server.insecure is value


@pytest.mark.parametrize("text", ["", "none", "off"])
def test_optional_settings_can_be_switched_off(text: str) -> None:
    assert load(environ={"PERDURE_WORKER_MAX_ATTEMPT": "60"}).worker.max_attempt is not None
    assert load(environ={"PERDURE_WORKER_MAX_ATTEMPT": text}).worker.max_attempt is None


def test_agents_have_settings_of_their_own(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        '[agents.research]\ntimeout = "5m"\nattempts = 2\ncap = 3\n'
        'tools = { refund = "once" }\n[agents."with space"]\nrequests = false\n',
    )
    config = load(path, environ={})
    research = config.agents["research"]
    assert research.timeout == timedelta(minutes=5)
    assert (research.attempts, research.cap, research.tools) == (2, 3, {"refund": "once"})
    assert config.agents["with space"].requests is False
    shown = [row for row in config.show() if row[0].startswith("agents.research")]
    assert ("agents.research.timeout", "300s", str(path)) in shown
    assert len(shown) == 4


def test_where_blobs_are() -> None:
    assert load(environ={"PERDURE_STORE_BLOBS": "/b"}).blob_folder() == Path("/b")
    sqlite = load(environ={"PERDURE_STORE": "sqlite:////data/runs.db"})
    assert sqlite.blob_folder() == Path("/data/runs.blobs")
    other = load(environ={"PERDURE_STORE": "postgresql://h/d"})
    assert other.blob_folder() == Path(".perdure/blobs")


def test_a_table_in_a_section_holds_settings_that_begin_with_its_name(tmp_path: Path) -> None:
    file = tmp_path / "perdure.toml"
    file.write_text('[server.cors]\norigins = ["https://a.example", "https://b.example"]\n')
    config = load(file, environ={})
    assert config.server.cors_origins == ("https://a.example", "https://b.example")
    assert config.sources == {"server.cors_origins": str(file)}
    file.write_text("[server.cors]\nnonsense = 1\n")
    with pytest.raises(ConfigError, match=r"server\.cors_nonsense"):
        load(file, environ={})


def test_lists_of_texts() -> None:
    environ = {"PERDURE_SERVER_CORS_ORIGINS": "https://a.example, https://b.example"}
    assert load(environ=environ).server.cors_origins == ("https://a.example", "https://b.example")
    with pytest.raises(ConfigError, match="is not a list"):
        load(environ={}, flags={"server.cors_origins": [1]})


def test_where_a_client_finds_its_server() -> None:
    assert client_settings({}) == (None, None)
    environ = {"PERDURE_URL": "http://x", "PERDURE_API_KEY": "pk_a_b"}
    assert client_settings(environ) == ("http://x", "pk_a_b")
    assert load(environ=environ).sources == {}


def test_a_variable_that_is_nearly_a_setting_is_a_mistake() -> None:
    with pytest.raises(ConfigError, match=r"no setting servr\.port") as caught:
        load(environ={"PERDURE_SERVR_PORT": "1"})
    assert caught.value.hint == "Did you mean PERDURE_SERVER_PORT?"
    load(environ={"PERDURE_API_KEY": "k", "PERDURE_SERVICE_PORT": "1", "PERDURE_WORK_DIR": "/"})
    load(environ={"PERDURE_SERVE_PORT": "tcp://10.0.0.7:8080"})  # a service called perdure-serve
