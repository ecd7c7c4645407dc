"""Selectors mean what they say."""

from datetime import UTC, datetime

import pytest

from infrastructor.errors import ValidationFailed
from infrastructor.fleet import select
from infrastructor.ids import uuid7
from infrastructor.ports.devices import Device


def device(hostname: str, **tags: str) -> Device:
    now = datetime.now(UTC)
    return Device(id=uuid7(), hostname=hostname, tags=tags, created_at=now, updated_at=now)


FLEET = [device("db-1", role="db"), device("nas"), device("web-1", role="web", site="a"), device("web-2", role="web")]


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ("*", ["db-1", "nas", "web-1", "web-2"]),
        ("nas", ["nas"]),
        ("web-*", ["web-1", "web-2"]),
        ("web-2, nas", ["nas", "web-2"]),
        ("tag:role=web", ["web-1", "web-2"]),
        ("tag:site", ["web-1"]),
        ("tag:role=*b", ["db-1", "web-1", "web-2"]),
        ("*,!web-*", ["db-1", "nas"]),
        ("web-*,web-1", ["web-1", "web-2"]),
    ],
)
def test_a_selector_picks_each_device_once_in_order(selector: str, expected: list[str]) -> None:
    assert [found.hostname for found in select(FLEET, selector)] == expected


@pytest.mark.parametrize("selector", ["", " , ", "mail", "tag:role=mail", "web-1,mail"])
def test_a_term_that_means_nothing_is_an_error(selector: str) -> None:
    with pytest.raises(ValidationFailed):
        select(FLEET, selector)


def test_everything_of_an_empty_fleet_is_nothing() -> None:
    assert select([], "*") == []
