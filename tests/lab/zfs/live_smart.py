"""What a disk of a pool says of itself by SMART: the emulator has its NVMe disk warn, and take it back."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from infrastructor.domains.zfs.health_models import Finding, Grade
from tests.lab.zfs.lab import Lab

WARNING = "smart_critical_warning"
UNRELIABLE = 4  # NVMe: "NVM subsystem reliability has been degraded"


async def tell(folder: Path, command: str, **arguments: object) -> None:
    """Have the emulator do something, by QMP."""
    reader, writer = await asyncio.open_unix_connection(str(folder / "run" / "qmp"))
    try:
        await reader.readline()
        for name, values in (("qmp_capabilities", {}), (command, arguments)):
            writer.write(json.dumps({"execute": name, "arguments": values}).encode() + b"\n")
            answer: dict[str, object] = {"event": ""}
            while "event" in answer:
                answer = json.loads(await reader.readline())
            assert "return" in answer, answer
    finally:
        writer.close()
        await writer.wait_closed()


async def warn(folder: Path, value: int) -> None:
    await tell(folder, "qom-set", path="/machine/peripheral/disk4", property=WARNING, value=value)


@pytest.fixture
async def mirror(lab: Lab, folder: Path) -> AsyncIterator[str]:
    """A pool of the two disks that have SMART."""
    disks = await lab.sh("ls /dev/disk/by-id/*_lab-vdev3 /dev/disk/by-id/*_lab-vdev4")
    first, second = disks.split()
    await lab.create(f"smart mirror {first} {second}")
    await lab.sh("zpool scrub -w smart")
    try:
        yield "smart"
    finally:
        await warn(folder, 0)
        await lab.sh("zpool destroy -f smart", fails=True)


async def findings(lab: Lab) -> list[Finding]:
    answer = await lab.ask("zfs_health_check", pool="smart", force_refresh=True)
    assert answer.not_checked == []
    return [one for one in answer.findings if one.code.startswith("drive_")]


async def test_a_disk_that_gives_itself_up_is_named_with_its_place_in_the_pool(
    lab: Lab, folder: Path, mirror: str
) -> None:
    drives = (await lab.ask("drive_health", force_refresh=True)).drives
    assert {"lab-vdev3", "lab-vdev4"} <= {drive.serial for drive in drives}
    assert await findings(lab) == []

    await warn(folder, UNRELIABLE)
    [failing] = await findings(lab)
    assert (failing.code, failing.severity) == ("drive_failing", Grade.WARNING)
    assert failing.subject is not None
    assert "lab-vdev4" in failing.subject
    assert "lab-vdev4" in failing.evidence
    assert "mirror-0 may lose 1 more" in failing.evidence
    assert failing.command is not None
    assert failing.command.startswith("zpool replace smart ")

    await warn(folder, 0)
    assert await findings(lab) == []
