"""What zfs_health_check finds on real pools, and that a finding goes when its own command was carried out."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from infrastructor.domains.zfs.fact_commands import MAX_AGE
from infrastructor.domains.zfs.health_models import Finding, Grade
from tests.lab.zfs.filepools import FOLDER, files, marked, pool, spoil
from tests.lab.zfs.lab import Lab

Findings = dict[str, list[Finding]]


async def found(lab: Lab, name: str) -> Findings:
    """All findings on a pool by their code."""
    answer = await lab.ask("zfs_health_check", pool=name, force_refresh=True)
    assert answer.findings_total == len(answer.findings)
    assert answer.not_checked == []
    codes: Findings = {}
    for one in answer.findings:
        assert one.evidence
        assert one.action
        codes.setdefault(one.code, []).append(one)
    return codes


async def mend(lab: Lab, findings: list[Finding], *new: str) -> None:
    """Carry out the commands as they were given; the disks to be named are these."""
    disks = list(new)
    for one in findings:
        assert one.command, one
        command = one.command
        while "NEW_DISK" in command:
            command = command.replace("NEW_DISK", disks.pop(0), 1)
        await lab.sh(command)
    assert disks == []


async def settled(lab: Lab, name: str) -> None:
    await lab.sh(f"zpool wait -t resilver,replace,scrub {name}")


async def test_what_has_no_second_copy_is_told_and_gets_one(lab: Lab) -> None:
    async with pool(lab, "lone", "mirror {0} {1} special {2} log {3}", count=9, mb=80):
        await lab.sh(f"zpool add -f lone {FOLDER}/lone4")
        first = await found(lab, "lone")
        assert {code: (some[0].severity, some[0].subject) for code, some in first.items()} == {
            "mixed_redundancy": (Grade.CRITICAL, f"{FOLDER}/lone4"),
            "special_not_redundant": (Grade.CRITICAL, f"{FOLDER}/lone2"),
            "log_not_redundant": (Grade.NOTE, f"{FOLDER}/lone3"),
        }
        for code, disk in zip(first, files("lone", 3, 5), strict=True):
            await mend(lab, first[code], disk)
        await settled(lab, "lone")
        assert await found(lab, "lone") == {}

        await lab.sh(f"zpool offline lone {FOLDER}/lone0")
        lost = await found(lab, "lone")
        assert [(one.severity, one.subject) for one in lost["vdev_state"]] == [(Grade.CRITICAL, f"{FOLDER}/lone0")]
        assert "mirror-0 may lose no other" in lost["vdev_state"][0].evidence
        await mend(lab, lost["vdev_state"])
        await settled(lab, "lone")
        assert await found(lab, "lone") == {}

        await lab.sh(f"zpool export lone && rm {FOLDER}/lone1 && zpool import -d {FOLDER} lone")
        lost = await found(lab, "lone")
        assert [one.subject for one in lost["vdev_state"]] == [f"{FOLDER}/lone1"]
        await mend(lab, lost["vdev_state"], f"{FOLDER}/lone8")
        await settled(lab, "lone")
        assert await found(lab, "lone") == {}


async def test_wrong_data_on_one_side_and_on_both(lab: Lab) -> None:
    async with pool(lab, "wrong", "mirror {0} {1}", count=2, more="-O compression=off"):
        await lab.sh(marked("/wrong/file"))
        await spoil(lab, f"{FOLDER}/wrong0")
        await lab.sh("zpool scrub -w wrong")
        first = await found(lab, "wrong")
        assert first.keys() == {"checksum_errors", "scrub_repaired"}
        assert [one.subject for one in first["checksum_errors"]] == [f"{FOLDER}/wrong0"]
        await mend(lab, first["checksum_errors"])
        assert (await found(lab, "wrong")).keys() == {"scrub_repaired"}
        await mend(lab, first["scrub_repaired"])
        await settled(lab, "wrong")
        assert await found(lab, "wrong") == {}

        await spoil(lab, *files("wrong", 2))
        await lab.sh("zpool scrub -w wrong")
        lost = await found(lab, "wrong")
        assert lost.keys() >= {"errors_on_all_sides", "checksum_errors", "data_errors", "scrub_errors"}
        assert lost["data_errors"][0].severity is Grade.CRITICAL
        assert "/wrong/file" in await lab.sh(str(lost["data_errors"][0].command))
        # As it says: restore the file, then scrub and clear. Errors are remembered over one more scrub.
        await lab.sh("rm /wrong/file; zpool sync wrong; zpool clear wrong; zpool scrub -w wrong; zpool scrub -w wrong")
        assert await found(lab, "wrong") == {}


@asynccontextmanager
async def days_ago(lab: Lab, days: int) -> AsyncIterator[None]:
    """The machine's clock shows this many days ago."""
    await lab.sh(f'date -s "@$(( $(date +%s) - {days * 86400} ))"')
    try:
        yield
    finally:
        await lab.sh(f'date -s "@$(( $(date +%s) + {days * 86400} ))"')


async def test_what_was_left_undone_for_weeks(lab: Lab) -> None:
    async with days_ago(lab, 40), pool(lab, "aged", "mirror {0} {1}", count=2) as name:
        await lab.sh(
            "zfs create aged/sent && zfs create aged/bare && zpool scrub -w aged && "
            "for n in 1 2 3 4; do zfs snapshot aged/sent@syncoid_nas_$n; done && zpool checkpoint aged"
        )
        async with days_ago(lab, -40):
            await lab.sh(f"zfs set {MAX_AGE}=26h aged/bare")
            late = await found(lab, name)
            assert late.keys() == {"scrub_age", "checkpoint", "replication_age", "replication_missing"}
            assert "40 d" in late["scrub_age"][0].evidence
            assert "40 d" in late["replication_age"][0].evidence
            assert [late[f"replication_{which}"][0].subject for which in ("age", "missing")] == [
                "aged/sent",
                "aged/bare",
            ]
            for code in ("scrub_age", "checkpoint", "replication_missing"):
                await mend(lab, late[code])
            await lab.sh("zpool wait -t scrub,discard aged; zfs snapshot aged/sent@syncoid_nas_5")
            assert await found(lab, name) == {}


async def test_quotas_keys_and_half_of_a_stream(lab: Lab) -> None:
    async with pool(lab, "small", "mirror {0} {1}", count=2):
        await lab.sh(
            "head -c 32 /dev/urandom >/run/small.key && zfs create -o encryption=on -o keyformat=raw "
            "-o keylocation=file:///run/small.key small/secret && zfs unmount small/secret "
            "&& zfs unload-key small/secret && zfs create small/quota && zfs create small/refquota "
            "&& head -c 11500000 /dev/urandom >/small/quota/f && head -c 11500000 /dev/urandom >/small/refquota/f "
            "&& zfs snapshot small/quota@s && zpool sync small "
            # Not before: writes near a limit take minutes.
            "&& zfs set quota=12M small/quota && zfs set refquota=12M small/refquota"
        )
        await lab.sh("zfs send small/quota@s | head -c 3000000 | zfs receive -s -u small/half", fails=True)
        first = await found(lab, "small")
        subjects = {code: some[0].subject for code, some in first.items()}
        assert subjects == {
            "quota": "small/quota",
            "refquota": "small/refquota",
            "key_unavailable": "small/secret",
            "receive_interrupted": "small/half",
        }
        for some in first.values():
            await mend(lab, some)
        assert await found(lab, "small") == {}


async def test_features_and_one_disk(lab: Lab) -> None:
    async with pool(lab, "old", "{0}", count=2, more="-o compatibility=openzfs-2.0-linux"):
        assert (await found(lab, "old")).keys() == {"no_redundancy"}  # they are off on purpose
        await lab.sh("zpool set compatibility=off old")
        first = await found(lab, "old")
        assert first.keys() == {"no_redundancy", "features_disabled"}
        await mend(lab, first["features_disabled"])
        await mend(lab, first["no_redundancy"], f"{FOLDER}/old1")
        await settled(lab, "old")
        assert await found(lab, "old") == {}


async def test_a_disk_whose_sectors_are_larger_than_what_is_written(lab: Lab) -> None:
    """Found by the one, mended by the command of the other. Of mirrors zpool 2.1.11 does not tell it."""
    parameter = "/sys/module/zfs/parameters/vdev_file_physical_ashift"
    was = (await lab.sh(f"cat {parameter}")).strip()
    await lab.sh(f"echo 12 >{parameter}")
    try:
        async with pool(lab, "coarse", "{0}", count=2, more="-o ashift=9"):
            first = await found(lab, "coarse")
            assert [one.subject for one in first["ashift"]] == files("coarse", 1)
            assert "512 B" in first["ashift"][0].evidence
            assert "4096 B" in first["ashift"][0].evidence
            advice = await lab.ask("zfs_recommendations", pool="coarse", force_refresh=True)
            (one,) = advice.recommendations
            assert (one.code, one.subject) == ("ashift", f"{FOLDER}/coarse0")
            command = one.command.replace("NEW_POOL", "finer").replace("NEW_DISK1", f"{FOLDER}/coarse1")
            await lab.sh(command)
            try:
                assert (await found(lab, "finer")).keys() == {"no_redundancy"}
                assert (await lab.ask("zfs_recommendations", pool="finer", force_refresh=True)).recommendations == []
            finally:
                await lab.sh("zpool destroy finer")
    finally:
        await lab.sh(f"echo {was} >{parameter}")


@pytest.mark.parametrize("scans", ["running", "paused"])
async def test_a_scrub_under_way_is_a_note(lab: Lab, scans: str) -> None:
    slowly = "/sys/module/zfs/parameters/zfs_scan_suspend_progress"
    async with pool(lab, "going", "mirror {0} {1}", count=2, mb=80):
        await lab.sh(f"echo 1 >{slowly}; zpool scrub going")
        try:
            if scans == "paused":
                await lab.sh("zpool scrub -p going")
            first = await found(lab, "going")
            assert first.keys() == {"scrub"}
            assert (first["scrub"][0].severity, scans in first["scrub"][0].evidence) == (Grade.NOTE, True)
            if scans == "paused":
                await mend(lab, first["scrub"])
                assert "running" in (await found(lab, "going"))["scrub"][0].evidence
        finally:
            await lab.sh(f"echo 0 >{slowly}")
        await settled(lab, "going")
        assert await found(lab, "going") == {}
