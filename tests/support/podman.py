"""Podman with a storage of the tests' own, and an sshd whose sessions find it and no Docker.

Its containers run with the limits of the machine the tests are on and without a network, so that no more than a
runtime, conmon and BusyBox is needed.
"""

import io
import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.programs import need_root, program
from tests.support.sshd import Sshd

IMAGE = "localhost/busybox:latest"
_OPTIONS = ("--network=none", "--ulimit=nofile=1024:1024", "--ulimit=nproc=4096:4096")


class PodmanEngine:
    """`podman(...)` runs the command line tool; `socket` is where `serve` offers the API."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.configuration = folder / "storage.conf"
        self.socket = folder / "run" / "podman" / "podman.sock"
        self.service: subprocess.Popen[bytes] | None = None

    def prepare(self) -> "PodmanEngine":
        need_root()
        self.socket.parent.mkdir(parents=True, exist_ok=True)
        self.configuration.write_text(
            f'[storage]\ndriver = "overlay"\ngraphroot = "{self.folder / "graph"}"\n'
            f'runroot = "{self.folder / "runroot"}"\n'
        )
        tree = io.BytesIO()
        with tarfile.open(fileobj=tree, mode="w") as archive:
            archive.add(program("busybox"), "bin/busybox")
            for applet in ("sh", "sleep", "echo", "true", "false"):
                link = tarfile.TarInfo(f"bin/{applet}")
                link.type, link.linkname = tarfile.SYMTYPE, "busybox"
                archive.addfile(link)
        subprocess.run(
            [program("podman"), "import", "-", IMAGE],
            input=tree.getvalue(), capture_output=True, check=True, env=self._environment(),
        )  # fmt: skip
        return self

    def serve(self) -> None:
        self.service = subprocess.Popen(
            [program("podman"), "system", "service", "--time=0", f"unix://{self.socket}"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=self._environment(),
        )  # fmt: skip

    def stop(self) -> None:
        self.podman("rm", "--all", "--force", "--time=0", check=False)
        if self.service is not None:
            self.service.terminate()
            self.service.wait(10)
        subprocess.run(["umount", "-q", self.folder / "graph" / "overlay"], check=False, capture_output=True)

    def podman(self, *arguments: str, check: bool = True) -> str:
        done = subprocess.run(
            [program("podman"), *arguments], capture_output=True, text=True, check=False, env=self._environment()
        )
        if check and done.returncode != 0:
            raise RuntimeError(f"podman {' '.join(arguments)}: {done.stderr}")
        return done.stdout.strip()

    def run(self, name: str, *words: str, options: tuple[str, ...] = ()) -> str:
        """Start a container; its id."""
        return self.podman("run", "--detach", "--name", name, *_OPTIONS, *options, IMAGE, *(words or ("sleep", "3600")))

    def state(self, name: str) -> str:
        return str(json.loads(self.podman("container", "inspect", name))[0]["State"]["Status"])

    def remove_all(self) -> None:
        self.podman("rm", "--all", "--force", "--time=0")

    def sshd(self, folder: Path) -> Sshd:
        """An sshd whose sessions have this storage, and no docker on their PATH."""
        folder.mkdir(parents=True, exist_ok=True)
        server = Sshd(folder, options=f"SetEnv CONTAINERS_STORAGE_CONF={self.configuration}")
        # Not all of /run: Podman takes one without its files for that of a machine that has just started.
        Path("/run/podman").mkdir(exist_ok=True)
        hidden = [*(f"{place}/docker" for place in ("/usr/local/bin", "/usr/bin")), "/run/docker.sock"]
        steps = [f"mount --bind {self.socket.parent} /run/podman"]
        steps += [f"mount --bind /dev/null {path}" for path in hidden if Path(path).exists()]
        steps.append('exec "$@"')
        server.command_prefix = (
            *(program("unshare"), "--mount", "--propagation", "private", "sh", "-c", " && ".join(steps), "sh"),
        )
        return server

    def _environment(self) -> dict[str, str]:
        return {**os.environ, "CONTAINERS_STORAGE_CONF": str(self.configuration)}


@pytest.fixture(scope="session")
def podman_engine(ssh_folder: Path) -> Iterator[PodmanEngine]:
    folder = ssh_folder / "podman"
    folder.mkdir()
    engine = PodmanEngine(folder).prepare()
    yield engine
    engine.stop()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def podman_host(podman_engine: PodmanEngine, ssh_folder: Path) -> Iterator[Sshd]:
    server = podman_engine.sshd(ssh_folder / "podman-host").start()
    yield server
    server.stop()
