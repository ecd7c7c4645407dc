"""The real application when a part of it fails: reads go on, changes are refused, nothing recorded is lost."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from infrastructor.app import Application, open_application
from infrastructor.embedded import EmbeddedStores
from infrastructor.errors import AuditUnavailable, InfrastructorError
from infrastructor.operation import Answer
from infrastructor.ports.cache import CacheState
from infrastructor.ports.callers import Caller, Interface, Role
from infrastructor.settings import Settings
from tests.support.wait import until

pytestmark = pytest.mark.timeout(120)

ADMIN = Caller(principal="anna", role=Role.ADMIN, interface=Interface.CLI)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("application")


@pytest.fixture
async def application(data_dir: Path) -> AsyncIterator[Application]:
    async with open_application(Settings(data_dir=data_dir, metrics_interval_s=0)) as opened:
        yield opened


async def ask(application: Application, name: str, **arguments: Any) -> Answer[Any]:
    service = application.service
    return await asyncio.wait_for(service.submit(service.operation(name), arguments, ADMIN), 20)


async def pids(data_dir: Path) -> dict[str, int]:
    found = await EmbeddedStores(data_dir).status()
    return {name: pid for name, pid in found.items() if pid is not None}


def family(pid: int) -> list[int]:
    """A process and its children; PostgreSQL serves each connection in one."""
    children = [
        int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()
    ]
    return [pid, *children]


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    members = family(pid)
    for member in members:
        os.kill(member, signal.SIGSTOP)
    try:
        yield
    finally:
        for member in members:
            os.kill(member, signal.SIGCONT)


async def outcomes(data_dir: Path, *operation_ids: object) -> list[str]:
    return [row["outcome"] for row in await audited(data_dir, *operation_ids)]


async def audited(data_dir: Path, *operation_ids: object) -> list[Any]:
    """The rows of these operations, as they stand in the table."""
    stores = await EmbeddedStores(data_dir).start()
    connection = await asyncpg.connect(stores.database_url)
    try:
        found: list[Any] = await connection.fetch(
            "SELECT * FROM data_collection_audit WHERE operation_id = ANY($1::uuid[])", list(operation_ids)
        )
    finally:
        await connection.close()
    return found


async def test_an_answer_is_cached_and_audited(application: Application, data_dir: Path) -> None:
    first = await ask(application, "system_info", device="local", force_refresh=True)
    second = await ask(application, "system_info", device="local")
    assert (first.cache, second.cache) == (CacheState.MISS, CacheState.HIT) or first.cache is CacheState.BYPASS
    assert await outcomes(data_dir, first.operation_id) == ["ok"]


async def test_a_frozen_cache_costs_nothing_but_speed(application: Application, data_dir: Path) -> None:
    with frozen((await pids(data_dir))["valkey"]):
        answers = [await ask(application, "system_info", device="local") for _ in range(5)]
    assert all(answer.cache is not CacheState.HIT for answer in answers)
    health = await application.health()
    assert health.ready


async def test_with_postgresql_frozen_reads_go_on_and_changes_are_refused(
    application: Application, data_dir: Path
) -> None:
    with frozen((await pids(data_dir))["postgres"]):
        read = [await ask(application, "process_list", device="local", force_refresh=True) for _ in range(3)]
        with pytest.raises(AuditUnavailable):
            await ask(application, "device_update", device="local", location="attic")
        health = await application.health()
        assert health.status == "degraded"
        assert health.services["audit"].facts["state"] == "spooling"
    await until(lambda: application.service.audit.statistics()["state"] == "ok", 30)
    await until(lambda: application.service.audit.statistics()["spooled"] == 0, 30)
    assert await outcomes(data_dir, *(answer.operation_id for answer in read)) == ["ok"] * 3
    updated = await ask(application, "device_update", device="local", location="attic")
    assert updated.result.location == "attic"


async def test_postgresql_killed_hard_comes_back_with_everything(application: Application, data_dir: Path) -> None:
    await ask(application, "device_update", device="local", location="attic")
    os.kill((await pids(data_dir))["postgres"], signal.SIGQUIT)
    during = await ask(application, "process_list", device="local", force_refresh=True)
    with pytest.raises(InfrastructorError):
        await ask(application, "device_update", device="local", location="cellar")
    await EmbeddedStores(data_dir).start()
    await until(lambda: application.service.audit.statistics()["state"] == "ok", 30)
    await until(lambda: application.service.audit.statistics()["spooled"] == 0, 30)
    assert await outcomes(data_dir, during.operation_id) == ["ok"]
    assert (await ask(application, "device_get", device="local")).result.location == "attic"


async def test_the_fleet_answers_without_its_dead_devices(application: Application) -> None:
    for number in range(3):
        await ask(application, "device_add", hostname=f"dead-{number}", address=f"127.0.99.{number + 1}", ssh_port=9)
    answer = await ask(application, "fleet_run", operation="system_info", selector="*")
    assert (answer.result.ok, answer.result.failed) == (1, 3)
    assert {row.error for row in answer.result.answers if row.error} == {"host_key_untrusted"}
    overview = await ask(application, "fleet_overview")
    assert (overview.result.devices, overview.result.unreachable) == (4, 3)
    assert len(overview.result.problems) >= 3
    for number in range(3):
        planned = await ask(application, "device_remove", device=f"dead-{number}")
        token = planned.result.plan.plan_token
        assert (
            await ask(application, "device_remove", device=f"dead-{number}", plan_token=token)
        ).result.status == "done"


async def test_two_applications_share_one_registry(application: Application, data_dir: Path) -> None:
    async with open_application(Settings(data_dir=data_dir, metrics_interval_s=0)) as other:
        await ask(other, "device_add", hostname="shared", address="127.0.99.9", ssh_port=9)
        assert (await ask(application, "device_get", device="shared")).result.hostname == "shared"
        planned = await ask(other, "device_remove", device="shared")
        await ask(other, "device_remove", device="shared", plan_token=planned.result.plan.plan_token)
    assert set(await pids(data_dir)) == {"postgres", "valkey"}  # the one that left did not take them along
