"""Marks on devices forbid, and those whom they hold back cannot take them off."""

from typing import Any

import pytest

from infrastructor.catalog import CATALOG
from infrastructor.errors import InfrastructorError, Protected
from infrastructor.operation import Context, DeviceParams, Result, operation
from infrastructor.ports.callers import Caller, Effect, Interface, Role
from infrastructor.protection import PROTECTED, READ_ONLY, check_unprotected, is_set
from tests.doors.catalog import OPERATIONS, ZpoolScrub, pool_destroy, pool_list, scrub_start
from tests.doors.world import World
from tests.fakes import FakeDevices, device

ADMIN = Caller(principal="anna", role=Role.ADMIN, interface=Interface.CLI)
ASSISTANT = Caller(principal="anna", role=Role.ADMIN, interface=Interface.MCP)
OPERATOR = Caller(principal="otto", role=Role.OPERATOR, interface=Interface.REST)
TANK: dict[str, Any] = {"device": "nas", "pool": "tank"}


class Done(Result):
    pass


@operation(name="zfs_elsewhere", effect=Effect.CHANGE, route="POST /api/{device}/elsewhere", commands=(ZpoolScrub,))
async def elsewhere(ctx: Context, params: DeviceParams) -> Done:
    """Change another device than the one it is about. For this test."""
    other = await ctx.devices.find("marked")
    assert other is not None
    await ctx.on(other).run(ZpoolScrub(pool="tank"))
    return Done()


def world(**tags: str) -> World:
    marked = {name.replace("_", "."): value for name, value in tags.items()}
    rows = FakeDevices(device("nas", tags=marked), device("marked", tags={READ_ONLY: "true"}))
    # The small catalogue last: of two operations of one name its own is run.
    return World(operations=(*CATALOG, *OPERATIONS, elsewhere), devices=rows)


async def code_of(world: World, name: str, caller: Caller = ADMIN, **arguments: Any) -> str | None:
    service = world.application().service
    try:
        await service.submit(service.operation(name), arguments, caller)
    except InfrastructorError as error:
        return error.code
    return None


@pytest.mark.parametrize(
    ("value", "on"),
    [("true", True), ("TRUE", True), ("1", True), ("please", True), ("false", False), ("0", False), (" No ", False),
     ("", False), ("off", False)],
)  # fmt: skip
def test_a_mark_that_nobody_understands_counts(value: str, on: bool) -> None:
    assert is_set({PROTECTED: value}, PROTECTED) is on


def test_labels_and_properties_use_the_same_error() -> None:
    check_unprotected({"com.example": "true"}, "The container web")
    with pytest.raises(Protected, match="The container web is marked"):
        check_unprotected({PROTECTED: "true"}, "The container web")


async def test_a_protected_device_may_be_changed_but_nothing_on_it_destroyed() -> None:
    protected = world(infrastructor_protected="true")
    assert await code_of(protected, pool_destroy.name, **TANK) == "protected"
    assert await code_of(protected, "device_remove", device="nas") == "protected"
    assert await code_of(protected, scrub_start.name, **TANK) is None
    assert protected.outcomes[:2] == [
        ("zfs_pool_destroy", "refused", "protected"),
        ("device_remove", "refused", "protected"),
    ]
    assert protected.records[0].device == "nas"


async def test_a_read_only_device_is_read_and_its_registration_kept() -> None:
    marked = world(infrastructor_readonly="true")
    assert await code_of(marked, scrub_start.name, **TANK) == "read_only"
    assert await code_of(marked, pool_destroy.name, **TANK) == "read_only"
    assert await code_of(marked, pool_list.name, device="nas") is None
    assert await code_of(marked, "device_update", device="nas", location="attic") is None
    assert [text for _, text in marked.ssh.sent if "scrub" in text] == []


async def test_no_change_reaches_a_read_only_device_by_way_of_another() -> None:
    marked = world()
    assert await code_of(marked, elsewhere.name, device="nas") == "read_only"
    assert marked.ssh.sent == []


@pytest.mark.parametrize("mark", [PROTECTED, READ_ONLY])
@pytest.mark.parametrize(
    ("caller", "code"), [(ADMIN, None), (ASSISTANT, "permission_denied"), (OPERATOR, "permission_denied")]
)
@pytest.mark.parametrize("tags", [{}, {"role": "db"}, None])
async def test_only_an_admin_outside_mcp_takes_a_mark_off(
    mark: str, caller: Caller, code: str | None, tags: dict[str, str] | None
) -> None:
    marked = world()
    marked.devices.rows["nas"] = device("nas", tags={mark: "true"})
    given = {mark: "false"} if tags is None else tags
    assert await code_of(marked, "device_update", caller, device="nas", tags=given) == code
    assert is_set(marked.devices.rows["nas"].tags, mark) is (code is not None)


async def test_anybody_who_may_change_a_device_may_mark_it() -> None:
    marked = world()
    assert await code_of(marked, "device_update", ASSISTANT, device="nas", tags={PROTECTED: "true"}) is None
    assert await code_of(marked, pool_destroy.name, **TANK) == "protected"
