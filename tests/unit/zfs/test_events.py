"""What the ZFS module tells: read, told once, and of a flood its beginning and its end."""

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infrastructor.domains.zfs.digest import Digest, digested
from infrastructor.domains.zfs.events import ZfsEvent, events, severity_of
from infrastructor.events import Severity
from tests.fakes import FakeEvents, device
from tests.unit.zfs.machine import ask, healthy, recorded

NAS = device("nas")
SECOND = 10**9
START = 1_795_000_020 * SECOND  # the beginning of a minute


def read(machine: str) -> list[ZfsEvent]:
    return list(events(recorded("ReadEvents", machine).decode().splitlines()))


def checksum(second: float, eid: int, errors: int, vdev: int = 1) -> ZfsEvent:
    return ZfsEvent(
        eid=eid,
        kind="checksum",
        event_class="ereport.fs.zfs.checksum",
        time_ns=START + int(second * SECOND),
        pool="tank",
        pool_guid=7,
        vdev_guid=vdev,
        data={"vdev": "/dev/sda", "checksum_errors": errors},
    )


def history(second: float, eid: int, dataset: str) -> ZfsEvent:
    return ZfsEvent(
        eid=eid,
        kind="history_event",
        event_class="sysevent.fs.zfs.history_event",
        time_ns=START + int(second * SECOND),
        pool="tank",
        pool_guid=7,
        data={"action": "snapshot", "dataset": dataset},
    )


def test_recorded_events_are_read_whole() -> None:
    found = read("zfs-2.1.11-cut")
    assert Counter(event.kind for event in found) == {
        **{"history_event": 4, "pool_create": 4, "checksum": 4, "config_sync": 4, "scrub_start": 4},
        **{"scrub_finish": 4, "pool_destroy": 2, "statechange": 2},
    }
    changed = [event for event in found if event.kind == "statechange"][-1]
    assert (changed.pool, changed.data["vdev"]) == ("old", "/root/d4")
    assert (changed.data["vdev_state"], changed.data["vdev_was"]) == ("OFFLINE", "ONLINE")
    wrong = next(event for event in found if event.kind == "checksum")
    assert (wrong.at, wrong.eid) == (datetime(2026, 11, 20, 15, 4, 44, 304000, tzinfo=UTC), 102)
    assert {key: wrong.data[key] for key in ("vdev", "parent_type", "checksum_errors", "object")} == {
        **{"vdev": "/root/d2", "parent_type": "mirror", "checksum_errors": 1, "object": 35},
    }


def test_dropped_events_are_told_with_the_next() -> None:
    text = "dropped 509 events\n" + recorded("ReadEvents", "zfs-2.1.11-cut").decode()
    first, second, *_ = events(text.splitlines())
    assert (first.dropped, second.dropped) == (509, 0)
    assert digested(NAS, [first])[0].data["dropped_before"] == 509


@pytest.mark.parametrize(
    ("kind", "state", "severity"),
    [
        ("data", None, Severity.CRITICAL),
        ("io_failure", None, Severity.CRITICAL),
        ("checksum", None, Severity.ERROR),
        ("io", None, Severity.ERROR),
        ("removed", None, Severity.ERROR),
        ("delay", None, Severity.WARNING),
        ("statechange", "ONLINE", Severity.INFO),
        ("statechange", "OFFLINE", Severity.WARNING),
        ("statechange", "FAULTED", Severity.ERROR),
        ("scrub_finish", None, Severity.INFO),
        ("vdev.open_failed", None, Severity.ERROR),
    ],
)
def test_alarms_are_marked_by_severity(kind: str, state: str | None, severity: Severity) -> None:
    event = ZfsEvent(1, kind, f"x.fs.zfs.{kind}", START, data={"vdev_state": state} if state else {})
    assert severity_of(event) is severity


def test_of_a_flood_the_first_and_the_last_are_told() -> None:
    flood = [checksum(n / 20, 100 + n, n + 1) for n in range(400)]
    first, last = digested(NAS, flood)
    assert (first.data["checksum_errors"], first.severity) == (1, Severity.ERROR)
    assert (last.data["checksum_errors"], last.data["events"]) == (400, 400)
    assert first.id != last.id


def test_a_pool_that_loses_its_last_disk_is_no_flood() -> None:
    lost = [ZfsEvent(n, "data", "ereport.fs.zfs.data", START + n, "tank", 7) for n in range(1500)]
    first, last = digested(NAS, lost)
    assert (first.severity, last.severity, last.data["events"]) == (Severity.CRITICAL, Severity.CRITICAL, 1500)


def test_disks_and_minutes_are_told_apart() -> None:
    told = digested(NAS, [checksum(0, 1, 1), checksum(1, 2, 1, vdev=2), checksum(61, 3, 2)])
    assert [event.data["eid"] for event in told] == [1, 2, 3]


def test_a_recursive_snapshot_is_told_by_its_first_and_last_dataset() -> None:
    told = digested(NAS, [history(n / 1000, n, f"tank/set{n}") for n in range(2000)])
    assert [(event.kind, event.data["dataset"]) for event in told] == [
        *(("zfs.history", "tank/set0"), ("zfs.history", "tank/set1999")),
    ]


def test_the_end_of_a_span_is_told_once_nothing_more_can_come() -> None:
    digest = Digest(NAS)
    assert len(digest.take(checksum(10, 1, 1))) == 1
    assert digest.take(checksum(20, 2, 9)) == []
    assert digest.waiting
    assert digest.over(START + 60 * SECOND) == []
    (last,) = digest.over(START + 66 * SECOND)
    assert (last.data["checksum_errors"], digest.waiting) == (9, False)


@given(
    st.lists(st.tuples(st.floats(0, 300), st.integers(1, 3), st.booleans()), max_size=60),
    st.integers(0, 60),
)
def test_events_read_again_are_the_same_events(rows: list[tuple[float, int, bool]], again_from: int) -> None:
    """After a reconnect the module tells all it has once more, to the same process or to another."""
    told = [
        checksum(second, eid, eid, vdev) if wrong else history(second, eid, f"tank/{eid}")
        for eid, (second, vdev, wrong) in enumerate(sorted(rows), start=1)
    ]
    once = {event.id for event in digested(NAS, told)}
    same_process = Digest(NAS)
    twice = [event for one in (*told, *told[again_from:]) for event in same_process.take(one)] + same_process.rest()
    assert {event.id for event in twice} == once
    assert len(twice) == len(once)
    assert {event.id for event in digested(NAS, told)} == once


async def test_events_come_from_the_device_until_some_are_stored() -> None:
    ssh, bus = healthy(), FakeEvents()
    found = await ask(ssh, "zfs_event_list", events=bus, severity="warning", limit=3)
    assert found.source == "device"
    assert [(event.kind, event.pool, event.vdev) for event in found.events] == [
        *(("zfs.statechange", "old", "/root/d4"), ("zfs.pool_destroy", "old", None)),
        ("zfs.pool_destroy", "tank", None),
    ]
    second = await ask(ssh, "zfs_event_list", events=bus, severity="warning", limit=3, cursor=found.next_cursor)
    assert {event.kind for event in second.events} <= {"zfs.statechange", "zfs.checksum"}


async def test_stored_events_are_told_without_asking_the_device() -> None:
    class Stored(FakeEvents):
        async def latest(self, wanted, limit=500, before=None):  # type: ignore[no-untyped-def]
            self.rows = [
                row if row.device_id == wanted.device_id else replace(row, device_id=wanted.device_id)
                for row in self.rows
            ]
            return await super().latest(wanted, limit, before)

    bus, ssh = Stored(), healthy()
    await bus.publish(digested(NAS, read("zfs-2.1.11-cut")))
    found = await ask(ssh, "zfs_event_list", events=bus, kind="checksum")
    assert (found.source, ssh.sent) == ("store", [])
    assert {event.kind for event in found.events} == {"zfs.checksum"}
    nothing = await ask(ssh, "zfs_event_list", events=bus, kind="removed")
    assert (nothing.source, nothing.events, ssh.sent) == ("store", [], [])
    page = await ask(ssh, "zfs_event_list", events=bus, limit=2)
    rest = await ask(ssh, "zfs_event_list", events=bus, limit=2, cursor=page.next_cursor)
    assert not {event.at for event in page.events[:1]} & {event.at for event in rest.events[1:]}
