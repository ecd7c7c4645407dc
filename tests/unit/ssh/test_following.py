"""Streams of a device that would fill this process, or break what reads them."""

import asyncio

import pytest

from infrastructor.errors import CommandFailed
from infrastructor.ports.ssh import CommandLine
from infrastructor.ssh.follow import Follower
from infrastructor.ssh.stream import AHEAD, Stream


class Channel:
    """Keeps what is written, and whether it is paused."""

    def __init__(self) -> None:
        self.written = b""
        self.paused = False

    def write(self, data: bytes) -> None:
        self.written += data

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False

    def close(self) -> None: ...


@pytest.mark.parametrize("line", [b"\n", b"x\n", b"x" * 999 + b"\n"])
async def test_a_device_is_slowed_down_whatever_the_length_of_its_lines(line: bytes) -> None:
    channel = Channel()
    stream = Stream(channel.pause, channel.resume)
    count = AHEAD // len(line) + 2
    stream.feed(line * count)
    assert channel.paused
    stream.end(None)
    assert [found async for found in stream.lines()] == [line[:-1]] * count
    assert not channel.paused


def following() -> tuple[Follower, bytes]:
    channel, line = Channel(), CommandLine(text="docker events")
    follower = Follower("nas", line)
    follower.start(channel, line)
    nonce = channel.written.split(b"\\n")[1].split(b" ")[0]
    return follower, nonce


async def test_a_login_that_does_not_stop_talking_fills_nothing() -> None:
    follower, nonce = following()
    for _ in range(64):
        follower.data_received(b"welcome " * 8192, False)
        assert len(follower._before) < 1 << 18
    begin = b"\n%s 0\n" % nonce
    follower.data_received(begin[:20], False)
    follower.data_received(begin[20:] + b"first\n", False)
    await asyncio.wait_for(follower.started(), 1)
    follower.data_received(b"\n%s 1 0\n" % nonce, False)
    assert [line async for line in follower.stream.lines()] == [b"first"]


async def test_a_marker_without_an_end_is_no_marker() -> None:
    follower, nonce = following()
    follower.data_received(b"\n%s 0\n\n%s 1 " % (nonce, nonce), False)
    for _ in range(64):
        follower.data_received(b"9" * 65536, False)
    with pytest.raises(CommandFailed, match="status -1"):
        assert [line async for line in follower.stream.lines()] == []
    assert len(follower._tail) < 1 << 17
