"""`python -m benchmarks.containers`: 100 containers listed and measured, beside the command line tool and the SDK.

Needs root, Docker and an OpenSSH server. It starts an engine of its own with 100 BusyBox containers and two sshd on
loopback, one of which forwards no sockets. Our figures are whole runs of the operation: service, audit in PostgreSQL,
parsing, result. Unless it says warm, the cache is told to stand aside; a warm answer is one that the events of the
engine keep true. All clients keep one warm connection and take turns.
"""

import argparse
import asyncio
import contextlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

import asyncssh

import docker
from benchmarks import report
from infrastructor.app import Application, open_application
from infrastructor.ports.callers import Caller, Interface, Role
from infrastructor.ports.devices import Device
from infrastructor.settings import Settings
from tests.support.docker import IMAGE, DockerEngine
from tests.support.sshd import Sshd

CONTAINERS = 100
LIST = "docker ps -a --no-trunc --format '{{json .}}'"
STATS = "docker stats --no-stream --format '{{json .}}'"
US = Caller(principal="benchmark", role=Role.ADMIN, interface=Interface.CLI)

Call = Callable[[], Awaitable[int]]
"""One question; the number of containers in its answer."""

WARM, OURS, STDIO, BY_CLI, SDK, ENGINE = (
    "ours, warm",
    "ours",
    "ours, no socket forwarding",
    "docker over `conn.run`",
    "docker SDK over `ssh://`",
    "the engine alone, on its own socket",
)
GOALS = (
    ("list", "warm `container_list` to `docker ps` over one `conn.run`", WARM, BY_CLI, 20.0),
    ("list", "`container_list`, the engine asked anew, to the same", OURS, BY_CLI, 20.0),
    ("stats", "`container_stats` to `docker stats --no-stream` over one `conn.run`", OURS, BY_CLI, 20.0),
    ("list", "`container_list` to the SDK over `ssh://`", OURS, SDK, 5.0),
    ("list", "`container_list` without socket forwarding to `docker ps`", STDIO, BY_CLI, 2.0),
)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--calls", type=int, default=20, help="questions per client and repeat")
    parser.add_argument("--results", action="store_true", help="write the tables into RESULTS.md")
    options = parser.parse_args(arguments)
    if os.geteuid() != 0:
        parser.error("this needs root, for an engine and sshd of its own")
    folder = Path(tempfile.mkdtemp(prefix="infrastructor-bench-"))
    folder.chmod(0o755)
    try:
        figures = asyncio.run(measure(folder, options.repeats, options.calls))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    text = describe(figures, options)
    print(text)
    if options.results:
        report.write_results("containers", text)
    return 0


Figures = dict[tuple[str, str], list[float]]
"""Median milliseconds per question, repeat by repeat, by question and client."""


async def measure(folder: Path, repeats: int, calls: int) -> Figures:
    async with AsyncExitStack() as stack:
        engine = DockerEngine(folder / "docker").start()
        stack.callback(engine.stop)
        engine.import_busybox(IMAGE)
        for number in range(CONTAINERS):
            engine.docker("run", "-d", "--network", "none", "--name", f"c{number:03}", IMAGE, "sleep", "100000")
        open_host = engine.sshd(folder / "open").start()
        stack.callback(open_host.stop)
        closed_host = engine.sshd(folder / "closed", "AllowStreamLocalForwarding no").start()
        stack.callback(closed_host.stop)

        quiet = Settings(data_dir=folder / "data", metrics_interval_s=0, containers_interval_s=0, drives_interval_s=0)
        application = await stack.enter_async_context(open_application(quiet))
        devices = [open_host.device("open"), closed_host.device("closed")]
        for device in devices:
            await application.service.devices.add(device)
        await stack.enter_async_context(watching(application, len(devices)))
        connection = await stack.enter_async_context(connected(open_host))
        sdk = stack.enter_context(contextlib.closing(by_sdk(open_host, folder)))

        clients: dict[tuple[str, str], Call] = {}
        for question in ("list", "stats"):
            for client, device in ((OURS, devices[0]), (STDIO, devices[1])):
                clients[question, client] = ours(application, f"container_{question}", device)
        clients["list", WARM] = ours(application, "container_list", devices[0], fresh=False)
        clients["list", BY_CLI] = by_cli(connection, LIST)
        clients["stats", BY_CLI] = by_cli(connection, STATS)
        clients["list", ENGINE] = by_socket(engine)
        clients["list", SDK] = lambda: asyncio.to_thread(lambda: len(sdk.api.containers(all=True)))
        return await take_turns(clients, repeats, calls)


async def take_turns(clients: dict[tuple[str, str], Call], repeats: int, calls: int) -> Figures:
    figures: Figures = {name: [] for name in clients}
    for name, call in clients.items():
        count = await call()
        if count != CONTAINERS:
            raise RuntimeError(f"{name} found {count} containers, not {CONTAINERS}")
    names = list(clients)
    for repeat in range(repeats):
        for question, client in names[repeat % len(names) :] + names[: repeat % len(names)]:
            # `docker stats` takes seconds; three of them say as much as twenty.
            slow = question == "stats" and client == BY_CLI
            times = []
            for _ in range(3 if slow else calls):
                started = time.perf_counter()
                await clients[question, client]()
                times.append((time.perf_counter() - started) * 1000)
                await asyncio.sleep(0 if slow else 0.02)
            figures[question, client].append(median(times))
    return figures


# --- clients -----------------------------------------------------------------------------------------


@asynccontextmanager
async def watching(application: Application, devices: int) -> AsyncIterator[None]:
    """The engines' events are followed, as a server that collects does."""
    assert application.collect is not None
    collecting = asyncio.ensure_future(application.collect())
    try:
        async with asyncio.timeout(60):
            while (await application.health()).services["watchers"].facts["modes"].get("api", 0) < devices:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        yield
    finally:
        collecting.cancel()
        await asyncio.wait({collecting})


def ours(application: Application, name: str, device: Device, *, fresh: bool = True) -> Call:
    operation = application.service.operation(name)

    async def call() -> int:
        arguments = {"device": device.hostname, "force_refresh": fresh, "limit": CONTAINERS}
        answer = await application.service.submit(operation, arguments, US)
        return len(answer.result.containers)

    return call


def by_cli(connection: asyncssh.SSHClientConnection, command: str) -> Call:
    async def call() -> int:
        done = await connection.run(command, encoding=None, check=True)
        assert isinstance(done.stdout, bytes)
        return len(done.stdout.splitlines())

    return call


def by_socket(engine: DockerEngine) -> Call:
    """The same question with no SSH, no audit and no parsing: what a list that is asked anew cannot go below."""

    async def call() -> int:
        reader, writer = await asyncio.open_unix_connection(str(engine.socket))
        writer.write(b"GET /containers/json?all=true HTTP/1.0\r\n\r\n")
        body = await reader.read()
        writer.close()
        return body.count(b'"Id":"')

    return call


@asynccontextmanager
async def connected(host: Sshd) -> AsyncIterator[asyncssh.SSHClientConnection]:
    async with asyncssh.connect(
        "127.0.0.1",
        host.port,
        username="root",
        client_keys=[str(host.login_key)],
        known_hosts=None,
        encryption_algs=["aes128-gcm@openssh.com"],
        config=None,
    ) as connection:
        yield connection


def by_sdk(host: Sshd, folder: Path) -> docker.DockerClient:
    """The SDK through the ssh program, which is given its key by a program of the same name before it in PATH."""
    ssh = folder / "bin" / "ssh"
    ssh.parent.mkdir()
    real = shutil.which("ssh")
    ssh.write_text(
        f'#!/bin/sh\nexec {real} -i {host.login_key} -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null "$@"\n'
    )
    ssh.chmod(0o755)
    os.environ["PATH"] = f"{ssh.parent}:{os.environ['PATH']}"
    return docker.DockerClient(base_url=f"ssh://root@127.0.0.1:{host.port}", use_ssh_client=True, timeout=60)


# --- report ------------------------------------------------------------------------------------------


def describe(figures: Figures, options: argparse.Namespace) -> str:
    rows, verdicts = [], []
    for (question, client), times in figures.items():
        own = figures[question, OURS]
        ratios = [theirs / mine for theirs, mine in zip(times, own, strict=True)]
        rows.append([f"{question}: {client}", f"{median(times):.3g}", f"{median(ratios):.3g} ×"])
    for question, title, one, other, limit in GOALS:
        ratios = [b / a for a, b in zip(figures[question, one], figures[question, other], strict=True)]
        outcome = "PASS" if median(ratios) >= limit else "MISS"
        verdicts.append([title, f"{median(ratios):.3g} ×", f"≥ {limit:g} ×", outcome])
    made = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    return "\n\n".join(
        [
            "## Containers",
            f"`python -m benchmarks.containers --results`, {CONTAINERS} running containers, {options.repeats} repeats "
            f"of {options.calls} questions, {made}. Medians; a ratio is the median of the ratios repeat by repeat. "
            "Ours are whole operations with their audit record; unless it says warm, the cache stands aside. A list "
            "that is asked anew takes at least what the engine alone takes, which is in the table below.",
            report.table(("goal", "measured", "limit", "outcome"), verdicts),
            report.table(("question and client", "p50 ms", "to ours"), rows),
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
