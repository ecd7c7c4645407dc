"""Logs: one JSON object a line, facts beside the message, no secret and no second line smuggled in."""

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.logged import logged


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    with logged() as stream:
        yield stream


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_record_is_one_object_with_its_facts(stream: io.StringIO) -> None:
    facts = {"operation_id": "01", "device_id": None, "execution_time_ms": 8.4, "cache_hit": True}
    logging.getLogger("infrastructor.service").info("Operation finished", extra=facts)
    logging.getLogger("infrastructor").debug("too quiet")

    (entry,) = lines(stream)
    assert entry.pop("timestamp").endswith("+00:00")
    assert entry == {"level": "INFO", "logger": "infrastructor.service", "message": "Operation finished"} | facts


def test_a_newline_cannot_start_a_record_of_its_own(stream: io.StringIO) -> None:
    logging.getLogger("x").warning("Device said %s", 'no\n{"level": "INFO"}', extra={"more": "a\nb"})

    (entry,) = lines(stream)
    assert entry["message"] == 'Device said no\n{"level": "INFO"}'


def test_an_exception_is_part_of_its_record(stream: io.StringIO) -> None:
    try:
        raise ValueError("password=hunter2")
    except ValueError:
        logging.getLogger("x").exception("It broke")

    (entry,) = lines(stream)
    assert "ValueError" in entry["exception"]
    assert "hunter2" not in stream.getvalue()


@pytest.mark.parametrize("secret", ["inf_" + "a" * 40, "plan_" + "b" * 32, "Bearer abcdefghijklmnop"])
def test_tokens_are_masked_wherever_they_turn_up(stream: io.StringIO, secret: str) -> None:
    logging.getLogger("x").warning("Sent %s", secret, extra={"header": f"Authorization: {secret}"})

    assert secret.rpartition(" ")[2] not in stream.getvalue()
    assert len(lines(stream)) == 1
