"""`zpool status` as text and as JSON: the same pools, every vdev, whatever is going on."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infrastructor.domains.zfs import datasets, printed, status_json, status_text
from infrastructor.domains.zfs.commands import ReadPoolStatus, ReadPoolStatusJson, prints_json
from infrastructor.domains.zfs.models import PoolState
from infrastructor.ports.ssh import Capabilities
from tests.unit.zfs.machine import FIXTURES, recorded

# While something runs its figures move between the two commands that recorded it.
MOVING = {
    "zfs-2.3.2-scrub": "activities",
    "lab-2.3.2-expanding": "activities",
    "lab-2.3.2-rebuilding": "activities",
    "lab-2.3.2-suspended": "activities data_errors",
    "lab-2.3.2-replaced": "activities status action vdevs",
}
TEXTS, JSONS = (FIXTURES / "ReadPoolStatus", FIXTURES / "ReadPoolStatusJson")
TWINS = sorted(out.stem for out in JSONS.glob("*.out") if (TEXTS / out.name).exists())


def text(machine: str) -> list[PoolState]:
    return list(status_text.pools(recorded("ReadPoolStatus", machine)))


def as_json(machine: str) -> list[PoolState]:
    return [reading.state for reading in status_json.pools(recorded("ReadPoolStatusJson", machine).decode())]


def told(pool: PoolState, *, without: str = "", slow: bool = True) -> dict[str, Any]:
    values = pool.model_dump()
    for vdev in values["vdevs"] if not slow else ():
        vdev["slow_ios"] = None  # the recordings of text were made without -s
    return {key: value for key, value in values.items() if key not in without.split()}


@pytest.mark.parametrize("machine", TWINS)
def test_text_and_json_give_the_same_pools(machine: str) -> None:
    without, slow = MOVING.get(machine, ""), machine.startswith("lab")
    assert [told(pool, without=without, slow=slow) for pool in text(machine)] == [
        told(pool, without=without, slow=slow) for pool in as_json(machine)
    ]


def test_there_are_twins_of_many_states() -> None:
    assert len(TWINS) >= 20
    assert sum(name not in MOVING for name in TWINS) >= 15


def one(machine: str) -> PoolState:
    return text(machine)[-1]


def vdevs(pool: PoolState) -> dict[str, Any]:
    return {vdev.name: vdev for vdev in pool.vdevs}


def test_a_spare_in_use_stands_in_the_tree_and_among_the_spares() -> None:
    pool = one("lab-2.3.2-spare-in-use")
    names = [(vdev.depth, vdev.kind, vdev.role, vdev.state) for vdev in pool.vdevs]
    assert (2, "spare", "normal", "ONLINE") in names
    assert names[-1] == (1, "disk", "spare", "INUSE")
    inside = [vdev for vdev in pool.vdevs if vdev.parent is not None and pool.vdevs[vdev.parent].kind == "spare"]
    assert [vdev.name.rsplit("/", 1)[-1] for vdev in inside] == ["virtio-lab-vdev2-part1", "virtio-lab-vdev3-part1"]


def test_classes_are_told_apart() -> None:
    roles = [(vdev.kind, vdev.role) for vdev in one("lab-2.3.2-tank").vdevs if vdev.depth == 1]
    assert roles == [
        *(("mirror", "normal"), ("mirror", "special"), ("file", "log"), ("file", "cache"), ("disk", "spare")),
    ]


def test_a_lost_disk_is_known_by_its_number_and_its_former_path() -> None:
    lost = vdevs(one("lab-2.3.2-missing"))["394651020411807046"]
    assert (lost.state, lost.was, lost.kind) == ("UNAVAIL", "/v/r4", "file")


def test_damaged_files_are_named_and_counted() -> None:
    pool = one("lab-2.3.2-damaged")
    assert (pool.data_errors, pool.error_files) == (2, ["/hurt/big", "hurt@s:/big"])
    assert (pool.message, pool.activities[0].errors) == ("ZFS-8000-8A", 8)


def test_what_a_login_may_not_list_is_unknown_and_not_none() -> None:
    assert one("lab-2.3.2-damaged-login").data_errors is None
    assert (one("lab-2.3.2-damaged-plain").data_errors, one("lab-2.3.2-damaged-plain").error_files) == (8, [])


def test_names_of_damaged_files_make_no_pools() -> None:
    hostile = recorded("ReadPoolStatus", "lab-2.3.2-damaged") + b"        /hurt/x\n  pool: evil\n state: ONLINE\n"
    assert [pool.name for pool in status_text.pools(hostile, "hurt")] == ["hurt"]


def test_sectors_that_do_not_fit_are_told() -> None:
    disk = vdevs(one("lab-2.3.2-ashift"))["/dev/sda1"]
    assert (disk.configured_block_bytes, disk.native_block_bytes, disk.trim) == (512, 4096, "unsupported")


def test_a_draid_is_well_where_json_leaves_its_state_out() -> None:
    (pool,) = as_json("lab-2.3.2-draid")
    group = next(vdev for vdev in pool.vdevs if vdev.kind == "draid1")
    assert group.state == "ONLINE"
    assert pool.vdevs[-1].kind == "distributed_spare"


@pytest.mark.parametrize(
    ("machine", "kinds"),
    [
        ("lab-2.3.2-rebuilt", [("scrub", "finished"), ("resilver", "finished")]),
        ("lab-2.3.2-paused", [("scrub", "paused")]),
        ("lab-2.3.2-removal", [("removal", "finished")]),
        ("lab-2.3.2-expanded", [("scrub", "finished"), ("expansion", "finished")]),
        ("lab-2.3.2-expanding", [("expansion", "running")]),
        ("lab-2.3.2-replaced", [("resilver", "running")]),
        ("zfs-2.1.11-scrub", [("scrub", "running")]),
        ("lab-2.1.11-rebuilding", [("resilver", "running")]),
        ("lab-2.1.11-rebuilt", [("scrub", "finished"), ("resilver", "finished")]),
        ("zfs-2.1.11-healthy", []),
    ],
)
def test_what_goes_on_is_told(machine: str, kinds: list[tuple[str, str]]) -> None:
    assert [(each.kind, each.state) for each in one(machine).activities] == kinds


def test_the_progress_of_a_scrub_is_told() -> None:
    (scrub,) = one("zfs-2.1.11-scrub").activities
    assert scrub.started_at == datetime(2026, 11, 20, 15, 6, 51, tzinfo=UTC)
    assert (scrub.done_percent, scrub.bytes_per_second, scrub.seconds_left) == (18.37, 4991222, None)


def test_the_speed_of_a_sequential_resilver_is_told_of_2_1_too() -> None:
    (resilver,) = one("lab-2.1.11-rebuilding").activities
    assert (resilver.vdev, resilver.bytes_per_second, resilver.seconds_left) == ("mirror-0", 30 << 20, 0)


RUNNING = b"""  pool: tank
 state: ONLINE
  scan: scrub in progress since Sat Nov 28 00:24:01 2026
\t5.51T / 10.2T scanned at 1.21G/s, 3.02T / 10.2T issued at 680M/s
\t12K repaired, 29.61% done, 1 days 03:04:05 to go
config:

\tNAME        STATE     READ WRITE CKSUM
\ttank        ONLINE       0     0     0

errors: No known data errors
"""


def test_the_time_left_is_told_in_text_and_reckoned_for_json() -> None:
    (scrub,) = status_text.pools(RUNNING)[0].activities
    assert scrub.seconds_left == (24 + 3) * 3600 + 4 * 60 + 5

    scan = {
        "function": "SCRUB", "state": "SCANNING", "start_time": 1000, "end_time": 0, "to_examine": 100 << 30,
        "examined": 60 << 30, "skipped": 0, "processed": 0, "errors": 0, "bytes_per_scan": 60 << 30, "pass_start": 1000,
        "scrub_pause": 0, "scrub_spent_paused": 24, "issued_bytes_per_scan": 50 << 30, "issued": 50 << 30,
    }  # fmt: skip
    found = status_json.pools(json.dumps({"pools": {"t": {"name": "t", "state": "ONLINE", "scan_stats": scan}}}))[0]
    (reckoned,) = found.at(now=1000 + 24 + 1024).activities
    assert (reckoned.bytes_per_second, reckoned.seconds_left) == (50 << 20, 1024)
    assert found.state.activities[0].seconds_left is None


@pytest.mark.parametrize(
    ("version", "expected"),
    [(None, False), ("2.1.11-1", False), ("2.2.2-0ubuntu9", False), ("2.3.0-1", True), ("2.4.0", True), ("10.0", True)],
)
def test_json_is_asked_for_where_the_version_has_it(version: str | None, expected: bool) -> None:
    found = Capabilities(zfs_version=version)
    assert prints_json(found) is expected
    chosen = ReadPoolStatus("tank", files=True).as_root().variant(found)
    assert type(chosen) is (ReadPoolStatusJson if expected else ReadPoolStatus)
    assert chosen.sudo


# --- no node is lost -----------------------------------------------------------------------------------

NAMES = st.text("abcXYZ019_-.:é ", min_size=1, max_size=12).map(lambda name: f"/dev/{name.strip() or 'a'}")
COUNTS = st.integers(0, 2**40)
STATES = st.sampled_from(["ONLINE", "DEGRADED", "FAULTED", "OFFLINE", "UNAVAIL", "REMOVED"])
Node = tuple[str, str, tuple[int, int, int], list[Any]]


def nodes(below: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.tuples(NAMES, STATES, st.tuples(COUNTS, COUNTS, COUNTS), below)


TREES = st.recursive(nodes(st.just([])), lambda children: nodes(st.lists(children, max_size=4)), max_leaves=25)
HEADINGS = ("dedup", "special", "logs", "cache")
SECTIONS = st.dictionaries(st.sampled_from(HEADINGS), st.lists(TREES, min_size=1, max_size=3))


def lines(node: Node, depth: int, width: int) -> list[str]:
    name, state, (read, write, cksum), children = node
    pad = " " * (width - len((" " * depth + name).encode()))
    row = f"\t{' ' * depth}{name}{pad}  {state:<8} {read:5} {write:5} {cksum:5} {0:5}"
    return [row, *(line for child in children for line in lines(child, depth + 2, width))]


def longest(node: Node, depth: int) -> int:
    return max([depth + len(node[0].encode()), *(longest(child, depth + 2) for child in node[3])])


def printed_as_text(root: Node, sections: dict[str, list[Node]]) -> bytes:
    width = max([10, longest(root, 0), *(longest(node, 2) for some in sections.values() for node in some)])
    rows = lines(root, 0, width)
    for heading in HEADINGS:
        if heading in sections:
            rows += [f"\t{heading}", *(line for node in sections[heading] for line in lines(node, 2, width))]
    head = f"\t{'NAME':<{width}}  {'STATE':<8} {'READ':>5} {'WRITE':>5} {'CKSUM':>5} {'SLOW':>5}"
    top = "  pool: tank\n state: ONLINE\nconfig:\n\n"
    return f"{top}{head}\n{chr(10).join(rows)}\n\nerrors: No known data errors\n".encode()


def distinct(some: list[Any], taken: set[str]) -> list[Any]:
    """The trees with every name once, as in a pool: a JSON object has each key once."""
    found = []
    for name, state, counts, children in some:
        fresh = name if name not in taken else f"{name}{len(taken)}"
        taken.add(fresh)
        found.append((fresh, state, counts, distinct(children, taken)))
    return found


def printed_as_json(node: Node) -> dict[str, Any]:
    name, state, (read, write, cksum), children = node
    told = {"name": name, "state": state, "read_errors": read, "write_errors": write, "checksum_errors": cksum}
    if children:
        return told | {"vdevs": {child[0]: printed_as_json(child) for child in children}}
    return told | {"slow_ios": 0}


def flat(node: Node, depth: int, parent: str | None) -> list[tuple[str, str, int, str | None, tuple[int, int, int]]]:
    name, state, counts, children = node
    below = [row for child in children for row in flat(child, depth + 1, name)]
    return [(name, state, depth, parent, counts), *below]


def found(pool: PoolState) -> list[tuple[str, str | None, int, str | None, tuple[int | None, ...]]]:
    return [
        (
            vdev.name,
            vdev.state,
            vdev.depth,
            None if vdev.parent is None else pool.vdevs[vdev.parent].name,
            (vdev.read_errors, vdev.write_errors, vdev.checksum_errors),
        )
        for vdev in pool.vdevs
    ]


@given(root=TREES, sections=SECTIONS)
def test_no_vdev_is_lost_of_any_tree_in_text_or_json(root: Node, sections: dict[str, list[Node]]) -> None:
    taken: set[str] = set()
    (root,) = distinct([root], taken)
    sections = {heading: distinct(some, taken) for heading, some in sections.items()}
    order = [heading for heading in ("dedup", "special", "logs", "cache") if heading in sections]
    expected = flat(root, 0, None) + [
        row for heading in order for node in sections[heading] for row in flat(node, 1, None)
    ]

    (from_text,) = status_text.pools(printed_as_text(root, sections))
    pool = {"name": "tank", "state": "ONLINE", "error_count": 0, "vdevs": {root[0]: printed_as_json(root)}}
    for heading in order:
        key = "l2cache" if heading == "cache" else heading
        pool[key] = {node[0]: printed_as_json(node) for node in sections[heading]}
    (from_json,) = status_json.pools(json.dumps({"pools": {"tank": pool}}))

    assert found(from_text) == expected
    assert from_text == from_json.state


# --- figures -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0B"),
        (1023, "1023B"),
        (1024, "1K"),
        (38809600, "37.0M"),
        (54421094, "51.9M"),
        (1 << 40, "1T"),
        (1536, "1.50K"),
    ],
)
def test_sizes_are_rounded_as_zpool_prints_them(value: int, text: str) -> None:
    assert printed.rounded(value) == printed.size(text)


@given(st.integers(0, 2**63))
def test_what_was_printed_once_is_printed_alike_again(value: int) -> None:
    assert printed.rounded(printed.rounded(value)) == printed.rounded(value)
    assert abs(printed.rounded(value) - value) <= max(value, 1) * 0.06


def test_properties_come_alike_from_text_and_json() -> None:
    for machine in ("lab-2.3.2", "lab-2.3.2-snapshot"):
        from_text = datasets.properties_from_text(recorded("GetProperties", machine).decode())
        from_json = datasets.properties_from_json(recorded("GetPropertiesJson", machine).decode())
        assert sorted(from_text, key=lambda one: one.name) == sorted(from_json, key=lambda one: one.name)
    values = {
        one.name: one.value for one in datasets.properties_from_text(recorded("GetProperties", "lab-2.3.2").decode())
    }
    assert values["org.x:note"] == "two\nlines\tand a tab"
    assert values["org.x:code"] == "007"
