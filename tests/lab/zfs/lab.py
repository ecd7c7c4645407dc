"""The machine that `machine.sh` booted, as two devices, and a service over them with everything real but the stores."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from infrastructor.catalog import CATALOG
from infrastructor.ports.callers import Caller, Interface, Role
from infrastructor.ports.devices import Device
from infrastructor.ports.ssh import CommandOutput, Lane
from infrastructor.service import UnifiedDataCollectionService
from infrastructor.ssh import AsyncSSHClient
from tests.doors.world import World
from tests.fakes import FakeDevices
from tests.support.sshd import Registry, device, line, settings

ADMIN = Caller(principal="lab", role=Role.ADMIN, interface=Interface.CLI)


@dataclass
class Lab:
    """Two devices that are one machine: nas has the pool tank, vault the pool backup. `plain` is no root.

    `behind` is vault once more, reached by way of nas.
    """

    client: AsyncSSHClient
    world: World
    service: UnifiedDataCollectionService
    nas: Device
    vault: Device
    plain: Device
    behind: Device
    progress: list[tuple[float, float | None, str]] = field(default_factory=list)

    async def sh(self, text: str, *, fails: bool = False) -> str:
        """Run something as root on the machine, beside what is tested."""
        output: CommandOutput = await self.client.execute_command(
            self.nas, line(text, Lane.SLOW, timeout_s=300.0, max_output_bytes=8 << 20)
        )
        assert fails or output.exit_status == 0, f"{text}: {output.error_text} {output.text}"
        return output.text

    async def create(self, shape: str) -> None:
        """Make a pool of disks, again where udev was slower, at which names of partitions come and go."""
        create = f"udevadm settle; zpool create -f {shape}"
        await self.sh(f"{create} || {{ sleep 5; {create}; }} || {{ sleep 20; {create}; }}")

    async def ask(self, operation: str, **arguments: Any) -> Any:
        """Run an operation of the catalogue, on nas unless said otherwise."""

        async def note(done: float, total: float | None, message: str) -> None:
            self.progress.append((done, total, message))

        found = self.service.operation(operation)
        answer = await self.service.submit(found, {"device": "nas"} | arguments, ADMIN, progress=note)
        return answer.result

    async def destroy(self, operation: str, **arguments: Any) -> Any:
        """Plan, and carry the plan out."""
        planned = await self.ask(operation, **arguments)
        assert planned.status == "planned"
        return await self.ask(operation, plan_token=planned.plan.plan_token, **arguments)

    async def guids(self, dataset: str) -> dict[str, str]:
        """GUID by short name of a dataset's snapshots, as zfs says it."""
        text = await self.sh(f"zfs list -H -p -d 1 -t snapshot -o name,guid -- '{dataset}' 2>/dev/null", fails=True)
        rows = [row.split("\t") for row in text.splitlines()]
        return {name.partition("@")[2]: guid for name, guid in rows}


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[Lab]:
    """The machine of this folder, with its two pools made anew."""
    values = {"address": "127.0.0.1", "ssh_private_key_path": str(folder / "key")}
    # Emulated, so a login takes seconds.
    registry = Registry()
    client = AsyncSSHClient(settings(ssh_login_timeout_s=60.0, ssh_connect_timeout_s=30.0), registry.find)
    try:
        keys = await client.scan_host_keys(device("scan", ssh_port=2222, **values))
        nas = device("nas", ssh_port=2222, ssh_username="root", host_keys=keys, **values)
        vault = device("vault", ssh_port=2223, ssh_username="root", host_keys=keys, **values)
        plain = device("plain", ssh_port=2222, ssh_username="plain", host_keys=keys, **values)
        behind = device("behind", ssh_port=2223, ssh_username="root", jump="nas", host_keys=keys, **values)
        registry.devices["nas"] = nas
        devices = FakeDevices(nas, vault, plain, behind)
        world = World(operations=CATALOG, devices=devices, ssh=client)  # type: ignore[arg-type]
        lab = Lab(client, world, world.application().service, nas, vault, plain, behind)
        for pool, disk in (("tank", "vdev1"), ("backup", "vdev2")):
            await lab.sh(f"zpool destroy -f {pool}", fails=True)
            await lab.create(f"-O atime=off {pool} /dev/disk/by-id/virtio-lab-{disk}")
        yield lab
    finally:
        await client.close()
