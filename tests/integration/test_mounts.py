"""A mount that does not answer delays nothing but itself."""

import ctypes
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from infrastructor.app import Application, open_application
from infrastructor.settings import Settings
from tests.integration.test_application import ask, audited
from tests.support.programs import need_root
from tests.support.wait import until

pytestmark = pytest.mark.timeout(120)

# Answers FUSE_INIT, then lets every other question hang: what a dead NFS server looks like.
_SILENT_FUSE = """
import os, struct, sys
fuse = int(sys.argv[1])
request = os.read(fuse, 1 << 17)
_, _, unique = struct.unpack_from("<IIQ", request)
init = struct.pack("<IIIIHHIIHHI28x", 7, 31, 0, 0, 12, 10, 1 << 16, 1, 0, 0, 0)
os.write(fuse, struct.pack("<IiQ", 16 + len(init), 0, unique) + init)
while True:
    os.read(fuse, 1 << 17)
"""


@pytest.fixture
def hung_mount(tmp_path: Path) -> Iterator[Path]:
    need_root()
    path = tmp_path / "hung share"
    path.mkdir()
    libc = ctypes.CDLL(None, use_errno=True)
    fuse = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={fuse},rootmode=40000,user_id=0,group_id=0".encode()
    if libc.mount(b"hung", os.fsencode(path), b"fuse.hung", 0, options) != 0:
        raise OSError(ctypes.get_errno(), "mount")
    server = subprocess.Popen([sys.executable, "-c", _SILENT_FUSE, str(fuse)], pass_fds=[fuse])
    os.close(fuse)
    yield path
    server.kill()
    server.wait()
    libc.umount2(os.fsencode(path), 2)


@pytest.fixture
async def application(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Application]:
    settings = Settings(data_dir=tmp_path_factory.mktemp("mounts"), metrics_interval_s=0)
    async with open_application(settings) as opened:
        yield opened


async def commands(data_dir: Path, operation_id: object) -> list[str]:
    return [line for row in await audited(data_dir, operation_id) for line in row["commands"]]


def asking(path: Path) -> int:
    """How many processes still wait for the mount."""
    listed = subprocess.run(["ps", "-eo", "args="], capture_output=True, text=True, check=True).stdout
    return sum(1 for line in listed.splitlines() if str(path) in line and line.startswith(("stat", "timeout")))


async def test_a_hung_mount_is_said_and_asked_only_once(application: Application, hung_mount: Path) -> None:
    first = (await ask(application, "system_metrics", device="local", force_refresh=True)).result
    states = {mount.path: mount.state for mount in first.mounts}
    assert states[str(hung_mount)] == "hung"
    assert states["/"] == "ok"
    assert first.memory.total_bytes > 0
    again = await ask(application, "system_metrics", device="local", force_refresh=True)
    assert {mount.path: mount.state for mount in again.result.mounts}[str(hung_mount)] == "hung"
    assert await commands(application.settings.data_dir, again.operation_id) == ["ReadSample"]
    await until(lambda: asking(hung_mount) == 0, 10)
