"""Every recorded output parses to its recorded answer.

`tests/fixtures/<domain>/<Command>/<machine>.out` is what a real machine printed, `.json` what it means.
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
from infrastructor.errors import ParseError
from infrastructor.ports import CommandOutput

FIXTURES = Path(__file__).parent / "fixtures"
COMMANDS: dict[str, type[Command[Any]]] = {
    command.__name__: command for operation in CATALOG for command in operation.commands
}
RECORDED = sorted(out for out in FIXTURES.glob("*/*/*.out") if out.parent.name in COMMANDS)


def example(command: type[Command[Any]], out: Path | None = None) -> Command[Any]:
    """An instance to parse with; `.params.json` beside a recording holds its fields."""
    given_fields = out.with_suffix(".params.json") if out else None
    fields = json.loads(given_fields.read_text()) if given_fields and given_fields.exists() else {}
    defaults = {field.name: "x" for field in dataclasses.fields(command) if field.default is dataclasses.MISSING}
    return command(**(defaults | fields))


def recorded_output(out: Path) -> CommandOutput:
    status = out.with_suffix(".rc")
    return CommandOutput(exit_status=int(status.read_text()) if status.exists() else 0, stdout=out.read_bytes())


@pytest.mark.parametrize("out", RECORDED, ids=lambda out: f"{out.parent.name}-{out.stem}")
def test_a_recorded_output_parses_to_its_answer(out: Path) -> None:
    command = example(COMMANDS[out.parent.name], out)
    answer = to_jsonable_python(command.parse(recorded_output(out)))
    expected = out.with_suffix(".json")
    if os.environ.get("UPDATE_FIXTURES"):
        expected.write_text(json.dumps(answer, indent=1, ensure_ascii=False, sort_keys=True) + "\n")
    assert answer == json.loads(expected.read_text())


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_has_recordings_of_two_machines(name: str) -> None:
    assert len({out.stem for out in RECORDED if out.parent.name == name}) >= 2


@pytest.mark.parametrize("name", sorted(COMMANDS))
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_parser_raises_only_parse_error(name: str, data: st.DataObject) -> None:
    """Whatever arrives: bytes of no meaning, or a recording cut, repeated and overwritten."""
    recordings = [out.read_bytes() for out in RECORDED if out.parent.name == name]
    base = data.draw(st.sampled_from([*recordings, b""]))
    start = data.draw(st.integers(0, len(base)))
    end = data.draw(st.integers(start, len(base)))
    broken = base[:start] + data.draw(st.binary(max_size=80)) + base[end:]
    command = example(COMMANDS[name])
    with contextlib.suppress(ParseError):
        command.parse(CommandOutput(exit_status=0, stdout=broken))
