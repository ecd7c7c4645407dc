"""Real pools of many shapes and states, read: our answer against what zpool itself says of them."""

import pytest

from infrastructor.domains.zfs import status_text
from infrastructor.domains.zfs.models import PoolStatus
from infrastructor.errors import InfrastructorError, NotFound
from tests.lab.zfs.filepools import FOLDER, files, marked, pool, same_as_zpool, spoil, told
from tests.lab.zfs.lab import Lab

NO_MODULE = "/etc/modprobe.d/lab-no-zfs.conf"
SLOWLY = "/sys/module/zfs/parameters/zfs_scan_suspend_progress"


async def set_slow(lab: Lab, on: bool) -> None:
    """Let scrubs and resilvers stand still, so that they are met while they run."""
    await lab.sh(f"echo {int(on)} >{SLOWLY}")


async def as_text(lab: Lab, answer: PoolStatus) -> None:
    """The form for older versions reads the same from the text of this one."""
    text = await lab.sh(f"env TZ=UTC0 zpool status -P -p -s -t -v {answer.name}")
    (state,) = status_text.pools(text.encode(), answer.name)
    same = ("vdevs", "state", "status", "action", "message", "data_errors", "error_files", "activities")
    assert {name: getattr(state, name) for name in same} == {name: getattr(answer, name) for name in same}


async def test_a_pool_with_every_class_of_vdev_loses_none(lab: Lab) -> None:
    shape = "mirror {0} {1} special mirror {2} {3} dedup {4} log mirror {5} {6} cache {7} spare {8}"
    async with pool(lab, "shapes", shape, count=9, mb=80):
        answer = await same_as_zpool(lab, "shapes")
        await as_text(lab, answer)
        roles = {vdev.name: vdev.role for vdev in answer.vdevs}
        assert [roles[name] for name in files("shapes", 9)] == [
            *("normal", "normal", "special", "special", "dedup", "log", "log", "cache", "spare")
        ]
        assert answer.unhealthy == []
        await lab.sh(f"zpool offline shapes {FOLDER}/shapes5 && zpool replace shapes {FOLDER}/shapes1 {FOLDER}/shapes8")
        await lab.sh("zpool wait -t resilver shapes")
        answer = await same_as_zpool(lab, "shapes")
        await as_text(lab, answer)
        assert answer.state == "DEGRADED"
        assert [(vdev.kind, vdev.state) for vdev in answer.vdevs if vdev.kind == "spare"] == [("spare", "ONLINE")]
        assert next(vdev for vdev in answer.vdevs if vdev.role == "spare").state == "INUSE"
        assert any(f"{FOLDER}/shapes5: OFFLINE" in said for said in answer.unhealthy)


async def test_a_raidz_without_a_member_and_a_draid_in_parts(lab: Lab) -> None:
    async with pool(lab, "wide", "raidz2 {0} {1} {2} {3}", count=4, mb=80):
        await lab.sh(f"zpool export wide && mv {FOLDER}/wide2 {FOLDER}.away && zpool import -d {FOLDER} wide")
        answer = await same_as_zpool(lab, "wide")
        await as_text(lab, answer)
        (lost,) = [vdev for vdev in answer.vdevs if vdev.state == "UNAVAIL"]
        assert (answer.state, lost.was, lost.kind) == ("DEGRADED", f"{FOLDER}/wide2", "file")
        assert lost.name.isdecimal()
        await lab.sh(f"rm {FOLDER}.away")
    async with pool(lab, "parts", "draid1:2d:5c:1s {0} {1} {2} {3} {4}", count=5, mb=80):
        assert {vdev.kind for vdev in (await same_as_zpool(lab, "parts")).vdevs} >= {"draid1", "distributed_spare"}
        # The daemon of ZFS may put the distributed spare in its place; then comes a scrub.
        await lab.sh(
            f"zpool offline -f parts {FOLDER}/parts3; sleep 3; zpool wait -t resilver parts; "
            "sleep 3; zpool wait -t resilver,scrub parts"
        )
        answer = await same_as_zpool(lab, "parts")
        await as_text(lab, answer)
        assert [vdev.state for vdev in answer.vdevs if vdev.name == f"{FOLDER}/parts3"] == ["FAULTED"]


async def test_what_goes_on_is_told_while_it_does(lab: Lab) -> None:
    async with pool(lab, "busy", "mirror {0} {1}", count=3):
        await lab.sh("head -c 30000000 /dev/urandom >/busy/file; zpool sync busy")
        await set_slow(lab, True)
        try:
            await lab.sh(f"zpool replace busy {FOLDER}/busy1 {FOLDER}/busy2")
            answer = await same_as_zpool(lab, "busy")
            assert [(one.kind, one.state) for one in answer.activities] == [("resilver", "running")]
            assert "resilver in progress" in (await told(lab, "busy")).lines["scan"]
            replacing = next(vdev for vdev in answer.vdevs if vdev.kind == "replacing")
            below = [vdev.name for vdev in answer.vdevs if vdev.parent == replacing.index]
            assert below == [f"{FOLDER}/busy1", f"{FOLDER}/busy2"]
            await set_slow(lab, False)
            await lab.sh("zpool wait -t resilver,replace busy")
            answer = await same_as_zpool(lab, "busy")
            await as_text(lab, answer)
            assert [(one.kind, one.state, one.errors) for one in answer.activities] == [("resilver", "finished", 0)]
            await set_slow(lab, True)
            for command, words, state in (
                ("zpool scrub busy", "scrub in progress", "running"),
                ("zpool scrub -p busy", "scrub paused", "paused"),
                ("zpool scrub -s busy", "scrub canceled", "canceled"),
            ):
                await lab.sh(command)
                answer = await same_as_zpool(lab, "busy")
                assert [(one.kind, one.state) for one in answer.activities] == [("scrub", state)]
                assert words in (await told(lab, "busy")).lines["scan"]
                if state != "running":  # its speed changes from one look to the next
                    await as_text(lab, answer)
        finally:
            await set_slow(lab, False)
        await lab.sh("zpool scrub -w busy")
        answer = await same_as_zpool(lab, "busy")
        await as_text(lab, answer)
        (scrub,) = answer.activities
        assert (scrub.kind, scrub.state, scrub.errors, scrub.repaired_bytes) == ("scrub", "finished", 0, 0)


async def test_errors_are_counted_and_damaged_files_named(lab: Lab) -> None:
    async with pool(lab, "sick", "mirror {0} {1}", count=2, more="-O compression=off"):
        await lab.sh(f"zfs create 'sick/a dataset' && {marked('/sick/a dataset/ä file')}")
        await spoil(lab, f"{FOLDER}/sick0")
        await lab.sh("zpool scrub -w sick")
        answer = await same_as_zpool(lab, "sick")
        await as_text(lab, answer)
        wrong = {vdev.name: vdev.checksum_errors for vdev in answer.vdevs if vdev.kind == "file"}
        assert wrong[f"{FOLDER}/sick0"] > 0 == wrong[f"{FOLDER}/sick1"]
        assert (answer.errors, answer.data_errors, answer.state) == (wrong[f"{FOLDER}/sick0"], 0, "ONLINE")
        assert answer.activities[0].repaired_bytes > 0
        await lab.sh("zpool clear sick")
        await spoil(lab, *files("sick", 2))
        await lab.sh("zpool scrub -w sick")
        answer = await same_as_zpool(lab, "sick")
        await as_text(lab, answer)
        assert answer.data_errors > 0
        assert "/sick/a dataset/ä file" in answer.error_files
        listed = await lab.sh("zpool status -v sick")
        assert all(name in listed for name in answer.error_files)
        assert answer.message == "ZFS-8000-8A"
        plain = await lab.ask("zfs_pool_status", device="plain", pool="sick")
        assert (plain.error_files, plain.note) == ([], "Only root may list the damaged files.")
        assert plain.data_errors > 0
        await lab.sh("zfs destroy 'sick/a dataset'")


async def test_a_pool_that_was_exported_is_not_there(lab: Lab) -> None:
    async with pool(lab, "away", "{0}", count=1):
        assert "away" in [one.name for one in (await lab.ask("zfs_pool_list", force_refresh=True)).pools]
        await lab.sh("zpool export away")
        assert "away" not in [one.name for one in (await lab.ask("zfs_pool_list", force_refresh=True)).pools]
        for operation, arguments in (
            ("zfs_pool_status", {"pool": "away"}),
            ("zfs_health_check", {"pool": "away"}),
            ("zfs_recommendations", {"pool": "away"}),
            ("zfs_dataset_list", {"dataset": "away"}),
            ("zfs_dataset_get", {"dataset": "away"}),
            ("zfs_snapshot_list", {"pool": "away"}),
            ("zfs_snapshot_usage", {"dataset": "away"}),
            ("zfs_snapshot_diff", {"snapshot": "away@s1"}),
        ):
            with pytest.raises(NotFound, match="away") as refused:
                await lab.ask(operation, force_refresh=True, **arguments)
            assert "tank" in f"{refused.value.message} {refused.value.hint}"
        await lab.sh(f"zpool import -d {FOLDER} away")
        assert (await same_as_zpool(lab, "away")).state == "ONLINE"
        second = f"{FOLDER}/away0ü"
        await lab.sh(
            f"truncate -s 128M {second}; zpool attach away {FOLDER}/away0 {second}; zpool wait -t resilver away"
        )
        assert second in [vdev.name for vdev in (await same_as_zpool(lab, "away")).vdevs]


async def test_without_the_module_there_is_a_userland_and_no_zfs(lab: Lab) -> None:
    pools = (await lab.sh("zpool list -H -o name")).split()
    # Opening /dev/zfs would load it again.
    await lab.sh(
        f"systemctl stop zfs-zed; echo 'install zfs /bin/false' >{NO_MODULE}; "
        "for p in $(zpool list -H -o name); do zpool export $p; done; modprobe -r zfs"
    )
    try:
        fresh = {"force_refresh": True}
        for operation, arguments in (
            *((f"zfs_{name}", fresh) for name in ("pool_list", "dataset_list", "snapshot_list", "report")),
            *((f"zfs_{name}", fresh) for name in ("health_check", "recommendations")),
            *((f"zfs_{name}", {}) for name in ("arc_stats", "receive_list")),
            ("zfs_event_list", {"device": "vault"}),  # of which nothing was followed, and so stored, before
            *((f"zfs_{name}", {"pool": "tank"}) for name in ("scrub",)),
            ("zfs_pool_status", {"pool": "tank"} | fresh),
        ):
            with pytest.raises(InfrastructorError) as refused:
                await lab.ask(operation, **arguments)
            assert (operation, refused.value.code) == (operation, "zfs_not_loaded")
    finally:
        await lab.sh(f"rm {NO_MODULE}; modprobe zfs; udevadm settle; zpool import -a; systemctl start zfs-zed")
    assert (await lab.sh("zpool list -H -o name")).split() == pools
    assert [one.name for one in (await lab.ask("zfs_pool_list", force_refresh=True)).pools] == pools
