"""A device with ZFS that answers each command with a recording; and operations run against it."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from infrastructor.catalog import CATALOG
from infrastructor.errors import InfrastructorError
from infrastructor.events import EventBus
from infrastructor.ports.callers import Caller, Interface, Role
from infrastructor.ports.devices import Device
from infrastructor.ports.ssh import Capabilities, CommandLine, CommandOutput
from infrastructor.service import UnifiedDataCollectionService
from tests.fakes import (
    FakeAudit,
    FakeCache,
    FakeContainers,
    FakeDevices,
    FakeEvents,
    FakeMetrics,
    FakePlans,
    FakeSSH,
    device,
)

FIXTURES = Path(__file__).parents[2] / "fixtures" / "zfs"
ADMIN = Caller(principal="anna", role=Role.ADMIN, interface=Interface.REST)
ROOT = Capabilities(is_root=True, sudo="root", tools=frozenset({"zfs", "zpool"}), zfs_version="2.1.11-1")
NEW = ROOT.model_copy(update={"zfs_version": "2.3.2-2~bpo12+2"})

# What tells a command's line from others, the more special first.
_MARKS = {
    "ExamineZfs": "echo 'device open'",
    "FindDisks": "discard_max_bytes",
    "ReadCounters": "objset-",
    "SampleArc": "arcstats",
    "ListPoolsJson": "zpool list -j",
    "ListPools": "zpool list",
    "ReadPoolStatusJson": "zpool status -j",
    "ReadPoolStatus": "zpool status",
    "GetPoolProperties": "zpool get",
    "ReadWaits": "zpool iostat",
    "ReadEvents": "zpool events",
    "ListSnapshots": "-t snapshot",
    "ListDatasets": "zfs list",
    "GetSettings": "zfs get -H -p -t",
    "GetPropertiesJson": "zfs get -j",
    "GetProperties": "zfs get",
    "DiffSnapshots": "zfs diff",
    "ReckonReclaim": "zfs destroy -n",
    "ReadClock": "date +%s",
    "ScanDrives": "smartctl --scan",
    "ReadDrive": "smartctl --json",
}


def recorded(command: str, machine: str) -> bytes:
    return (FIXTURES / command / f"{machine}.out").read_bytes()


@dataclass
class Machine(FakeSSH):
    """`answers` by the name of a command: what it prints, or how it ends. One that is not told of fails."""

    answers: dict[str, bytes | CommandOutput | InfrastructorError] = field(default_factory=dict)
    found: Capabilities = ROOT

    async def execute_command(self, device: Device, line: CommandLine, **more: Any) -> CommandOutput:
        name = next(name for name, mark in _MARKS.items() if mark in line.text)
        self.sent.append((name, line.text))
        self.lines.append(line)
        answer = self.answers.get(name, CommandOutput(exit_status=1, stdout=b"", stderr=b"cannot do that"))
        if isinstance(answer, InfrastructorError):
            raise answer.again()
        return CommandOutput(exit_status=0, stdout=answer) if isinstance(answer, bytes) else answer

    def asked(self, name: str) -> list[CommandLine]:
        return [line for (sent, _), line in zip(self.sent, self.lines, strict=True) if sent == name]


def healthy(**answers: bytes | CommandOutput | InfrastructorError) -> Machine:
    """A machine with OpenZFS 2.1, its pools well."""
    return Machine(
        answers={
            "ListPools": recorded("ListPools", "zfs-2.1.11-composed"),
            "ReadPoolStatus": recorded("ReadPoolStatus", "zfs-2.1.11-healthy"),
            "ListDatasets": recorded("ListDatasets", "zfs-2.1.11-composed"),
            "ListSnapshots": recorded("ListSnapshots", "zfs-2.1.11-composed"),
            "GetSettings": recorded("GetSettings", "zfs-2.1.11-composed"),
            "GetPoolProperties": recorded("GetPoolProperties", "zfs-2.1.11"),
            "ReadWaits": recorded("ReadWaits", "zfs-2.1.11"),
            "SampleArc": recorded("SampleArc", "zfs-2.1.11-composed"),
            "ReadCounters": recorded("ReadCounters", "zfs-2.1.11-composed"),
            "ReadEvents": recorded("ReadEvents", "zfs-2.1.11-cut"),
            "ScanDrives": b'{"smartctl": {"exit_status": 0}}',
            **answers,
        }
    )


def service(ssh: FakeSSH, events: EventBus | None = None) -> UnifiedDataCollectionService:
    """A service that has this machine as `nas`, with a cache of its own."""
    return UnifiedDataCollectionService(
        operations=CATALOG,
        devices=FakeDevices(device("nas")),
        ssh=ssh,
        cache=FakeCache(),
        audit=FakeAudit(),
        metrics=FakeMetrics(),
        plans=FakePlans(),
        events=events or FakeEvents(),
        containers=FakeContainers(),
    )


async def ask(
    ssh: FakeSSH | UnifiedDataCollectionService,
    operation_name: str,
    *,
    events: EventBus | None = None,
    **arguments: Any,
) -> Any:
    """The result of an operation on this machine, or by this service."""
    asked = service(ssh, events) if isinstance(ssh, FakeSSH) else ssh
    return (await asked.submit(asked.operation(operation_name), {"device": "nas", **arguments}, ADMIN)).result
