"""Every recorded answer of a container engine reads as its recorded facts."""

import contextlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic_core import to_jsonable_python

from infrastructor.domains.network.queries import ContainerDependencies, EngineNetworks, PublishingContainers
from infrastructor.engine import EngineQuery
from infrastructor.errors import ParseError
from infrastructor.ports.ssh import EngineReply, Via

FIXTURES = Path(__file__).parents[2] / "fixtures" / "network"
QUERIES: dict[str, EngineQuery[Any]] = {
    "PublishingContainers": PublishingContainers(),
    "ContainerDependencies": ContainerDependencies(container="x"),
    "EngineNetworks": EngineNetworks(),
}
RECORDED = sorted(out for name in QUERIES for out in (FIXTURES / name).glob("*.out"))


def reply(body: bytes) -> EngineReply:
    return EngineReply(status=200, body=body, via=Via.SOCKET)


@pytest.mark.parametrize("out", RECORDED, ids=lambda out: f"{out.parent.name}-{out.stem}")
def test_a_recorded_reply_parses_to_its_answer(out: Path) -> None:
    answer = to_jsonable_python(QUERIES[out.parent.name].parse(reply(out.read_bytes())))
    expected = out.with_suffix(".json")
    if os.environ.get("UPDATE_FIXTURES"):
        expected.write_text(json.dumps(answer, indent=1, ensure_ascii=False, sort_keys=True) + "\n")
    assert answer == json.loads(expected.read_text())


@pytest.mark.parametrize("name", sorted(QUERIES))
def test_every_query_has_replies_of_two_engines(name: str) -> None:
    assert len({out.stem.partition("-")[0] for out in RECORDED if out.parent.name == name}) >= 2


@pytest.mark.parametrize("name", sorted(QUERIES))
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_parser_of_broken_bytes_raises_only_parse_error(name: str, data: st.DataObject) -> None:
    base = data.draw(st.sampled_from([out.read_bytes() for out in RECORDED if out.parent.name == name]))
    start = data.draw(st.integers(0, len(base)))
    broken = base[:start] + data.draw(st.binary(max_size=40)) + base[data.draw(st.integers(start, len(base))) :]
    with contextlib.suppress(ParseError):
        QUERIES[name].parse(reply(broken))


def _keys(value: Any) -> set[str]:
    """Every key at any depth of JSON."""
    if isinstance(value, dict):
        return set(value).union(*map(_keys, value.values()))
    return set().union(*map(_keys, value)) if isinstance(value, list) else set()


KEYS = sorted({key for out in RECORDED for key in _keys(json.loads(out.read_bytes())) if len(key) < 40})
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=6),
    max_leaves=30,
)


@pytest.mark.parametrize("name", sorted(QUERIES))
@settings(max_examples=200, deadline=None)
@given(value=JSON)
def test_any_json_under_the_known_names_is_read_or_refused(name: str, value: Any) -> None:
    body = value if name == "ContainerDependencies" else [value]
    with contextlib.suppress(ParseError):
        QUERIES[name].parse(reply(json.dumps(body).encode()))


def test_no_secret_of_an_environment_is_kept() -> None:
    out = FIXTURES / "ContainerDependencies" / "docker-20.10-shop-web-1.out"
    assert b"s3cret" in out.read_bytes()
    assert "s3cret" not in repr(QUERIES["ContainerDependencies"].parse(reply(out.read_bytes())))


def test_ranges_of_ports_that_no_device_has_are_not_spelled_out() -> None:
    bindings = {f"{n}/tcp": [{"HostPort": "1-65535"}] * 50 for n in range(1, 50)}
    body = json.dumps({"Id": "a", "Name": "/a", "HostConfig": {"PortBindings": bindings}}).encode()
    found = ContainerDependencies(container="a").parse(reply(body))
    assert found.details is not None
    assert len(found.details.bindings) == 65536
