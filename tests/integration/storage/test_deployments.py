"""The journal of deployments in PostgreSQL, and its twin."""

from datetime import UTC, datetime
from typing import Any

import pytest

from infrastructor.deployment_store import DeploymentRecord, DeploymentStore
from infrastructor.ids import uuid7
from infrastructor.ports.devices import Device
from infrastructor.storage.deployments import PostgresDeploymentStore
from infrastructor.storage.pool import Database
from tests.fakes import FakeDeployments
from tests.integration.storage.test_drives import registered


@pytest.fixture(params=["real", "fake"])
async def store(request: pytest.FixtureRequest, storage: Database) -> DeploymentStore:
    return PostgresDeploymentStore(storage) if request.param == "real" else FakeDeployments()


def record(host: Device, stack: str = "shop", **before: Any) -> DeploymentRecord:
    now = datetime.now(UTC)
    return DeploymentRecord(
        operation_id=uuid7(),
        device_id=host.id,
        stack=stack,
        folder="/srv",
        before=before,
        started_at=now,
        touched_at=now,
    )


async def test_at_most_one_of_a_stack_is_unfinished(store: DeploymentStore, storage: Database) -> None:
    host = await registered(storage)
    first, second, other = record(host, line={"project": "shop"}), record(host), record(host, "other")
    assert await store.begin(first) is None
    in_the_way = await store.begin(second)
    assert in_the_way is not None
    assert (in_the_way.operation_id, in_the_way.before) == (first.operation_id, {"line": {"project": "shop"}})
    assert await store.begin(other) is None
    assert [row.stack for row in await store.unfinished(host.id)] == ["shop", "other"]

    await store.touch(first.operation_id, "starting")
    (row, _) = await store.unfinished()
    assert (row.step, row.touched_at > first.touched_at) == ("starting", True)
    await store.finish(first.operation_id, "deployed", "well")
    await store.finish(first.operation_id, "rolled_back", "too late")
    assert await store.begin(second) is None
    await store.finish(second.operation_id, "rolled_back", "unhealthy")
    last = await store.last(host.id, "shop")
    assert last is not None
    assert (last.operation_id, last.outcome, last.message) == (second.operation_id, "rolled_back", "unhealthy")
    assert await store.last(host.id, "nothing") is None
