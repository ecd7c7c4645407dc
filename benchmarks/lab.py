"""A fleet on loopback: one sshd answers for as many "hosts" as 127.0.0.0/8 has addresses.

Everything lives in private network, process and mount namespaces: the login user exists in a copy of /etc that is
bound over the real one, keys and homes lie on a tmpfs over /run. When the benchmark ends, however it ends, the
kernel ends every process of it and nothing remains.
"""

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from benchmarks.accounting import Account, Cgroup, account, make_cgroup, remove_cgroups, sweep_cgroups

CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWNET = 0x00020000, 0x20000000, 0x40000000
PR_SET_PDEATHSIG = 1
PROGRAMS = ("sshd", "ssh", "ssh-keygen", "ip", "iptables", "mount")
FOLDER = Path("/run/bench")
USER, UID = "bench", 61234
FIRST_PORT = 2201
GROUP = "infrastructor-bench-"
DEAD_NET = "127.0.250"  # whose packets the firewall drops
_libc = ctypes.CDLL(None, use_errno=True)


class LabError(Exception):
    """This machine cannot run the fleet; the message says what is missing."""


def program(name: str) -> str:
    """The path of a program, also when the caller's PATH lacks the sbin folders."""
    path = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin")
    if path is None:
        raise LabError(f"{name} is not installed (Debian: openssh-server, openssh-client, iproute2, iptables).")
    return path


def enter() -> str:
    """Go on in namespaces of our own; returns there, with the name for cgroups. The caller's process stays outside
    and waits.
    """
    if os.geteuid() != 0:
        raise LabError("The fleet needs root: it makes network, process and mount namespaces.")
    for name in PROGRAMS:
        program(name)
    sweep_cgroups(GROUP)
    group = f"{GROUP}{os.getpid()}"
    if _libc.unshare(CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET):
        raise LabError(f"No new namespaces here: {os.strerror(ctypes.get_errno())}.")
    init = os.fork()
    if init:
        _wait_outside(init, group)
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    worker = os.fork()
    if worker:
        _be_init(worker)
    _call("mount", "--make-rprivate", "/")
    _call("mount", "-t", "proc", "proc", "/proc")
    _call("mount", "-t", "tmpfs", "-o", "mode=755", "bench", "/run")
    _call("ip", "link", "set", "lo", "up")
    return group


def _wait_outside(init: int, group: str) -> None:
    """The process that was started: ends the namespaces when told to, and removes what is outside of them."""

    def end(_number: int, _frame: FrameType | None) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(init, signal.SIGKILL)

    signal.signal(signal.SIGINT, end)
    signal.signal(signal.SIGTERM, end)
    _, status = os.waitpid(init, 0)
    remove_cgroups(group)
    os._exit(os.waitstatus_to_exitcode(status) % 256)


def _be_init(worker: int) -> None:
    """Process 1: buries orphans, and ends everything by its own end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        pid, status = os.wait()
        if pid == worker:
            os._exit(os.waitstatus_to_exitcode(status) % 256)


def _call(name: str, *arguments: str) -> None:
    done = subprocess.run([program(name), *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise LabError(f"{name} {' '.join(arguments)} failed: {done.stderr.strip()}")


@dataclass
class Server:
    """One sshd and its account of CPU time."""

    port: int
    process: subprocess.Popen[bytes]
    account_name: str

    @property
    def account(self) -> Account:
        return account(self.account_name)

    def processes(self) -> list[int]:
        """Everything that runs on its hosts, and its own processes."""
        group = self.account
        if isinstance(group, Cgroup):
            return group.processes()
        return [pid for pid in _pids() if _uid(pid) == UID]

    def settle(self) -> None:
        """Wait until it has finished with what it was asked before."""
        busy = self.account.seconds()
        for _ in range(100):
            time.sleep(0.1)
            now = self.account.seconds()
            if now - busy < 0.003:
                return
            busy = now


@dataclass
class Fleet:
    """The login, the keys, and a server for each client that is measured, so that none pays for another."""

    group: str
    folder: Path = FOLDER
    user: str = USER
    servers: list[Server] = field(default_factory=list)

    def __post_init__(self) -> None:
        home = self.folder / "home"
        home.mkdir(parents=True)
        os.chown(home, UID, UID)
        Path("/run/sshd").mkdir(mode=0o755)
        self._private_etc(home)
        for path in (self.key, self.host_key):
            _call("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "bench", "-f", str(path))
        (self.folder / "authorized_keys").write_text(self.key.with_name("login.pub").read_text())
        _call("iptables", "-A", "INPUT", "-d", f"{DEAD_NET}.0/24", "-j", "DROP")

    def _private_etc(self, home: Path) -> None:
        """A copy of /etc with our login in it. A single file bound over the real one would come off as soon as
        somebody's useradd replaced that.
        """
        etc = self.folder / "etc"
        _call("cp", "-a", "/etc", str(etc))
        for name, line in (("passwd", f"{USER}:*:{UID}:{UID}::{home}:/bin/bash"), ("group", f"{USER}:x:{UID}:")):
            with (etc / name).open("a") as file:
                file.write(f"{line}\n")
        _call("mount", "--bind", str(etc), "/etc")

    @property
    def key(self) -> Path:
        return self.folder / "login"

    @property
    def host_key(self) -> Path:
        return self.folder / "host"

    @property
    def has_cgroups(self) -> bool:
        return make_cgroup(self.group) is not None

    def client_account(self, name: str) -> str:
        group = make_cgroup(f"{self.group}/client-{name}")
        return f"cgroup:{group.path}" if group else "own"

    @contextlib.contextmanager
    def server(self) -> Iterator[Server]:
        """An sshd that takes any number of connections and sessions."""
        port = FIRST_PORT + len(self.servers)
        config = self.folder / f"sshd-{port}"
        config.write_text(
            "\n".join(
                (
                    f"Port {port}",
                    "ListenAddress 0.0.0.0",
                    f"HostKey {self.host_key}",
                    f"AuthorizedKeysFile {self.folder}/authorized_keys",
                    "PidFile none",
                    "StrictModes no",
                    "UsePAM no",
                    "UseDNS no",
                    "PasswordAuthentication no",
                    "PrintMotd no",
                    "MaxStartups 2000",
                    "MaxSessions 1000",
                    "LogLevel ERROR",
                )
            )
            + "\n"
        )
        log = self.folder / f"sshd-{port}.log"
        process = subprocess.Popen([program("sshd"), "-D", "-f", str(config), "-E", str(log)], stdin=subprocess.DEVNULL)
        group = make_cgroup(f"{self.group}/server-{port}")
        if group:
            group.add(process.pid)
        server = Server(port, process, f"cgroup:{group.path}" if group else f"tree:{process.pid}")
        self.servers.append(server)
        try:
            _await_port(port, process, log)
            yield server
        finally:
            process.terminate()
            process.wait(10)
            for pid in server.processes():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def hosts(count: int) -> tuple[str, ...]:
    """Addresses that answer."""
    return tuple(f"127.0.{1 + number // 250}.{1 + number % 250}" for number in range(count))


def dead_hosts(count: int) -> tuple[str, ...]:
    """Addresses that stay silent."""
    return tuple(f"{DEAD_NET}.{1 + number}" for number in range(count))


def processes_with(text: str) -> list[int]:
    """Processes with this text in their environment."""
    found = []
    for pid in _pids():
        with contextlib.suppress(OSError):
            if text.encode() in Path(f"/proc/{pid}/environ").read_bytes():
                found.append(pid)
    return found


def _pids() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]


def _uid(pid: int) -> int:
    try:
        return Path(f"/proc/{pid}").stat().st_uid
    except OSError:
        return -1


def _await_port(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    listening = f":{port:04X} 00000000:0000 0A"
    for _ in range(500):
        if listening in Path("/proc/net/tcp").read_text():
            return
        if process.poll() is not None:
            break
        time.sleep(0.02)
    raise LabError(f"sshd did not start: {log.read_text() if log.exists() else 'no log'}")


def versions() -> dict[str, str]:
    """What the figures depend on besides our own code."""
    ssh = subprocess.run([program("ssh"), "-V"], capture_output=True, text=True, check=False)
    return {
        "OpenSSH": ssh.stderr.partition(",")[0].removeprefix("OpenSSH_"),
        "Python": sys.version.split()[0],
        "kernel": os.uname().release.partition("-")[0],
        "cores": str(len(os.sched_getaffinity(0))),
    }
