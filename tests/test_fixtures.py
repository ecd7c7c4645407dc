"""Every recorded output parses to its recorded answer.

`tests/fixtures/<domain>/<Command>/<machine>.out` is what a real machine printed, or a real engine answered to a query,
`.json` what it means.
`UPDATE_FIXTURES=1` writes the answers anew; read the difference before keeping it.
"""

import contextlib
import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic_core import to_jsonable_python

from infrastructor.catalog import CATALOG
from infrastructor.command import Command
from infrastructor.engine import EngineQuery
from infrastructor.errors import ParseError
from infrastructor.ports.ssh import CommandOutput, EngineReply, Via

FIXTURES = Path(__file__).parent / "fixtures"
Recordable = type[Command[Any]] | type[EngineQuery[Any]]
ASKED: dict[str, Recordable] = {
    asked.__name__: asked for operation in CATALOG for asked in (*operation.commands, *operation.queries)
}
RECORDED = sorted(FIXTURES.glob("*/*/*.out"))


def example(asked: Recordable, out: Path | None = None) -> Command[Any] | EngineQuery[Any]:
    """An instance to parse with; `.params.json` beside a recording holds its fields."""
    given_fields = out.with_suffix(".params.json") if out else None
    fields = json.loads(given_fields.read_text()) if given_fields and given_fields.exists() else {}
    defaults = {field.name: "x" for field in dataclasses.fields(asked) if field.default is dataclasses.MISSING}
    return asked(**(defaults | fields))


def parse(asked: Command[Any] | EngineQuery[Any], stdout: bytes, stderr: bytes = b"", status: int = 0) -> Any:
    if isinstance(asked, EngineQuery):
        return asked.parse(EngineReply(status=200, body=stdout, via=Via.SOCKET))
    return asked.parse(CommandOutput(exit_status=status, stdout=stdout, stderr=stderr))


def recorded_answer(out: Path) -> Any:
    status, stderr = out.with_suffix(".rc"), out.with_suffix(".err")
    return parse(
        example(ASKED[out.parent.name], out),
        out.read_bytes(),
        stderr.read_bytes() if stderr.exists() else b"",
        int(status.read_text()) if status.exists() else 0,
    )


@pytest.mark.parametrize("out", RECORDED, ids=lambda out: f"{out.parent.name}-{out.stem}")
def test_a_recorded_output_parses_to_its_answer(out: Path) -> None:
    answer = to_jsonable_python(recorded_answer(out))
    expected = out.with_suffix(".json")
    if os.environ.get("UPDATE_FIXTURES"):
        expected.write_text(json.dumps(answer, indent=1, ensure_ascii=False, sort_keys=True) + "\n")
    assert answer == json.loads(expected.read_text())


@pytest.mark.parametrize("name", sorted(ASKED))
def test_every_command_has_recordings_of_two_machines(name: str) -> None:
    assert len({out.stem for out in RECORDED if out.parent.name == name}) >= 2


@pytest.mark.parametrize("name", sorted(ASKED))
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_parser_raises_only_parse_error(name: str, data: st.DataObject) -> None:
    """Whatever arrives: bytes of no meaning, or a recording cut, repeated and overwritten."""
    recordings = [out.read_bytes() for out in RECORDED if out.parent.name == name]
    base = data.draw(st.sampled_from([*recordings, b""]))
    start = data.draw(st.integers(0, len(base)))
    end = data.draw(st.integers(start, len(base)))
    broken = base[:start] + data.draw(st.binary(max_size=80)) + base[end:]
    with contextlib.suppress(ParseError):
        parse(example(ASKED[name]), broken, broken[::-1])
