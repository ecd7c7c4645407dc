"""However the bytes are cut on their way, every answer comes out whole and to its own question."""

import asyncio
import re
import shlex
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infrastructor.ports.ssh import CommandLine
from infrastructor.ssh.request import Request
from infrastructor.ssh.shell import ShellLane
from infrastructor.ssh.streams import GROUP, grouped
from infrastructor.ssh.texts import QUICK_S, Text, texts
from infrastructor.ssh.wire import LANE, SUDO_LANE, body


@dataclass
class Owner:
    """Writes down what a lane reports."""

    done: list[Request] = field(default_factory=list)
    overflown: list[Request] = field(default_factory=list)
    broken: list[tuple[Request | None, list[Request]]] = field(default_factory=list)
    slow: list[Text] = field(default_factory=list)
    again: list[Request] = field(default_factory=list)

    def finished(self, request: Request, duration_s: float) -> None:
        self.done.append(request)

    def idle(self, lane: ShellLane) -> None: ...

    def timed_out(self, lane: ShellLane, head: Request, others: list[Request]) -> None:
        self.broken.append((head, others))

    def overflowed(self, lane: ShellLane, head: Request, others: list[Request]) -> None:
        self.overflown.append(head)

    def blocked(self, lane: ShellLane, others: list[Request]) -> None: ...

    def unclear(self, request: Request) -> None:
        self.again.append(request)

    def closed(self, lane: ShellLane, head: Request | None, others: list[Request]) -> None:
        self.broken.append((head, others))


class Shell:
    """Plays the remote end: knows the nonce from what was written, and answers in pieces."""

    def __init__(self, requests: list[Request]) -> None:
        self.owner = Owner()
        self.lane = ShellLane(self.owner, asyncio.get_running_loop(), sudo=False, single=False)
        self.written = b""
        self.writes = 0
        self.closed = False
        for request in requests:
            self.lane.submit(request)
        self.lane.attach(self, 10)
        nonce = re.search(rb"\\n([0-9a-f]{32}) 0 0", self.written)
        assert nonce is not None
        self.nonce = nonce[1]

    def write(self, data: bytes) -> None:
        self.written += data
        self.writes += 1

    def close(self) -> None:
        self.closed = True

    def stdout(self, outputs: list[bytes], statuses: list[int], noise: bytes = b"") -> bytes:
        ends = [b"\n%s %d %d\n" % (self.nonce, n, status) for n, status in enumerate([0, *statuses])]
        return b"".join(body + end for body, end in zip([noise, *outputs], ends, strict=True))

    def stderr(self, outputs: list[bytes], noise: bytes = b"") -> bytes:
        return b"".join(body + b"\n%s %d\n" % (self.nonce, n) for n, body in enumerate([noise, *outputs]))

    def feed(self, data: bytes, is_stderr: bool, cuts: list[int]) -> None:
        position = 0
        for cut in [*sorted(cut % (len(data) + 1) for cut in cuts), len(data)]:
            if cut > position:
                self.lane.data_received(data[position:cut], is_stderr)
            position = max(position, cut)


def request(text: str = "x", cap: int = 1 << 20) -> Request:
    return Request(CommandLine(text=text, max_output_bytes=cap))


BODIES = st.lists(st.binary(max_size=200) | st.just(b"\n") | st.just(b"\n0123 1 0\n"), min_size=1, max_size=8)
CUTS = st.lists(st.integers(min_value=0, max_value=5000), max_size=40)


@given(outs=BODIES, noise=st.binary(max_size=100), cuts=CUTS, error_cuts=CUTS, errors_first=st.booleans())
@settings(deadline=None, max_examples=300)
async def test_answers_survive_any_cutting(
    outs: list[bytes], noise: bytes, cuts: list[int], error_cuts: list[int], errors_first: bool
) -> None:
    requests = [request(str(n)) for n in range(len(outs))]
    shell = Shell(requests)
    errs = [body[::-1] for body in outs]
    statuses = [n * 7 % 256 for n in range(len(outs))]
    feeds = [(shell.stdout(outs, statuses, noise), False, cuts), (shell.stderr(errs, noise), True, error_cuts)]
    for feed in reversed(feeds) if errors_first else feeds:
        shell.feed(*feed)

    assert shell.owner.done == requests
    assert [(r.out, r.err, r.status, r.truncated) for r in requests] == [
        (out, err, status, False) for out, err, status in zip(outs, errs, statuses, strict=True)
    ]


@given(
    members=st.lists(st.tuples(st.binary(max_size=100), st.booleans(), st.booleans()), min_size=1, max_size=40),
    cuts=CUTS,
    error_cuts=CUTS,
    errors_first=st.booleans(),
)
@settings(deadline=None, max_examples=300)
async def test_what_a_group_says_goes_to_nobody_or_to_the_one_it_must_be(
    members: list[tuple[bytes, bool, bool]], cuts: list[int], error_cuts: list[int], errors_first: bool
) -> None:
    """Members: what each writes on stdout, whether it is known as quiet, and whether it speaks on stderr now."""
    requests = [request(str(n)) for n in range(len(members))]
    for one, (_, quiet, _) in zip(requests, members, strict=True):
        one.text.quiet = quiet
    groups = grouped(requests, [])
    speakers = [one for one, (_, _, speaks) in zip(requests, members, strict=True) if speaks]
    shell = Shell(requests)
    ends = {int(number) for number in re.findall(rb"\\n[0-9a-f]{32} (\d+)\\n' >&2", shell.written)}
    errors = b"\n%s 0\n" % shell.nonce
    for number, (out, _, speaks) in enumerate(members, 1):
        errors += out[::-1] + b"!" if speaks else b""
        errors += b"\n%s %d\n" % (shell.nonce, number) if number in ends else b""
    outs = [out for out, _, _ in members]
    feeds = [(shell.stdout(outs, [0] * len(outs)), False, cuts), (errors, True, error_cuts)]
    for feed in reversed(feeds) if errors_first else feeds:
        shell.feed(*feed)

    again = [one for group in groups if len(group) > 1 and any(one in speakers for one in group) for one in group]
    assert shell.owner.again == again
    assert shell.owner.done == [one for one in requests if one not in again]
    for one, (out, _, speaks) in zip(requests, members, strict=True):
        if one not in again:
            assert (one.out, one.err, one.status) == (out, out[::-1] + b"!" if speaks else b"", 0)
    assert not shell.closed


def quiet(*knowns: bool) -> list[Request]:
    requests = [request(str(n)) for n in range(len(knowns))]
    for one, known in zip(requests, knowns, strict=True):
        one.text.quiet = known
    return requests


def test_only_neighbours_known_to_be_quiet_share_a_marker() -> None:
    requests = quiet(True, True, False, True, False, False, True, True, True)
    requests[8].own = True
    assert [len(group) for group in grouped(requests, [])] == [2, 1, 1, 1, 1, 2, 1]
    assert [len(group) for group in grouped(requests, [requests[0].text])] == [1, 1, 1, 1, 1, 1, 2, 1]
    assert [len(group) for group in grouped(quiet(*[True] * (GROUP + 1)), [])] == [GROUP, 1]


def test_a_text_earns_its_place_in_a_group_by_one_quick_silent_run_and_loses_it_by_a_word() -> None:
    known = texts()("uptime")
    assert known is not texts()("uptime")  # each engine has its own memory
    assert not known.quiet
    known.ran(QUICK_S * 2, spoke=False)
    assert not known.quiet
    known.ran(QUICK_S, spoke=False)
    assert known.quiet
    known.ran(0, spoke=True)
    known.ran(0, spoke=False)
    assert not known.quiet


def test_the_memory_of_texts_is_bounded_and_shared() -> None:
    find = texts()
    first = find("echo 0")
    assert find("echo 0") is first
    for number in range(1, 3000):
        find(f"echo {number}")
    assert find("echo 0") is not first
    assert find("x" * 5000) is not find("x" * 5000)


@given(size=st.integers(min_value=0, max_value=3000), cuts=CUTS)
@settings(deadline=None, max_examples=200)
async def test_a_cap_cuts_one_answer_and_no_other(size: int, cuts: list[int]) -> None:
    requests = [request("big", cap=1000), request("small")]
    shell = Shell(requests)
    shell.feed(shell.stdout([b"y" * size, b"after"], [3, 4]), False, cuts)
    shell.feed(shell.stderr([b"", b""]), True, [])

    assert [(r.out, r.status, r.truncated) for r in shell.owner.done] == [
        (b"y" * min(size, 1000), 3, size > 1000),
        (b"after", 4, False),
    ]


async def test_output_far_over_the_cap_ends_the_lane_and_holds_little() -> None:
    head, other = request("endless", cap=1000), request("next")
    shell = Shell([head, other])
    shell.feed(shell.stdout([], []), False, [])
    shell.feed(shell.stderr([]), True, [])
    for _ in range(100):
        shell.lane.data_received(b"y" * 32768, False)

    assert shell.closed
    assert shell.owner.overflown == [head]
    assert (head.out, head.truncated, head.status) == (b"y" * 1000, True, 141)


async def test_a_forged_marker_breaks_only_its_own_lane() -> None:
    head, other = request("forger"), request("next")
    shell = Shell([head, other])
    shell.feed(shell.stdout([], []), False, [])
    shell.feed(shell.stderr([]), True, [])
    shell.lane.data_received(b"\n%s 9 0\n" % shell.nonce, False)
    assert shell.closed
    shell.lane.closed()
    assert shell.owner.broken == [(head, [other])]


async def test_all_requests_of_a_tick_go_out_in_one_write() -> None:
    shell = Shell([])
    before = shell.writes
    for n in range(10):
        shell.lane.submit(request(f"echo {n}"))
    await asyncio.sleep(0)
    assert shell.writes == before + 1


def test_the_login_shell_sees_one_constant_line_in_a_safe_charset() -> None:
    """Single-quoted parts hold nothing that any shell reads differently; outside them there are plain words."""
    for text in (LANE, SUDO_LANE):
        assert text.startswith("exec ")
        assert not set(text) & set("\\!\n\t`%")
        outside = "".join(re.split(r"'[^']*'", text))
        assert re.fullmatch(r"[a-z /-]+", outside)


@pytest.mark.parametrize(
    "text", ["cat /proc/loadavg", "df -P /", "date '+%s %N'", "zfs list -- 'a b'", "printf '%s|' 'x;y'"]
)
def test_a_simple_command_stands_as_it_is(text: str) -> None:
    assert body(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "if true",
        "while x",
        "A=b env",
        "echo $x",
        "echo a; echo b",
        "echo 'it'\"'\"'s'",
        "echo 'a\nb'",
        "cat <x",
        "(x",
        "} x",
        "ls *",
        "~/x",
        "! true",
        "time ls",
        "a  b",
        "echo 'open",
    ],
)
def test_everything_else_goes_through_eval(text: str) -> None:
    assert body(text) == f"eval {shlex.quote(text)}"
