"""A real Docker engine of the tests' own, and an sshd whose sessions find it at /var/run/docker.sock.

Never the engine of the machine the tests run on: its socket is in a folder of its own, which takes the place of
/run for the sessions of that sshd.
"""

import io
import json
import os
import shutil
import signal
import subprocess
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.programs import need_root, program
from tests.support.sshd import Sshd

IMAGE = "busybox:latest"
START_TIMEOUT_S = 60.0


class DockerEngine:
    """dockerd with its own data, state and socket; `docker(...)` runs the command line tool against it."""

    def __init__(self, folder: Path, options: tuple[str, ...] = ()) -> None:
        self.folder = folder
        self.options = options
        self.run_folder = folder / "run"
        self.socket = self.run_folder / "docker.sock"
        self.log = folder / "dockerd.log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> "DockerEngine":
        need_root()
        (self.run_folder / "sshd").mkdir(parents=True, exist_ok=True)
        command = [
            # It ends with the tests, even when those are killed.
            *(program("setpriv"), "--pdeathsig", "TERM"),
            program("dockerd"),
            *("--data-root", str(self.folder / "data"), "--exec-root", str(self.folder / "exec")),
            *("--pidfile", str(self.folder / "dockerd.pid"), "-H", f"unix://{self.socket}"),
            *self.options,
        ]
        deadline = time.monotonic() + START_TIMEOUT_S
        self._spawn(command)
        while subprocess.run(self._argv("version"), capture_output=True, check=False).returncode != 0:
            if time.monotonic() > deadline:
                raise RuntimeError(f"dockerd did not start: {self.log.read_text()[-2000:]}")
            if self.process is None or self.process.poll() is not None:
                # Another engine of this machine rebuilt the firewall's chains at the same moment.
                time.sleep(1)
                self._spawn(command)
            time.sleep(0.1)
        return self

    def _spawn(self, command: list[str]) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def stop(self) -> None:
        if self.process is not None:
            self.remove_all()
        self.halt()

    def halt(self) -> None:
        """Stop the engine, which stops its containers, and leave them where they are."""
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(10)
        self.process = None

    def docker(self, *arguments: str, check: bool = True) -> str:
        done = subprocess.run(self._argv(*arguments), capture_output=True, text=True, check=False)
        if check and done.returncode != 0:
            raise RuntimeError(f"docker {' '.join(arguments)}: {done.stderr}")
        return done.stdout.strip()

    def inspect(self, name: str) -> dict[str, object]:
        found: dict[str, object] = json.loads(self.docker("inspect", name))[0]
        return found

    def remove_all(self) -> None:
        """Every container, however stubborn, and every volume and network that was made for it."""
        for kind, remove in (("ps", ("rm", "-f")), ("volume ls", ("volume", "rm")), ("network ls", ("network", "rm"))):
            own = ("--filter", "type=custom") if kind == "network ls" else ("-a",) if kind == "ps" else ()
            names = self.docker(*kind.split(), "-q", *own, check=False).split()
            if names:
                self.docker(*remove, *names, check=False)

    def import_busybox(self, *tags: str) -> None:
        """An image of nothing but BusyBox, under these names."""
        tree = io.BytesIO()
        with tarfile.open(fileobj=tree, mode="w") as archive:
            archive.add(program("busybox"), "bin/busybox")
            for applet in ("sh", "sleep", "echo", "cat", "ls", "httpd", "nc", "true", "false", "date", "dd", "yes"):
                link = tarfile.TarInfo(f"bin/{applet}")
                link.type, link.linkname = tarfile.SYMTYPE, "busybox"
                archive.addfile(link)
        for tag in tags:
            subprocess.run(self._argv("import", "-", tag), input=tree.getvalue(), capture_output=True, check=True)

    def sshd(self, folder: Path, options: str = "") -> Sshd:
        """An sshd whose sessions see this engine's socket, and no other, in /run."""
        folder.mkdir(parents=True, exist_ok=True)
        server = Sshd(folder, options=options)
        inside = f'mount --bind {self.run_folder} /run && exec "$@"'
        server.command_prefix = (program("unshare"), "--mount", "--propagation", "private", "sh", "-c", inside, "sh")
        return server

    def _argv(self, *arguments: str) -> list[str]:
        return [program("docker"), "-H", f"unix://{self.socket}", *arguments]


@pytest.fixture(scope="session")
def docker_engine(ssh_folder: Path) -> Iterator[DockerEngine]:
    """The one engine of this test run, with the BusyBox image."""
    folder = ssh_folder / "docker"
    folder.mkdir()
    engine = DockerEngine(folder).start()
    try:
        engine.import_busybox(IMAGE)
        yield engine
    finally:
        engine.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def docker_host(docker_engine: DockerEngine, ssh_folder: Path) -> Iterator[Sshd]:
    """A host whose login may use the engine's socket."""
    server = docker_engine.sshd(ssh_folder / "docker-host").start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def stdio_host(docker_engine: DockerEngine, ssh_folder: Path) -> Iterator[Sshd]:
    """The same where sshd forwards no sockets."""
    server = docker_engine.sshd(ssh_folder / "stdio-host", "AllowStreamLocalForwarding no").start()
    yield server
    server.stop()


def compose_program() -> tuple[str, ...]:
    """A real docker compose v2, fetched where the machine has none."""
    script = Path(__file__).parent / "compose.sh"
    return tuple(subprocess.run([script], capture_output=True, text=True, check=True).stdout.split())


@pytest.fixture(scope="session")
def compose_host(docker_engine: DockerEngine, ssh_folder: Path) -> Iterator[Sshd]:
    """A host whose login may use the engine, and has `docker compose` v2."""
    plugins = ssh_folder / "docker-config" / "cli-plugins"
    plugins.mkdir(parents=True, exist_ok=True)
    found = compose_program()
    if len(found) == 1:
        (plugins / "docker-compose").symlink_to(found[0])
    # A disk that tests may fill. It has to be there before the sessions, which do not see later mounts.
    small = ssh_folder / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(small)], check=True)
    server = docker_engine.sshd(ssh_folder / "compose-host", f"SetEnv DOCKER_CONFIG={plugins.parent}").start()
    try:
        yield server
    finally:
        server.stop()
        subprocess.run(["umount", "-l", str(small)], check=False)
