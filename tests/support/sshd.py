"""Real OpenSSH servers on loopback, with keys, users and hosts of their own."""

import contextlib
import itertools
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from infrastructor.ports.devices import Device, HostKey, Transport
from infrastructor.ports.ssh import CommandLine, Lane
from infrastructor.settings import Settings
from infrastructor.ssh import AsyncSSHClient
from tests.support.programs import need_root, program

_numbers = itertools.count(1)


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def keygen(path: Path, kind: str = "ed25519") -> Path:
    options = ["-b", "2048"] if kind == "rsa" else []
    command = [program("ssh-keygen"), "-q", "-t", kind, *options, "-N", "", "-C", "test", "-f", str(path)]
    subprocess.run(command, check=True)
    return path


def host_key(path: Path) -> HostKey:
    """The public half of a key file, with the fingerprint ssh-keygen prints."""
    algorithm, public_key, *_ = path.with_name(path.name + ".pub").read_text().split()
    listed = subprocess.run([program("ssh-keygen"), "-lf", str(path)], check=True, capture_output=True, text=True)
    return HostKey(algorithm=algorithm, public_key=public_key, fingerprint=listed.stdout.split()[1])


class Sshd:
    """One server on every loopback address: 127.0.x.y are as many hosts as a test wants."""

    def __init__(self, folder: Path, *, options: str = "", host_key_kinds: tuple[str, ...] = ("ed25519",)) -> None:
        self.folder = folder
        self.port = free_port()
        self.log = folder / "sshd.log"
        self.authorized_keys = folder / "authorized_keys"
        self.login_key = keygen(folder / "login")
        self.authorize(True)
        self.host_key_files = [keygen(folder / f"host_{kind}", kind) for kind in host_key_kinds]
        self.options = options
        self.process: subprocess.Popen[bytes] | None = None
        self.command_prefix: tuple[str, ...] = ()

    def authorize(self, allowed: bool) -> None:
        public = self.login_key.with_name("login.pub").read_text()
        self.authorized_keys.write_text(public if allowed else "")
        self.authorized_keys.chmod(0o644)

    def start(self) -> "Sshd":
        need_root()
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        lines = [
            # The first value of an option wins, so a test's own come first.
            *self.options.splitlines(),
            f"Port {self.port}",
            "ListenAddress 0.0.0.0",
            *(f"HostKey {path}" for path in self.host_key_files),
            f"AuthorizedKeysFile {self.authorized_keys}",
            "PidFile none",
            "StrictModes no",
            "UsePAM no",
            "UseDNS no",
            "PasswordAuthentication no",
            "PermitRootLogin yes",
            "PrintMotd no",
            # Of this one the last value wins.
            *([] if "MaxStartups" in self.options else ["MaxStartups 100:30:200"]),
            "LogLevel VERBOSE",
        ]
        config = self.folder / "sshd_config"
        config.write_text("\n".join(lines) + "\n")
        command = [*self.command_prefix, program("sshd"), "-D", "-f", str(config), "-E", str(self.log)]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        self._await_listening()
        return self

    def _await_listening(self) -> None:
        deadline = time.monotonic() + 10
        while "Server listening" not in (self.log.read_text() if self.log.exists() else ""):
            if time.monotonic() > deadline or (self.process and self.process.poll() is not None):
                raise RuntimeError(f"sshd did not start: {self.log.read_text() if self.log.exists() else 'no log'}")
            time.sleep(0.02)

    def stop(self) -> None:
        """End the listener and every session of it."""
        if self.process is None:
            return
        self.kill_sessions()
        self.process.terminate()
        self.process.wait(10)
        self.process = None
        self.log.unlink(missing_ok=True)

    def sessions(self) -> list[int]:
        """Process ids of the connections' sshd, privileged and unprivileged."""
        if self.process is None:
            return []
        found, todo = [], [self.process.pid]
        while todo:
            for child in _children(todo.pop()):
                if "sshd" in _name(child):
                    found.append(child)
                    todo.append(child)
        return found

    def kill_sessions(self, number: int = signal.SIGKILL) -> int:
        sessions = self.sessions()
        for pid in sessions:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        return len(sessions)

    def logged(self, text: str) -> int:
        return self.log.read_text().count(text) if self.log.exists() else 0

    def host_keys(self) -> tuple[HostKey, ...]:
        return tuple(host_key(path) for path in self.host_key_files)

    def device(self, hostname: str = "host", **values: Any) -> Device:
        return device(
            hostname,
            **{
                "address": "127.0.0.1",
                "ssh_port": self.port,
                "ssh_username": "root",
                "ssh_private_key_path": str(self.login_key),
                "host_keys": self.host_keys(),
                **values,
            },
        )


def device(hostname: str = "host", **values: Any) -> Device:
    now = datetime.now(UTC)
    return Device(**{"id": uuid4(), "hostname": hostname, "created_at": now, "updated_at": now, **values})


def local_device(hostname: str = "here") -> Device:
    return device(hostname, transport=Transport.LOCAL)


def line(text: str, lane: Lane = Lane.FAST, **values: Any) -> CommandLine:
    return CommandLine(text=text, lane=lane, **values)


def settings(**values: Any) -> Settings:
    return Settings(**{"ssh_private_key_paths": (), "ssh_username": None, **values})


def _children(pid: int) -> list[int]:
    try:
        tasks = Path(f"/proc/{pid}/task").iterdir()
        return [int(child) for task in tasks for child in (task / "children").read_text().split()]
    except OSError:
        return []


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text()
    except OSError:
        return ""


# --- users -------------------------------------------------------------------------------------------


def add_user(shell: str) -> str:
    """A throw-away login with its own home; unique per test worker."""
    need_root()
    name = f"inf{os.getpid()}x{next(_numbers)}"
    command = [program("useradd"), "-m", "-p", "*", "-s", shell, name]
    for _ in range(50):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return name
        time.sleep(0.1)  # another worker holds the lock of /etc/passwd
    raise RuntimeError(done.stderr)


def remove_user(name: str) -> None:
    for _ in range(50):
        done = subprocess.run([program("userdel"), "-f", "-r", name], capture_output=True, check=False)
        if done.returncode in {0, 6, 12}:  # removed; gone already; no mail spool
            return
        time.sleep(0.1)


# --- fixtures ----------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def ssh_folder() -> Iterator[Path]:
    """Readable by every login, unlike pytest's own temporary folder."""
    folder = Path(tempfile.mkdtemp(prefix="infrastructor-ssh-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def sshd(ssh_folder: Path) -> Iterator[Sshd]:
    """The server most tests share."""
    folder = ssh_folder / "shared"
    folder.mkdir()
    server = Sshd(folder).start()
    yield server
    server.stop()


@pytest.fixture
def start_sshd(ssh_folder: Path) -> Iterator[Callable[..., Sshd]]:
    """Start a server with further lines of configuration; stopped after the test."""
    started: list[Sshd] = []

    def start(options: str = "", **values: Any) -> Sshd:
        folder = ssh_folder / f"own{next(_numbers)}"
        folder.mkdir()
        server = Sshd(folder, options=options, **values)
        started.append(server)
        return server.start()

    yield start
    for server in started:
        server.stop()


@pytest.fixture(scope="session")
def plain_user() -> Iterator[str]:
    """A login that is not root."""
    name = add_user("/bin/sh")
    yield name
    remove_user(name)


@pytest.fixture
def ssh_host(sshd: Sshd) -> Device:
    """A real host with its key trusted, reached as root."""
    return sshd.device()


class Registry:
    """The devices a jump may name."""

    def __init__(self) -> None:
        self.devices: dict[str, Device] = {}

    async def find(self, hostname: str) -> Device | None:
        return self.devices.get(hostname)


@pytest.fixture
def registry() -> Registry:
    return Registry()


@pytest.fixture
async def client(registry: Registry) -> AsyncIterator[AsyncSSHClient]:
    engine = AsyncSSHClient(settings(), registry.find)
    yield engine
    await engine.close()
