"""Plans of destructions over a replay of recordings: what is named, and what forbids."""

from typing import Any

import pytest

from infrastructor.catalog import CATALOG
from infrastructor.errors import Conflict, NotFound, Protected
from infrastructor.ports.callers import Caller, Interface, Role
from infrastructor.ports.ssh import Capabilities, CommandOutput
from tests.doors.world import World
from tests.fakes import FakeDevices, device
from tests.support import zfs

CALLER = Caller(principal="anna", role=Role.ADMIN, interface=Interface.REST)
RANGE = {"device": "nas", "snapshots": "tank/data@s1%s3"}
BLOCKED = zfs.recorded("LookAtDestruction", "blocked")
TREES = zfs.recorded("LookAtTrees")


def without_holds(output: CommandOutput) -> CommandOutput:
    """As it would be had nobody held any of them."""
    rows = []
    for line in output.text.splitlines():
        columns = line.split("\t")
        if columns[0] == "row" and columns[7] != "-":
            columns[7] = "0"
        if columns[0] != "hold":
            rows.append("\t".join(columns))
    return CommandOutput(exit_status=0, stdout="\n".join([*rows, ""]).encode())


@pytest.fixture
def world() -> World:
    made = World(operations=CATALOG, devices=FakeDevices(device("nas")))
    made.ssh.outputs = {"set": without_holds(BLOCKED), "set -- 'tank/a clone'": without_holds(TREES)}
    return made


async def plan(world: World, operation: str = "zfs_snapshot_destroy", **arguments: Any) -> Any:
    service = world.application().service
    return (await service.submit(service.operation(operation), arguments, CALLER)).result.plan


async def test_what_is_held_may_not_go_and_the_tags_are_named(world: World) -> None:
    world.ssh.outputs["set"] = BLOCKED
    with pytest.raises(Protected, match=r"tank/data@s1 on nas is held \(tags: .*two words") as refused:
        await plan(world, **RANGE)
    assert "zfs release" in refused.value.hint


async def test_clones_stand_in_the_way(world: World) -> None:
    with pytest.raises(Conflict, match="1 clones on nas need what would go: tank/a clone") as refused:
        await plan(world, **RANGE)
    assert "recursion=clones" in refused.value.hint


async def test_with_its_clones_goes_all_that_is_in_them(world: World) -> None:
    found = await plan(world, **RANGE, recursion="clones")
    assert found.commands == ["zfs destroy -R -- tank/data@s1,s2,s3"]
    named = " ".join(found.effects)
    assert all(f" {name} " in named for name in ("tank/data@s2", "tank/a clone", "tank/a clone/in it@x"))
    assert found.summary == "Destroy 6 snapshots and datasets on nas."
    assert not found.reversible


async def test_what_is_held_inside_a_clone_forbids_too(world: World) -> None:
    world.ssh.outputs["set -- 'tank/a clone'"] = TREES
    with pytest.raises(Protected, match="tank/a clone/in it@x"):
        await plan(world, **RANGE, recursion="clones")


@pytest.mark.parametrize(("value", "forbids"), [("true", True), ("on", True), ("why not", True), ("off", False)])
async def test_the_property_forbids_unless_it_is_off(world: World, value: str, forbids: bool) -> None:
    world.ssh.outputs["set"] = zfs.edited(zfs.recorded("LookAtDestruction", "one"), ("\t-\ttank", f"\t{value}\ttank"))
    arguments = {"device": "nas", "snapshots": zfs.WANTED}
    if forbids:
        with pytest.raises(Protected, match="infrastructor:protected"):
            await plan(world, **arguments)
    else:
        assert (await plan(world, **arguments)).commands == ["zfs destroy -- tank/data@s3"]


async def test_a_name_that_is_not_there_is_named(world: World) -> None:
    with pytest.raises(NotFound, match="@s9"):
        await plan(world, device="nas", snapshots="tank/data@s1,s9")
    world.ssh.outputs["set"] = zfs.recorded("LookAtDestruction", "none")
    with pytest.raises(NotFound):
        await plan(world, **RANGE)


async def test_going_back_names_what_is_newer(world: World) -> None:
    world.ssh.outputs = {
        "set -- tank/data": zfs.SOURCE_REPLICA,
        "set -- tank/data@s2,s3": without_holds(BLOCKED),
        "set -- 'tank/a clone'": without_holds(TREES),
    }
    back: dict[str, Any] = {"operation": "zfs_snapshot_rollback", "device": "nas", "snapshot": "tank/data@s1"}
    with pytest.raises(Conflict, match=r"3 snapshots and bookmarks .* newer than tank/data@s1: @s2, #b2, @s3"):
        await plan(world, **back)
    with pytest.raises(Conflict, match="tank/a clone"):
        await plan(world, **back, destroy_newer=True)
    found = await plan(world, **back, destroy_newer=True, destroy_clones=True)
    assert found.commands == ["zfs rollback -R -- tank/data@s1"]
    assert any("Bookmark tank/data#b2" in effect for effect in found.effects)


async def test_the_plan_shows_the_line_as_it_will_run(world: World) -> None:
    world.ssh.outputs["set"] = zfs.recorded("LookAtDestruction", "one")
    world.ssh.found = Capabilities(user="anna", sudo="nopasswd")
    found = await plan(world, device="nas", snapshots=zfs.WANTED)
    assert found.commands == ["sudo zfs destroy -- tank/data@s3"]
