"""Keys: the same for the same effect, and for no other (K1, K2, K5)."""

from __future__ import annotations

from itertools import combinations

import pytest

from perdure.codec import canonical
from perdure.core.digest import DIGEST_SIZE, KEY_SIZE, digest, effect_key


def test_every_part_of_a_key_matters() -> None:
    base = (b"s", "/0", "step", "name", b"d" * 16, 0)
    keys = {effect_key(*base)}
    for i, other in enumerate((b"t", "/1", "tool", "other", b"e" * 16, 1)):
        keys.add(effect_key(*(*base[:i], other, *base[i + 1 :])))  # type: ignore[arg-type]
    assert len(keys) == 7
    assert all(len(key) == KEY_SIZE for key in keys)
    assert effect_key(*base) == effect_key(*base)
    assert len(digest(b"")) == DIGEST_SIZE


def test_parts_do_not_run_into_each_other() -> None:
    d = b"d" * 16
    made = [
        effect_key(b"", "a", "b", "c", d, 0), effect_key(b"", "ab", "", "c", d, 0),
        effect_key(b"", "a", "bc", "", d, 0), effect_key(b"", "", "ab", "c", d, 0),
        effect_key(b"a", "", "b", "c", d, 0), effect_key(b"", "a", "b", "c1", d, 0),
        effect_key(b"", "a", "b", "c", d, 10),
    ]  # fmt: skip
    assert all(a != b for a, b in combinations(made, 2))


class Thing:
    """Something that is no JSON value."""


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ((1, 2), [1, 2]),
        ({3, 1, 2}, {2, 3, 1}),
        (Thing(), Thing()),  # a client or connection stands for its type
        ({"x": {1: "a"}}, {"x": {1: "a"}}),
        (2**200, 2**200),
        ("\ud800", "\ud800"),
    ],
)
def test_equal_content_has_equal_bytes(one: object, other: object) -> None:
    """K5: the digest is of what shapes the answer."""
    assert canonical(one) == canonical(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": 1}, {"a": 2}),
        ([1, 2], [2, 1]),
        ("1", 1),
        (b"a", "a"),
        (Thing(), object()),
        (2**200, 2**200 + 1),
        ("\ud800", "\ud801"),
        (None, False),
    ],
)
def test_other_content_has_other_bytes(one: object, other: object) -> None:
    """K5."""
    assert canonical(one) != canonical(other)


def test_what_is_nested_too_deep_or_refuses_to_be_written_has_bytes_all_the_same() -> None:
    """K5: taken before the body runs, so it must not fail there."""
    deep: list[object] = []
    for _ in range(5000):
        deep = [deep]

    class Refuses:
        def model_dump(self, mode: str) -> object:
            raise ValueError("no")

    round_trip: list[object] = []
    round_trip.append(round_trip)
    assert canonical(deep)
    assert canonical(Refuses()) == canonical(Refuses())
    assert canonical(round_trip)
