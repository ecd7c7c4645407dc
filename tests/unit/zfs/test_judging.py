"""What is found wrong, and what is recommended: each rule by figures that just call for it and figures that do not."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from infrastructor.domains.drives.models import Drive, Level
from infrastructor.domains.drives.models import Finding as DriveFinding
from infrastructor.domains.zfs import status_text
from infrastructor.domains.zfs.advice import dataset_advice
from infrastructor.domains.zfs.advice_pool import arc_advice, pool_advice
from infrastructor.domains.zfs.arc_models import ArcHits, ArcStats
from infrastructor.domains.zfs.dataset_models import Dataset
from infrastructor.domains.zfs.datasets import SnapshotRow
from infrastructor.domains.zfs.fact_commands import MAX_AGE, DatasetIo, DiskFacts, IoCounters, ReadWaits, Setting, Wait
from infrastructor.domains.zfs.facts import Facts
from infrastructor.domains.zfs.health_models import Finding, Grade, Recommendation
from infrastructor.domains.zfs.models import Pool, PoolState
from infrastructor.domains.zfs.rules_copies import copy_rules
from infrastructor.domains.zfs.rules_disk import disk_rules
from infrastructor.domains.zfs.rules_pool import pool_rules
from infrastructor.domains.zfs.rules_space import arc_rules, space_rules
from infrastructor.ports.ssh import CommandOutput
from tests.unit.zfs.machine import ask, healthy, recorded

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
GIB = 1 << 30


def pool(name: str = "tank", **fields: Any) -> Pool:
    known = {
        "state": "ONLINE", "size_bytes": 100 * GIB, "allocated_bytes": 50 * GIB, "free_bytes": 50 * GIB, "ashift": 12,
        "capacity_percent": 50, "fragmentation_percent": 10, "dedup_ratio": 1.0, "autotrim": False, "read_only": False,
        "guid": "1",
    }  # fmt: skip
    return Pool.model_validate({"name": name, **known, **fields})


def dataset(name: str, **fields: Any) -> Dataset:
    known = {"type": "filesystem", "used_bytes": 50 * GIB, "available_bytes": GIB, "referenced_bytes": 50 * GIB}
    return Dataset.model_validate({"name": name, **known, **fields})


def status(machine: str, command: str = "ReadPoolStatus") -> PoolState:
    return status_text.pools(recorded(command, machine))[-1]


def facts(*pools: Pool, state: PoolState | None = None, **fields: Any) -> Facts:
    states = {state.name: state} if state else {}
    return Facts(now=NOW, pools=pools or (pool(),), states=states, **fields)


def graded(findings: Any) -> dict[str, Grade]:
    return {one.code: one.severity for one in findings}


def snapshots(
    dataset: str, count: int, *, every_s: int = 3600, age_s: int = 0, label: str = "s{}"
) -> list[SnapshotRow]:
    newest = int(NOW.timestamp()) - age_s
    return [
        SnapshotRow(f"{dataset}@{label.format(n)}", newest - every_s * (count - 1 - n), 10, 20, 30, 0, str(n), "")
        for n in range(count)
    ]


# --- pools ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("machine", "expected"),
    [
        # ONLINE, no known data errors, a clean scrub: and yet both sides gave wrong data.
        ("zfs-2.1.11-dataloss", {"errors_on_all_sides": Grade.CRITICAL, "checksum_errors": Grade.WARNING}),
        ("zfs-2.1.11-cksum", {"checksum_errors": Grade.WARNING, "scrub_repaired": Grade.WARNING}),
        ("zfs-2.1.11-replacing", {"scrub_never": Grade.NOTE}),
        ("lab-2.3.2-suspended", {"suspended": Grade.CRITICAL, "checksum_errors": Grade.WARNING, "scrub": Grade.NOTE}),
        (
            "lab-2.3.2-damaged-plain",
            {"data_errors": Grade.CRITICAL, "scrub_errors": Grade.CRITICAL, "checksum_errors": Grade.WARNING},
        ),
        ("lab-2.3.2-spare-in-use", {"spare_in_use": Grade.WARNING, "scrub_never": Grade.NOTE}),
        (
            "lab-2.3.2-degraded",
            {"vdev_state": Grade.CRITICAL, "spare_in_use": Grade.WARNING, "scrub_never": Grade.NOTE},
        ),
        ("lab-2.3.2-paused", {"scrub": Grade.NOTE}),
        ("lab-2.4.4-draid-spare", {"vdev_state": Grade.WARNING, "spare_in_use": Grade.WARNING}),
        (
            "lab-2.4.4-error-scrubbed",
            {"checksum_errors": Grade.WARNING, "data_errors": Grade.CRITICAL, "scrub_never": Grade.WARNING},
        ),
    ],
)
def test_a_recorded_pool_gets_the_findings_its_counters_deserve(machine: str, expected: dict[str, Grade]) -> None:
    state = status(machine)
    assert graded(pool_rules(facts(pool(state.name), state=state), pool(state.name))) == expected


def test_a_raidz2_that_lost_two_disks_may_lose_no_other() -> None:
    state = status("lab-2.3.2-missing")
    lost = [one for one in pool_rules(facts(pool("wide"), state=state), pool("wide")) if one.code == "vdev_state"]
    assert [(one.severity, one.subject) for one in lost] == [(Grade.CRITICAL, "/v/r3"), (Grade.CRITICAL, "/v/r4")]
    assert [one.command for one in lost] == [
        *("zpool online wide /v/r3", "zpool replace wide 394651020411807046 NEW_DISK"),
    ]


def test_a_disk_that_is_still_being_replaced_protects_nothing_yet() -> None:
    state = status("lab-2.4.4-replaced")
    lost = [one for one in pool_rules(facts(pool("wide"), state=state), pool("wide")) if one.code == "vdev_state"]
    assert [one.severity for one in lost] == [Grade.CRITICAL, Grade.CRITICAL]
    assert all("raidz2-0 may lose no other" in one.evidence for one in lost)


@pytest.mark.parametrize(("doing", "severity"), [([], Grade.WARNING), (["resilvering"], Grade.CRITICAL)])
def test_a_spare_protects_once_it_has_everything(doing: list[str], severity: Grade) -> None:
    state = status("lab-2.4.4-draid-spare")
    vdevs = [
        vdev.model_copy(update={"doing": doing}) if vdev.kind == "distributed_spare" else vdev for vdev in state.vdevs
    ]
    writing = state.model_copy(update={"vdevs": vdevs})
    assert graded(pool_rules(facts(pool("dr"), state=writing), pool("dr")))["vdev_state"] is severity


@pytest.mark.parametrize(("days", "codes"), [(34, set()), (36, {"scrub_age"})])
def test_a_scrub_is_due_after_five_weeks(days: int, codes: set[str]) -> None:
    state = status("zfs-2.1.11-checkpoint").model_copy(update={"checkpoint_at": None})
    later = Facts(now=state.activities[0].ended_at + timedelta(days=days), pools=(pool(),), states={"tank": state})  # type: ignore[operator]
    assert graded(pool_rules(later, pool())).keys() == codes


def test_a_young_pool_need_not_have_been_scrubbed() -> None:
    state = status("zfs-2.1.11-healthy")
    young = dataset("tank", created_at=NOW - timedelta(days=3))
    assert graded(pool_rules(facts(state=state, datasets=(young,)), pool())) == {}
    assert graded(pool_rules(facts(state=state), pool())) == {"scrub_never": Grade.WARNING}


def test_a_code_that_no_rule_explains_is_told_all_the_same() -> None:
    state = PoolState(name="tank", state="ONLINE", message="ZFS-8000-EY", status="The hostid differs.", data_errors=0)
    assert graded(pool_rules(facts(pool(allocated_bytes=0), state=state), pool(allocated_bytes=0))) == {
        "message": Grade.WARNING
    }


# --- disks ---------------------------------------------------------------------------------------------


def drive(verdict: Level) -> Drive:
    return Drive(
        name="/dev/vdb", type="sat", model="WD80", serial="V1", size_bytes=None, verdict=verdict, wear_percent=None,
        temperature_celsius=None, power_on_hours=None, counters={"pending": 8}, trends=[],
        findings=[DriveFinding(level=verdict, code="pending", evidence="8 pending sectors", predicts=None)],
    )  # fmt: skip


def test_what_smart_says_is_joined_to_the_vdev_whatever_it_is_called() -> None:
    state = status("lab-2.3.2-cksum")
    disks = {"/dev/disk/by-id/virtio-lab-vdev1-part1": DiskFacts(disk="vdb")}
    known = facts(state=state, disks=disks, drives=(drive(Level.FAILING),))
    (found,) = [one for one in disk_rules(known, pool()) if one.code == "drive_failing"]
    assert (found.severity, found.subject) == (Grade.WARNING, "/dev/disk/by-id/virtio-lab-vdev1-part1")
    assert "serial V1" in found.evidence
    assert "8 pending sectors" in found.evidence
    assert found.command == "zpool replace tank /dev/disk/by-id/virtio-lab-vdev1-part1 NEW_DISK"
    watched = facts(state=state, disks=disks, drives=(drive(Level.WATCH),))
    assert graded(disk_rules(watched, pool()))["drive_watch"] is Grade.NOTE


def test_the_controller_that_smart_names_is_the_disk_of_the_pool() -> None:
    state = status("zfs-2.1.11-healthy")
    known = facts(state=state, disks={"/root/d1": DiskFacts(disk="nvme0n1")}, drives=(drive(Level.FAILING),))
    nvme = drive(Level.FAILING).model_copy(update={"name": "/dev/nvme0"})
    assert known.drive_of(state.vdevs[2]) is None
    assert facts(state=state, disks=known.disks, drives=(nvme,)).drive_of(state.vdevs[2]) == nvme


TREE = """  pool: tank
 state: ONLINE
config:

\tNAME        STATE     READ WRITE CKSUM
\ttank        ONLINE       0     0     0
{}
errors: No known data errors
"""


def tree(*rows: str) -> PoolState:
    lines = [row if row.strip() in {"logs", "special"} else f"{row:<12}ONLINE       0     0     0" for row in rows]
    return status_text.pools(TREE.format("".join(f"\t{line}\n" for line in lines)).encode())[0]


MIRROR = ("  mirror-0", "    /dev/a", "    /dev/b")


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (tree(*MIRROR), {}),
        (tree(*MIRROR, "  /dev/c"), {"mixed_redundancy": Grade.CRITICAL}),
        (tree(*MIRROR, "special", "  /dev/c"), {"special_not_redundant": Grade.CRITICAL}),
        (tree(*MIRROR, "logs", "  /dev/c"), {"log_not_redundant": Grade.NOTE}),
        (tree("  /dev/a", "  /dev/b"), {"no_redundancy": Grade.NOTE}),
    ],
)
def test_what_is_lost_with_one_disk_is_told(state: PoolState, expected: dict[str, Grade]) -> None:
    assert graded(disk_rules(facts(state=state), pool())) == expected


def test_a_disk_that_is_slower_than_those_beside_it_is_found() -> None:
    state = tree("  raidz2-0", "    /dev/a", "    /dev/b", "    /dev/c", "    /dev/d")
    even = {f"/dev/{name}": Wait(8.0, 5.0) for name in "abcd"}
    assert graded(disk_rules(facts(state=state, waits=even), pool())) == {}
    (slow,) = disk_rules(facts(state=state, waits=even | {"/dev/c": Wait(90.0, 6.0)}), pool())
    assert (slow.code, slow.subject) == ("slow_disk", "/dev/c")
    assert "takes 90 ms for a read" in slow.evidence
    assert "the others of raidz2-0 8.0 ms" in slow.evidence
    quick = {name: Wait(0.1, 0.1) for name in even} | {"/dev/c": Wait(2.0, 0.1)}
    assert graded(disk_rules(facts(state=state, waits=quick), pool())) == {}
    # One read of a disk that had to start turning first is no measure of it.
    idle = "\n".join(
        f"/dev/{name}\t0\t0\t{often}\t0\t9\t9\t1\t1\t{wait}\t5"
        for name, often, wait in (
            ("a", 3, 8_000_000),
            ("b", 3, 8_000_000),
            ("c", 0, 9_000_000_000),
            ("d", 3, 8_000_000),
        )
    )
    waits = ReadWaits().parse(CommandOutput(exit_status=0, stdout=idle.encode()))
    assert waits["/dev/a"] == Wait(8.0, None)
    assert graded(disk_rules(facts(state=state, waits=waits), pool())) == {}
    busy = ReadWaits().parse(CommandOutput(exit_status=0, stdout=idle.replace("\t0\t0\t0", "\t0\t0\t3").encode()))
    assert graded(disk_rules(facts(state=state, waits=busy), pool())) == {"slow_disk": Grade.WARNING}


def test_sectors_that_do_not_fit_are_found() -> None:
    state = status("lab-2.3.2-ashift")
    assert graded(disk_rules(facts(pool("ash2"), state=state), pool("ash2")))["ashift"] is Grade.WARNING


# --- space ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("used", "fragmented", "expected"),
    [
        (79, 50, {}),
        (80, 50, {"capacity": Grade.WARNING}),
        (90, 50, {"capacity": Grade.CRITICAL}),
        (75, 60, {"fragmentation": Grade.WARNING}),
        (40, 85, {"fragmentation": Grade.NOTE}),
    ],
)
def test_space_is_judged_by_what_is_left(used: int, fragmented: int, expected: dict[str, Grade]) -> None:
    one = pool(capacity_percent=used, fragmentation_percent=fragmented)
    assert graded(space_rules(facts(one), one)) == expected


def test_many_snapshots_quotas_and_features_are_told() -> None:
    known = facts(
        datasets=(
            dataset("tank", used_by_snapshots_bytes=0, quota_bytes=51 * GIB),
            dataset("tank/a", used_by_snapshots_bytes=20 * GIB),
        ),
        snapshots=snapshots("tank/a", 1001),
        properties={"tank": {"feature@draid": "disabled", "feature@lz4_compress": "active", "compatibility": "off"}},
    )
    assert graded(space_rules(known, pool())) == {
        "snapshot_count": Grade.WARNING,
        "snapshot_space": Grade.NOTE,
        "quota": Grade.WARNING,
        "features_disabled": Grade.NOTE,
    }
    asked_for = facts(properties={"tank": {"feature@draid": "disabled", "compatibility": "openzfs-2.1-linux"}})
    assert graded(space_rules(asked_for, pool())) == {}
    upgraded = facts(properties={"tank": {"feature@dynamic_gang_header": "disabled", "compatibility": "off"}})
    assert graded(space_rules(upgraded, pool())) == {}  # zpool upgrade would leave it off


# --- copies --------------------------------------------------------------------------------------------


def replicated(
    rows: list[SnapshotRow], *, settings: Mapping[str, Mapping[str, Setting]] | None = None
) -> list[Finding]:
    return list(copy_rules(facts(datasets=(dataset("tank/a"),), snapshots=rows, settings=settings or {}), pool()))


def test_a_replication_is_late_by_how_often_it_came_before() -> None:
    daily = {"every_s": 86400, "label": "zrepl_2026_{:03}"}
    assert replicated(snapshots("tank/a", 10, age_s=2 * 86400, **daily)) == []  # type: ignore[arg-type]
    (late,) = replicated(snapshots("tank/a", 10, age_s=4 * 86400, **daily))  # type: ignore[arg-type]
    assert (late.code, late.subject) == ("replication_age", "tank/a")
    assert "newest snapshot of zrepl, and how often they came before" in late.evidence


def test_a_property_says_how_old_a_copy_may_be() -> None:
    settings = {"tank/a": {MAX_AGE: Setting("26h", "local")}}
    rows = snapshots("tank/a", 10, every_s=600, age_s=3600 * 25)
    assert replicated(rows, settings=settings) == []
    (late,) = replicated(snapshots("tank/a", 10, every_s=600, age_s=3600 * 27), settings=settings)
    assert f"the property {MAX_AGE}" in late.evidence
    (missing,) = replicated([], settings=settings)
    assert missing.code == "replication_missing"


def test_a_received_dataset_is_judged_by_its_newest_snapshot() -> None:
    settings = {"tank/a": {"compression": Setting("on", "received")}}
    (late,) = replicated(snapshots("tank/a", 2, age_s=8 * 86400), settings=settings)
    assert "datasets that were received here; too few to know" in late.evidence
    assert replicated(snapshots("tank/a", 2, age_s=8 * 86400)) == []  # nothing says that it is replicated


def test_closed_keys_and_half_received_datasets_are_told() -> None:
    known = facts(
        datasets=(dataset("tank/a", encryption="aes-256-gcm", key_status="unavailable"), dataset("tank/b")),
        snapshots=(),
        settings={"tank/b": {"receive_resume_token": Setting("1-abc", "none")}},
    )
    assert graded(copy_rules(known, pool())) == {"key_unavailable": Grade.NOTE, "receive_interrupted": Grade.NOTE}


# --- the whole -----------------------------------------------------------------------------------------


async def test_health_joins_all_and_says_what_could_not_be_judged() -> None:
    ssh = healthy(
        ReadPoolStatus=recorded("ReadPoolStatus", "zfs-2.1.11-dataloss"),
        ScanDrives=CommandOutput(exit_status=127, stdout=b""),
    )
    found = await ask(ssh, "zfs_health_check")
    assert found.verdict is Grade.CRITICAL
    worst = found.pools[0]
    assert (worst.name, worst.state, worst.verdict) == ("tank", "ONLINE", Grade.CRITICAL)
    assert found.findings[0].code == "errors_on_all_sides"
    assert [line.partition(":")[0] for line in found.not_checked] == ["SMART"]
    only = await ask(ssh, "zfs_health_check", pool="old")
    assert ([one.name for one in only.pools], only.findings, only.verdict) == (["old"], [], Grade.OK)


# --- recommendations -----------------------------------------------------------------------------------


def advised(known: Facts, one: Pool | None = None) -> dict[str, Recommendation]:
    one = one or known.pools[0]
    every = [*pool_advice(known, one), *dataset_advice(known, one), *arc_advice(known)]
    return {each.code: each for each in every}


def settings(**values: str) -> dict[str, dict[str, Setting]]:
    return {"tank/a": {name: Setting(value, "local") for name, value in values.items()}}


def io(reads: int, read_bytes: int, writes: int, written_bytes: int) -> IoCounters:
    return IoCounters({"tank/a": DatasetIo(reads, read_bytes, writes, written_bytes)}, {}, 864000.0)


A = (dataset("tank/a", written_bytes=0),)
FRESH = snapshots("tank/a", 1)


@pytest.mark.parametrize(
    ("counters", "record", "command"),
    [
        (io(200_000, 200_000 * 8192, 200_000, 200_000 * 8192), "131072", "zfs set recordsize=16K tank/a"),
        (io(50_000, 50_000 * 8192, 200_000, 200_000 * 8192), "131072", None),  # too few reads to say
        (io(200_000, 200_000 * 8192, 200_000, 200_000 * 8192), "16384", None),
        (io(200_000, 200_000 << 20, 200_000, 200_000 << 20), "131072", "zfs set recordsize=1M tank/a"),
        (io(200_000, 200_000 << 20, 200_000, 200_000 * 8192), "131072", None),  # large reads, small writes
        (io(0, 0, 0, 0), "131072", None),
    ],
)
def test_a_recordsize_is_recommended_by_what_programs_read_and_write(
    counters: IoCounters, record: str, command: str | None
) -> None:
    known = facts(datasets=A, snapshots=FRESH, settings=settings(recordsize=record), counters=counters)
    found = advised(known).get("recordsize")
    assert (found and found.command) == command


def test_compression_is_recommended_where_it_pays_in_the_same_pool() -> None:
    plain = {"compression": Setting("off", "local"), "referenced": Setting(str(20 * GIB), "none")}
    packed = {
        "compression": Setting("lz4", "local"),
        "referenced": Setting(str(10 * GIB), "none"),
        "logicalreferenced": Setting(str(15 * GIB), "none"),
    }
    two = (dataset("tank/a"), dataset("tank/b"))
    rows = [*FRESH, *snapshots("tank/b", 1)]
    known = facts(datasets=two, snapshots=rows, settings={"tank/a": plain, "tank/b": packed})
    found = advised(known)["compression"]
    assert "1.50 times less" in found.measured
    assert found.command == "zfs set compression=on tank/a"
    # Nothing in the pool says that it would pay.
    assert "compression" not in advised(facts(datasets=two, snapshots=rows, settings={"tank/a": plain}))


@pytest.mark.parametrize(
    ("values", "fields", "expected"),
    [
        ({"atime": "on", "relatime": "off"}, {"counters": io(200_000, 1, 0, 0)}, {"atime"}),
        ({"atime": "on", "relatime": "off"}, {"counters": io(10, 1, 0, 0)}, set()),
        ({"atime": "on", "relatime": "on"}, {"counters": io(200_000, 1, 0, 0)}, set()),
        ({"xattr": "on", "acltype": "posix"}, {"version": (2, 1)}, {"xattr"}),
        ({"xattr": "on", "acltype": "posix"}, {"version": (2, 3)}, set()),  # where `on` is `sa`
        ({"xattr": "sa", "acltype": "posix"}, {"version": (2, 1)}, set()),
        ({"xattr": "on", "acltype": "off"}, {"version": (2, 1)}, set()),
        ({"sync": "disabled"}, {}, {"sync"}),
        ({"sync": "standard"}, {}, set()),
        ({"logbias": "throughput"}, {"state": tree(*MIRROR, "logs", "  /dev/c")}, {"logbias"}),
        ({"logbias": "throughput"}, {"state": tree(*MIRROR)}, set()),
        ({"dedup": "on"}, {}, {"dedup"}),
    ],
)
def test_settings_are_recommended_only_where_something_speaks_for_them(
    values: dict[str, str], fields: dict[str, Any], expected: set[str]
) -> None:
    known = facts(datasets=A, snapshots=FRESH, settings=settings(**values), **fields)
    assert advised(known).keys() == expected


def test_small_blocks_of_a_volume_on_raidz_are_told_by_what_they_cost() -> None:
    state = tree("  raidz2-0", "    /dev/a", "    /dev/b", "    /dev/c", "    /dev/d")
    volume = (dataset("tank/a", type="volume", volume_bytes=100 * GIB, written_bytes=0),)
    values = {"volblocksize": "8192", "logicalreferenced": str(10 * GIB)}
    wasteful = settings(**values, referenced=str(15 * GIB))
    found = advised(facts(datasets=volume, snapshots=FRESH, settings=wasteful, state=state))["volblocksize"]
    assert "50 % more" in found.measured
    thrifty = settings(**values, referenced=str(10 * GIB))
    assert "volblocksize" not in advised(facts(datasets=volume, snapshots=FRESH, settings=thrifty, state=state))


def test_snapshots_are_recommended_where_contents_have_none_or_changed_since() -> None:
    bare = advised(facts(datasets=(dataset("tank/a"),), snapshots=()))["snapshot_policy"]
    assert bare.command == "zfs snapshot -r tank/a@2026-11-29"
    old = snapshots("tank/a", 1, age_s=8 * 86400)
    changed, same = (dataset("tank/a", written_bytes=GIB),), (dataset("tank/a", written_bytes=0),)
    assert "snapshot_policy" in advised(facts(datasets=changed, snapshots=old))
    assert "snapshot_policy" not in advised(facts(datasets=same, snapshots=old))
    assert "snapshot_policy" not in advised(facts(datasets=(dataset("tank/a"),), snapshots=None))


def test_the_way_out_of_a_wrong_ashift_is_a_new_pool() -> None:
    """`zpool add` of another ashift is refused or leaves a pool that no vdev can be removed from."""
    one = pool("ash2")
    found = advised(facts(one, state=status("lab-2.3.2-ashift")), one)
    assert found["ashift"].command == "zpool create -o ashift=12 NEW_POOL NEW_DISK1"
    assert found["device_names"].command == "zpool export ash2 && zpool import -d /dev/disk/by-id ash2"


def test_trims_are_recommended_for_flash_that_takes_them() -> None:
    state = tree(*MIRROR)
    flash = {name: DiskFacts("sda", rotational=False, discards=True) for name in ("/dev/a", "/dev/b")}
    assert (
        "2 flash disks that take trims were never trimmed" in advised(facts(state=state, disks=flash))["trim"].measured
    )
    turning = {name: DiskFacts("sda", rotational=True, discards=False) for name in ("/dev/a", "/dev/b")}
    assert "trim" not in advised(facts(state=state, disks=turning))


def test_a_log_is_recommended_by_commits_that_disks_which_turn_held_up() -> None:
    disks = {name: DiskFacts("sda", rotational=True) for name in ("/dev/a", "/dev/b")}
    busy = IoCounters({}, {"zil_commit_count": 8_640_000}, 864000.0)
    assert "10.0 a second" in advised(facts(state=tree(*MIRROR), disks=disks, counters=busy))["log_vdev"].measured
    special = {"state": tree(*MIRROR, "special", "  mirror-1", "    /dev/c", "    /dev/d"), "disks": disks}
    assert "log_vdev" in advised(facts(**special, counters=busy, version=(2, 3)))
    assert "log_vdev" not in advised(facts(**special, counters=busy, version=(2, 4)))  # it takes the log, too
    quiet = IoCounters({}, {"zil_commit_count": 86_400}, 864000.0)
    assert "log_vdev" not in advised(facts(state=tree(*MIRROR), disks=disks, counters=quiet))
    unused = IoCounters({}, {"zil_commit_count": 100, "zil_itx_metaslab_slog_count": 0}, 864000.0)
    with_log = tree(*MIRROR, "logs", "  /dev/c")
    assert (
        advised(facts(state=with_log, disks=disks, counters=unused))["log_vdev"].command == "zpool remove tank /dev/c"
    )


def hits(**fields: Any) -> ArcHits:
    known = {
        "reads": 1_000_000, "reads_per_second": 10.0, "hit_percent": 80.0, "demand_hit_percent": 80.0,
        "demand_data_hit_percent": 80.0, "demand_metadata_hit_percent": 80.0, "demand_metadata_misses": 20_000_000,
        "prefetch_hit_percent": 50.0, "mfu_hits": 1, "mru_hits": 1, "mfu_ghost_hits": 10_000, "mru_ghost_hits": 10_000,
    }  # fmt: skip
    return ArcHits.model_validate(known | fields)


def arc(**fields: Any) -> ArcStats:
    known = {
        "device": "nas", "sampled_over_seconds": 1.0, "interval": hits(), "since_boot": hits(), "size_bytes": 8 * GIB,
        "target_bytes": 8 * GIB, "min_bytes": GIB, "max_bytes": 8 * GIB, "max_is_set": True, "data_bytes": GIB,
        "metadata_bytes": GIB, "mfu_bytes": GIB, "mru_bytes": GIB, "compress_ratio": 1.0, "throttled": 0,
        "memory_total_bytes": 32 * GIB, "memory_available_bytes": 16 * GIB, "throttled_lately": 0,
        "direct_reclaims": 0, "may_not_grow": False, "l2arc": None,
    }  # fmt: skip
    return ArcStats.model_validate(known | fields)


@pytest.mark.parametrize(
    ("cache", "command"),
    [
        (arc(), f"echo {16 * GIB} > /sys/module/zfs/parameters/zfs_arc_max"),
        (arc(since_boot=hits(hit_percent=95.0)), None),
        (arc(since_boot=hits(mfu_ghost_hits=0, mru_ghost_hits=0)), None),  # a larger one had missed as well
        (arc(size_bytes=4 * GIB), None),  # it does not use what it has
        (arc(memory_available_bytes=2 * GIB), None),
        (
            arc(throttled_lately=3, since_boot=hits(hit_percent=99.0), size_bytes=20 * GIB, max_bytes=24 * GIB),
            f"echo {15 * GIB} > /sys/module/zfs/parameters/zfs_arc_max",
        ),
    ],
)
def test_a_size_of_the_arc_is_recommended_by_hits_ghosts_and_memory(cache: ArcStats, command: str | None) -> None:
    found = advised(facts(arc=cache)).get("arc_size")
    assert (found and found.command) == command


def test_pressure_on_the_arc_is_found() -> None:
    assert graded(arc_rules(facts(arc=arc()))) == {}
    pressed = arc(throttled_lately=2, throttled=9, may_not_grow=True, memory_available_bytes=GIB)
    assert graded(arc_rules(facts(arc=pressed))) == {"arc_throttled": Grade.WARNING, "memory_short": Grade.WARNING}


def test_a_special_vdev_is_recommended_by_metadata_read_from_disks_that_turn() -> None:
    disks = {name: DiskFacts("sda", rotational=True) for name in ("/dev/a", "/dev/b")}
    counters = IoCounters({}, {}, 864000.0)
    known = facts(state=tree(*MIRROR), disks=disks, counters=counters, arc=arc(max_bytes=None))
    assert "23 reads a second" in advised(known)["special_vdev"].measured
    cached = arc(max_bytes=None, since_boot=hits(demand_metadata_hit_percent=99.0))
    assert "special_vdev" not in advised(facts(state=tree(*MIRROR), disks=disks, counters=counters, arc=cached))


async def test_a_pool_of_which_nothing_was_measured_gets_no_recommendation() -> None:
    found = await ask(healthy(ReadCounters=b"uptime 100.0\n"), "zfs_recommendations")
    assert (found.recommendations, found.total, found.measured_over_seconds) == ([], 0, 100)
