"""The words of agents: what is said comes back the same, and nothing hostile does more than be refused."""

import ast
import base64
import contextlib
import hashlib
import re
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from infrastructor.domains.configs.roots import Root
from infrastructor.errors import ParseError
from infrastructor.ports.ssh import CommandOutput
from infrastructor.watchers import agent, polling_commands
from infrastructor.watchers import agent_protocol as protocol
from infrastructor.watchers.notifiers import Wake, parse_inotifyd, parse_inotifywait

MARK = b"12,34,1795276440212618240,1795276440212618241,33188,0,1000"
names = st.binary(min_size=1, max_size=30).filter(lambda name: b"\0" not in name)
marks = st.tuples(*[st.integers(-(2**63), 2**63 - 1)] * 7).map(lambda n: ",".join(map(str, n)).encode())


@given(names, marks, st.binary(max_size=300))
def test_files_come_back_as_they_were_said(name: bytes, mark: bytes, content: bytes) -> None:
    path = b"/" + name
    coded = protocol.quote(path).encode()
    body = base64.b64encode(content) or b"-"
    assert protocol.parse_line(b"F %b %b %b" % (mark, body, coded)) == protocol.FileContent(path, mark, content)
    assert protocol.parse_line(b"S %b %b" % (mark, coded)) == protocol.Listed(path, mark)
    assert protocol.parse_line(b"D " + coded) == protocol.FileGone(path)
    assert protocol.mark_of(protocol.signature_of(mark)) == mark


@given(
    st.binary(max_size=200) | st.lists(st.sampled_from([b"F", b"S", b"-", b"/a", MARK, b"%", b"T", b""])).map(b" ".join)
)
@example(b"F " + MARK + b" !!!! /a")
@example(b"S 1,2,3 /a")
@example(b"S " + b"9" * 5000 + b",1,1,1,1,1,1 /a")
@example(b"D relative")
@example(b"D /nul%00")
@example(b"I infrastructor-agent 2 python 0")
@example(b"T 1,2,3 -")
def test_hostile_lines_are_refused_and_nothing_else(line: bytes) -> None:
    with contextlib.suppress(ParseError):
        protocol.parse_line(line)


def test_every_kind_is_understood() -> None:
    digest = hashlib.sha256(b"").hexdigest()
    said = {
        b"I infrastructor-agent 1 perl 17": protocol.Hello("perl", 17),
        b"T 1,2,3,4,5,6 " + digest.encode(): protocol.Tree(1, 2, 3, 4, 5, 6, digest),
        b"T 1,2,3,4,5,6 -": protocol.Tree(1, 2, 3, 4, 5, 6, None),
        b"E 4": protocol.ListEnd(4),
        b"H " + MARK + b" " + digest.encode() + b" /a": protocol.FileDigest(b"/a", MARK, digest),
        b"K " + MARK + b" ../b /a": protocol.FileLink(b"/a", MARK, b"../b"),
        b"N - EACCES /a": protocol.FileUnread(b"/a", None, "EACCES"),
        b"N " + MARK + b" special /a": protocol.FileUnread(b"/a", MARK, "special"),
        b"U EACCES /a": protocol.FolderUnread(b"/a", "EACCES"),
        b"O overflow": protocol.EventsLost("overflow"),
        b"Q 7": protocol.Answered(7),
        b"B 99": protocol.Beat(99),
    }
    assert {line: protocol.parse_line(line) for line in said} == said


def test_a_digest_depends_on_every_path_and_mark_and_on_no_order() -> None:
    marks = {b"/a": MARK, b"/b": MARK}
    assert protocol.tree_digest(marks) == protocol.tree_digest(dict(reversed(marks.items())))
    assert protocol.tree_digest(marks) != protocol.tree_digest({b"/a": MARK})


def test_what_an_agent_is_sent_are_lines_of_words() -> None:
    root = Root("/a b\n", True, None, "(?:x y)")
    sent = protocol.begin([1, 0.03, 5e9], [root]).split(b"\n")
    assert sent == [b"L 1 0.03 5000000000", b"R 1 - %28%3F:x%20y%29 /a%20b%0A", b"W", b""]
    assert protocol.ask([b"/\xff"], 3) == b"G /%FF\nQ 3\n"


def test_agents_are_valid_where_they_run() -> None:
    """Python 3.5 knows no f-strings and no annotations of variables."""
    source = "\n".join(Path(agent.__file__).with_name(name).read_text() for name in agent.PROGRAMS["python3"])
    ast.parse(source, feature_version=(3, 5))
    assert not re.search(r"\bf\"|\bf'", source)
    for interpreter in agent.PROGRAMS:
        line = agent.agent_line(interpreter)
        assert len(line.text) < 100_000  # of one argument, the kernel takes 128 KiB
        assert line.needs == interpreter


@given(st.binary(max_size=300))
def test_listings_and_contents_are_total(data: bytes) -> None:
    output = CommandOutput(exit_status=0, stdout=data, stderr=data)
    for parse in (
        polling_commands.parse_listing,
        polling_commands.parse_digest,
        lambda seen: polling_commands.parse_contents(seen, [b"/a", b"/b"]),
    ):
        with contextlib.suppress(ParseError):
            parse(output)


@given(st.binary(max_size=100))
def test_notices_are_total(line: bytes) -> None:
    parse_inotifyd(line)
    parse_inotifywait(line)


@pytest.mark.parametrize(
    ("line", "wake"),
    [
        (b"CLOSE_WRITE,CLOSE /a/b c", Wake(b"/a")),
        (b"CREATE,ISDIR /a/b", Wake(b"/a/b", deep=True)),
        (b"MOVED_TO,ISDIR /a/b", Wake(b"/a/b", deep=True)),
        (b"OPEN /a/b", None),
        (b"CLOSE_NOWRITE,CLOSE /a/b", None),
        (b"OPEN,ISDIR /a/", None),
        (b"Q_OVERFLOW ", Wake(None)),
        (b"second line of a name", Wake(None)),
    ],
)
def test_inotifywait(line: bytes, wake: Wake | None) -> None:
    assert parse_inotifywait(line) == wake


@pytest.mark.parametrize(
    ("line", "wake"),
    [
        (b"w\t/a\tb", Wake(b"/a")),
        (b"n\t/a\tb", Wake(b"/a/b", deep=True)),
        (b"d\t/a\tb", Wake(b"/a")),
        (b"D\t/a", Wake(b"/", deep=True, anew=True)),
        (b"o\t/", Wake(None)),
        (b"inotifyd: /x: No such file", None),
    ],
)
def test_inotifyd(line: bytes, wake: Wake | None) -> None:
    assert parse_inotifyd(line) == wake


def test_programs_say_what_agents_say() -> None:
    """As GNU find, GNU stat and BusyBox's stat print the same file; the last without fractions of seconds."""
    gnu = b"12,34,1795276440.2126182400,1795276440.2126182410,f/644,0,1000 /a\0"
    stat = b"12,34,1795276440.212618240,1795276440.212618241,81a4,0,1000 /a\0"
    small = b"12,34,1795276440,1795276440,81a4,0,1000 /a\0"
    for said, expected, coarse in (
        (gnu, MARK, False),
        (stat, MARK, False),
        (small, b"12,34,1795276440000000000,1795276440000000000,33188,0,1000", True),
    ):
        listing = polling_commands.parse_listing(CommandOutput(exit_status=0, stdout=said))
        assert (listing.marks, listing.coarse) == ({b"/a": expected}, coarse)
