"""UUIDv7: keys that sort by the time they were made."""

import os
import threading
import time
from uuid import UUID

_lock = threading.Lock()
_last = 0


def uuid7() -> UUID:
    """Make a version 7 UUID (RFC 9562), strictly increasing within this process even when the clock steps back.

    The 12 bits behind the milliseconds count sub-millisecond time (method 3 of the RFC), the rest is random.
    """
    global _last  # noqa: PLW0603 (the order is a property of the process)
    nanoseconds = time.time_ns()
    stamp = (nanoseconds // 1_000_000 << 12) | (nanoseconds % 1_000_000 * 4096 // 1_000_000)
    with _lock:
        _last = stamp = max(stamp, _last + 1)
    random = int.from_bytes(os.urandom(8), "big") & ((1 << 62) - 1)
    return UUID(int=(stamp >> 12) << 80 | 0x7 << 76 | (stamp & 0xFFF) << 64 | 0b10 << 62 | random)
