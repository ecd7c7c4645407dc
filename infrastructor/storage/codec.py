"""How the content of a version becomes bytes at rest: compressed against another version, then sealed. Pure."""

import os
from dataclasses import dataclass

import zstandard
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES = 32
NONCE_BYTES = 12
LEVEL = 9
_WORTH_A_SECOND_TRY = 256  # bytes
_STILL_ALIKE = 0.7


@dataclass(frozen=True, slots=True)
class Key:
    """One of the keys that contents are sealed with."""

    number: int
    secret: bytes

    def __repr__(self) -> str:
        return f"Key({self.number})"


class Unreadable(ValueError):
    """Sealed with another key, or damaged."""


def compress(content: bytes, base: bytes | None) -> tuple[bytes, bool]:
    """The compressed content, and whether `base` is needed to read it.

    zstd without its magic number, checksum and sizes: GCM and the hash guard it, and the row knows the size.
    """
    if not base:
        return _compress(content, b""), False
    against = _compress(content, base)
    if len(against) > _WORTH_A_SECOND_TRY:
        alone = _compress(content, b"")
        if len(against) > _STILL_ALIKE * len(alone):
            return alone, False
    return against, True


def decompress(body: bytes, base: bytes | None, size_bytes: int) -> bytes:
    """What was compressed. Raises `Unreadable`."""
    dictionary = _dictionary(base) if base else None
    decompressor = zstandard.ZstdDecompressor(
        dict_data=dictionary, max_window_size=1 << 27, format=zstandard.FORMAT_ZSTD1_MAGICLESS
    )
    if size_bytes == 0:
        return b""
    try:
        return decompressor.decompress(body, max_output_size=size_bytes)
    except zstandard.ZstdError as error:
        raise Unreadable(f"zstd: {error}") from error


def seal(key: Key, content_hash: bytes, body: bytes) -> bytes:
    """AES-256-GCM; the content's hash is bound to it. A random nonce: a content may be sealed again with one key."""
    nonce = os.urandom(NONCE_BYTES)
    return nonce + AESGCM(key.secret).encrypt(nonce, body, content_hash)


def unseal(key: Key, content_hash: bytes, sealed: bytes) -> bytes:
    """What was sealed. Raises `Unreadable`."""
    try:
        return AESGCM(key.secret).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], content_hash)
    except (InvalidTag, ValueError) as error:
        raise Unreadable(f"key {key.number} does not open it") from error


def _compress(content: bytes, base: bytes) -> bytes:
    if not content:
        return b""
    parameters = zstandard.ZstdCompressionParameters.from_level(
        LEVEL,
        source_size=len(content),
        dict_size=len(base),
        window_log=max(10, (len(content) + len(base)).bit_length()),  # else what lies far back is not found again
        format=zstandard.FORMAT_ZSTD1_MAGICLESS,
        write_checksum=False,
        write_content_size=False,
        write_dict_id=False,
    )
    dictionary = _dictionary(base) if base else None
    return zstandard.ZstdCompressor(dict_data=dictionary, compression_params=parameters).compress(content)


def _dictionary(base: bytes) -> zstandard.ZstdCompressionDict:
    return zstandard.ZstdCompressionDict(base, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
