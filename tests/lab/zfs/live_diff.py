"""What changed between real snapshots, whatever the files are called; and what snapshots hold."""

from tests.lab.zfs.lab import Lab

_BEFORE = r"""
import os
os.chdir(%r)
for name in ["kept", "gone ü", "old name", "chan\nged", "tab\tand \\0040 back\\slash"]:
    open(name, "w").write("x" * 5000)
os.mkdir("a dir ß")
open("a dir ß/moved", "w").write("y")
"""
_AFTER = r"""
import os
os.chdir(%r)
os.remove("gone ü")
os.rename("old name", "new name é")
os.rename("a dir ß/moved", "moved\nout")
open("chan\nged", "a").write("more")
open("tab\tand \\0040 back\\slash", "a").write("more")
open("a dir ß/日本 new", "w").write("z")
os.symlink("kept", "link to it")
os.mkfifo("a pipe")
"""


async def python(lab: Lab, text: str) -> None:
    await lab.sh(f"PYTHONUTF8=1 python3 - <<'END'{text}END\nzpool sync")


async def test_files_of_any_name_are_told_as_they_are_called(lab: Lab, dataset: str) -> None:
    place = f"/{dataset}"
    await python(lab, _BEFORE % place)
    await lab.sh(f"zfs snapshot '{dataset}@first'")
    await python(lab, _AFTER % place)
    await lab.sh(f"zfs snapshot '{dataset}@second'")
    expected = {
        ("removed", "file", f"{place}/gone ü", None),
        ("renamed", "file", f"{place}/old name", f"{place}/new name é"),
        ("renamed", "file", f"{place}/a dir ß/moved", f"{place}/moved\nout"),
        ("modified", "file", f"{place}/chan\nged", None),
        ("modified", "file", f"{place}/tab\tand \\0040 back\\slash", None),
        ("added", "file", f"{place}/a dir ß/日本 new", None),
        ("added", "symlink", f"{place}/link to it", None),
        ("added", "pipe", f"{place}/a pipe", None),
        ("modified", "directory", f"{place}/", None),
        ("modified", "directory", f"{place}/a dir ß", None),
    }
    for newer in ("second", None):
        answer = await lab.ask("zfs_snapshot_diff", snapshot=f"{dataset}@first", newer=newer, force_refresh=True)
        assert {(one.change, one.type, one.path, one.new_path) for one in answer.changes} == expected
        assert answer.counts == {"added": 3, "removed": 1, "modified": 4, "renamed": 2}
        assert (answer.total, answer.complete) == (10, True)
        assert {one.path for one in answer.directories} == {place, f"{place}/a dir ß"}
    only = await lab.ask("zfs_snapshot_diff", snapshot=f"{dataset}@first", newer="second", path="日本")
    assert [one.path for one in only.changes] == [f"{place}/a dir ß/日本 new"]
    nothing = await lab.ask("zfs_snapshot_diff", snapshot=f"{dataset}@second")
    assert (nothing.total, nothing.complete) == (0, True)


async def test_what_snapshots_hold_is_what_destroying_them_frees(lab: Lab, dataset: str) -> None:
    for name in ("s1", "s2", "s3"):
        await lab.sh(f"head -c 2000000 /dev/urandom >'/{dataset}/{name}'; zfs snapshot '{dataset}@{name}'")
    await lab.sh(
        f"rm '/{dataset}/file' '/{dataset}/s1'; zpool sync; head -c 1000000 /dev/urandom >'/{dataset}/own'; "
        f"zfs snapshot '{dataset}@s4'; rm '/{dataset}/own'; zpool sync; zfs hold keep '{dataset}@s4'"
    )
    answer = await lab.ask("zfs_snapshot_usage", dataset=dataset, force_refresh=True)
    total = int(await lab.sh(f"zfs get -H -p -o value usedbysnapshots '{dataset}'"))
    used = [int(one) for one in (await lab.sh(f"zfs list -H -p -d1 -t snapshot -o used '{dataset}'")).split()]
    assert (answer.snapshots, answer.used_by_snapshots_bytes, answer.unique_bytes) == (4, total, sum(used))
    assert answer.shared_bytes == total - sum(used) > 4_000_000
    assert [one.snapshot for one in answer.kept] == [f"{dataset}@s4"]
    (everything,) = answer.ranges
    assert (everything.snapshots, everything.kept, everything.spans) == (3, 1, f"{dataset}@s1%s3")
    dry = await lab.sh(f"zfs destroy -nvp '{everything.spans}'")
    assert everything.reclaim_bytes == int(dry.split("reclaim\t")[1])
    some = await lab.ask("zfs_snapshot_usage", dataset=dataset, first="s2", last="s3", force_refresh=True)
    assert some.ranges[0].spans == f"{dataset}@s2%s3"
    listed = await lab.ask("zfs_snapshot_list", dataset=dataset, force_refresh=True)
    assert {one.name: one.used_bytes for one in listed.snapshots} == dict(
        zip([f"{dataset}@s{n}" for n in (1, 2, 3, 4)], used, strict=True)
    )
    assert [one.name for one in listed.snapshots if one.holds] == [f"{dataset}@s4"]
    await lab.sh(f"zfs release keep '{dataset}@s4'; zfs destroy '{everything.spans}'; zpool sync")
    left = int(await lab.sh(f"zfs get -H -p -o value usedbysnapshots '{dataset}'"))
    # What s4 holds alone stays; nothing else does.
    assert abs(total - left - (everything.reclaim_bytes or 0)) < 200_000


async def test_properties_are_told_with_where_they_come_from(lab: Lab, dataset: str) -> None:
    text = "zwei Zeilen ü\nand\ta tab"
    below = f"{dataset}/be low"
    await lab.sh(
        f"zfs set compression=gzip-3 quota=1G 'lab:note={text}' '{dataset}' && zfs create -o recordsize=16K '{below}'"
    )
    answer = await lab.ask("zfs_dataset_get", dataset=below, force_refresh=True)
    known = {one.name: (one.value, one.source, one.inherited_from) for one in answer.properties}
    assert known["compression"] == ("gzip-3", "inherited", dataset)
    assert known["lab:note"] == (text, "inherited", dataset)
    assert known["recordsize"] == ("16384", "local", None)
    assert known["quota"] == ("0", "default", None)
    names = set((await lab.sh(f"zfs get -H -o property all '{below}' | grep -v '^and'")).split())
    assert known.keys() == names - {"a", "tab"}
    listed = await lab.ask("zfs_dataset_list", dataset=dataset, force_refresh=True)
    assert [one.name for one in listed.datasets] == [dataset, below]
    figures = (await lab.sh(f"zfs list -H -p -o used,available,referenced '{dataset}'")).split()
    first = listed.datasets[0]
    assert [first.used_bytes, first.available_bytes, first.referenced_bytes] == [int(one) for one in figures]
    assert first.quota_bytes == 1 << 30
