"""The READ operations over a machine of recorded answers: what they tell, and what they say when they cannot."""

import gc
import json
import warnings

import pytest
from pydantic_core import to_json

from infrastructor.catalog import CATALOG
from infrastructor.domains.zfs.datasets import COLUMNS
from infrastructor.domains.zfs.models import ZFS_ANSWERS
from infrastructor.errors import (
    CommandFailed,
    CommandNotAvailable,
    NotFound,
    ParseError,
    ValidationFailed,
    ZfsForbidden,
    ZfsNotLoaded,
)
from infrastructor.ports.callers import Effect
from infrastructor.ports.ssh import CommandOutput
from tests.unit.zfs.machine import FIXTURES, NEW, ROOT, Machine, ask, healthy, recorded, service

MOST = 40_000  # characters of an answer
LOGIN = ROOT.model_copy(update={"is_root": False, "sudo": "none"})
SUDOER = ROOT.model_copy(update={"is_root": False, "sudo": "nopasswd"})
FAILED = CommandOutput(exit_status=1, stdout=b"", stderr=b"cannot open it")


async def test_pools_with_errors_come_first_though_they_are_online() -> None:
    ssh = healthy(ReadPoolStatus=recorded("ReadPoolStatus", "zfs-2.1.11-dataloss"))
    found = await ask(ssh, "zfs_pool_list")
    assert [(pool.name, pool.state, pool.errors, pool.message) for pool in found.pools] == [
        *(("tank", "ONLINE", 1147, "ZFS-8000-9P"), ("old", "ONLINE", 0, None)),
    ]
    assert found.pools[0].activity.kind == "scrub"
    assert {line.text.split(" ")[0] for line in ssh.lines} == {"zpool", "env"}


async def test_newer_machines_are_asked_for_json() -> None:
    ssh = Machine(
        answers={
            "ListPoolsJson": recorded("ListPoolsJson", "lab-2.3.2"),
            "ReadPoolStatusJson": recorded("ReadPoolStatusJson", "lab-2.3.2-tank"),
        },
        found=NEW,
    )
    found = await ask(ssh, "zfs_pool_list")
    assert [pool.name for pool in found.pools] == ["dr", "my pool", "tank", "wide"]
    assert next(pool for pool in found.pools if pool.name == "tank").guid == "4800358962926426628"


async def test_json_that_ends_at_a_letter_beyond_ascii_is_asked_for_as_text() -> None:
    """OpenZFS 2.3 stops there, and says that all went well."""
    texts = {name: recorded(name, "lab-2.3.2-umlaut") for name in ("ReadPoolStatus", "GetProperties")}
    cut = {name: (FIXTURES / name / "lab-2.3.2-umlaut.cut").read_bytes() for name in (f"{one}Json" for one in texts)}
    ssh = Machine(answers={**texts, **cut}, found=NEW)
    status = await ask(ssh, "zfs_pool_status", pool="rec")
    assert (status.error_files, status.data_errors, status.errors) == (["/rec/ä file"], 1, 6)
    properties = await ask(ssh, "zfs_dataset_get", dataset="rec", local=True)
    assert ("lab:note", "Müller") in [(one.name, one.value) for one in properties.properties]
    with pytest.raises(ParseError):  # but no other way is tried where there is none
        await ask(healthy(ReadPoolStatus=b"nothing that is known"), "zfs_pool_status", pool="tank")


async def test_one_pool_is_told_whole() -> None:
    ssh = healthy(ReadPoolStatus=recorded("ReadPoolStatus", "zfs-2.1.11-dataloss"))
    found = await ask(ssh, "zfs_pool_status", pool="tank")
    assert (found.state, found.errors, found.data_errors, found.total) == ("ONLINE", 1147, 0, 7)
    assert found.unhealthy == ["/root/d1: 578 checksum errors", "/root/d2: 569 checksum errors"]
    assert [line.text for line in ssh.asked("ReadPoolStatus")] == [
        "env TZ=UTC0 zpool status -P -p -s -t -v -- tank",
    ]


async def test_a_login_learns_how_many_files_are_damaged_and_who_may_list_them() -> None:
    with_files, without = (recorded("ReadPoolStatus", f"lab-2.3.2-damaged-{name}") for name in ("login", "plain"))

    class Login(Machine):
        async def execute_command(self, device, line, **more):  # type: ignore[no-untyped-def]
            self.answers["ReadPoolStatus"] = with_files if " -v " in line.text else without
            return await super().execute_command(device, line, **more)

    found = await ask(Login(found=LOGIN), "zfs_pool_status", pool="hurt")
    assert (found.data_errors, found.error_files) == (8, [])
    assert found.note == "Only root may list the damaged files."


async def test_damaged_files_are_listed_as_root_where_the_login_may_become_root() -> None:
    class Sudoer(Machine):
        async def execute_command(self, device, line, **more):  # type: ignore[no-untyped-def]
            state = "damaged" if line.sudo else "damaged-login"
            self.answers["ReadPoolStatus"] = recorded("ReadPoolStatus", f"lab-2.3.2-{state}")
            return await super().execute_command(device, line, **more)

    found = await ask(Sudoer(found=SUDOER), "zfs_pool_status", pool="hurt")
    assert (found.error_files, found.note) == (["/hurt/big", "hurt@s:/big"], None)


# --- why it does not answer ----------------------------------------------------------------------------


async def test_a_machine_without_the_programs_has_no_zfs() -> None:
    missing = CommandNotAvailable("nas has no zpool.", program="zpool")
    with pytest.raises(CommandNotAvailable, match="no zpool"):
        await ask(Machine(answers={"ListPools": missing, "ReadPoolStatus": missing}), "zfs_pool_list")


@pytest.mark.parametrize(
    ("examined", "error", "said"),
    [
        (b"", ZfsNotLoaded, "has not loaded the ZFS module"),
        (b"module 2.1.11-1\n", ZfsForbidden, "no /dev/zfs"),
        (b"module 2.1.11-1\ndevice closed\n", ZfsForbidden, "may not open /dev/zfs"),
        (b"module 2.1.11-1\ndevice open\npool tank\nhas no\n", NotFound, "no 'tank/none' in its pool 'tank'"),
        (b"module 2.1.11-1\ndevice open\npool tanks\nhas no\n", NotFound, "no ZFS pool 'tank'"),
        (b"module 2.1.11-1\ndevice open\npool tank\nhas yes\n", CommandFailed, "cannot open it"),
    ],
)
async def test_the_cause_of_a_failure_is_looked_up_and_not_read_from_its_words(
    examined: bytes, error: type[Exception], said: str
) -> None:
    ssh = Machine(answers={"GetProperties": FAILED, "ExamineZfs": examined}, found=LOGIN)
    with pytest.raises(error, match=said) as raised:
        await ask(ssh, "zfs_dataset_get", dataset="tank/none")
    if error is NotFound and "tanks" in examined.decode():
        assert raised.value.hint == "Its pools: tanks."  # type: ignore[attr-defined]


@pytest.mark.parametrize("operation", ["zfs_health_check", "zfs_recommendations", "zfs_report"])
async def test_what_judges_says_at_once_that_there_is_no_module(operation: str) -> None:
    ssh = Machine(answers={"ExamineZfs": b""}, found=ROOT)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        with pytest.raises(ZfsNotLoaded):
            await ask(ssh, operation)
        gc.collect()
    assert [str(one.message) for one in warned] == []
    assert not ssh.asked("SampleArc")


async def test_a_fresh_judgement_looks_at_the_drives_anew() -> None:
    ssh = healthy()
    nas = service(ssh)
    await ask(nas, "drive_health")
    await ask(nas, "zfs_health_check")
    assert len(ssh.asked("ScanDrives")) == 1
    await ask(nas, "zfs_health_check", force_refresh=True)
    assert len(ssh.asked("ScanDrives")) == 2


async def test_a_closed_device_file_is_opened_as_root_where_that_is_allowed() -> None:
    class Closed(Machine):
        async def execute_command(self, device, line, **more):  # type: ignore[no-untyped-def]
            self.answers["GetProperties"] = recorded("GetProperties", "zfs-2.1.11") if line.sudo else FAILED
            return await super().execute_command(device, line, **more)

    ssh = Closed(answers={"ExamineZfs": b"module 2.1.11-1\ndevice closed\n"}, found=SUDOER)
    found = await ask(ssh, "zfs_dataset_get", dataset="tank/data", local=True)
    assert {one.name: (one.value, one.source) for one in found.properties} == {
        "quota": ("52428800", "local"),
        "compression": ("off", "local"),
        "org.x:owner": ("me", "local"),
    }


async def test_what_is_for_root_alone_says_so_to_a_login() -> None:
    examined = b"module 2.3.2-1\ndevice open\npool tank\nhas yes\n"
    ssh = Machine(answers={"ReadEvents": FAILED, "DiffSnapshots": FAILED, "ExamineZfs": examined}, found=LOGIN)
    with pytest.raises(ZfsForbidden, match=r"for root, and the login is not: .*cannot open it"):
        await ask(ssh, "zfs_event_list")
    with pytest.raises(ZfsForbidden):
        await ask(ssh, "zfs_snapshot_diff", snapshot="tank/data@s1")


async def test_what_is_for_root_alone_is_asked_as_root_first() -> None:
    ssh = Machine(answers={"ReadEvents": recorded("ReadEvents", "zfs-2.1.11-cut")}, found=SUDOER)
    await ask(ssh, "zfs_event_list")
    assert [(line.text, line.sudo) for line in ssh.lines] == [("zpool events -H -v", True)]


async def test_a_machine_without_an_arc_says_why() -> None:
    empty = b"==> max <==\n\n==> memory <==\nMemTotal: 1 kB\n\n==> reading 5.0 <==\n"
    with pytest.raises(ZfsNotLoaded):
        await ask(Machine(answers={"SampleArc": empty}), "zfs_arc_stats")
    none = ROOT.model_copy(update={"tools": frozenset()})
    with pytest.raises(CommandNotAvailable, match="has no ZFS"):
        await ask(Machine(answers={"SampleArc": empty}, found=none), "zfs_arc_stats")


# --- datasets and snapshots ----------------------------------------------------------------------------


async def test_a_dataset_is_found_below_its_pool_as_a_uri_names_it() -> None:
    ssh = healthy(GetProperties=recorded("GetProperties", "zfs-2.1.11"))
    await ask(ssh, "zfs_dataset_get", pool="tank", dataset="data/with space")
    assert ssh.lines[-1].text.endswith("all -- 'tank/data/with space'")


@pytest.mark.parametrize("name", ["-rf", "a@b@c", "tank/x;y", "tank//x", ""])
async def test_names_that_zfs_does_not_take_are_refused(name: str) -> None:
    with pytest.raises(ValidationFailed):
        await ask(healthy(), "zfs_dataset_get", dataset=name)


async def test_datasets_are_sorted_and_filtered() -> None:
    found = await ask(healthy(), "zfs_dataset_list", sort="used", type="filesystem", name="tank")
    assert [one.name for one in found.datasets][:2] == ["tank", "tank/data"]
    assert found.total == 6
    assert found.datasets[1].quota_bytes == 50 << 20


async def test_snapshots_are_told_with_holds_and_clones() -> None:
    found = await ask(healthy(), "zfs_snapshot_list", name="tank/data@", sort="oldest")
    assert [(one.name, one.holds, one.clones) for one in found.snapshots] == [
        *(("tank/data@s1", 1, []), ("tank/data@s2", 0, ["tank/cl"]), ("tank/data@s3", 0, [])),
    ]
    assert (found.total, found.datasets) == (3, 1)


def many_snapshots(datasets: int, each: int) -> bytes:
    lines = (
        f"tank/data/set{d:04}@autosnap_2026-11-{1 + s % 28:02}_{s:04}_hourly\t{1795000000 + 3600 * s}\t{s * 4096}"
        f"\t7053312\t98304\t0\t{10**18 + d * each + s}\t-\n"
        for d in range(datasets)
        for s in range(each)
    )
    return "".join(lines).encode()


async def test_fifty_thousand_snapshots_come_in_pages_below_what_assistants_take() -> None:
    ssh = healthy(ListSnapshots=many_snapshots(2000, 25))
    found = await ask(ssh, "zfs_snapshot_list", limit=500)
    assert (found.total, found.datasets) == (50_000, 2000)
    assert len(to_json(found)) < MOST
    second = await ask(ssh, "zfs_snapshot_list", limit=500, cursor=found.next_cursor)
    assert not {one.name for one in found.snapshots} & {one.name for one in second.snapshots}


async def test_two_thousand_datasets_come_in_pages() -> None:
    row = dict.fromkeys(COLUMNS, "0") | {"type": "filesystem", "mounted": "yes", "encryption": "off", "keystatus": "-"}
    lines = (
        "\t".join((row | {"name": f"tank/set{n}", "mountpoint": f"/tank/set{n}"})[c] for c in COLUMNS)
        for n in range(2000)
    )
    found = await ask(healthy(ListDatasets="\n".join(lines).encode()), "zfs_dataset_list", limit=500)
    assert found.total == 2000
    assert len(to_json(found)) < MOST
    assert int(found.next_cursor) == len(found.datasets)


async def test_what_deleting_frees_is_reckoned_around_holds_and_clones() -> None:
    ssh = healthy(
        ListSnapshots=b"".join(
            line + b"\n"
            for line in recorded("ListSnapshots", "zfs-2.1.11-composed").splitlines()
            if b"tank/data@" in line
        ),
        ReckonReclaim=b"destroy\ttank/data@s3\nreclaim\t81920\n",
    )
    found = await ask(ssh, "zfs_snapshot_usage", dataset="tank/data")
    assert [line.text for line in ssh.asked("ReckonReclaim")] == ["zfs destroy -n -v -p -- tank/data@s3"]
    (every,) = found.ranges
    assert (every.snapshots, every.kept, every.reclaim_bytes) == (1, 2, 81920)
    assert [(one.snapshot, one.holds, one.clones) for one in found.kept] == [
        *(("tank/data@s1", 1, []), ("tank/data@s2", 0, ["tank/cl"])),
    ]
    assert (found.unique_bytes, found.shared_bytes) == (65536 + 81920, 7118848 - 65536 - 81920)


async def test_ranges_by_age_are_reckoned_once_each() -> None:
    rows = b"".join(
        f"tank/data@a{n}\t{1700000000 + 86400 * n}\t10\t20\t30\t{int(n == 3)}\t{n}\t-\n".encode() for n in range(6)
    )
    ssh = healthy(ListSnapshots=rows, ReckonReclaim=b"reclaim\t5\n")
    found = await ask(ssh, "zfs_snapshot_usage", dataset="tank/data")
    assert [one.spans for one in found.ranges] == ["tank/data@a0%a2,a4%a5"]  # all are older than every age
    asked = await ask(ssh, "zfs_snapshot_usage", dataset="tank/data", first="a1", last="a2")
    assert [(one.what, one.spans) for one in asked.ranges] == [("from a1 to a2", "tank/data@a1%a2")]
    with pytest.raises(NotFound, match="no snapshot 'a9'"):
        await ask(ssh, "zfs_snapshot_usage", dataset="tank/data", first="a9")


async def test_gaps_are_told_by_what_is_usual() -> None:
    times = [*range(0, 10 * 3600, 3600), 40 * 3600, 41 * 3600]
    rows = b"".join(f"tank/data@h{n}\t{1700000000 + t}\t0\t0\t0\t0\t{n}\t-\n".encode() for n, t in enumerate(times))
    found = await ask(
        healthy(ListSnapshots=rows, ReckonReclaim=b"reclaim\t0\n"), "zfs_snapshot_usage", dataset="tank/data"
    )
    assert found.usual_seconds == 3600
    assert [(gap.after, gap.before, gap.seconds) for gap in found.gaps] == [
        ("tank/data@h9", "tank/data@h10", 31 * 3600)
    ]


async def test_differences_are_told_by_directory_and_one_by_one() -> None:
    ssh = healthy(DiffSnapshots=recorded("DiffSnapshots", "lab-2.3.2"))
    found = await ask(ssh, "zfs_snapshot_diff", snapshot="tank/data@s1", newer="s2")
    assert ssh.lines[-1].text == "zfs diff -F -H -t -- tank/data@s1 tank/data@s2"
    assert found.counts == {"added": 4, "removed": 1, "modified": 2, "renamed": 1}
    assert [(one.path, one.added, one.removed, one.renamed) for one in found.directories] == [
        *(("/tank/data", 4, 1, 0), ("/tank/data/dir", 0, 0, 1)),
    ]
    assert {one.path for one in found.changes} >= {"/tank/data/new file", "/tank/data/tab\there", "/tank/data/ü"}
    only = await ask(ssh, "zfs_snapshot_diff", snapshot="tank/data@s1", newer="s2", path="dir/")
    assert [one.new_path for one in only.changes] == ["/tank/data/dir/b"]


async def test_differences_that_were_cut_say_so() -> None:
    cut = CommandOutput(exit_status=141, stdout=recorded("DiffSnapshots", "lab-2.3.2")[:100], truncated=True)
    found = await ask(healthy(DiffSnapshots=cut), "zfs_snapshot_diff", snapshot="tank/data@s1")
    assert (found.complete, found.total) == (False, 2)


# --- the cache in memory -------------------------------------------------------------------------------


async def test_the_arc_is_measured_over_an_interval_and_since_boot() -> None:
    found = await ask(healthy(), "zfs_arc_stats", interval_seconds=1)
    assert (found.sampled_over_seconds, found.interval.reads, found.interval.hit_percent) == (1.01, 1000, 90.0)
    assert (found.interval.demand_hit_percent, found.interval.mru_ghost_hits) == (92.39, 7)
    assert found.since_boot.hit_percent == 99.85
    assert (found.size_bytes, found.max_bytes, found.max_is_set) == (59149312, 747094016, False)
    assert found.l2arc.hit_percent_since_boot == 9.3


# --- the whole -----------------------------------------------------------------------------------------


async def test_the_report_is_one_document_below_what_assistants_take() -> None:
    ssh = healthy(ReadPoolStatus=recorded("ReadPoolStatus", "zfs-2.1.11-dataloss"))
    found = await ask(ssh, "zfs_report")
    assert len(to_json(found)) < MOST
    assert found.verdict == "critical"
    assert found.summary[0] == "tank is ONLINE, 4 % full, 1147 disk errors."
    assert (found.datasets_total, found.snapshots_total) == (8, 18)
    assert found.arc is not None
    assert json.loads(to_json(found))["findings"][0]["code"] == "errors_on_all_sides"


async def test_the_report_says_what_it_lacks() -> None:
    ssh = healthy(ReadEvents=FAILED, ExamineZfs=b"module 2.1.11-1\ndevice open\npool tank\n", SampleArc=FAILED)
    found = await ask(ssh, "zfs_report")
    assert found.arc is None
    assert sorted(line.partition(":")[0] for line in found.missing) == ["ARC", "SMART", "events"]
    assert "SMART: smartctl finds no drive here" in " ".join(found.missing)


def test_what_changes_zfs_makes_every_answer_on_it_old() -> None:
    mine = [operation for operation in CATALOG if operation.domain == "zfs"]
    assert {operation.cache.data_type for operation in mine if operation.cache} == set(ZFS_ANSWERS)
    changing = [operation for operation in mine if operation.effect is not Effect.READ]
    assert [operation.name for operation in changing if not set(ZFS_ANSWERS) <= set(operation.invalidates)] == []
