"""Logs of real containers, by every way to their engine."""

from datetime import UTC, datetime
from typing import Any

import pytest

from infrastructor.errors import NotFound, ValidationFailed
from tests.support.containers import Host
from tests.support.wait import until

pytestmark = pytest.mark.xdist_group("docker")

BOTH = "echo one; sleep 0.1; echo two >&2; sleep 0.1; echo three; sleep 0.1; printf unfinished"


async def finished(host: Host, name: str) -> None:
    await until(lambda: host.state(name)["Status"] == "exited", 60)


def texts(result: Any) -> list[str]:
    return [line.text for line in result.lines]


async def everything(host: Host, **arguments: Any) -> list[str]:
    """All lines by cursor, oldest first."""
    found: list[str] = []
    cursor = None
    for _ in range(200):
        result = await host.ask("container_logs", **arguments, **({"cursor": cursor} if cursor else {}))
        found = [*texts(result), *found]
        cursor = result.next_cursor
        if cursor is None:
            return found
    raise AssertionError("no end")


async def test_both_streams_come_in_order_with_their_times(every_way: Host) -> None:
    every_way.run("talk", "sh", "-c", BOTH)
    await finished(every_way, "talk")
    result = await every_way.ask("container_logs", container="talk")
    assert [(line.stream, line.text) for line in result.lines] == [
        ("stdout", "one"),
        ("stderr", "two"),
        ("stdout", "three"),
        ("stdout", "unfinished"),
    ]
    times = [line.time for line in result.lines]
    assert times == sorted(times)
    assert abs((datetime.now(UTC) - times[0]).total_seconds()) < 60
    assert (result.searched, result.next_cursor, result.hint) == (4, None, None)
    assert texts(await every_way.ask("container_logs", container="talk", stream="stderr")) == ["two"]
    assert texts(await every_way.ask("container_logs", container="talk", tail=2)) == ["three", "unfinished"]


async def test_a_container_with_a_terminal_has_one_stream_without_frames(every_way: Host) -> None:
    every_way.run("tty", "sh", "-c", r"printf 'plain\n\033[31mred\033[0m\n'", options=("-t",))
    await finished(every_way, "tty")
    assert texts(await every_way.ask("container_logs", container="tty")) == ["plain", "red"]


async def test_ten_thousand_lines_are_bounded_and_wholly_retrievable(host: Host) -> None:
    host.run("chatty", "sh", "-c", 'i=0; while [ $i -lt 10000 ]; do i=$((i+1)); echo "line $i of many"; done')
    await finished(host, "chatty")
    answer = await host.answer("container_logs", container="chatty", tail=2000)
    assert len(answer.body) <= 40_000
    assert answer.result.lines[-1].text == "line 10000 of many"
    assert await everything(host, container="chatty", tail=2000) == [
        f"line {number} of many" for number in range(1, 10_001)
    ]


async def test_older_lines_come_by_cursor_while_new_ones_are_printed(every_way: Host) -> None:
    every_way.run("growing", "sh", "-c", 'i=0; while :; do i=$((i+1)); echo "$i"; [ $i -lt 200 ] || sleep 0.05; done')
    await until(lambda: "199" in every_way.engine.docker("logs", "growing"))
    found = [int(text) for text in await everything(every_way, container="growing", tail=60)]
    assert found == list(range(1, len(found) + 1))
    assert len(found) >= 200


async def test_searches_go_as_far_back_as_it_takes(host: Host) -> None:
    script = 'echo "first Needle here"; i=0; while [ $i -lt 6000 ]; do i=$((i+1)); echo "hay $i"; done; echo needles'
    host.run("stack", "sh", "-c", script)
    await finished(host, "stack")
    assert texts(await host.ask("container_logs", container="stack", grep="Needle")) == ["first Needle here"]
    assert texts(await host.ask("container_logs", container="stack", grep="(?i)^needle|Needle h", regex=True)) == [
        "first Needle here",
        "needles",
    ]
    result = await host.ask("container_logs", container="stack", grep="needles", tail=1)
    assert (texts(result), result.next_cursor is None) == (["needles"], False)
    assert await everything(host, container="stack", grep="hay 1", tail=500) == [
        f"hay {number}" for number in range(6001) if str(number).startswith("1")
    ]


@pytest.mark.parametrize("pattern", ["(", "(?=x)", r"(a)\1", "a{99999}{99999}"])
async def test_a_bad_expression_is_refused(host: Host, pattern: str) -> None:
    with pytest.raises(ValidationFailed, match="no regular expression"):
        await host.ask("container_logs", container="x", grep=pattern, regex=True)


async def test_no_expression_makes_it_hang(host: Host) -> None:
    host.run(
        "evil", "sh", "-c", "i=0; while [ $i -lt 300 ]; do i=$((i+1)); echo aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!; done"
    )
    await finished(host, "evil")
    answer = await host.answer("container_logs", container="evil", grep="(a+)+$", regex=True)
    assert (answer.result.lines, answer.duration_ms < 2000) == ([], True)


async def test_spans_of_time(every_way: Host) -> None:
    every_way.run("slow", "sh", "-c", "echo early; sleep 2; echo late")
    await finished(every_way, "slow")
    early, late = (line.time for line in (await every_way.ask("container_logs", container="slow")).lines)
    for span, expected in (
        ({"since": "1h"}, ["early", "late"]),
        ({"since": late.isoformat()}, ["late"]),
        ({"until": early.isoformat()}, []),  # before the whole microsecond
        ({"until": (early.replace(microsecond=999_999)).isoformat()}, ["early"]),
        ({"since": "1h", "until": late.replace(microsecond=0).isoformat()}, ["early"]),
        ({"until": "1d"}, []),
    ):
        assert texts(await every_way.ask("container_logs", container="slow", **span)) == expected
    with pytest.raises(ValidationFailed, match="since is no time"):
        await every_way.ask("container_logs", container="slow", since="yesterday")


async def test_secrets_and_controls_do_not_come_through(host: Host) -> None:
    host.run("leaky", "sh", "-c", r"echo DB_PASSWORD=hunter2secret; printf 'a\033]0;title\007b\342\200\256c\n'")
    await finished(host, "leaky")
    assert texts(await host.ask("container_logs", container="leaky")) == ["DB_PASSWORD=‹masked›", "abc"]
    # Nor can they be guessed by searching.
    assert texts(await host.ask("container_logs", container="leaky", grep="hunter2")) == []
    assert texts(await host.ask("container_logs", container="leaky", grep="PASSWORD=h", regex=True)) == []


async def test_a_line_longer_than_the_engines_record_is_one_line(host: Host) -> None:
    host.run("long", "sh", "-c", "i=0; x=x; while [ $i -lt 16 ]; do i=$((i+1)); x=$x$x; done; echo $x; echo end")
    await finished(host, "long")
    result = await host.ask("container_logs", container="long")
    assert [text[:3] for text in texts(result)] == ["xxx", "end"]
    assert "more characters" in result.lines[0].text
    assert texts(await host.ask("container_logs", container="long", tail=1)) == ["end"]


async def test_an_unknown_container_has_no_log(every_way: Host) -> None:
    with pytest.raises(NotFound, match="no container 'nobody'"):
        await every_way.ask("container_logs", container="nobody")
