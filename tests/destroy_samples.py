"""One sample of each DESTROY operation, for the tests that try to get one carried out without its confirmation.

`tests/integration/test_confirmation.py` fails for an operation of the catalogue that has none.
"""

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from infrastructor.ports.ssh import CommandOutput
from tests.doors.world import POOLS, World


@dataclass(frozen=True, kw_only=True)
class Sample:
    """`device` is always nas. `disturb` changes the state that the plan looked at."""

    arguments: Mapping[str, Any] = field(default_factory=dict)
    other: Mapping[str, Any] | None = None  # other valid arguments; None when it takes none but the device
    outputs: Mapping[str, CommandOutput] = field(default_factory=dict)  # of FakeSSH, by how the line begins
    after: Mapping[str, Mapping[str, CommandOutput]] = field(default_factory=dict)  # of FakeSSH too
    replies: Mapping[str, bytes] = field(default_factory=dict)  # of its engine, by path
    disturb: Callable[[World], Awaitable[None]]


async def touch_device(world: World) -> None:
    nas = world.devices.rows["nas"]
    await world.devices.update(nas.model_copy(update={"updated_at": datetime.now(UTC) + timedelta(seconds=1)}))


async def degrade_pool(world: World) -> None:
    world.ssh.outputs["zpool"] = CommandOutput(exit_status=0, stdout=b"tank\tDEGRADED\t1\n")


CONTAINER = "/containers/web/json"
RUNNING = (Path(__file__).parent / "fixtures/containers/QueryContainer/docker-20.10.out").read_bytes()


SWAG_FILES = (Path(__file__).parent / "fixtures/proxies/ReadProxyConfigs/debian-12.out").read_bytes()


async def edit_proxy(world: World) -> None:
    """Somebody changed what the file says."""
    edited = SWAG_FILES.replace(b"client_max_body_size 0", b"client_max_body_size 9")
    world.ssh.outputs["set"] = CommandOutput(exit_status=0, stdout=edited)


async def restart_container(world: World) -> None:
    """Somebody started it anew: the same container, but not the run that was looked at."""
    inspected = json.loads(RUNNING)
    inspected["State"]["StartedAt"] = "2031-01-01T00:00:00.0Z"
    world.ssh.replies[CONTAINER] = json.dumps(inspected).encode()


CONTAINERS = "/containers/json"
STACK_LABELS = {
    "com.docker.compose.project": "shop",
    "com.docker.compose.service": "web",
    "com.docker.compose.project.working_dir": "/srv/shop",
    "com.docker.compose.project.config_files": "/srv/shop/compose.yaml",
}


def stack_rows(identity: str) -> bytes:
    """What the engine lists: one container of the stack shop."""
    row = {"Id": identity, "Names": ["/shop-web-1"], "Image": "app:1", "State": "running", "Status": "Up 2 hours"}
    return json.dumps([row | {"Created": 1, "Ports": [], "Labels": STACK_LABELS}]).encode()


async def recreate_stack(world: World) -> None:
    """Somebody deployed it anew: its container is another one."""
    world.ssh.replies[CONTAINERS] = stack_rows("b" * 64)


SAMPLES: dict[str, Sample] = {
    "device_remove": Sample(disturb=touch_device),
    "stack_down": Sample(
        arguments={"stack": "shop"},
        other={"volumes": True},
        replies={CONTAINERS: stack_rows("a" * 64)},
        disturb=recreate_stack,
    ),
    "container_remove": Sample(
        arguments={"container": "web", "force": True},
        other={"remove_volumes": True},
        replies={CONTAINER: RUNNING},
        disturb=restart_container,
    ),
    "proxy_config_remove": Sample(
        arguments={"service": "old", "swag": "/srv/appdata/swag"},
        other={"swag": "/srv/elsewhere"},
        outputs={"set": CommandOutput(exit_status=0, stdout=SWAG_FILES)},
        disturb=edit_proxy,
    ),
}

OF_THE_TESTS: dict[str, Sample] = {
    "zfs_pool_destroy": Sample(
        arguments={"pool": "tank"},
        other={"pool": "other"},
        outputs={"zpool": CommandOutput(exit_status=0, stdout=POOLS)},
        disturb=degrade_pool,
    ),
}
"""Of operations that only the tests have; with commands, which device_remove has not."""
