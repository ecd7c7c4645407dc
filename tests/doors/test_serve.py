"""The server as a process: ready, two doors, one clear line for a taken port, and an end that cuts nobody off."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import httpx2
import pytest
from fastmcp import Client
from fastmcp.client.transports import StdioTransport, StreamableHttpTransport
from mcp.client.subscriptions import listen as subscribe

from infrastructor.app import Application
from infrastructor.errors import InfrastructorError
from infrastructor.operation import ChangedBy
from infrastructor.serve import GRACE_S, Part, listen, serve
from infrastructor.settings import Settings
from tests.doors.catalog import pool_list
from tests.doors.world import World
from tests.support.wait import until

PROGRAM = Path(__file__).with_name("program.py")


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@dataclass
class Served:
    """A running server: where it is, and the signal that stops it, sent once."""

    api_port: int
    mcp_port: int
    stopped: bool = False

    def stop(self) -> None:
        if not self.stopped:
            self.stopped = True
            os.kill(os.getpid(), signal.SIGTERM)


@asynccontextmanager
async def serving(world: World, tmp_path: Path, part: Part = Part.ALL) -> AsyncIterator[Served]:
    """The doors on real sockets, stopped by the signal that stops them in life."""
    settings = Settings(data_dir=tmp_path, api_port=free_port(), mcp_port=free_port())

    @asynccontextmanager
    async def opener(settings: Settings) -> AsyncIterator[Application]:
        yield world.application(api_port=settings.api_port, mcp_port=settings.mcp_port)

    running = asyncio.create_task(serve(settings, opener, part))
    served = Served(settings.api_port, settings.mcp_port)
    try:
        await answering(served.api_port if part is not Part.MCP else served.mcp_port)
        yield served
    finally:
        if not running.done():  # else nobody would catch the signal but the test run itself
            served.stop()
        async with asyncio.timeout(GRACE_S + 5):
            await running


async def answering(port: int) -> None:
    async with asyncio.timeout(10), httpx2.AsyncClient() as client:
        assert (await client.get(f"http://127.0.0.1:{port}/health")).status_code == 200


async def test_both_doors_answer_over_one_application(world: World, tmp_path: Path) -> None:
    bearer = await world.bearer()

    async with serving(world, tmp_path) as served:
        async with httpx2.AsyncClient(headers=bearer) as client:
            answer = await client.get(f"http://127.0.0.1:{served.api_port}/api/zfs/nas/pools")
        url = f"http://127.0.0.1:{served.mcp_port}/mcp"
        async with Client(StreamableHttpTransport(url, headers=bearer)) as mcp:
            result = await mcp.call_tool("zfs_pool_list", {"device": "nas"})

    assert answer.json() == result.structured_content
    assert (answer.headers["X-Cache"], result.meta["cache"]) == ("miss", "hit")
    assert "server" not in answer.headers


async def test_a_request_under_way_is_finished_before_the_end(world: World, tmp_path: Path) -> None:
    bearer = await world.bearer()

    async with serving(world, tmp_path) as served, httpx2.AsyncClient(headers=bearer) as client:
        url = f"http://127.0.0.1:{served.api_port}/api/things"
        slow = asyncio.create_task(client.get(url, params={"wait_s": 1, "names": ["a"]}))
        await asyncio.wait({slow}, timeout=0.3)
        served.stop()
        answer = await slow

    assert answer.json()["names"] == ["a"]
    assert world.outcomes == [("thing_search", "ok", None)]


async def test_a_caller_who_hangs_up_stops_a_read(world: World, tmp_path: Path) -> None:
    bearer = await world.bearer()

    async with serving(world, tmp_path) as served:
        async with httpx2.AsyncClient(headers=bearer) as client:
            with pytest.raises(httpx2.ReadTimeout):
                await client.get(f"http://127.0.0.1:{served.api_port}/api/things", params={"wait_s": 60}, timeout=0.5)
        async with asyncio.timeout(5):
            await world.audit.seen(1)

    assert world.outcomes == [("thing_search", "cancelled", "cancelled")]


async def test_an_open_event_stream_does_not_delay_the_end(world: World, tmp_path: Path) -> None:
    bearer = await world.bearer()
    loop = asyncio.get_running_loop()

    async with serving(world, tmp_path) as served:
        url = f"http://127.0.0.1:{served.mcp_port}/mcp"
        async with Client(StreamableHttpTransport(url, headers=bearer), mode="legacy") as mcp:
            await mcp.list_tools()
            began = loop.time()
            served.stop()

    assert loop.time() - began < 5


async def test_an_open_subscription_ends_in_good_order(world: World, tmp_path: Path) -> None:
    bearer = await world.bearer()
    world.operations = [replace(pool_list, changed_by=(ChangedBy(topic="zfs"),))]
    loop = asyncio.get_running_loop()

    async with serving(world, tmp_path) as served:
        url = f"http://127.0.0.1:{served.mcp_port}/mcp"
        async with (
            Client(StreamableHttpTransport(url, headers=bearer)) as mcp,
            subscribe(mcp.session, resource_subscriptions=["zfs://nas/pools"]) as subscription,
        ):
            began = loop.time()
            served.stop()
            async with asyncio.timeout(10):
                assert [event async for event in subscription] == []  # an abrupt end would raise `SubscriptionLost`

    assert loop.time() - began < 5


@pytest.mark.parametrize("era", ["auto", "legacy"])
@pytest.mark.filterwarnings("ignore:resources/:mcp.shared.exceptions.MCPDeprecationWarning")
async def test_a_subscriber_that_leaves_is_forgotten(world: World, tmp_path: Path, era: str) -> None:
    bearer = await world.bearer()
    world.operations = [replace(pool_list, changed_by=(ChangedBy(topic="zfs"),))]
    uri = "zfs://nas/pools"

    async with serving(world, tmp_path) as served:
        url = f"http://127.0.0.1:{served.mcp_port}/mcp"
        async with Client(StreamableHttpTransport(url, headers=bearer), mode=era) as mcp:
            if era == "legacy":
                await mcp.session.subscribe_resource(uri)
                assert world.events.statistics()["subscribers"] == 1
            else:
                async with subscribe(mcp.session, resource_subscriptions=[uri]):
                    assert world.events.statistics()["subscribers"] == 1
        await until(lambda: world.events.statistics()["subscribers"] == 0)


async def test_parts_can_run_apart(world: World, tmp_path: Path) -> None:
    async with serving(world, tmp_path, Part.MCP) as served, httpx2.AsyncClient() as client:
        with pytest.raises(httpx2.ConnectError):
            await client.get(f"http://127.0.0.1:{served.api_port}/health")
        assert not (tmp_path / "server.json").exists()


async def test_the_collector_runs_the_jobs_and_no_door(world: World, tmp_path: Path) -> None:
    collecting = asyncio.Event()

    async def collect() -> None:
        collecting.set()
        await asyncio.Event().wait()

    @asynccontextmanager
    async def opener(settings: Settings) -> AsyncIterator[Application]:
        application = world.application()
        yield Application(**{**vars(application), "collect": collect})

    running = asyncio.create_task(serve(Settings(data_dir=tmp_path), opener, Part.COLLECTOR))
    async with asyncio.timeout(5):
        await collecting.wait()
        os.kill(os.getpid(), signal.SIGTERM)
        await running


async def test_the_whole_server_leaves_a_pid_file_while_it_runs(world: World, tmp_path: Path) -> None:
    async with serving(world, tmp_path) as served:
        await answering(served.mcp_port)
        assert json.loads((tmp_path / "server.json").read_text())["pid"] == os.getpid()
    assert not (tmp_path / "server.json").exists()


def test_small_answers_are_not_held_back() -> None:
    with listen("127.0.0.1", 0) as bound:
        assert bound.proto == socket.IPPROTO_TCP


def test_a_taken_port_is_one_clear_line() -> None:
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InfrastructorError, match=rf"Cannot listen on 127.0.0.1:{port}") as caught:
            listen("127.0.0.1", port)
    assert "INFRASTRUCTOR_API_PORT" in caught.value.hint


def run_program(*arguments: str, port: int) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"INFRASTRUCTOR_API_PORT": str(port), "INFRASTRUCTOR_MCP_PORT": str(free_port())}
    command = [sys.executable, str(PROGRAM), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, env=environment, check=False)


def test_a_taken_port_ends_the_program_with_1() -> None:
    with listen("127.0.0.1", 0) as taken:
        done = run_program("serve", "api", port=taken.getsockname()[1])

    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("port_taken: Cannot listen on 127.0.0.1:")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("era", ["auto", "legacy"])
async def test_stdio_carries_nothing_but_the_protocol(era: str) -> None:
    transport = StdioTransport(sys.executable, [str(PROGRAM), "mcp", "--role", "viewer", "--toolsets", "zfs"])

    async with asyncio.timeout(30), Client(transport, mode=era) as client:
        assert [tool.name for tool in await client.list_tools()] == ["zfs_pool_list"]
        result = await client.call_tool("zfs_pool_list", {"device": "nas"})
        refused = await client.call_tool("zfs_scrub_start", {"device": "nas", "pool": "tank"}, raise_on_error=False)

    assert result.structured_content["pools"][0]["name"] == "tank"
    assert refused.content[0].text.startswith("permission_denied: ")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stdio_ends_on_a_signal_even_while_it_waits_for_input(number: signal.Signals) -> None:
    process = subprocess.Popen(
        [sys.executable, str(PROGRAM), "mcp"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        assert "Opened" in process.stderr.readline()
        process.send_signal(number)
        out, _ = process.communicate(timeout=10)
    finally:
        process.kill()
    assert (process.returncode, out) == (0, "")
