"""event_list: what it takes."""

from typing import Any

import pytest

from infrastructor.catalog import CATALOG
from infrastructor.errors import ValidationFailed
from infrastructor.ports.callers import Caller, Interface, Role
from infrastructor.service import UnifiedDataCollectionService
from tests import fakes

VIEWER = Caller(principal="anna", role=Role.VIEWER, interface=Interface.CLI)


@pytest.mark.parametrize(
    "arguments", [{"after": 2**63}, {"subject": "web\0"}, {"kind": "\0"}, {"topic": "a\0b"}, {"cursor": "<-1"}]
)
async def test_what_the_store_cannot_look_for_is_refused_before_it_is_asked(arguments: dict[str, Any]) -> None:
    service = UnifiedDataCollectionService(
        operations=CATALOG,
        devices=fakes.FakeDevices(),
        ssh=fakes.FakeSSH(),
        cache=fakes.FakeCache(),
        audit=fakes.FakeAudit(),
        metrics=fakes.FakeMetrics(),
        plans=fakes.FakePlans(),
        events=fakes.FakeEvents(),
        containers=fakes.FakeContainers(),
    )
    with pytest.raises(ValidationFailed):
        await service.submit(service.operation("event_list"), arguments, VIEWER)
