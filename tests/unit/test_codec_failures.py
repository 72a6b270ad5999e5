"""A replayed failure is caught by what caught the live one (F2)."""

from __future__ import annotations

import httpx2
import pytest

from perdure.codec import decode_failure, encode_failure
from perdure.errors import EffectFailed


class Refused(Exception):
    """Takes more than its ``args`` hold, and says something of its own."""

    def __init__(self, code: int) -> None:
        super().__init__("refused")
        self.code = code

    def __str__(self) -> str:
        return f"refused with {self.code}"


def replayed(error: Exception) -> BaseException:
    return decode_failure(encode_failure(error))


def test_a_class_that_is_made_of_more_than_its_args_is_still_that_class() -> None:
    request = httpx2.Request("GET", "https://example.com")
    error = httpx2.HTTPStatusError("404", request=request, response=httpx2.Response(404))
    again = replayed(error)
    assert isinstance(again, httpx2.HTTPStatusError)
    assert str(again) == "404"


@pytest.mark.parametrize("error", [ValueError("x", 1), KeyError("k"), OSError(2, "no", "file")])
def test_ordinary_errors_come_back_whole(error: Exception) -> None:
    again = replayed(error)
    assert type(again) is type(error)
    assert str(again) == str(error)


def test_what_would_say_something_else_is_named_instead() -> None:
    again = replayed(Refused(7))
    assert isinstance(again, EffectFailed)
    assert "refused with 7" in str(again)
