"""An entry is read back exactly, or not at all."""

import contextlib
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infrastructor.cache.frame import Unusable, decode, encode
from infrastructor.ports.cache import CacheEntry

SECRET = b"s" * 32
ENTRY = CacheEntry(schema="abc123", collected_at=datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC), body=b'{"a":1}')


@given(
    st.binary(max_size=200),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=40),
    st.datetimes(timezones=st.just(UTC)),
    st.binary(max_size=60),
)
def test_what_was_encoded_is_decoded(body: bytes, schema: str, moment: datetime, key: bytes) -> None:
    entry = CacheEntry(schema=schema, collected_at=moment, body=body)
    assert decode(key, encode(key, entry, SECRET), SECRET) == entry


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_any_changed_byte_makes_it_unusable_or_foreign(position: int, flip: int) -> None:
    data = bytearray(encode(b"k", ENTRY, SECRET))
    data[position % len(data)] ^= flip
    with contextlib.suppress(Unusable):
        assert decode(b"k", bytes(data), SECRET) is None


@given(st.binary(max_size=200))
def test_garbage_is_unusable(data: bytes) -> None:
    with contextlib.suppress(Unusable):
        assert decode(b"k", data, SECRET) is None


def test_an_entry_of_another_key_is_unusable() -> None:
    data = encode(b"infra_cache:t:device-1:", ENTRY, SECRET)
    with pytest.raises(Unusable):
        decode(b"infra_cache:t:device-2:", data, SECRET)


def test_an_entry_of_another_server_is_left_alone() -> None:
    assert decode(b"k", encode(b"k", ENTRY, b"o" * 32), SECRET) is None
