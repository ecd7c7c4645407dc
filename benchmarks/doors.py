"""What a door costs: a cache hit and a warm read through REST, MCP and in process, beside bare echoes.

    .venv/bin/python benchmarks/doors.py [--calls 300] [--repeats 5] [--json]

Starts the real server (embedded stores, a data directory of its own), a bare FastAPI and a bare FastMCP that echo
the same body. Paths are measured in turn, several times over; medians are shown. CPU is the server process's own,
of all its threads, from the kernel; the client's does not count. PostgreSQL and Valkey are other processes.
"""

import argparse
import asyncio
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from callers import HANDSHAKE, Caller, McpHttp, McpStdio, Rest, cpu_seconds

BARE = Path(__file__).with_name("bare.py")
PROGRAM = (sys.executable, "-m", "infrastructor")
OPERATION = "system_info"
HIT = {"device": "local"}
WARM = {"device": "local", "force_refresh": True}
PATH = "/api/system/local/info"


@dataclass
class Way:
    """One way in, and what it was compared with."""

    name: str
    caller: Caller
    bare: str | None = None
    cpu_ms: list[float] = field(default_factory=list)
    p50_ms: list[float] = field(default_factory=list)

    def measure(self, calls: int) -> None:
        for _ in range(20):
            self.caller.call()
        latencies = []
        before = cpu_seconds(self.caller.pid)
        for _ in range(calls):
            started = time.perf_counter()
            self.caller.call()
            latencies.append(time.perf_counter() - started)
        self.cpu_ms.append((cpu_seconds(self.caller.pid) - before) / calls * 1000)
        self.p50_ms.append(median(latencies) * 1000)


class InProcess:
    """`service.submit` in this process, over stores of its own."""

    def __init__(self, runner: asyncio.Runner, application: Any, arguments: dict[str, Any]) -> None:
        from infrastructor.ports.callers import Caller as Who
        from infrastructor.ports.callers import Interface, Role

        self.pid = os.getpid()
        self._runner = runner
        who = Who(principal="bench", role=Role.ADMIN, interface=Interface.CLI)
        operation = application.service.operation(OPERATION)
        self._call = lambda: application.service.submit(operation, arguments, who)

    def call(self) -> None:
        self._runner.run(self._call())


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextmanager
def running(*command: str, **pipes: Any) -> Iterator["subprocess.Popen[bytes]"]:
    process = subprocess.Popen(command, **pipes)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(40)


def wait_for(url: str, process: "subprocess.Popen[bytes]") -> float:
    """Seconds until the URL answers at all."""
    started = time.perf_counter()
    while time.perf_counter() - started < 60:
        if process.poll() is not None:
            raise RuntimeError(f"{url}: the server ended with {process.returncode}")
        try:
            urllib.request.urlopen(url, timeout=5).close()
        except urllib.error.HTTPError:
            break
        except OSError:
            time.sleep(0.01)
            continue
        break
    return time.perf_counter() - started


@contextmanager
def opened(runner: asyncio.Runner) -> Iterator[Any]:
    from infrastructor.app import open_application
    from infrastructor.settings import Settings

    manager = open_application(Settings())
    application = runner.run(manager.__aenter__())
    try:
        yield application
    finally:
        runner.run(manager.__aexit__(None, None, None))


def paths(stack: ExitStack, api: int, mcp: int, server: int) -> list[Way]:
    """Every way in, opened and answering."""
    token = subprocess.run([*PROGRAM, "token"], capture_output=True, text=True, check=True).stdout.strip()
    request = urllib.request.Request(f"http://127.0.0.1:{api}{PATH}", headers={"Authorization": f"Bearer {token}"})
    body = Path(os.environ["INFRASTRUCTOR_DATA_DIR"]) / "body.json"
    body.write_bytes(urllib.request.urlopen(request).read())

    fastapi, fastmcp = free_port(), free_port()
    bare_rest = stack.enter_context(running(sys.executable, str(BARE), "fastapi", str(fastapi), str(body)))
    bare_mcp = stack.enter_context(running(sys.executable, str(BARE), "fastmcp", str(fastmcp), str(body)))
    wait_for(f"http://127.0.0.1:{fastapi}/echo/x", bare_rest)
    wait_for(f"http://127.0.0.1:{fastmcp}/mcp", bare_mcp)

    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    bare_stdio = stack.enter_context(running(sys.executable, str(BARE), "stdio", "0", str(body), **pipes))
    our_stdio = stack.enter_context(running(*PROGRAM, "mcp", **pipes))
    application = stack.enter_context(opened(runner := stack.enter_context(asyncio.Runner())))

    echo = {"device": "local"}
    return [
        Way("bare FastAPI", Rest(bare_rest.pid, fastapi, "/echo/local")),
        Way("REST hit", Rest(server, api, PATH, token), "bare FastAPI"),
        Way("REST warm read", Rest(server, api, f"{PATH}?force_refresh=true", token), "bare FastAPI"),
        Way("bare FastMCP, HTTP", McpHttp(bare_mcp.pid, fastmcp, "echo", echo)),
        Way("MCP hit, HTTP", McpHttp(server, mcp, OPERATION, HIT, token), "bare FastMCP, HTTP"),
        Way("MCP warm read, HTTP", McpHttp(server, mcp, OPERATION, WARM, token), "bare FastMCP, HTTP"),
        Way("bare FastMCP, HTTP handshake era", McpHttp(bare_mcp.pid, fastmcp, "echo", echo, era=HANDSHAKE)),
        Way(
            "MCP hit, HTTP handshake era",
            McpHttp(server, mcp, OPERATION, HIT, token, era=HANDSHAKE),
            "bare FastMCP, HTTP handshake era",
        ),
        Way("bare FastMCP, stdio", McpStdio(bare_stdio, "echo", echo)),
        Way("MCP hit, stdio", McpStdio(our_stdio, OPERATION, HIT), "bare FastMCP, stdio"),
        Way("MCP warm read, stdio", McpStdio(our_stdio, OPERATION, WARM), "bare FastMCP, stdio"),
        Way("in process hit", InProcess(runner, application, HIT)),
        Way("in process warm read", InProcess(runner, application, WARM)),
    ]


def report(measured: list[Way], starts: dict[str, float]) -> dict[str, Any]:
    rows = {path.name: {"cpu_ms": median(path.cpu_ms), "p50_ms": median(path.p50_ms)} for path in measured}
    for path in measured:
        if path.bare:
            row, bare = rows[path.name], rows[path.bare]
            row["cpu_over_bare_ms"] = row["cpu_ms"] - bare["cpu_ms"]
            row["cpu_ratio"] = row["cpu_ms"] / bare["cpu_ms"]
    return {"paths": rows, "start_s": starts}


def markdown(results: dict[str, Any]) -> str:
    lines = ["| path | CPU ms a call | over bare | × bare | p50 ms |", "| --- | --: | --: | --: | --: |"]
    for name, row in results["paths"].items():
        over = f"{row['cpu_over_bare_ms']:+.2f} | {row['cpu_ratio']:.2f}" if "cpu_ratio" in row else " | "
        lines.append(f"| {name} | {row['cpu_ms']:.2f} | {over} | {row['p50_ms']:.2f} |")
    return "\n".join([*lines, "", *(f"{name}: {value:.2f} s" for name, value in results["start_s"].items())])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--calls", type=int, default=300)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()

    data_dir = tempfile.mkdtemp(prefix="doors-")
    api, mcp = free_port(), free_port()
    os.environ |= {
        "INFRASTRUCTOR_DATA_DIR": data_dir,
        "INFRASTRUCTOR_API_PORT": str(api),
        "INFRASTRUCTOR_MCP_PORT": str(mcp),
        "INFRASTRUCTOR_METRICS_INTERVAL_S": "0",
        "INFRASTRUCTOR_LOG_LEVEL": "ERROR",
    }
    starts: dict[str, float] = {}
    try:
        for name in ("first start to ready", "next start to ready"):
            with ExitStack() as stack:
                server = stack.enter_context(running(*PROGRAM, "serve"))
                starts[name] = wait_for(f"http://127.0.0.1:{api}/health/ready", server)
                if name.startswith("next"):
                    measured = paths(stack, api, mcp, server.pid)
                    for _ in range(options.repeats):
                        for path in measured:
                            path.measure(options.calls)
    finally:
        shutil.rmtree(data_dir, ignore_errors=True)
    results = report(measured, starts)
    print(json.dumps(results, indent=1) if options.json else markdown(results))


if __name__ == "__main__":
    main()
