"""What engines really printed, and what they might."""

import contextlib
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infrastructor.errors import ParseError
from infrastructor.ports.ssh import Capabilities
from infrastructor.watchers.engine_events import EngineEvent, api_call, cli_line, parse_event

RECORDED = sorted((Path(__file__).parents[2] / "fixtures" / "watchers" / "events").glob("*.jsonl"))


def read(path: Path) -> list[EngineEvent]:
    parsed = [parse_event(line) for line in path.read_bytes().splitlines()]
    return [event for event in parsed if event is not None]


def recorded(name: str) -> list[EngineEvent]:
    return read(next(path for path in RECORDED if path.stem == name))


def test_the_api_and_the_program_of_docker_say_the_same() -> None:
    assert recorded("docker-20.10-api") == recorded("docker-28.2-cli")


def test_a_docker_life() -> None:
    events = recorded("docker-20.10-api")
    web = [event for event in events if event.name in {"web", "web2"} and not event.action.startswith("exec")]
    assert [event.action for event in web] == [
        *("create", "start", "pause", "unpause", "rename", "kill", "kill", "die", "stop", "start", "restart"),
        *("kill", "kill", "die", "stop", "destroy"),
    ]
    assert {event.stack for event in web} == {"shop"}
    assert [event.signal for event in web if event.action == "kill"] == ["15", "9", "15", "9"]
    assert [event.exit_code for event in events if event.action == "die"] == [137, 137, 3, 137, 137]
    (rename,) = [event for event in events if event.action == "rename"]
    assert (rename.name, rename.old_name) == ("web2", "web")
    assert [event.health for event in events if event.action == "health_status"] == ["unhealthy"]
    assert events[0].at == datetime(2026, 11, 21, 13, 10, 27, 642392, tzinfo=UTC)


def test_podman_in_its_own_words_and_in_those_of_docker() -> None:
    by_program, by_api = recorded("podman-4.3-cli"), recorded("podman-4.3-api")
    assert len(by_program) == len(by_api)
    for one, other in zip(by_program, by_api, strict=True):
        assert (one.container_id, one.action, one.time_ns) == (other.container_id, other.action, other.time_ns)
        assert (one.name, one.image, one.health) == (other.name, other.image, other.health)
    assert [event.exit_code for event in by_program if event.action == "die"] == [137, 137, 3, 137]
    assert [event.health for event in by_program if event.action == "health_status"] == ["starting"]
    assert {event.stack for event in by_program if event.name == "web2"} == {"shop"}


def test_a_zero_that_podman_leaves_out_is_a_zero() -> None:
    line = b'{"ID":"a","Name":"x","Status":"died","Time":"2026-11-21T13:11:09.5Z","Type":"container","Attributes":null}'
    event = parse_event(line)
    assert event is not None
    assert (event.action, event.exit_code, event.time_ns % 10**9) == ("die", 0, 500_000_000)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"not json",
        b'{"Type":"container"}',
        b'{"Type":"container","Action":"die","Actor":{"ID":"a"}}',
        b'{"Type":"container","Action":"die","Actor":{"ID":"a"},"timeNano":-1}',
        b'{"Type":"container","Action":"die","Actor":{"ID":"a"},"timeNano":9999999999999999999999}',
        b'{"Type":"container","Action":5,"Actor":{"ID":"a"},"time":5}',
        b'{"Type":"container","Status":"died","ID":"a","Time":"2026-11-21T13:11:09"}',
        b"[" * 100_000,
    ],
)
def test_what_is_no_event_is_not_understood(line: bytes) -> None:
    with pytest.raises(ParseError):
        parse_event(line)


def test_other_things_are_passed_over() -> None:
    assert parse_event(b'{"Type":"image","Action":"pull","Actor":{"ID":"a"},"time":5}') is None
    assert parse_event(b"5") is None


LINES = [line for path in RECORDED for line in path.read_bytes().splitlines()]


@given(data=st.data())
def test_whatever_comes_only_a_parse_error_is_raised(data: st.DataObject) -> None:
    base = data.draw(st.sampled_from(LINES))
    start = data.draw(st.integers(0, len(base)))
    end = data.draw(st.integers(start, len(base)))
    with contextlib.suppress(ParseError):
        parse_event(base[:start] + data.draw(st.binary(max_size=40)) + base[end:])


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(actor=json_values, attributes=json_values, time=json_values, status=json_values, health=json_values)
def test_any_shape_of_json_is_taken(
    actor: object, attributes: object, time: object, status: object, health: object
) -> None:
    import json

    for raw in (
        {"Type": "container", "Actor": {"ID": "a", "Attributes": attributes}, "Action": "die", "timeNano": time},
        {"Type": "container", "Actor": actor, "Action": status, "time": 5, "HealthStatus": health},
        {"Type": "container", "ID": "a", "Status": "died", "Time": time, "Attributes": attributes},
    ):
        with contextlib.suppress(ParseError):
            parse_event(json.dumps(raw).encode())


def test_hostile_text_loses_its_teeth() -> None:
    line = (
        b'{"Type":"container","Action":"start","time":5,"Actor":{"ID":"a","Attributes":{"name":"x\\u001b[2J\\u202e"}}}'
    )
    event = parse_event(line)
    assert event is not None
    assert event.name == "x[2J"


def test_ways_to_ask() -> None:
    assert api_call(None).target == "/events?filters=%7B%22type%22%3A%5B%22container%22%5D%7D"
    assert api_call(17).target.startswith("/events?since=17&")
    assert cli_line(Capabilities(), 5) is None
    docker = cli_line(Capabilities(tools=frozenset({"docker"}), sudo="nopasswd"), 5)
    assert docker is not None
    assert (docker.text, docker.needs, docker.sudo) == (
        "docker events --format '{{json .}}' --since 5 --filter type=container",
        "docker",
        True,
    )
    podman = cli_line(Capabilities(tools=frozenset({"podman"}), is_root=True), 5)
    assert podman is not None
    assert (podman.text.split()[:4], podman.sudo) == (["podman", "events", "--format", "json"], False)
