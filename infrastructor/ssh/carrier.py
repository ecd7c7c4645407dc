"""What lanes stand on: something that starts a shell and carries its three streams.

`connection.SSHCarrier` is an SSH connection, `local.LocalCarrier` this machine.
"""

from typing import Protocol

STREAM_WINDOW = 4 << 20  # bytes a stream may be ahead of us: what a gigabit carries in 30 ms


class Receiver(Protocol):
    """The end of a channel on our side. Calls come from the event loop, never re-entrantly."""

    def data_received(self, data: bytes, is_stderr: bool) -> None: ...

    def closed(self) -> None:
        """The channel is gone. `Carrier.alive` tells whether it went alone."""
        ...


class StreamReceiver(Receiver, Protocol):
    """One that also writes more than a channel takes at once."""

    def pause_writing(self) -> None:
        """The channel has enough to send for now."""
        ...

    def resume_writing(self) -> None: ...


class Channel(Protocol):
    """One remote shell's stdin, or a socket. Closing it ends the shell and whatever it runs."""

    def write(self, data: bytes) -> None: ...

    def pause(self) -> None:
        """Take no more of what it says for now; what it may send ahead is bounded."""
        ...

    def resume(self) -> None: ...

    def close(self) -> None: ...


class StreamChannel(Channel, Protocol):
    """One shell whose stdin can be ended while it runs on."""

    def write_eof(self) -> None: ...


class Refused(Exception):
    """The device opens no further session now."""


class Gone(Exception):
    """The carrier ended while the channel was being opened."""


class Carrier(Protocol):
    @property
    def alive(self) -> bool: ...

    @property
    def is_root(self) -> bool:
        """Whether the login needs no sudo."""
        ...

    async def open(self, receiver: Receiver, *, sudo: bool) -> Channel:
        """Start a lane's shell. Raises `Refused` or `Gone`. Must not be cancelled."""
        ...

    async def open_stream(
        self, receiver: StreamReceiver, *, sudo: bool, sink: bool, window: int = STREAM_WINDOW
    ) -> StreamChannel:
        """Start a shell for one command that is the source or the sink of a stream; raises and is called like `open`.

        It may send `window` bytes that nobody has taken yet.

        A sink's shell lives on when its stdin ends, and until its stdout takes no bytes any more: on that it writes
        dots now and then.
        """
        ...

    async def open_socket(self, receiver: Receiver, path: str) -> Channel:
        """Connect to a Unix socket of the device. Raises `Refused` or `Gone`. Must not be cancelled."""
        ...

    async def close(self) -> None:
        """End it and everything on it, within seconds. Never raises."""
        ...
