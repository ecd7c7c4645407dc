"""`infrastructor start | stop | status | logs`: the server in the background, found again by its pid file."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from infrastructor.settings import Settings

_READY_S = 60.0
_STOP_S = 30.0
_LOG_BYTES = 10 << 20
_LOGS_KEPT = 3


@dataclass(frozen=True, kw_only=True)
class Running:
    """The server that a data directory's pid file names."""

    pid: int
    api_port: int
    mcp_port: int


@dataclass(frozen=True)
class Daemon:
    """Controls the server of one data directory."""

    settings: Settings

    @property
    def pid_file(self) -> Path:
        return self.settings.data_dir / "server.json"

    @property
    def log_file(self) -> Path:
        return self.settings.data_dir / "logs" / "server.log"

    def running(self) -> Running | None:
        """The live server, or None. A pid file of a process that is gone, or is another program, is stale."""
        try:
            found = json.loads(self.pid_file.read_text())
            running = Running(pid=found["pid"], api_port=found["api_port"], mcp_port=found["mcp_port"])
            started = found["started"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return running if _start_time(running.pid) == started else None

    def claim(self) -> None:
        """Write our own pid file; called by the server itself once it holds its ports."""
        pid = os.getpid()
        facts = {
            "pid": pid,
            "started": _start_time(pid),
            "api_port": self.settings.api_port,
            "mcp_port": self.settings.mcp_port,
        }
        scratch = self.pid_file.with_suffix(".new")
        scratch.write_text(json.dumps(facts))
        scratch.replace(self.pid_file)

    def release(self) -> None:
        """Remove our own pid file."""
        running = self.running()
        if running is not None and running.pid == os.getpid():
            self.pid_file.unlink(missing_ok=True)

    def start(self) -> Running:
        """Start the server detached and wait until it is ready. Raises `SystemExit` with the reason when it is not."""
        self._rotate_log()
        with self.log_file.open("ab") as log:
            begin = log.tell()
            process = subprocess.Popen(
                [sys.executable, "-m", "infrastructor", "serve"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        deadline = time.monotonic() + _READY_S
        while time.monotonic() < deadline:
            if process.poll() is not None:
                raise SystemExit(f"The server ended at once (status {process.returncode}):\n{self._said(begin)}")
            running = self.running()
            if running is not None and is_ready(running.api_port):
                return running
            time.sleep(0.05)
        raise SystemExit(f"The server is not ready after {_READY_S:g} s; its log: {self.log_file}")

    def stop(self) -> bool:
        """Ask the server to stop and wait for it. False when none runs."""
        running = self.running()
        if running is None:
            return False
        os.kill(running.pid, signal.SIGTERM)
        deadline = time.monotonic() + _STOP_S
        while time.monotonic() < deadline:
            if self.running() is None:
                return True
            time.sleep(0.05)
        raise SystemExit(
            f"The server (pid {running.pid}) has not stopped after {_STOP_S:g} s; its log: {self.log_file}"
        )

    def follow(self, lines: int, *, forever: bool = True) -> Iterator[str]:
        """The last lines of the log, then each new one."""
        if not self.log_file.exists():
            raise SystemExit(f"There is no log yet at {self.log_file}; start the server first.")
        with self.log_file.open(errors="replace") as log:
            yield from log.readlines()[-lines:]
            while forever:
                line = log.readline()
                if line:
                    yield line
                else:
                    time.sleep(0.2)

    def _rotate_log(self) -> None:
        self.log_file.parent.mkdir(parents=True, exist_ok=True)
        if not self.log_file.exists() or self.log_file.stat().st_size < _LOG_BYTES:
            return
        for number in range(_LOGS_KEPT - 1, 0, -1):
            older = self.log_file.with_suffix(f".log.{number}")
            if older.exists():
                older.replace(self.log_file.with_suffix(f".log.{number + 1}"))
        self.log_file.replace(self.log_file.with_suffix(".log.1"))

    def _said(self, begin: int) -> str:
        with self.log_file.open("rb") as log:
            log.seek(begin)
            return log.read().decode(errors="replace").strip()[-4000:]


def is_ready(api_port: int) -> bool:
    """Whether the REST API of this machine answers that it is ready."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{api_port}/health/ready", timeout=2) as answer:
            return bool(answer.status == 200)  # noqa: PLR2004
    except (urllib.error.URLError, OSError):
        return False


def _start_time(pid: int) -> str | None:
    """When a process started, in the kernel's ticks: tells a reused pid from the one we know."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return text.rpartition(")")[2].split()[19]
