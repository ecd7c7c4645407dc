"""`python -m benchmarks.streams`: bytes from a command on one device to one on another, beside `ssh … | ssh …`.

Needs root and an OpenSSH server. Both devices are one sshd on loopback, and source and sink cost next to nothing, so
what is measured is what stands between them: as fast as it can, which on a real network is seldom asked for. On the
lab machine `tests/lab/zfs/live_speed.py` measures the same with real `zfs send` and `zfs receive`.
"""

import argparse
import asyncio
import resource
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import report
from benchmarks.goals import Goal, judge_all
from infrastructor.ports.ssh import Flow
from infrastructor.ssh import AsyncSSHClient
from tests.support.sshd import Registry, Sshd, line, settings

GCM = "aes128-gcm@openssh.com"
GOALS = (
    Goal(
        title="bytes a second to `ssh` into `ssh`, its defaults",
        figure="streams.ours.mb_per_s",
        over="streams.hand.mb_per_s",
        at_least=0.9,
    ),
    Goal(
        title="memory on top of that before the first stream",
        figure="streams.ours.rise_mb",
        at_most=32,
        unit=" MB",
    ),
)
FIGURES = {"mb_per_s": "MB/s", "cpu_s_per_gb": "client CPU s/GB"}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--megabytes", type=int, default=1000, help="of each stream")
    parser.add_argument("--results", action="store_true", help="write the tables into RESULTS.md")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="infrastructor-bench-") as folder:
        Path(folder).chmod(0o755)  # sshd reads the keys in it as the user who logs in
        samples = asyncio.run(measure(Path(folder), options.repeats, options.megabytes))
    text = describe(samples, options.repeats, options.megabytes)
    print(text)
    if options.results:
        report.write_results("streams", text)
    return 0


def describe(samples: dict[str, list[float]], repeats: int, megabytes: int) -> str:
    return "\n".join(
        [
            "## Streams",
            "",
            f"`python -m benchmarks.streams --repeats {repeats} --megabytes {megabytes}`, "
            f"{datetime.now(UTC):%Y-%m-%d}, Python {sys.version.split()[0]}; medians. Ours speaks {GCM}.",
            "",
            report.verdict_table(judge_all(samples, GOALS)),
            report.case_table("streams", samples, FIGURES),
        ]
    )


async def measure(folder: Path, repeats: int, megabytes: int) -> dict[str, list[float]]:
    """The clients take turns, each repeat beginning with another one."""
    samples: dict[str, list[float]] = {}
    size = megabytes * 10**6
    source, sink = f"head -c {size} /dev/zero", "cat >/dev/null"
    sshd = Sshd(folder).start()
    client = AsyncSSHClient(settings(), Registry().find)
    devices = sshd.device("source"), sshd.device("sink", address="127.0.0.2")
    way = f"ssh -F none -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null \
        -o LogLevel=ERROR -i {sshd.login_key} -p {sshd.port}"

    async def ours() -> None:
        flow = Flow()
        await client.pipe(devices[0], line(source), devices[1], line(sink), flow)
        assert flow.moved == size

    async def hand(options: str = "") -> None:
        text = f"{way} {options} root@127.0.0.1 '{source}' | {way} {options} root@127.0.0.2 '{sink}'"
        process = await asyncio.create_subprocess_exec("bash", "-o", "pipefail", "-c", text)
        if await process.wait() != 0:
            raise RuntimeError(f"This failed: {text}")

    clients: dict[str, Callable[[], Awaitable[None]]] = {
        "ours": ours,
        "hand": hand,
        "hand_gcm": lambda: hand(f"-c {GCM}"),
    }
    try:
        for device in devices:
            await client.execute_command(device, line("true"))
        names, before = list(clients), _peak_mb()
        for number in range(repeats):
            for name in names[number % len(names) :] + names[: number % len(names)]:
                cpu, begun = _cpu_s(), time.perf_counter()
                await clients[name]()
                took = time.perf_counter() - begun
                figures = {"mb_per_s": size / 1e6 / took, "cpu_s_per_gb": (_cpu_s() - cpu) * 1e9 / size}
                for figure, value in figures.items():
                    samples.setdefault(f"streams.{name}.{figure}", []).append(value)
        samples["streams.ours.rise_mb"] = [_peak_mb() - before]
    finally:
        await client.close()
        sshd.stop()
    return samples


def _cpu_s() -> float:
    """Of this process and the programs it waited for. The server is neither."""
    return sum(
        used.ru_utime + used.ru_stime
        for used in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    sys.exit(main())
