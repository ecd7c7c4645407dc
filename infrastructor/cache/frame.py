"""How an entry looks in Redis: a few bytes of header, the body as it is, and a signature that covers its key.

"IC" version(1) key_id(4) collected_at_us(8) schema_length(1) schema body hmac(16)
"""

import hashlib
import hmac
import struct
from datetime import UTC, datetime, timedelta

from infrastructor.ports.cache import CacheEntry

VERSION = 1
_HEADER = struct.Struct("<2sB4sqB")
_MAGIC = b"IC"
_TAG_BYTES = 16
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Unusable(Exception):
    """The bytes are no entry of ours for this key: damaged, forged, copied, or of another version."""


def encode(key: bytes, entry: CacheEntry, secret: bytes) -> bytes:
    schema = entry.schema.encode()
    header = _HEADER.pack(_MAGIC, VERSION, key_id(secret), microseconds(entry.collected_at), len(schema))
    frame = header + schema + entry.body
    return frame + _tag(key, frame, secret)


def decode(key: bytes, data: bytes, secret: bytes) -> CacheEntry | None:
    """The entry; None for one that another server signed with its own secret. Raises `Unusable`."""
    if len(data) < _HEADER.size + _TAG_BYTES:
        raise Unusable("too short")
    magic, version, signer, collected_us, schema_length = _HEADER.unpack_from(data)
    if magic != _MAGIC or version != VERSION:
        raise Unusable("not of this version")
    if signer != key_id(secret):
        return None
    frame, tag = data[:-_TAG_BYTES], data[-_TAG_BYTES:]
    if not hmac.compare_digest(tag, _tag(key, frame, secret)):
        raise Unusable("signature does not match")
    body_at = _HEADER.size + schema_length
    return CacheEntry(
        schema=frame[_HEADER.size : body_at].decode(),
        collected_at=_EPOCH + collected_us * _MICROSECOND,
        body=frame[body_at:],
    )


def microseconds(moment: datetime) -> int:
    """Since 1970, UTC, exact."""
    return (moment - _EPOCH) // _MICROSECOND


def key_id(secret: bytes) -> bytes:
    return hashlib.sha256(b"key id" + secret).digest()[:4]


def _tag(key: bytes, frame: bytes, secret: bytes) -> bytes:
    return hmac.digest(secret, key + b"\0" + frame, "sha256")[:_TAG_BYTES]
