"""What a lane expects on its two streams: stdout ends each request with a marker, stderr each group of them."""

from collections.abc import Sequence
from typing import Generic, TypeVar

from infrastructor.ssh.request import Request
from infrastructor.ssh.texts import Text

GROUP = 16  # requests at most that share an end marker on stderr

Expected = TypeVar("Expected", "Request", "Group")


class Group:
    """Requests whose stderr one marker ends, that of the last. Requests that were moved are no longer listed."""

    __slots__ = ("number", "requests", "shared")

    def __init__(self, requests: list[Request]) -> None:
        self.requests = requests
        self.number = requests[-1].number
        self.shared = len(requests) > 1  # whose stderr it was can be told only when there was none

    @property
    def cap(self) -> int:
        return self.requests[0].cap


class Stream(Generic[Expected]):
    """Bytes of the current head that have arrived, and where the search for a marker goes on.

    The queues are lists: an empty deque takes 700 bytes, on every lane of every link.
    """

    __slots__ = ("buffer", "dropped", "queue", "scanned")

    def __init__(self) -> None:
        self.buffer = bytearray()
        self.scanned = 0
        self.dropped = 0
        self.queue: list[Expected] = []

    def cut(self, marker: bytes) -> tuple[bytes, bytes] | None:
        """What stands before the next marker, and on its line; both leave the buffer. None when none is whole yet."""
        buffer = self.buffer
        at = buffer.find(marker, self.scanned)
        end = buffer.find(b"\n", at + len(marker)) if at >= 0 else -1
        if end < 0:
            self.scanned = at if at >= 0 else max(0, len(buffer) - len(marker))
            return None
        found = bytes(buffer[:at]), bytes(buffer[at + len(marker) : end])
        del buffer[: end + 1]
        self.scanned = 0
        return found

    def clear(self) -> None:
        self.queue.clear()
        self.buffer.clear()


def grouped(requests: Sequence[Request], slow: Sequence[Text]) -> list[list[Request]]:
    """Neighbours known to be quick and silent together, everybody else alone; `slow` are not quick on this device."""
    groups: list[list[Request]] = []
    joinable = False
    for request in requests:
        quiet = request.text.quiet and not request.own and request.text not in slow
        if quiet and joinable and len(groups[-1]) < GROUP:
            groups[-1].append(request)
        else:
            groups.append([request])
        joinable = quiet
    return groups
