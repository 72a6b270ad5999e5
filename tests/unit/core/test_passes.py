from __future__ import annotations

import pytest

from perdure.core.passes import LONGEST, PREFIX, Pass, mint, read
from perdure.errors import Unauthorized

SECRET = b"s" * 32
WHOLE = Pass(
    "run", 3, b"\x00\xff", "agent", "tenant", "session", "step", "feature", "hard", 5, 9.5, True,
    100.0,
)  # fmt: skip


def test_what_is_minted_is_read() -> None:
    assert read(SECRET, mint(SECRET, WHOLE), 99.9) == WHOLE
    assert read(SECRET, mint(SECRET, Pass("run", 1)), 1e12) == Pass("run", 1)


def test_it_goes_into_a_header_and_a_variable() -> None:
    token = mint(SECRET, WHOLE._replace(step="größer", agent="a\nb"))
    assert token.isascii()
    assert token.isprintable()
    assert " " not in token


def test_its_time_ends() -> None:
    with pytest.raises(Unauthorized, match="expired"):
        read(SECRET, mint(SECRET, WHOLE), 100.0)


def test_any_change_is_noticed() -> None:
    token = mint(SECRET, WHOLE)
    body, _, signature = token.partition(".")
    other = mint(SECRET, WHOLE._replace(run_id="other")).partition(".")[0]
    for wrong in (
        mint(b"t" * 32, WHOLE), f"{other}.{signature}", body, f"{body}.", f"{body}.é", "",
        token.removeprefix(PREFIX), f"{PREFIX}.", f"{PREFIX}!.!", token + "A" * LONGEST,
        f"{body}.{signature[:-4]}",
    ):  # fmt: skip
        with pytest.raises(Unauthorized):
            read(SECRET, wrong, 0.0)
