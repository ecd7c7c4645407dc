"""Logs: what may be searched for, times, and pages that lose and repeat nothing."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from infrastructor.domains.containers.log_lines import matcher
from infrastructor.domains.logs.merge import MAX_CHARACTERS, Part, merge
from infrastructor.domains.logs.models import LogLine
from infrastructor.domains.logs.operations import LogQueryParams
from infrastructor.domains.logs.operations import _Query as Asking
from infrastructor.domains.logs.patterns import as_extended, as_literal
from infrastructor.domains.logs.syslog import split
from infrastructor.domains.logs.times import micros, read_cursor, seconds
from infrastructor.errors import ValidationFailed

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("pattern", "sent"),
    [
        (r"fail(ed|ure)", "fail(ed|ure)"),
        (r"\d{1,3}\.\d+", r"[0-9]{1,3}\.[0-9]+"),
        (r"[\d.]+ \W", "[[0-9].]+ [^[:alnum:]_]".replace("[[0-9]", "[0-9")),
        (r"^ata\d+: .*error$", "^ata[0-9]+: .*error$"),
        (r"[^]a-z]", "[^]a-z]"),
    ],
)
def test_a_simple_expression_is_sent_as_every_program_reads_it(pattern: str, sent: str) -> None:
    assert as_extended(pattern) == sent


@pytest.mark.parametrize(
    "pattern",
    [r"(a+)+$", r"(a|aa)+$", r"(a*)*", r"((ab)*c)*", r"(\w+\s?)*$", "a**", r"(a)\1", "(?=x)", "(?i)x", r"[\]]", "(",
     "a{1000}", ".*.*.*.*.*.*x", r"\p{L}", r"(x{2,5}){3,}"],
)  # fmt: skip
def test_what_could_take_for_ever_or_reads_differently_is_refused(pattern: str) -> None:
    with pytest.raises(ValidationFailed, match="refused"):
        as_extended(pattern)


@given(st.text(max_size=60))
def test_any_expression_is_translated_or_refused(pattern: str) -> None:
    try:
        as_extended(pattern)
    except ValidationFailed:
        return


@given(st.text(st.characters(codec="ascii", min_codepoint=32), min_size=1, max_size=40))
def test_plain_text_stays_plain_for_journalctl(text: str) -> None:
    assert re.fullmatch(as_literal(text), text)


@given(st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "S", "Zs")), min_size=1, max_size=40))
def test_what_is_sent_can_be_looked_for_here_too(text: str) -> None:
    assert matcher(f"(?i){as_literal(text)}", regex=True)(f"before {text} after")


@pytest.mark.parametrize(("grep", "regex"), [("hunter", False), ("password=hunter2", False), ("h[u]nt", True)])
def test_a_secret_cannot_be_guessed_by_searching_for_it(grep: str, regex: bool) -> None:
    masked = line(1, "login password=‹masked› from 10.0.0.1")
    plain = line(2, "the hunter2 is out")
    query = Asking(LogQueryParams(device="nas", grep=grep, regex=regex), NOW)
    assert query.visible([masked, plain]) == [plain]
    assert query.wanted >= 100
    assert Asking(LogQueryParams(device="nas", grep="LOGIN pass"), NOW).visible([masked]) == [masked]
    assert Asking(LogQueryParams(device="nas"), NOW).visible([masked]) == [masked]


def line(time: int | None, message: str, source: str = "a") -> LogLine:
    moment = None if time is None else datetime(2026, 1, 1, tzinfo=UTC) + timedelta(microseconds=time)
    return LogLine(time=moment, source=source, unit=None, process=None, priority=None, message=message)


@given(
    st.lists(st.lists(st.integers(0, 6) | st.none(), max_size=12), min_size=1, max_size=3),
    st.integers(1, 5),
)
@example([[3, 3, 3, 3], [3, 3]], 2)
def test_pages_hold_every_line_once_in_order(times: list[list[int | None]], limit: int) -> None:
    """Each source gives its newest lines not younger than the cursor, as the commands do."""
    sources = [
        [
            line(time, f"{number}.{index}")
            for index, time in enumerate(sorted(row, key=lambda t: -1 if t is None else t))
        ]
        for number, row in enumerate(times)
    ]
    seen: list[LogLine] = []
    cursor = None
    for _ in range(100):
        newest, shown = read_cursor(cursor)
        wanted = limit + shown
        parts = []
        for source in sources:
            old = [row for row in source if newest is None or micros(row.time) <= newest]
            parts.append(Part(old[-wanted:], len(old) < wanted))
        page, cursor = merge(parts, limit, newest, shown)
        seen = page + seen
        if cursor is None:
            break
    assert sorted(row.message for row in seen) == sorted(row.message for source in sources for row in source)
    assert [micros(row.time) for row in seen] == sorted(micros(row.time) for row in seen)


def test_a_page_is_no_longer_than_an_assistant_can_read() -> None:
    page, cursor = merge([Part([line(n, "x" * 2000) for n in range(100)], complete=True)], 100, None, 0)
    assert sum(len(row.message) for row in page) <= MAX_CHARACTERS
    assert page[-1].time == line(99, "").time
    assert cursor == f"{micros(page[0].time)}-1"


def test_lines_older_than_what_a_cut_source_holds_wait_for_the_next_page() -> None:
    page, cursor = merge(
        [Part([line(50, "b")], complete=False), Part([line(10, "a"), line(60, "c")], True)], 10, None, 0
    )
    assert [row.message for row in page] == ["b", "c"]
    assert cursor == f"{micros(line(50, '').time)}-1"


def test_a_moment_keeps_its_microseconds() -> None:
    assert seconds(datetime(2026, 11, 21, 12, 0, 0, 123456, tzinfo=UTC)) == "1795262400.123456"


def test_syslog_lines_of_all_dialects_come_apart() -> None:
    parsed = split("Fri Nov 21 12:00:00 2026 daemon.err dnsmasq[12]: no servers")
    assert (parsed.process, parsed.priority, parsed.message) == ("dnsmasq[12]", "err", "no servers")
    parsed = split("2026-11-21T12:00:00.123456+00:00 nas sshd[1]: Accepted")
    assert (parsed.process, parsed.priority, parsed.message) == ("sshd[1]", None, "Accepted")
    assert split("no syslog line").message == "no syslog line"


def test_a_moment_with_more_lines_than_are_read_at_a_time_does_not_end_the_pages() -> None:
    part = Part([line(70, "same") for _ in range(3)], complete=False)
    page, cursor = merge([part], 2, micros(line(70, "").time), 3)
    assert (page, cursor) == ([], f"{micros(line(70, '').time) - 1}-0")
