"""Deployments that cannot go well: the service ends healthy on its old version, and where it could be known before,
nothing was touched."""

import asyncio
import json
import os
import random
import shutil
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from infrastructor.domains.compose import planning, preflight, transaction
from infrastructor.errors import (
    Cancelled,
    Conflict,
    OutcomeUnknown,
    RolledBack,
    ValidationFailed,
)
from infrastructor.storage.deployments import PostgresDeploymentStore
from infrastructor.storage.devices import PostgresDeviceRegistry
from infrastructor.storage.pool import Database
from tests.integration.compose.conftest import HEALTHY, PORT, Stacks
from tests.support.sshd import Sshd
from tests.support.wait import until

pytestmark = [pytest.mark.xdist_group("docker"), pytest.mark.timeout(240)]

UNHEALTHY = HEALTHY.replace("app:1", "app:2").replace('["CMD", "true"]', '["CMD", "false"]')
NEWER = HEALTHY.replace("app:1", "app:2")
SLOW = NEWER.replace("interval: 1s", "interval: 1s\n      start_period: 60s").replace('"true"', '"false"')


@dataclass
class Shop:
    """A stack that runs well on app:1, and what it was like then."""

    stacks: Stacks
    folder: Path
    image: str = ""
    identity: str = ""
    main: str = HEALTHY
    env: str | None = None
    files: dict[str, str] = field(default_factory=dict)

    async def start(self) -> "Shop":
        env = {} if self.env is None else {"env": self.env}
        await self.deploy(self.main, folder=str(self.folder), **env)
        self.image, self.identity = self.stacks.image_of("shop-web"), self.stacks.identity_of("shop-web")
        self.files = self.seen_files()
        return self

    async def deploy(self, content: str | None, **more: Any) -> Any:
        given = {"wait_seconds": 20} | more | ({} if content is None else {"content": content})
        return await self.stacks.ask("compose_deploy", stack="shop", **given)

    def seen_files(self) -> dict[str, str]:
        return {path.name: path.read_text() for path in self.folder.iterdir() if path.is_file()}

    def assert_untouched(self) -> None:
        """The very container still runs: it was never stopped."""
        assert self.stacks.identity_of("shop-web") == self.identity
        self.assert_old()

    def assert_old(self) -> None:
        assert self.stacks.health_of("shop-web") == "healthy"
        assert self.stacks.image_of("shop-web") == self.image
        assert self.seen_files() == self.files
        assert self.stacks.image_id("app:1") == self.image


@pytest.fixture
async def shop(stacks: Stacks) -> Shop:
    return await Shop(stacks, stacks.folder).start()


# --- what can be known before --------------------------------------------------------------------------


async def test_what_compose_does_not_take_touches_nothing(shop: Shop) -> None:
    cases = {
        "line": HEALTHY.replace("  web:", "  web: [", 1),
        "twice": HEALTHY + "services:\n  web: {}\n",
        "healthchek": HEALTHY.replace("healthcheck:", "healthchek:"),
        "nowhere.env": HEALTHY + "    env_file: nowhere.env\n",
        "nowhere": HEALTHY + "    networks: [nowhere]\n",
        "is needed": HEALTHY.replace("hunter2-hunter2", "${DB_PASSWORD:?is needed}"),
        "not shown": HEALTHY.replace("hunter2-hunter2", "‹masked›"),
        "services|mapping|top-level": "just words",
    }
    for said, content in cases.items():
        with pytest.raises(ValidationFailed, match=said):
            await shop.deploy(content)
        shop.assert_untouched()


def listening() -> socket.socket:
    taken = socket.socket()
    taken.bind(("0.0.0.0", 0))
    taken.listen()
    return taken


async def test_obstacles_that_can_be_known_touch_nothing(shop: Shop) -> None:
    taken = listening()
    port = taken.getsockname()[1]
    shop.stacks.engine.docker("create", "--name", "rests", "-p", f"{PORT + 1}:80", "busybox:latest", "true")
    cases = {
        f"port {port}/tcp is taken": HEALTHY.replace(str(PORT), str(port)),
        f"port {PORT + 1}/tcp is taken by container rests": HEALTHY.replace(str(PORT), str(PORT + 1)),
        "Variables without a value: TAG": HEALTHY.replace("app:1", "app:${TAG}"),
        "network lost does not exist": HEALTHY + "    networks: [lost]\nnetworks:\n  lost: {external: true}\n",
        "volume lost does not exist": HEALTHY + "    volumes: ['lost:/x']\nvolumes:\n  lost: {external: true}\n",
        "container named rests exists": HEALTHY.replace("shop-web", "rests"),
        r"app\.conf is not there": HEALTHY + "    volumes: ['./app.conf:/app.conf']\n",
    }
    for said, content in cases.items():
        with pytest.raises(Conflict, match=said):
            await shop.deploy(content)
        plan = await shop.deploy(content, dry_run=True)
        assert plan.outcome == "planned"
        assert len(plan.blocked) == 1
        shop.assert_untouched()
    taken.close()


async def test_a_file_that_was_changed_meanwhile_is_left_alone(shop: Shop) -> None:
    with pytest.raises(Conflict, match="is version"):
        await shop.deploy(NEWER, expect="0" * 64)
    shop.assert_untouched()


async def test_an_image_that_cannot_be_had_touches_nothing(shop: Shop) -> None:
    with pytest.raises(Conflict, match="cannot be pulled"):
        await shop.deploy(HEALTHY.replace("app:1", "127.0.0.1:1/nothing:1"))
    shop.assert_untouched()


# --- what shows only then ----------------------------------------------------------------------------


async def test_one_that_is_unhealthy_is_undone(shop: Shop) -> None:
    with pytest.raises(RolledBack, match="unhealthy") as caught:
        await shop.deploy(UNHEALTHY)
    assert "runs again, on the same images" in caught.value.message
    shop.assert_old()


async def test_one_that_does_not_come_up_is_undone(shop: Shop) -> None:
    cases = {
        "no program": NEWER.replace('"httpd", "-f", "-p", "80", "-h", "/bin"', '"/no/such/program"'),
        "ends": NEWER.replace('"httpd", "-f", "-p", "80", "-h", "/bin"', '"sh", "-c", "echo password=hunter3; exit 3"'),
        "keeps restarting": NEWER.replace("healthcheck:", "restart: always\n    healthcheck:").replace(
            '"httpd", "-f"', '"false"'
        ),
        "never healthy": SLOW,
    }
    for content in cases.values():
        with pytest.raises(RolledBack) as caught:
            await shop.deploy(content, wait_seconds=10)
        assert "hunter" not in caught.value.message + json.dumps(caught.value.details)
        shop.assert_old()


async def test_a_port_that_is_taken_in_between_is_undone(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    async def blind(ctx: Any) -> tuple[()]:
        return ()

    monkeypatch.setattr(planning, "taken_ports", blind)
    taken = listening()
    with pytest.raises(RolledBack, match="compose up failed"):
        await shop.deploy(NEWER.replace(str(PORT), str(taken.getsockname()[1])))
    taken.close()
    shop.assert_old()


async def test_an_image_whose_tag_moved_is_put_back(shop: Shop) -> None:
    """The file stays the same, only `app:1` is another image by now, and a bad one."""
    engine = shop.stacks.engine
    broken = engine.docker("commit", "--change", 'ENTRYPOINT ["/no/such"]', "shop-web")
    engine.docker("tag", broken, "app:1")
    with pytest.raises(RolledBack):
        await shop.deploy(None)
    shop.assert_old()


async def test_services_that_come_and_go_are_put_back(shop: Shop) -> None:
    content = UNHEALTHY.replace("web:", "front:").replace("shop-web", "shop-front") + (
        "  side:\n    image: app:2\n    command: [sleep, '60']\n    networks: [extra]\nnetworks: {extra: {}}\n"
    )
    with pytest.raises(RolledBack):
        await shop.deploy(content)
    shop.assert_old()
    names = shop.stacks.engine.docker("ps", "-a", "--format", "{{.Names}}").split()
    assert names == ["shop-web"]
    assert "extra" not in shop.stacks.engine.docker("network", "ls", "--format", "{{.Name}}")


async def test_env_is_put_back_with_the_file(stacks: Stacks) -> None:
    shop = await Shop(
        stacks, stacks.folder, main=HEALTHY.replace("app:1", "app:${VERSION}"), env="VERSION=1\nSECRET=hush-hush-hush\n"
    ).start()
    assert (shop.folder / ".env").stat().st_mode & 0o777 == 0o600
    with pytest.raises(RolledBack) as caught:
        await shop.deploy(UNHEALTHY, env="VERSION=2\nSECRET=hush-hush-hush\n")
    assert "hush" not in str(caught.value.details)
    shop.assert_old()


# --- a full disk -------------------------------------------------------------------------------------


@pytest.fixture
async def small_shop(stacks: Stacks) -> AsyncIterator[Shop]:
    shop = await Shop(stacks, stacks.small / "shop").start()
    yield shop
    for path in stacks.small.glob("filler*"):
        path.unlink()
    shutil.rmtree(shop.folder)


def fill(folder: Path, leave_kib: int) -> None:
    state = os.statvfs(folder)
    (folder / "filler").write_bytes(b"\0" * max(0, state.f_bavail * state.f_frsize - (leave_kib << 10)))


async def test_a_full_disk_is_seen_before(small_shop: Shop) -> None:
    fill(small_shop.stacks.small, 200)
    with pytest.raises(Conflict, match="KiB are free"):
        await small_shop.deploy(NEWER)
    small_shop.assert_untouched()


async def test_a_disk_that_fills_in_between_costs_nothing(small_shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever the room ends: at the copy, at the backup, or at the swap."""
    monkeypatch.setattr(preflight, "_ROOM_KIB", -(1 << 30))
    large = UNHEALTHY + "# " + "x" * 200_000 + "\n"
    for leave_kib in (0, 16, 60, 200, 300, 420, 460, 520, 640):
        fill(small_shop.stacks.small, leave_kib)
        with pytest.raises((Conflict, RolledBack)):
            await small_shop.deploy(large)
        small_shop.assert_old()
        (small_shop.stacks.small / "filler").unlink()


# --- whoever is killed, and whatever is cut ------------------------------------------------------------


async def test_a_cancelled_deployment_is_undone(shop: Shop) -> None:
    task = asyncio.create_task(shop.deploy(SLOW, wait_seconds=120))
    await until(lambda: any(shop.folder.glob(".infrastructor/*/touched")), 20)
    await until(lambda: shop.stacks.health_of("shop-web") == "starting", 20)
    running = next(iter(shop.stacks.service.runs._running))
    service = shop.stacks.service
    await service.submit(service.operation("operation_cancel"), {"operation_id": str(running)}, shop.stacks.admin)
    with pytest.raises(Cancelled, match="undone"):
        await task
    shop.assert_old()


async def test_a_connection_cut_after_the_write_changes_nothing(shop: Shop, compose_host: Sshd) -> None:
    task = asyncio.create_task(shop.deploy(UNHEALTHY))
    await until(lambda: any(shop.folder.glob(".infrastructor/*/touched")), 20)
    compose_host.kill_sessions()
    with pytest.raises(RolledBack):
        await task
    shop.assert_old()
    good = asyncio.create_task(shop.deploy(NEWER))
    await until(lambda: len(list(shop.folder.glob(".infrastructor/*/touched"))) == 3, 20)
    compose_host.kill_sessions()
    assert (await good).outcome == "deployed"


async def test_a_run_that_is_killed_on_the_device_is_undone_afterwards(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the device loses power: nobody is there to end it but the collector."""
    task = asyncio.create_task(shop.deploy(SLOW, wait_seconds=120))
    await until(lambda: any(shop.folder.glob(".infrastructor/*/touched")), 20)
    await until(lambda: shop.stacks.health_of("shop-web") == "starting", 20)
    (pid_file,) = shop.folder.glob(".infrastructor/*/pid")
    pid = int(pid_file.read_text().split()[0])
    session = os.getsid(pid)
    members = members_of(session)
    for member in members:
        with suppress(ProcessLookupError):  # a child ends with its parent's last word
            os.kill(member, signal.SIGKILL)
    with pytest.raises((OutcomeUnknown, RolledBack)):
        await task
    found = await shop.stacks.ask("stack_recover")
    assert [row.outcome for row in found.deployments] in (["rolled_back"], [])
    shop.assert_old()
    assert (await shop.stacks.ask("stack_recover")).deployments == []


def members_of(session: int) -> list[int]:
    found = [entry for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return [int(entry.name) for entry in found if _session(entry) == session]


def _session(entry: Path) -> int:
    try:
        return int(entry.joinpath("stat").read_text().rpartition(")")[2].split()[3])
    except (OSError, IndexError, ValueError):
        return -1


@dataclass
class Killing:
    """Servers that deploy and are killed, and the journal that outlives them."""

    shop: Shop
    dsn: str
    journal: PostgresDeploymentStore

    async def kill_after(self, delay_s: float, content: str) -> str | None:
        """Kill a server so long after it began, and let another one find out how it ended."""
        asked = {
            "dsn": self.dsn,
            "device": self.shop.stacks.device.model_dump(mode="json"),
            "arguments": {"stack": "shop", "content": content, "wait_seconds": 20},
        }
        server = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.integration.compose.killed_server"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        assert server.stdin is not None
        assert server.stdout is not None
        server.stdin.write(json.dumps(asked).encode())
        server.stdin.close()
        assert await server.stdout.readline() == b"ready\n"
        await asyncio.sleep(delay_s)
        server.kill()
        await server.wait()
        outcome = None
        for _ in range(100):
            rows = (await self.shop.stacks.ask("stack_recover")).deployments
            outcome = rows[0].outcome if rows else outcome
            if not await self.journal.unfinished():
                return outcome
            await asyncio.sleep(0.5)
        raise AssertionError(f"still unfinished: {outcome}")


@pytest.fixture
async def killing(shop: Shop, storage: Database, dsn: str, monkeypatch: pytest.MonkeyPatch) -> Killing:
    registry = PostgresDeviceRegistry(storage)
    await registry.start()
    await registry.add(shop.stacks.device)
    await registry.close()
    journal = PostgresDeploymentStore(storage)
    shop.stacks.service.deployments = journal
    monkeypatch.setattr(transaction, "is_left_alone", lambda record: True)
    return Killing(shop, dsn, journal)


@pytest.mark.parametrize(
    ("content", "ends"), [(UNHEALTHY, {"app:1"}), (NEWER, {"app:1", "app:2"})], ids=["never healthy", "newer"]
)
async def test_a_server_that_is_killed_leaves_a_whole_stack(
    killing: Killing, images: dict[str, str], content: str, ends: set[str]
) -> None:
    """At any moment; then another server reads how it ended."""
    shop = killing.shop
    for delay in (0.5, 1.2, 2.0, 2.8, 4.0):
        outcome = await killing.kill_after(delay + random.uniform(0, 0.3), content)
        await until(lambda: shop.stacks.health_of("shop-web") == "healthy", 20)
        tag = next(tag for tag, identity in images.items() if identity == shop.stacks.image_of("shop-web"))
        assert tag in ends, (delay, outcome)
        text = (shop.folder / "compose.yaml").read_text()
        assert text == (HEALTHY if tag == "app:1" else content), (delay, outcome)
        assert not list(shop.folder.glob(".*.infrastructor"))
        if tag == "app:2":
            await shop.deploy(HEALTHY)
