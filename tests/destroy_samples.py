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
from tests.support import zfs


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


async def replace_snapshot(world: World) -> None:
    """Somebody destroyed it and took another one of its name."""
    now = world.ssh.outputs["set"]
    assert isinstance(now, CommandOutput)
    world.ssh.outputs["set"] = zfs.edited(now, (zfs.WANTED_GUID, "4711"))


async def receive_more(world: World) -> None:
    """Somebody went on with the receive, and it broke off again."""
    world.ssh.outputs["set"] = zfs.edited(zfs.INTERRUPTED, ("receive_resume_token\t1-", "receive_resume_token\t1-b"))


async def replace_target(world: World) -> None:
    """Somebody destroyed the dataset and made another one of its name."""
    now = world.ssh.outputs[zfs.at(zfs.TARGET)]
    assert isinstance(now, CommandOutput)
    world.ssh.outputs[zfs.at(zfs.TARGET)] = zfs.edited(now, ("property\tguid\t", "property\tguid\t1"))


SAMPLES: dict[str, Sample] = {
    "zfs_snapshot_destroy": Sample(
        arguments={"snapshots": zfs.WANTED},
        other={"recursion": "descendants"},
        outputs={"set": zfs.recorded("LookAtDestruction", "one")},
        after={"zfs destroy": {"set": zfs.recorded("LookAtDestruction", "none")}},
        disturb=replace_snapshot,
    ),
    "zfs_snapshot_rollback": Sample(
        arguments={"snapshot": zfs.WANTED},
        other={"destroy_newer": True},
        outputs={"set": zfs.SOURCE_REPLICA},
        disturb=replace_snapshot,
    ),
    "zfs_receive_abort": Sample(
        arguments={"dataset": zfs.TARGET},
        other={"dataset": "backup/other"},
        outputs={"set": zfs.INTERRUPTED, "zfs send": zfs.recorded("ReadToken")},
        after={"zfs receive -A": {"set": zfs.RECEIVED}},
        disturb=receive_more,
    ),
    "zfs_receive_force": Sample(
        arguments={"dataset": zfs.TARGET, "source_device": "web-1", "snapshot": zfs.WANTED},
        other={"raw": True},
        outputs={
            zfs.at(zfs.SOURCE): zfs.SOURCE_REPLICA,
            zfs.at(zfs.TARGET): zfs.edited(zfs.RECEIVED, ("written\t0", "written\t4096")),
            "zfs send": zfs.recorded("EstimateStream"),
        },
        after={
            "zfs rollback": {zfs.at(zfs.TARGET): zfs.RECEIVED},
            "zfs receive": {zfs.at(zfs.TARGET): zfs.COMPLETE},
        },
        disturb=replace_target,
    ),
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
