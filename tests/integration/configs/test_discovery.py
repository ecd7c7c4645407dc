"""A new stack on a real engine is watched without anybody asking for it, until somebody says no."""

import asyncio
import contextlib
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from infrastructor.app import Application, open_application
from infrastructor.ports.callers import Caller, Interface, Role
from infrastructor.settings import Settings
from infrastructor.watchers import discovery, fleet
from tests.support.docker import IMAGE, DockerEngine
from tests.support.postgres import TestPostgres
from tests.support.sshd import Sshd
from tests.support.valkey import TestValkey

pytestmark = [pytest.mark.xdist_group("docker"), pytest.mark.timeout(180)]
ADMIN = Caller(principal="anna", role=Role.ADMIN, interface=Interface.CLI)
OFF = {"metrics_interval_s": 0, "containers_interval_s": 0, "drives_interval_s": 0}


async def ask(application: Application, name: str, **arguments: Any) -> Any:
    operation = application.service.operation(name)
    return (await application.service.submit(operation, arguments, ADMIN)).result


@pytest.fixture
async def application(
    postgres: TestPostgres, valkey: TestValkey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Application]:
    monkeypatch.setattr(fleet, "LOOK_S", 0.2)
    monkeypatch.setattr(discovery, "LOOK_S", 0.2)
    monkeypatch.setattr(discovery, "SETTLE_S", 0.3)
    settings = Settings(data_dir=tmp_path / "data", database_url=await postgres.database(), redis_url=valkey.url, **OFF)  # type: ignore[arg-type]
    async with open_application(settings) as made:
        for device in await made.service.devices.all():
            await made.service.devices.remove(device.id)
        yield made


@pytest.fixture
def stacks() -> Iterator[Path]:
    """Not where temporary files are: those are no configuration."""
    folder = Path(tempfile.mkdtemp(dir="/srv", prefix="infrastructor-test-"))
    yield folder
    shutil.rmtree(folder)


@asynccontextmanager
async def collecting(application: Application) -> AsyncIterator[None]:
    assert application.collect is not None
    task = asyncio.ensure_future(application.collect())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def eventually(found: Any, timeout_s: float = 60.0) -> Any:
    async with asyncio.timeout(timeout_s):
        while not (answer := await found()):
            await asyncio.sleep(0.1)
    return answer


def make_stack(folder: Path) -> Path:
    folder.mkdir(parents=True)
    file = folder / "compose.yaml"
    file.write_text("services:\n  web:\n    image: web:1\n")
    return file


async def test_a_new_stack_is_watched_from_its_first_container_on(
    application: Application, docker_engine: DockerEngine, docker_host: Sshd, stacks: Path
) -> None:
    await application.service.devices.add(docker_host.device("nas"))
    async with collecting(application):
        await eventually(partial(engine_is_followed, application))
        file = make_stack(stacks / "web")
        labels = {"project": "web", "project.working_dir": str(file.parent), "project.config_files": str(file)}
        words = [f"--label=com.docker.compose.{name}={value}" for name, value in labels.items()]
        await asyncio.to_thread(docker_engine.docker, "create", "--name", "web", *words, IMAGE, "true")

        async def versions() -> list[Any]:
            changes = (await ask(application, "change_list", device="nas")).changes
            return [one for one in changes if one.path == str(file)]  # the machine may have more configuration

        first = await eventually(versions)
        assert [one.change for one in first] == ["CREATE"]
        file.write_text("services:\n  web:\n    image: web:2\n")

        async def changed() -> list[str]:
            return [] if len(found := await versions()) < 2 else list(found[0].what)

        assert await eventually(changed) == ["service web: image web 1 → 2"]

        # Somebody does not want it: discovery leaves it alone from then on.
        gone = await ask(application, "config_watch_remove", device="nas", path=str(file.parent), source="compose")
        assert gone.changed
        found = await ask(application, "config_watch_discover", device="nas", force_refresh=True)
        assert ("compose" in found.found, found.added, found.refused) == (False, [], [str(file.parent)])
        listed = await ask(application, "config_watch_list", device="nas")
        assert [one.source for one in listed.watches if one.path == str(file.parent)] == ["refused"]


async def engine_is_followed(application: Application) -> bool:
    return bool((await application.health()).services["watchers"].facts["modes"].get("api"))
