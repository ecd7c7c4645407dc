"""What a followed command prints is told at once, however it arrives in pieces."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infrastructor.ports.ssh import CommandLine
from infrastructor.ssh.follow import Follower


class Told:
    """A follower that has started, and what it handed on until now."""

    def __init__(self) -> None:
        self.follower = Follower("box", CommandLine(text="watch"))
        self.lines: list[bytes] = []
        self.ended = False
        self.nonce = self.follower._nonce.encode()
        self.follower.data_received(b"\n" + self.nonce + b" 0\n", False)

    def receive(self, data: bytes) -> None:
        self.follower.data_received(data, False)
        stream = self.follower.stream
        while stream._lines:
            self.lines.append(stream._lines.popleft())
        self.ended = stream._ended


@pytest.fixture
async def told() -> Told:
    return Told()


async def test_a_newline_that_comes_by_itself_ends_its_line(told: Told) -> None:
    told.receive(b"one")
    told.receive(b"\n")
    assert told.lines == [b"one"]
    told.receive(b"two\n")
    assert told.lines == [b"one", b"two"]


@given(st.lists(st.sampled_from([b"a", b"bc", b""]), max_size=5), st.booleans(), st.data())
async def test_pieces_make_no_difference(lines: list[bytes], whole: bool, data: st.DataObject) -> None:
    told = Told()
    said = b"\n".join(lines) + (b"\n" if whole and lines else b"")
    sent = said + b"\n" + told.nonce + b" 1 0\n"
    while sent:
        size = data.draw(st.integers(1, len(sent)))
        told.receive(sent[:size])
        sent = sent[size:]
    expected = said.split(b"\n")
    if expected[-1] == b"":
        expected.pop()
    assert told.ended
    assert told.lines == expected
