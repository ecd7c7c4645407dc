"""Contents and texts of the history, without a database."""

import os
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infrastructor.storage.codec import Key, Unreadable, compress, decompress, seal, unseal
from infrastructor.storage.texts import grams, literal_grams, pattern_grams, required, searchable
from infrastructor.storage.versions import original, path_key, signed_32, signed_64, storable, unsigned_64

KEY = Key(1, bytes(32))


@given(st.binary(max_size=3000), st.binary(max_size=3000) | st.none())
def test_compressed_content_comes_back(content: bytes, base: bytes | None) -> None:
    body, needs_base = compress(content, base)
    assert decompress(body, base if needs_base else None, len(content)) == content


@given(st.binary(min_size=50, max_size=2000), st.integers(0, 50), st.binary(max_size=20))
def test_a_small_change_takes_little(base: bytes, place: int, new: bytes) -> None:
    body, _ = compress(base[:place] + new + base[place:], base)
    assert len(body) < 60 + len(new)


def test_a_change_at_the_end_of_a_big_file_takes_little() -> None:
    base = os.urandom(1 << 20)
    body, needs_base = compress(base + b"one more line\n", base)
    assert needs_base
    assert len(body) < 200


def test_a_sealed_body_opens_with_its_key_and_its_hash_alone() -> None:
    sealed = seal(KEY, b"hash", b"body")
    assert unseal(KEY, b"hash", sealed) == b"body"
    assert seal(KEY, b"hash", b"body") != sealed, "a nonce is never used twice"
    for key, digest, body in (
        (Key(2, bytes(31) + b"x"), b"hash", sealed),
        (KEY, b"other", sealed),
        (KEY, b"hash", sealed[:-1] + bytes([sealed[-1] ^ 1])),
        (KEY, b"hash", b""),
    ):
        with pytest.raises(Unreadable):
            unseal(key, digest, body)
    assert "x" not in repr(Key(2, b"x" * 32))


def test_damage_inside_is_said() -> None:
    with pytest.raises(Unreadable):
        decompress(b"\xff\xff\xff", None, 10)


@given(st.text(max_size=60), st.text(max_size=60), st.text(max_size=10))
def test_a_text_has_every_piece_of_what_is_in_it(before: str, after: str, needle: str) -> None:
    if "\n" not in needle:
        for letters in (needle, needle.swapcase() if needle.isascii() else needle):
            assert set(literal_grams(letters)) <= grams(before + needle + after)


MATCHES = [
    (r"abc+d*ef", "abccef"),
    (r"colou?r", "color"),
    (r"\mserver_name\s+[^;]+example\.com", "server_name www.example.com"),
    (r"(listen|port)\s*[:=]\s*80{2}", "port = 800"),
    (r"foo|barbaz", "foo"),
    (r"x[]abc]yyy", "xayyy"),
    (r"x[^]abc]yyy", "x-yyy"),
    (r"x[[:alpha:]]yyy", "xqyyy"),
    (r"aaa(?!bbb)ccc", "aaaccc"),
    (r"a{3}bcd", "aaabcd"),
    (r"(abcdef)?xyz", "xyz"),
    (r"[(]abc[)]", "(abc)"),
    (r"\(abc\)", "(abc)"),
    (r"(a[)]bcd|e)xyz", "exyz"),
    (r"abc\x41def", "abcAdef"),
    (r"abcd{0}efg", "abcefg"),
    (r"abc*?def", "abdef"),
    (r"path\\to", "path\\to"),
]


@pytest.mark.parametrize(("pattern", "text"), MATCHES)
def test_what_a_pattern_requires_is_in_what_it_matches(pattern: str, text: str) -> None:
    if "[[:" not in pattern and r"\m" not in pattern:
        assert re.search(pattern, text), "the sample is none"
    assert all(run in text for run in required(pattern))
    assert set(pattern_grams(pattern)) <= grams(text)


def test_the_index_helps_with_ordinary_patterns() -> None:
    assert required(r"^\s*image: post(gres|man):\d+") == ["image: post"]
    assert required(r"example\.com$") == ["example.com"]


@given(st.text(max_size=40))
def test_any_pattern_can_be_read(pattern: str) -> None:
    assert all(len(run) > 2 for run in required(pattern))


def test_what_is_searchable() -> None:
    found = searchable(b"password=geheim123\r\nport=1\r\n")
    assert found is not None
    assert found.text == "password=‹masked›\nport=1\n"
    assert searchable(b"\0text") is None
    assert searchable(b"\xff\xfe") is None
    assert searchable(b"a" * ((1 << 20) + 1)) is None


@given(st.binary(max_size=40))
def test_names_of_any_bytes_come_back(name: bytes) -> None:
    path = name.replace(b"\0", b"").decode("utf-8", "surrogateescape")
    stored = storable(path)
    assert original(stored) == path
    assert stored.encode().decode() == stored
    assert path_key(stored).int >= 0


@given(st.integers(0, 2**64 - 1))
def test_numbers_of_a_device_fit(value: int) -> None:
    assert unsigned_64(signed_64(value)) == value
    assert -(2**63) <= signed_64(value) < 2**63
    assert -(2**31) <= signed_32(value) < 2**31
