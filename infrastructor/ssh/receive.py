"""A shorter way for what a lane receives: from the socket's bytes to the lane without asyncssh's layers per packet.

For each packet asyncssh 2.24 builds an AESGCM object, a decoder and a log line and passes eight calls; that is half of
what a command costs us. This takes whole packets of channel data off the buffer and hands them on; it stops before
anything else (another packet type, another cipher, a paused or closing channel, a window to adjust, a bad tag), which
asyncssh's own code then reads from the same bytes. It stands on private attributes, so it is used only with releases
that the tests have seen.
"""

from typing import Any

import asyncssh
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KNOWN = ("2.24.",)  # releases of asyncssh whose private attributes these are
DATA, EXTENDED_DATA = 94, 95
STDERR = b"\0\0\0\1"
TAG = 16
SHORTEST = 4 + 16 + TAG  # length, one block, tag


def install(connection: Any) -> bool:
    """Use the short way for this connection, which must be logged in. False when the release is not known."""
    if not asyncssh.__version__.startswith(KNOWN):
        return False
    connection._recv_data = _Receiver(connection)
    return True


class _Receiver:
    """Stands in for `SSHConnection._recv_data`."""

    __slots__ = ("_aead", "_connection", "_encryption", "_slow")

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._slow = connection._recv_data
        self._encryption: Any = None  # changes with every new key
        self._aead: AESGCM | None = None

    def __call__(self) -> None:
        connection = self._connection
        encryption = connection._recv_encryption
        if encryption is not self._encryption:
            self._encryption = encryption
            gcm = type(encryption).__name__ == "GCMEncryption"
            self._aead = AESGCM(encryption._cipher._key) if gcm else None
        if (
            self._aead is not None
            and connection._recv_handler == connection._recv_pkthdr
            and connection._decompressor is None
        ):
            try:
                self._take(encryption._cipher, self._aead)
            except Exception:  # noqa: BLE001 (as asyncssh does around its own)
                connection.internal_error()
            if not connection._inpbuf:
                connection._reset_keepalive_timer()
                return
        self._slow()

    def _take(self, cipher: Any, aead: AESGCM) -> None:
        """Deliver the whole packets of channel data at the beginning of the buffer."""
        connection = self._connection
        channels = connection._channels
        buffer: bytes = connection._inpbuf
        size, position, taken = len(buffer), 0, 0
        fixed, invocation = cipher._iv[:4], int.from_bytes(cipher._iv[4:], "big")
        try:
            while size - position >= SHORTEST:
                header = buffer[position : position + 4]
                length = int.from_bytes(header, "big")
                end = position + 4 + length + TAG
                if end > size or length > connection._max_recv_pktlen:
                    return
                iv = fixed + ((invocation + taken) & 0xFFFFFFFFFFFFFFFF).to_bytes(8, "big")
                try:
                    packet = aead.decrypt(iv, buffer[position + 4 : end], header)
                except InvalidTag:
                    return
                if packet[1] == DATA:
                    begin, datatype = 10, None
                elif packet[1] == EXTENDED_DATA and packet[6:10] == STDERR:
                    begin, datatype = 14, asyncssh.EXTENDED_DATA_STDERR
                else:
                    return
                channel = channels.get(int.from_bytes(packet[2:6], "big"))
                data = packet[begin : len(packet) - packet[0]]
                if len(data) != int.from_bytes(packet[begin - 4 : begin], "big") or not _takes(channel, len(data)):
                    return
                channel._recv_window -= len(data)
                position = end
                taken += 1
                channel._session.data_received(data, datatype)
                if connection._transport is None:
                    return
        finally:
            if taken:
                cipher._iv = fixed + ((invocation + taken) & 0xFFFFFFFFFFFFFFFF).to_bytes(8, "big")
                connection._recv_seq = (connection._recv_seq + taken) & 0xFFFFFFFF
                if connection._transport is not None:
                    connection._inpbuf = buffer[position:]


def _takes(channel: Any, size: int) -> bool:
    """Whether the channel would hand data of this size to its session at once, and do nothing else."""
    return (
        channel is not None
        and size > 0
        and channel._recv_state == "open"
        and channel._send_state not in {"close_pending", "closed"}
        and not channel._recv_paused
        and channel._session is not None
        and channel._encoding is None
        and channel._recv_window - size >= channel._init_recv_window / 2
    )
