"""Snapshots of real pools: taken, held, cloned, destroyed, gone back to; and scrubs."""

import pytest

from infrastructor.errors import Conflict, InfrastructorError, NotFound, PlanRejected, Protected
from tests.lab.zfs.lab import Lab


async def test_a_snapshot_is_taken_with_the_time_in_its_name(lab: Lab, dataset: str) -> None:
    taken = await lab.ask("zfs_snapshot_create", dataset=dataset, name="auto-%Y %H:%M")
    guids = await lab.guids(dataset)
    assert [(one.name.partition("@")[2], one.guid) for one in taken.snapshots] == list(guids.items())
    assert taken.snapshot.startswith(f"{dataset}@auto-20")
    with pytest.raises(Conflict, match="already"):
        await lab.ask("zfs_snapshot_create", dataset=dataset, name=taken.snapshot.partition("@")[2])


async def test_a_recursive_one_is_taken_in_one_instant_and_held(lab: Lab, dataset: str) -> None:
    await lab.sh(f"zfs create '{dataset}/a' && zfs create '{dataset}/a/b c'")
    taken = await lab.ask("zfs_snapshot_create", dataset=dataset, name="held", recursive=True, hold="keep")
    assert [one.name for one in taken.snapshots] == [f"{dataset}@held", f"{dataset}/a@held", f"{dataset}/a/b c@held"]
    txgs = await lab.sh(f"zfs list -H -p -r -t snapshot -o createtxg -- '{dataset}'")
    assert len(set(txgs.split())) == 1
    assert (await lab.sh(f"zfs holds -H -r '{dataset}@held'")).count("\tkeep\t") == 3
    with pytest.raises(Protected, match="held") as refused:
        await lab.ask("zfs_snapshot_destroy", snapshots=f"{dataset}@held", recursion="descendants")
    assert "keep" in refused.value.message
    await lab.sh(f"zfs release -r keep '{dataset}@held'")


async def test_a_clone_has_what_the_snapshot_has(lab: Lab, dataset: str) -> None:
    await lab.sh(f"zfs snapshot '{dataset}@s1' && rm '/{dataset}/file'")
    clone = f"{dataset} clone"
    made = await lab.ask("zfs_snapshot_clone", snapshot=f"{dataset}@s1", target=clone, readonly=True)
    assert made.origin == f"{dataset}@s1"
    assert await lab.sh(f"stat -c %s '{made.mountpoint}/file'") == "3000000\n"
    assert await lab.sh(f"zfs get -H -o value readonly '{clone}'") == "on\n"
    with pytest.raises(Conflict, match="already"):
        await lab.ask("zfs_snapshot_clone", snapshot=f"{dataset}@s1", target=clone)
    with pytest.raises(NotFound, match="@nosuch"):
        await lab.ask("zfs_snapshot_clone", snapshot=f"{dataset}@nosuch", target=f"{clone}2")


async def test_a_range_is_planned_with_names_and_space_and_then_destroyed(lab: Lab, dataset: str) -> None:
    for name in ("s1", "s2", "s3", "s4"):
        await lab.sh(f"head -c 500000 /dev/urandom >'/{dataset}/file' && zfs snapshot '{dataset}@{name}'")
    spec = f"{dataset}@s1%s3"
    planned = await lab.ask("zfs_snapshot_destroy", snapshots=spec)
    freed = int((await lab.sh(f"zfs destroy -nvp '{spec}'")).split("reclaim\t")[1])
    assert f"frees {freed:,} bytes" in planned.plan.effects[0]
    assert [f"@{name}" in effect for name, effect in zip(("s1", "s2", "s3"), planned.plan.effects[1:], strict=True)]
    assert planned.plan.commands == [f"zfs destroy -- '{dataset}@s1,s2,s3'"]
    done = await lab.ask("zfs_snapshot_destroy", snapshots=spec, plan_token=planned.plan.plan_token)
    assert (done.total, done.reclaimed_bytes, list(await lab.guids(dataset))) == (3, freed, ["s4"])


async def test_a_snapshot_of_the_same_name_is_another_one(lab: Lab, dataset: str) -> None:
    """The plan was for the one that was there; its token is worth nothing for the new one."""
    await lab.sh(f"zfs snapshot '{dataset}@s1'")
    planned = await lab.ask("zfs_snapshot_destroy", snapshots=f"{dataset}@s1")
    await lab.sh(f"zfs destroy '{dataset}@s1' && zfs snapshot '{dataset}@s1'")
    with pytest.raises(PlanRejected, match="changed"):
        await lab.ask("zfs_snapshot_destroy", snapshots=f"{dataset}@s1", plan_token=planned.plan.plan_token)
    assert list(await lab.guids(dataset)) == ["s1"]


async def test_clones_stand_in_the_way_until_they_are_given_up(lab: Lab, dataset: str) -> None:
    clone = f"{dataset} clone"
    await lab.sh(
        f"zfs snapshot '{dataset}@s1' && zfs clone '{dataset}@s1' '{clone}' && zfs create '{clone}/below' "
        f"&& zfs snapshot '{clone}/below@x' && zfs clone '{clone}/below@x' '{clone} of it'"
    )
    with pytest.raises(Conflict, match="1 clones") as refused:
        await lab.ask("zfs_snapshot_destroy", snapshots=f"{dataset}@s1")
    assert clone in refused.value.message
    planned = await lab.ask("zfs_snapshot_destroy", snapshots=f"{dataset}@s1", recursion="clones")
    said = "\n".join(planned.plan.effects)
    assert all(name in said for name in (f"{clone} ", f"{clone}/below ", f"{clone}/below@x", f"{clone} of it"))
    done = await lab.ask(
        "zfs_snapshot_destroy",
        snapshots=f"{dataset}@s1",
        recursion="clones",
        plan_token=planned.plan.plan_token,
    )
    assert done.total == 5
    left = await lab.sh(f"zfs list -H -o name -r tank | grep -F '{clone}' || true")
    assert left == ""


@pytest.mark.parametrize("where", ["", "/below"])
async def test_a_property_forbids_on_the_dataset_or_above(lab: Lab, dataset: str, where: str) -> None:
    await lab.sh(
        f"zfs create '{dataset}/below' && zfs set infrastructor:protected=true '{dataset}' "
        f"&& zfs snapshot '{dataset}{where}@s1' && zfs snapshot '{dataset}{where}@s2'"
    )
    for operation, arguments in (
        ("zfs_snapshot_destroy", {"snapshots": f"{dataset}{where}@s1"}),
        ("zfs_snapshot_rollback", {"snapshot": f"{dataset}{where}@s1", "destroy_newer": True}),
    ):
        with pytest.raises(Protected, match="infrastructor:protected"):
            await lab.ask(operation, **arguments)
    assert len(await lab.guids(f"{dataset}{where}")) == 2


async def test_going_back_loses_what_is_newer_and_says_so_first(lab: Lab, dataset: str) -> None:
    await lab.sh(
        f"zfs snapshot '{dataset}@s1' && echo new >'/{dataset}/new' && zfs snapshot '{dataset}@s2' "
        f"&& zfs bookmark '{dataset}@s2' '{dataset}#b2' && rm '/{dataset}/file'"
    )
    with pytest.raises(Conflict, match="@s2, #b2"):
        await lab.ask("zfs_snapshot_rollback", snapshot=f"{dataset}@s1")
    planned = await lab.ask("zfs_snapshot_rollback", snapshot=f"{dataset}@s1", destroy_newer=True)
    said = "\n".join(planned.plan.effects)
    assert f"{dataset}@s2" in said
    assert f"{dataset}#b2" in said
    done = await lab.ask(
        "zfs_snapshot_rollback", snapshot=f"{dataset}@s1", destroy_newer=True, plan_token=planned.plan.plan_token
    )
    assert (done.total, list(await lab.guids(dataset))) == (2, ["s1"])
    assert await lab.sh(f"ls '/{dataset}'") == "file\n"


async def test_going_back_is_refused_once_another_snapshot_was_taken(lab: Lab, dataset: str) -> None:
    await lab.sh(f"zfs snapshot '{dataset}@s1' && zfs snapshot '{dataset}@s2'")
    planned = await lab.ask("zfs_snapshot_rollback", snapshot=f"{dataset}@s1", destroy_newer=True)
    await lab.sh(f"zfs snapshot '{dataset}@s3'")
    with pytest.raises(PlanRejected):
        await lab.ask(
            "zfs_snapshot_rollback", snapshot=f"{dataset}@s1", destroy_newer=True, plan_token=planned.plan.plan_token
        )
    assert list(await lab.guids(dataset)) == ["s1", "s2", "s3"]


async def test_a_login_that_is_no_root_is_told_what_it_lacks(lab: Lab, dataset: str) -> None:
    with pytest.raises(InfrastructorError) as refused:
        await lab.ask("zfs_snapshot_create", device="plain", dataset=dataset, name="s1")
    assert refused.value.code in {"command_failed", "zfs_forbidden"}
    assert await lab.guids(dataset) == {}
    await lab.sh(f"zfs allow plain snapshot,mount '{dataset}'")
    taken = await lab.ask("zfs_snapshot_create", device="plain", dataset=dataset, name="s1")
    assert taken.total == 1


async def test_what_is_missing_is_named(lab: Lab) -> None:
    for operation, arguments in (
        ("zfs_snapshot_create", {"dataset": "tank/none"}),
        ("zfs_snapshot_destroy", {"snapshots": "tank@none"}),
        ("zfs_snapshot_rollback", {"snapshot": "tank@none"}),
        ("zfs_scrub", {"pool": "nopool"}),
    ):
        with pytest.raises(NotFound):
            await lab.ask(operation, **arguments)


async def test_a_scrub_is_started_paused_resumed_and_ended(lab: Lab, dataset: str) -> None:
    # Slow enough to be met while it runs.
    await lab.sh(
        f"for n in 1 2 3 4 5 6; do head -c 20000000 /dev/urandom >'/{dataset}/big'$n; done; sync; "
        "echo 1 >/sys/module/zfs/parameters/zfs_scan_suspend_progress"
    )
    try:
        started = await lab.ask("zfs_scrub", pool="tank")
        assert (started.changed, started.scrub.state) == (True, "running")
        assert (await lab.ask("zfs_scrub", pool="tank")).changed is False
        paused = await lab.ask("zfs_scrub", pool="tank", action="pause")
        assert (paused.changed, paused.scrub.state) == (True, "paused")
        assert (await lab.ask("zfs_scrub", pool="tank")).scrub.state == "running"
        ended = await lab.ask("zfs_scrub", pool="tank", action="stop")
        assert (ended.changed, ended.scrub.state) == (True, "canceled")
        assert (await lab.ask("zfs_scrub", pool="tank", action="stop")).changed is False
        with pytest.raises(Conflict, match="none to pause"):
            await lab.ask("zfs_scrub", pool="tank", action="pause")
    finally:
        await lab.sh("echo 0 >/sys/module/zfs/parameters/zfs_scan_suspend_progress")
