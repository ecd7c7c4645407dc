"""drive_health: verdicts over recorded drives, and what the stored past changes about them."""

import dataclasses
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infrastructor.catalog import CATALOG
from infrastructor.domains.drives.commands import DRIVE_TYPE, ReadDrive, ScanDrives
from infrastructor.domains.drives.models import DriveHealth, Level
from infrastructor.domains.drives.smartctl import Crossed, DriveReading, SelfTest, drive, leading
from infrastructor.domains.drives.verdict import Past, judge
from infrastructor.errors import Conflict, NotFound, ParseError, PermissionDenied
from infrastructor.ports.callers import Caller, Interface, Role
from infrastructor.ports.devices import Device
from infrastructor.ports.series import DriveBaseline, DriveSample
from infrastructor.ports.ssh import CommandLine, CommandOutput
from infrastructor.service import UnifiedDataCollectionService
from tests import fakes

FIXTURES = Path(__file__).parents[1] / "fixtures" / "drives" / "ReadDrive"
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
NO_PAST = Past((), NOW)
HOST = fakes.device("nas")
DAYS = timedelta(days=1)


def recorded(name: str) -> DriveReading:
    return drive((FIXTURES / f"{name}.out").read_text(), "/dev/sda", "sat")


def sample(age: timedelta, **counters: int) -> DriveSample:
    return DriveSample(device_id=HOST.id, drive="d", sampled_at=NOW - age, counters=counters)


def disk(**counters: int) -> DriveReading:
    return DriveReading("/dev/sda", "sat", model="m", serial="s", passed=True, spinning=True, counters=counters)


def codes(reading: DriveReading, past: Past = NO_PAST) -> dict[str, Level]:
    return {finding.code: finding.level for finding in judge(reading, past)[1]}


@pytest.mark.parametrize(
    ("name", "verdict", "because"),
    [
        ("ssd-samsung", Level.OK, {}),
        ("nvme-samsung", Level.OK, {}),
        ("nvme-micron", Level.OK, {}),
        ("sas-hitachi", Level.OK, {}),
        ("hdd-seagate-188-raw16", Level.OK, {"command_timeouts": Level.NOTE}),
        ("hdd-wd-crc", Level.OK, {"crc_errors": Level.NOTE}),
        ("hdd-seagate-reallocated", Level.WATCH, {"reallocated": Level.WATCH}),
        ("hdd-hp-187", Level.WATCH, {"reported_uncorrectable": Level.WATCH}),
        ("standby-composed", Level.UNKNOWN, {"asleep": Level.NOTE}),
        ("no-such-device", Level.UNKNOWN, {"no_data": Level.NOTE}),
    ],
)
def test_recorded_drives_get_the_verdict_their_values_deserve(name: str, verdict: Level, because: Any) -> None:
    reading = recorded(name)
    assert judge(reading, NO_PAST)[0] is verdict
    assert because.items() <= codes(reading).items()


@pytest.mark.parametrize(
    ("raw", "meant"),
    [
        ({"value": 17180131332, "string": "17180131332"}, 4),
        ({"value": 51540393996, "string": "51540393996"}, 12),
        ({"value": 8590065666, "string": "2 2 2"}, 2),
        ({"value": 3, "string": "3"}, 3),
    ],
)
def test_packed_command_timeouts_are_unpacked(raw: dict[str, Any], meant: int) -> None:
    assert leading({"id": 188, "raw": raw}) == meant


def test_what_is_packed_beside_a_count_does_not_count() -> None:
    assert leading({"id": 5, "raw": {"value": 34359738368, "string": "0 (0 8)"}}) == 0


def test_growth_within_a_week_is_an_alarm_and_the_same_count_for_a_month_is_not() -> None:
    stable = Past([sample(40 * DAYS, pending=8)], NOW)
    assert judge(disk(pending=8), stable)[0] is Level.OK
    assert codes(disk(pending=8), stable) == {"pending": Level.NOTE}
    growing = Past([sample(40 * DAYS, pending=8), sample(2 * DAYS, pending=9)], NOW)
    assert codes(disk(pending=10), growing) == {"pending": Level.WATCH}
    verdict, findings, trends = judge(disk(pending=30), growing)
    assert verdict is Level.FAILING
    assert findings[0].evidence == "30 pending: 22 more within 7 days, 21 of them within 24 h."
    assert (trends[0].grown_in_24_hours, trends[0].grown_in_7_days) == (21, 22)


def test_an_old_cable_is_no_news_and_a_bad_one_is_no_bad_disk() -> None:
    assert codes(disk(crc_errors=3118119)) == {"crc_errors": Level.NOTE}
    verdict, findings, _ = judge(disk(crc_errors=500), Past([sample(3 * DAYS, crc_errors=10)], NOW))
    assert verdict is Level.WATCH
    assert "cable" in (findings[0].predicts or "")


def test_a_count_that_fell_is_a_reset_not_growth() -> None:
    assert codes(disk(pending=1), Past([sample(40 * DAYS, pending=9)], NOW)) == {"pending": Level.NOTE}


def test_wear_tells_the_days_left_at_its_pace() -> None:
    past = Past([sample(100 * DAYS, wear_percent=20)], NOW)
    assert past.wear_days(70) == 60
    assert codes(disk(wear_percent=70), past) == {"wear": Level.WATCH}
    assert past.wear_days(21) == 7900
    assert codes(disk(wear_percent=21), past) == {}
    assert Past([sample(2 * DAYS, wear_percent=20)], NOW).wear_days(70) is None


@pytest.mark.parametrize(
    ("change", "code", "level"),
    [
        ({"passed": False}, "smart_status", Level.FAILING),
        ({"crossed": (Crossed(5, "Reallocated_Sector_Ct", 1, 36, True, True),)}, "attribute_5", Level.FAILING),
        ({"crossed": (Crossed(190, "Airflow_Temperature_Cel", 40, 45, False, False),)}, "attribute_190", Level.NOTE),
        ({"counters": {"critical_warning": 0x08}}, "critical_warning", Level.FAILING),
        ({"counters": {"critical_warning": 0x02}}, "critical_warning", Level.WATCH),
        ({"counters": {"spare_percent": 5, "spare_threshold_percent": 10}}, "spare", Level.FAILING),
        ({"counters": {"wear_percent": 104}}, "wear", Level.WATCH),
        ({"temperature": 62}, "temperature", Level.WATCH),
        ({"self_test": SelfTest(False, "Completed: read failure", 5)}, "self_test", Level.FAILING),
        ({"self_test": SelfTest(True, "Completed", 2000)}, "self_test_old", Level.NOTE),
    ],
)
def test_levels_that_makers_define_decide_at_once(change: dict[str, Any], code: str, level: Level) -> None:
    assert codes(dataclasses.replace(disk(), **change)) == {code: level}


def test_an_old_smartctl_is_said_to_be_too_old() -> None:
    with pytest.raises(ParseError) as caught:
        drive("smartctl 6.6 2016-05-31\nUNRECOGNIZED OPTION: json\n", "/dev/sda", "sat")
    assert "7.0" in caught.value.hint


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.floats(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@given(st.data())
def test_a_drive_that_answers_nonsense_in_any_field_still_gets_a_verdict(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(["hdd-wd-crc", "nvme-samsung", "sas-hitachi"]))
    said = json.loads((FIXTURES / f"{name}.out").read_text())
    for key in data.draw(st.lists(st.sampled_from(sorted(said)), max_size=4)):
        if key != "smartctl":
            said[key] = data.draw(_JSON)
    judge(drive(json.dumps(said), "/dev/sda", "sat"), NO_PAST)


# --- the operation -------------------------------------------------------------------------------------


class RecordedDrives(fakes.FakeSSH):
    """A device whose smartctl says what was recorded, by device file."""

    drives: dict[str, bytes]
    nameless: tuple[str, ...] = ()

    async def execute_command(self, device: Device, line: CommandLine, **_: Any) -> CommandOutput:
        assert line.sudo
        self.sent.append((device.hostname, line.text))
        if "--scan-open" in line.text:
            rows = [{"name": name, "type": "sat"} for name in self.drives]
            rows += [{"name": name, "type": "sat"} for name in self.nameless]
            return CommandOutput(exit_status=0, stdout=json.dumps({"smartctl": {}, "devices": rows}).encode())
        return CommandOutput(exit_status=64, stdout=self.drives[line.text.split()[-1]])


def nas(ssh: RecordedDrives, history: fakes.FakeDrives | None) -> UnifiedDataCollectionService:
    return UnifiedDataCollectionService(
        operations=CATALOG,
        devices=fakes.FakeDevices(HOST),
        ssh=ssh,
        cache=fakes.FakeCache(),
        audit=fakes.FakeAudit(),
        metrics=fakes.FakeMetrics(),
        plans=fakes.FakePlans(),
        events=fakes.FakeEvents(),
        containers=fakes.FakeContainers(),
        drives=history,
    )


def with_serial(name: str, serial: str) -> bytes:
    return json.dumps({**json.loads((FIXTURES / f"{name}.out").read_text()), "serial_number": serial}).encode()


async def health(service: UnifiedDataCollectionService) -> DriveHealth:
    caller = Caller(principal="anna", role=Role.VIEWER, interface=Interface.CLI)
    answer = await service.submit(service.operation("drive_health"), {"device": "nas", "force_refresh": True}, caller)
    result: DriveHealth = answer.result
    return result


async def test_drives_are_judged_worst_first_and_stored_when_they_change() -> None:
    ssh, history = RecordedDrives(), fakes.FakeDrives()
    ssh.drives = {
        "/dev/sda": with_serial("ssd-samsung", "A"),
        "/dev/sdb": with_serial("hdd-seagate-reallocated", "B"),
        "/dev/sdc": with_serial("hdd-seagate-reallocated", "B"),  # its second path
        "/dev/sdd": (FIXTURES / "standby-composed.out").read_bytes(),
    }
    service = nas(ssh, history)
    result = await health(service)
    assert [(row.name, row.verdict) for row in result.drives] == [
        ("/dev/sdb", "watch"),
        ("/dev/sdd", "unknown"),
        ("/dev/sda", "ok"),
    ]
    assert result.counts == {"watch": 1, "unknown": 1, "ok": 1}
    await health(service)
    assert [row.drive for row in history.samples] == ["SAMSUNG MZ7LH480HAHQ-00005:A", "ST3500418AS:B"]


async def test_a_drive_of_a_name_that_is_none_is_told_and_not_asked() -> None:
    ssh = RecordedDrives()
    ssh.drives, ssh.nameless = {"/dev/sda": with_serial("ssd-samsung", "A")}, ("/dev/sda; reboot",)
    result = await health(nas(ssh, fakes.FakeDrives()))
    assert [(row.name, row.verdict) for row in result.drives] == [("/dev/sda; reboot", "unknown"), ("/dev/sda", "ok")]
    assert "was not asked" in result.drives[0].findings[0].evidence
    assert not any("reboot" in text for _, text in ssh.sent)


@pytest.mark.parametrize("kind", ["sat", "megaraid,3", "sat+megaraid,12", "jmb39x-q,0", "usbjmicron,x", "3ware,2"])
def test_every_type_that_smartctl_has_may_be_asked_for(kind: str) -> None:
    assert DRIVE_TYPE.match(kind)


async def test_of_very_many_drives_the_best_are_only_counted() -> None:
    ssh = RecordedDrives()
    ssh.drives = {
        f"/dev/sd{chr(97 + n // 26)}{chr(97 + n % 26)}": with_serial("ssd-samsung", f"S{n}") for n in range(90)
    }
    ssh.drives["/dev/sdzz"] = with_serial("hdd-seagate-reallocated", "B")
    result = await health(nas(ssh, fakes.FakeDrives()))
    assert (result.drives[0].verdict, result.counts) == ("watch", {"watch": 1, "ok": 90})
    assert (
        result.note
        == f"{91 - len(result.drives)} more drives are only counted, none of them worse than the last one shown."
    )


async def test_a_virtual_machine_has_no_drives_and_that_is_an_answer() -> None:
    ssh = RecordedDrives()
    ssh.drives = {}
    result = await health(nas(ssh, None))
    assert (result.verdict, result.drives) == ("unknown", [])
    assert "virtual machine" in (result.note or "")


def test_the_commands_name_no_value_as_an_option() -> None:
    assert ScanDrives().render().sudo
    line = ReadDrive("/dev/sda", "sat").render().text
    assert line == "smartctl --json --xall --nocheck=standby --device=sat -- /dev/sda"


# --- accepted counts -----------------------------------------------------------------------------------


def accepted(**counters: int) -> DriveBaseline:
    return DriveBaseline(
        device_id=HOST.id, drive="d", counters=counters, accepted_at=NOW - 10 * DAYS, accepted_by="anna"
    )


def test_an_accepted_count_is_a_note_that_says_who_accepted_it() -> None:
    young = Past([sample(2 * DAYS, pending=8)], NOW)
    assert judge(disk(pending=8), young)[0] is Level.WATCH
    verdict, findings, _ = judge(disk(pending=8), Past(young.samples, NOW, accepted(pending=8)))
    assert (verdict, findings[0].level) == (Level.OK, Level.NOTE)
    assert findings[0].evidence == "8 pending: no growth beyond the 8 accepted by anna on 2026-11-11."


@pytest.mark.parametrize(
    ("now", "week_ago", "level", "evidence"),
    [
        (9, 9, Level.WATCH, "9 pending: 1 more than the 8 accepted by anna on 2026-11-11, 0 of them within 7 days."),
        (9, 0, Level.WATCH, "9 pending: 1 more than the 8 accepted by anna on 2026-11-11, 1 of them within 7 days."),
        (
            30,
            8,
            Level.FAILING,
            "30 pending: 22 more than the 8 accepted by anna on 2026-11-11, 22 of them within 7 days.",
        ),
        (7, 7, Level.NOTE, "7 pending: no growth beyond the 8 accepted by anna on 2026-11-11."),
    ],
)
def test_growth_beyond_it_alarms_again(now: int, week_ago: int, level: Level, evidence: str) -> None:
    past = Past([sample(40 * DAYS, pending=0), sample(8 * DAYS, pending=week_ago)], NOW, accepted(pending=8))
    _, findings, _ = judge(disk(pending=now), past)
    assert (findings[0].level, findings[0].evidence) == (level, evidence)


def test_what_was_not_counted_then_or_what_the_maker_says_is_not_accepted() -> None:
    past = Past([sample(2 * DAYS, pending=8)], NOW, accepted(pending=8))
    assert codes(disk(pending=8, media_errors=4), past)["media_errors"] is Level.WATCH
    assert judge(dataclasses.replace(disk(pending=8), passed=False), past)[0] is Level.FAILING
    assert codes(disk(pending=8, critical_warning=0x04), past)["critical_warning"] is Level.FAILING


async def accept(service: UnifiedDataCollectionService, drive: str, role: Role = Role.OPERATOR) -> Any:
    caller = Caller(principal="anna", role=role, interface=Interface.CLI)
    operation = service.operation("drive_baseline_accept")
    return (await service.submit(operation, {"device": "nas", "drive": drive}, caller)).result


async def test_accepting_reaches_no_device_and_changes_the_verdict_until_it_grows() -> None:
    ssh, history = RecordedDrives(), fakes.FakeDrives()
    ssh.drives = {"/dev/sdb": with_serial("hdd-seagate-reallocated", "B"), "/dev/sdc": with_serial("ssd-samsung", "C")}
    service = nas(ssh, history)
    with pytest.raises(NotFound) as nothing:
        await accept(service, "B")
    assert "drive_health first" in nothing.value.hint
    before = await health(service)
    assert (before.verdict, before.drives[0].baseline) == (Level.WATCH, None)
    sent = len(ssh.sent)

    done = await accept(service, "B")
    assert len(ssh.sent) == sent
    assert done.accepted == before.drives[0].counters
    assert (done.drive, done.accepted_by, done.replaced) == ("ST3500418AS:B", "anna", {})
    after = await health(service)
    drive = next(row for row in after.drives if row.serial == "B")
    assert (after.verdict, drive.verdict) == (Level.OK, Level.OK)
    assert drive.baseline is not None
    assert drive.baseline.by == "anna"

    grown = json.loads(ssh.drives["/dev/sdb"])
    (attribute,) = [row for row in grown["ata_smart_attributes"]["table"] if row["id"] == 5]
    attribute["raw"] = {"value": attribute["raw"]["value"] + 1, "string": str(attribute["raw"]["value"] + 1)}
    ssh.drives["/dev/sdb"] = json.dumps(grown).encode()
    alarm = await health(service)
    assert (alarm.verdict, "1 more than the" in alarm.drives[0].findings[0].evidence) == (Level.WATCH, True)
    again = await accept(service, "ST3500418AS:B")
    assert again.replaced == done.accepted
    assert (await health(service)).verdict is Level.OK


async def test_a_drive_is_named_without_doubt_and_by_somebody_who_may() -> None:
    ssh, history = RecordedDrives(), fakes.FakeDrives()
    ssh.drives = {"/dev/sdb": with_serial("hdd-seagate-reallocated", "X"), "/dev/sdc": with_serial("ssd-samsung", "X")}
    service = nas(ssh, history)
    await health(service)
    with pytest.raises(Conflict, match="2 drives of nas go by 'X'"):
        await accept(service, "X")
    with pytest.raises(NotFound) as unknown:
        await accept(service, "Y")
    assert "ST3500418AS:X" in unknown.value.hint
    with pytest.raises(PermissionDenied):
        await accept(service, "X", Role.VIEWER)
    assert history.accepted == {}
    with pytest.raises(Conflict, match="No history"):
        await accept(nas(ssh, None), "X")
