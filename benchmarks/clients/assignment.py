"""What a measured process is told, and how it measures itself."""

import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from benchmarks.accounting import account, peak_rss_mb

# Ten commands as a monitoring round mixes them; uptime alone reads utmp, df stats a file system.
COMMANDS = (
    "uptime",
    "cat /proc/loadavg",
    "cat /proc/meminfo",
    "df -P /",
    "cat /proc/net/dev",
    "uname -a",
    "cat /proc/stat",
    "hostname",
    "cat /etc/os-release",
    "id",
)
FACTS = (
    "/proc/uptime",
    "/proc/loadavg",
    "/proc/meminfo",
    "/proc/mounts",
    "/proc/net/dev",
    "/proc/version",
    "/proc/stat",
    "/proc/sys/kernel/hostname",
    "/etc/os-release",
    "/proc/diskstats",
)
SAMPLER = f"tail -n +1 {' '.join(FACTS)}"
CONCURRENCY = 64  # hosts at once, for peers that need a limit

Figures = dict[str, float]


@dataclass(frozen=True)
class Assignment:
    """One client, its hosts, and the accounts that tell its CPU time from theirs."""

    client: str
    hosts: tuple[str, ...]
    port: int
    user: str
    key: str
    host_key: str
    folder: str
    client_account: str
    server_account: str

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Assignment":
        values = json.loads(text)
        return cls(**{**values, "hosts": tuple(values["hosts"])})


class Meter:
    """Wall time and both sides' CPU time of one phase."""

    def __init__(self, assignment: Assignment) -> None:
        self._client = account(assignment.client_account)
        self._server = account(assignment.server_account)
        self.start()

    def start(self) -> None:
        self._server_s = self._server.seconds()
        self._client_s = self._client.seconds()
        self._begun = time.perf_counter()

    def stop(self, operations: int) -> Figures:
        wall_s = time.perf_counter() - self._begun
        client_s = self._client.seconds() - self._client_s
        time.sleep(0.3)  # the server still buries the last processes
        server_s = self._server.seconds() - self._server_s
        return {
            "wall_s": wall_s,
            "client_us": client_s / operations * 1e6,
            "server_us": server_s / operations * 1e6,
            "ops_per_s": operations / wall_s,
            "operations": operations,
            "peak_mb": peak_rss_mb(),
        }


def latencies(seconds: Sequence[float]) -> Figures:
    """p50 and p99 in milliseconds."""
    ordered = sorted(seconds)
    return {"p50_ms": percentile(ordered, 50) * 1e3, "p99_ms": percentile(ordered, 99) * 1e3}


def percentile(ordered: Sequence[float], percent: int) -> float:
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]


def clean_environment(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Without what would change a client's behaviour from outside."""
    return {
        name: value
        for name, value in environment.items()
        if not name.startswith(("INFRASTRUCTOR_", "ANSIBLE_", "SSH_", "PYTHON"))
    }
