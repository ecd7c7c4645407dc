"""Whatever a caller passes, what is stored is JSON without NUL and lone surrogates, and of bounded size."""

import json
from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from infrastructor.ids import uuid7
from infrastructor.ports.audit import AuditRecord
from infrastructor.ports.callers import Caller, Effect, Interface, Role
from infrastructor.storage.audit_text import amend, encode, reduced
from infrastructor.storage.text import dump

wild_text = st.text(st.characters(), max_size=30)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | wild_text | st.binary(max_size=5) | st.datetimes(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(wild_text | st.integers(), inner, max_size=4),
    max_leaves=20,
)


def texts(value: Any) -> list[str]:
    match value:
        case str():
            return [value]
        case list():
            return [text for item in value for text in texts(item)]
        case dict():
            return [text for item in value.items() for text in texts(list(item))]
    return []


@given(anything)
def test_postgres_can_store_any_dump(value: Any) -> None:
    for text in texts(json.loads(dump(value))):
        assert "\0" not in text
        text.encode()  # no lone surrogate


@given(st.recursive(st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text("abcé😀", max_size=9), st.lists))
def test_plain_values_are_kept(value: Any) -> None:
    assert json.loads(dump(value)) == value


@given(wild_text, st.lists(wild_text, max_size=3), st.dictionaries(wild_text, anything, max_size=3))
def test_a_record_is_one_line_of_json_whatever_is_in_it(text: str, commands: list[str], params: dict[str, Any]) -> None:
    writer = uuid7()
    record = AuditRecord(
        operation_id=uuid7(),
        operation=text,
        effect=Effect.CHANGE,
        caller=Caller(principal=text, role=Role.ADMIN, interface=Interface.CLI, client=text),
        started_at=datetime.now(UTC),
        params=params,
        commands=commands,
        error_message=text,
        details=params,
    )
    line = encode(record, writer)
    assert line.isascii()
    assert "\n" not in line
    stored = json.loads(line)
    assert (stored["operation_id"], stored["writer_id"]) == (str(record.operation_id), str(writer))
    assert datetime.fromisoformat(stored["started_at"]) == record.started_at
    assert json.loads(amend(line, outcome="refused")) == {**stored, "outcome": "refused"}
    assert json.loads(reduced(line))["operation_id"] == stored["operation_id"]


def test_enormous_values_are_cut_and_say_so() -> None:
    record = AuditRecord(
        operation_id=uuid7(),
        operation="o",
        effect=Effect.READ,
        caller=Caller(principal="p" * 10_000, role=Role.ADMIN, interface=Interface.CLI),
        started_at=datetime.now(UTC),
        params={"x": "y" * 10_000_000},
        commands=[f"{n} {'z' * 1_000_000}" for n in range(1000)],
        error_message="é" * 1_000_000,
    )
    line = encode(record, uuid7())
    assert len(line) < 2_000_000
    stored = json.loads(line)
    assert stored["params"]["_truncated"] is True
    assert stored["commands"][-1] == "… and 800 more"
    assert stored["commands"][0].endswith("(1000002 chars)")
    assert stored["error_message"].endswith("(1000000 chars)")
