"""The parent's side of a measured process: started, given tasks, ended."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.accounting import Cgroup, account, pss_mb
from benchmarks.clients.assignment import Assignment, clean_environment
from benchmarks.lab import Fleet, Server, hosts

ROOT = Path(__file__).resolve().parent.parent
TASK_TIMEOUT_S = 400.0
FORKING = ("control_master", "ansible")  # whose memory is that of many processes


class WorkerError(Exception):
    """A measured process failed; the message is its traceback."""


class Worker:
    """One client with a server of its own. Its figures say nothing of what others do at the same time."""

    def __init__(self, fleet: Fleet, server: Server, client: str, host_count: int) -> None:
        self.client = client
        self.server = server
        self.hosts = host_count
        self._account_name = fleet.client_account(client)
        folder = fleet.folder / client
        folder.mkdir(mode=0o777, exist_ok=True)
        folder.chmod(0o777)
        self._assignment = Assignment(
            client=client,
            hosts=hosts(host_count),
            port=server.port,
            user=fleet.user,
            key=str(fleet.key),
            host_key=str(fleet.host_key),
            folder=str(folder),
            client_account=self._account_name,
            server_account=server.account_name,
        )
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.clients"],
            cwd=ROOT,
            env=clean_environment() | {"PYTHONPATH": str(ROOT), "HOME": str(fleet.folder / "home")},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=None if os.environ.get("BENCH_VERBOSE") else subprocess.DEVNULL,
            text=True,
        )
        self._send(self._assignment.to_json())

    def do(self, task: str, **arguments: Any) -> dict[str, float]:
        """Run one task and return its figures. Raises `WorkerError`."""
        self.server.settle()
        peaks: list[float] = []
        done = threading.Event()
        watcher = threading.Thread(target=self._watch, args=(done, peaks), daemon=True)
        if self.client in FORKING:
            watcher.start()
        alarm = threading.Timer(TASK_TIMEOUT_S, self._process.kill)
        alarm.start()
        try:
            self._send(json.dumps({"task": task, **arguments}))
            assert self._process.stdout is not None
            line = self._process.stdout.readline()
        finally:
            alarm.cancel()
            done.set()
        if not line:
            raise WorkerError(f"{self.client} ended during {task}, with status {self._process.wait(10)}")
        figures: dict[str, Any] = json.loads(line)
        if "error" in figures:
            raise WorkerError(f"{self.client} failed in {task}:\n{figures['error']}")
        if self.client in FORKING:
            watcher.join()
            figures.pop("peak_mb", None)  # of the process that starts the others
        if peaks:
            figures["peak_mb"] = max(peaks)
        return figures

    def close(self) -> None:
        """End it and what it started."""
        with contextlib.suppress(OSError):
            self._process.communicate(timeout=10)
        self._process.kill()
        group = account(self._account_name)
        if isinstance(group, Cgroup):
            for pid in group.processes():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def _send(self, line: str) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
        except BrokenPipeError as error:
            raise WorkerError(f"{self.client} ended before its task") from error

    def _watch(self, done: threading.Event, peaks: list[float]) -> None:
        group = account(self._account_name)
        while isinstance(group, Cgroup) and not done.wait(0.5):
            peaks.append(pss_mb(group.processes()))


@contextlib.contextmanager
def worker(fleet: Fleet, client: str, host_count: int) -> Iterator[Worker]:
    """A measured process and its server, both ended afterwards."""
    with fleet.server() as server:
        process = Worker(fleet, server, client, host_count)
        try:
            yield process
        finally:
            process.close()
