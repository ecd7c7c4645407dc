"""service_list: what systemd says of failed units and timers."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from infrastructor.catalog import CATALOG
from infrastructor.domains.system.units import ReadFailedUnits, ReadTimers, moment, span
from infrastructor.errors import CommandNotAvailable
from infrastructor.ports.callers import Caller, Interface, Role
from infrastructor.ports.ssh import Capabilities, CommandOutput
from infrastructor.service import UnifiedDataCollectionService
from tests import fakes

FIXTURES = Path(__file__).parents[1] / "fixtures" / "system"
VIEWER = Caller(principal="anna", role=Role.VIEWER, interface=Interface.CLI)


def recorded(path: str) -> CommandOutput:
    return CommandOutput(exit_status=0, stdout=(FIXTURES / path).read_bytes())


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("38min 30.220390s", 2310.22039),
        ("1d 2h", 93600.0),
        ("0", None),
        ("infinity", None),
        ("1month 1us", 2629800.000001),
    ],
)
def test_spans_are_read_as_systemd_prints_them(text: str, seconds: float | None) -> None:
    assert span(text) == seconds


def test_a_time_that_never_was_is_unknown() -> None:
    assert moment("Sat 2026-11-21 12:40:38 UTC") == datetime(2026, 11, 21, 12, 40, 38, tzinfo=UTC)
    assert moment("") is moment("n/a") is moment("Sat 2026-99-21 12:40:38 UTC") is None


def test_the_last_line_of_a_failed_unit_is_its_own() -> None:
    found = ReadFailedUnits().parse(recorded("ReadFailedUnits/debian-12-systemd.out"))
    assert found["broken.service"].last_log == "cannot open /srv/data: No such file or directory"
    assert (found["broken.service"].exit_code, found["broken.service"].signal) == (3, None)


def test_a_unit_that_logs_a_header_changes_nothing_of_what_systemd_said() -> None:
    said = (
        "==> /units <==\nId=a.service\nSubState=failed\nExecMainCode=1\nExecMainStatus=3\n"
        "\n==> /log/a.service <==\nlast\n==> /units <==\nId=sshd.service\nSubState=failed\n"
    )
    found = ReadFailedUnits(("a.service",)).parse(CommandOutput(exit_status=0, stdout=said.encode()))
    assert {name: (row.exit_code, row.last_log) for name, row in found.items()} == {"a.service": (3, "last")}


def test_only_an_armed_timer_can_be_overdue() -> None:
    timers = ReadTimers().parse(recorded("ReadTimers/debian-12-overdue-composed.out"))
    assert [timer.name for timer in timers if timer.overdue]
    assert all(timer.active and timer.next for timer in timers if timer.overdue)


@pytest.mark.parametrize(
    "found",
    [
        Capabilities(busybox=True, tools=frozenset({"ps", "logread"})),
        Capabilities(tools=frozenset({"systemctl", "journalctl"})),  # a container: the program without the manager
    ],
    ids=["router", "container"],
)
async def test_a_device_without_a_service_manager_says_so(found: Capabilities) -> None:
    host = fakes.device("router")
    service = UnifiedDataCollectionService(
        operations=CATALOG,
        devices=fakes.FakeDevices(host),
        ssh=fakes.FakeSSH(found=found),
        cache=fakes.FakeCache(),
        audit=fakes.FakeAudit(),
        metrics=fakes.FakeMetrics(),
        plans=fakes.FakePlans(),
        events=fakes.FakeEvents(),
        containers=fakes.FakeContainers(),
    )
    with pytest.raises(CommandNotAvailable, match="no service manager"):
        await service.submit(service.operation("service_list"), {"device": "router"}, VIEWER)
