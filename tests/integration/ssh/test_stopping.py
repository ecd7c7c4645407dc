"""Stopping operations on a real device: the process there is gone, and what is recorded is true."""

import asyncio
import os
import signal
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Callable
from itertools import pairwise
from pathlib import Path
from time import monotonic
from typing import Any
from uuid import UUID, uuid4

import pytest

from infrastructor.errors import Cancelled, InfrastructorError
from infrastructor.ports.audit import AuditRecord
from infrastructor.ports.callers import Caller, Interface, Role
from infrastructor.ports.devices import Device
from infrastructor.ports.ssh import Lane
from infrastructor.service import UnifiedDataCollectionService
from infrastructor.ssh import AsyncSSHClient
from infrastructor.ssh.detached import script, stop_script
from infrastructor.storage.cancels import PostgresCancelRequests
from infrastructor.storage.pool import Database
from tests.doors.clients import ERAS, mcp_http
from tests.doors.world import World
from tests.fakes import FakeDevices
from tests.integration.ssh.slow_operations import (
    OPERATIONS,
    operation_cancel,
    operation_get,
    slow_change,
    slow_look,
    slow_read,
    slow_whole,
)
from tests.support.programs import program, running
from tests.support.sshd import Sshd, line
from tests.support.wait import until

ANNA = Caller(principal="anna", role=Role.OPERATOR, interface=Interface.REST)
BERT = Caller(principal="bert", role=Role.OPERATOR, interface=Interface.REST)
VERA = Caller(principal="vera", role=Role.VIEWER, interface=Interface.REST)
ADMIN = Caller(principal="root", role=Role.ADMIN, interface=Interface.CLI)

PATIENCE_S = 30.0  # a busy machine takes its time to log in


def number() -> str:
    return str(uuid4().int % 10**9 + 10**9)


@pytest.fixture
def world(client: AsyncSSHClient, ssh_host: Device) -> World:
    return World(operations=OPERATIONS, devices=FakeDevices(ssh_host), ssh=client)  # type: ignore[arg-type]


class Call:
    """An operation under way and its id."""

    def __init__(self, service: UnifiedDataCollectionService, operation: Any, caller: Caller, **arguments: Any) -> None:
        self._id: asyncio.Future[UUID] = asyncio.get_running_loop().create_future()
        work = service.submit(operation, {"device": "host", **arguments}, caller, started=self._id.set_result)
        self.task = asyncio.create_task(work)

    async def id(self) -> UUID:
        return await asyncio.wait_for(asyncio.shield(self._id), 30)

    async def error(self) -> InfrastructorError:
        with pytest.raises(InfrastructorError) as caught:
            await asyncio.wait_for(self.task, 30)
        return caught.value


async def stop(service: UnifiedDataCollectionService, operation_id: UUID, caller: Caller = ANNA) -> Any:
    """What is said of it in the end; on a busy machine that may be later than the cancel waits for it."""
    arguments = {"operation_id": str(operation_id)}
    said = (await service.submit(operation_cancel, arguments, caller)).result
    async with asyncio.timeout(PATIENCE_S):
        while said.state == "running":
            assert "told to stop" in said.message
            await asyncio.sleep(0.2)
            said = (await service.submit(operation_get, arguments, caller)).result
            if said.state == "running":
                said = said.model_copy(update={"message": "told to stop"})
    return said


def record_of(world: World, operation_id: UUID) -> AuditRecord:
    (found,) = [record for record in world.records if record.operation_id == operation_id]
    return found


# --- by hanging up ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("fast", [True, False], ids=["resident", "session"])
@pytest.mark.parametrize("era", ERAS)
async def test_a_cancelled_mcp_call_stops_the_process_on_the_device(world: World, era: str, fast: bool) -> None:
    argument = number()
    async with mcp_http(world, await world.token(Role.VIEWER), era=era) as mcp:
        call = asyncio.create_task(
            mcp.call_tool("slow_read", {"device": "host", "seconds": int(argument), "fast": fast})
        )
        await until(lambda: running(argument), PATIENCE_S)
        began = monotonic()
        call.cancel()
        await asyncio.wait([call])
        await until(lambda: not running(argument))
        assert monotonic() - began < 2
        await asyncio.wait_for(world.audit.seen(1), 5)
    assert world.outcomes == [("slow_read", "cancelled", "cancelled")]


@pytest.mark.parametrize("era", ERAS)
async def test_long_work_names_its_operation_early_and_shows_that_it_lives(world: World, era: str) -> None:
    heard: list[tuple[float, float, str]] = []
    began = monotonic()

    async def listen(progress: float, total: float | None, message: str | None) -> None:
        heard.append((monotonic() - began, progress, message or ""))

    async with mcp_http(world, await world.token(Role.OPERATOR), era=era) as mcp:
        call = asyncio.create_task(
            mcp.call_tool("slow_read", {"device": "host", "seconds": 5}, progress_handler=listen)
        )
        await until(lambda: heard)
        operation_id = heard[0][2].split()[1].rstrip(":")
        state = (await mcp.call_tool("operation_get", {"operation_id": operation_id})).structured_content
        result = await call

    assert state["state"] == "running"
    assert result.meta["operation_id"] == operation_id
    assert heard[0][0] < 0.5
    times = [0.0, *(moment for moment, _, _ in heard)]
    assert max(later - earlier for earlier, later in pairwise(times)) < 2.5
    assert len(heard) >= 3
    numbers = [value for _, value, _ in heard]
    assert numbers == sorted(set(numbers))


# --- reads -----------------------------------------------------------------------------------------------


async def test_a_stopped_read_is_stopped_for_all_who_wait(world: World) -> None:
    service, argument = world.application().service, number()
    first = Call(service, slow_read, ANNA, seconds=int(argument))
    await until(lambda: running(argument), PATIENCE_S)
    joined = Call(
        service,
        slow_read,
        Caller(principal="berta", role=Role.OPERATOR, interface=Interface.MCP),
        seconds=int(argument),
    )
    await joined.id()
    said = await stop(service, await first.id())

    assert (said.state, said.cancelled_by) == ("cancelled", "anna")
    assert {(await call.error()).code for call in (first, joined)} == {"cancelled"}
    await until(lambda: not running(argument))
    assert [record_of(world, await call.id()).outcome for call in (first, joined)] == ["cancelled"] * 2


async def test_stopping_one_who_joined_stops_the_run(world: World) -> None:
    service, argument = world.application().service, number()
    first = Call(service, slow_read, ANNA, seconds=int(argument))
    await until(lambda: running(argument), PATIENCE_S)
    joined = Call(service, slow_read, ANNA, seconds=int(argument))
    said = await stop(service, await joined.id())

    assert said.state == "cancelled"
    assert {(await call.error()).code for call in (first, joined)} == {"cancelled"}
    await until(lambda: not running(argument))


# --- changes ---------------------------------------------------------------------------------------------


async def test_a_stopped_change_leaves_no_process_and_takes_no_further_step(world: World, tmp_path: Path) -> None:
    service, argument, second = world.application().service, number(), tmp_path / "second"
    call = Call(service, slow_change, ANNA, first=f"sleep {argument}; true", second=f"touch {second}")
    await until(lambda: running(argument), PATIENCE_S)
    said = await stop(service, await call.id())

    assert (said.state, said.error, said.cancelled_by) == ("cancelled", "cancelled", "anna")
    assert not running(argument)
    assert not second.exists()
    error = await call.error()
    assert isinstance(error, Cancelled)
    assert "status 143" in error.message  # it needed no killing
    assert "read the state back" in error.hint
    assert record_of(world, await call.id()).details == {"cancelled_by": "anna"}
    assert ("operation_cancel", "ok", None) in world.outcomes


async def test_what_ignores_the_signal_is_killed_with_its_children(world: World) -> None:
    service, argument = world.application().service, number()
    call = Call(service, slow_change, ANNA, first=f"trap '' TERM; sleep {argument} & sleep {argument}; wait")
    await until(lambda: len(running(argument)) == 2, PATIENCE_S)
    said = await stop(service, await call.id())

    assert said.state == "cancelled"
    assert not running(argument)


async def test_what_ends_well_in_spite_of_the_signal_was_done(world: World, tmp_path: Path) -> None:
    service, began = world.application().service, tmp_path / "began"
    call = Call(service, slow_change, ANNA, first=f'trap "" TERM; touch {began}; sleep 1')
    await until(began.exists)
    said = await stop(service, await call.id())

    # Its only command was done; the next one was refused.
    assert said.state == "cancelled"
    assert record_of(world, await call.id()).commands
    assert len(record_of(world, await call.id()).commands) == 2


async def test_a_change_that_was_done_already_is_said_to_be_done(world: World) -> None:
    service = world.application().service
    call = Call(service, slow_change, ANNA, first="true")
    await call.task
    said = await stop(service, await call.id())

    assert (said.state, said.message) == ("ok", "It had ended before: ok.")


async def test_a_stopped_handler_may_put_things_back(world: World, tmp_path: Path) -> None:
    service, argument, tidied = world.application().service, number(), tmp_path / "tidied"
    call = Call(service, slow_change, ANNA, first=f"sleep {argument}; true", tidy=f"touch {tidied}")
    await until(lambda: running(argument), PATIENCE_S)
    said = await stop(service, await call.id())

    assert said.state == "cancelled"
    assert tidied.exists()


async def test_a_line_that_was_stopped_before_it_began_never_begins(
    client: AsyncSSHClient,
    ssh_host: Device,
    tmp_path: Path,
) -> None:
    for attempt in range(20):
        path, told = tmp_path / f"ran{attempt}", asyncio.Event()
        change = line(f"sleep 30; touch {path}", Lane.CHANGE, stop=told)
        task = asyncio.create_task(client.execute_command(ssh_host, change, operation_id=uuid4()))
        await asyncio.sleep(attempt * 0.002)
        told.set()
        with pytest.raises(Cancelled):
            await asyncio.wait_for(task, 10)
        assert not path.exists()


async def test_a_stopped_change_stays_stopped_when_it_is_asked_for_again(
    client: AsyncSSHClient,
    ssh_host: Device,
) -> None:
    told, operation_id, argument = asyncio.Event(), uuid4(), number()
    change = line(f"sleep {argument}; true", Lane.CHANGE, stop=told)
    task = asyncio.create_task(client.execute_command(ssh_host, change, operation_id=operation_id))
    await until(lambda: running(argument), PATIENCE_S)
    told.set()
    with pytest.raises(Cancelled):
        await task
    with pytest.raises(Cancelled):
        await client.execute_command(ssh_host, change, operation_id=operation_id)
    assert not running(argument)


async def test_a_stop_reaches_a_change_whose_connection_died(
    world: World,
    client: AsyncSSHClient,
    start_sshd: Callable[..., Sshd],
) -> None:
    server, argument = start_sshd(), number()
    world.devices.rows["host"] = server.device()
    service = world.application().service
    call = Call(service, slow_change, ANNA, first=f"sleep {argument}; true")
    await until(lambda: running(argument), PATIENCE_S)
    server.kill_sessions()
    said = await stop(service, await call.id())

    assert said.state == "cancelled"
    assert not running(argument)


async def test_the_parts_of_a_change_are_stopped_with_it(world: World, tmp_path: Path) -> None:
    service, argument, second = world.application().service, number(), tmp_path / "second"
    call = Call(service, slow_whole, ANNA, first=f"sleep {argument}; true", second=f"touch {second}")
    await until(lambda: running(argument), PATIENCE_S)
    said = await stop(service, await call.id())

    assert said.state == "cancelled"
    assert not running(argument)
    assert not second.exists()
    parts = {record.operation: record.outcome for record in world.records}
    assert parts == {"slow_change": "cancelled", "slow_whole": "cancelled", "operation_cancel": "ok"}


async def test_a_change_that_only_looks_so_far_is_stopped_at_once(world: World) -> None:
    service, argument = world.application().service, number()
    call = Call(service, slow_look, ANNA, seconds=int(argument))
    await until(lambda: running(argument), PATIENCE_S)
    said = await stop(service, await call.id())

    assert said.state == "cancelled"
    await until(lambda: not running(argument), 2)


@pytest.mark.parametrize("stubborn", [False, True], ids=["term", "kill"])
async def test_the_scripts_need_no_more_than_busybox(tmp_path: Path, stubborn: bool) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    for applet in ["cat", "echo", "head", "id", "kill", "mkdir", "mv", "rm", "setsid", "sh", "sleep", "tr"]:
        (programs / applet).symlink_to(program("busybox"))
    argument = number()

    async def run(text: str) -> str:
        process = await asyncio.create_subprocess_exec(
            str(programs / "sh"), "-c", text, stdout=PIPE, env={"PATH": str(programs), "HOME": str(tmp_path)}
        )
        out, _ = await asyncio.wait_for(process.communicate(), 20)
        return out.decode().strip()

    name, trap = f"{uuid4()}-x", "trap '' TERM; " if stubborn else ""
    waiting = asyncio.create_task(run(script(name, f"{trap}sleep {argument}; echo never", 100)))
    await until(lambda: running(argument), PATIENCE_S)
    assert await run(stop_script(name, "TERM")) == "T"
    if stubborn:
        await asyncio.sleep(0.3)
        assert running(argument)
        assert await run(stop_script(name, "KILL")) == "T"
    assert await waiting == ("S 137" if stubborn else "S 143")
    assert not running(argument)
    assert await run(stop_script(name, "TERM")) == "D"
    assert await run(stop_script("other", "TERM")) == "S"
    assert await run(script("other", "echo never", 100)) == "S 143"


async def test_a_process_id_that_is_anothers_by_now_is_left_alone(tmp_path: Path) -> None:
    argument, folder = number(), tmp_path / ".cache" / "infrastructor" / "old"
    stranger = await asyncio.create_subprocess_exec("setsid", "sh", "-c", f"sleep {argument}; true")
    await until(lambda: running(argument), PATIENCE_S)
    folder.mkdir(parents=True)
    (folder / "pid").write_text(f"{stranger.pid}\n")
    process = await asyncio.create_subprocess_exec(
        "sh", "-c", stop_script("old", "KILL"), stdout=PIPE, env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    )
    out, _ = await process.communicate()

    assert out == b"U\n"
    assert running(argument)
    for pid in running(argument):
        os.kill(pid, signal.SIGKILL)
    await stranger.wait()


# --- who may, and where ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("caller", "code"), [(BERT, "permission_denied"), (VERA, "permission_denied"), (ADMIN, None)])
async def test_only_its_caller_and_admins_stop_a_run(world: World, caller: Caller, code: str | None) -> None:
    service, argument = world.application().service, number()
    call = Call(service, slow_change, ANNA, first=f"sleep {argument}; true")
    await until(lambda: running(argument), PATIENCE_S)
    if code is None:
        assert (await stop(service, await call.id(), caller)).cancelled_by == "root"
        return
    with pytest.raises(InfrastructorError) as refused:
        await stop(service, await call.id(), caller)
    assert refused.value.code == code
    assert world.outcomes == [("operation_cancel", "refused", code)]
    assert running(argument)
    await stop(service, await call.id(), ADMIN)


async def test_reads_are_seen_by_all_and_changes_by_their_caller(world: World) -> None:
    service, argument = world.application().service, number()
    reading = Call(service, slow_read, ANNA, seconds=int(argument))
    changing = Call(service, slow_change, ANNA, first=f"sleep {argument}; true")
    await until(lambda: len(running(argument)) == 2, PATIENCE_S)

    async def seen(call: Call, caller: Caller) -> str:
        try:
            answer = await service.submit(operation_get, {"operation_id": str(await call.id())}, caller)
        except InfrastructorError as error:
            return error.code
        return str(answer.result.state)

    assert [await seen(reading, caller) for caller in (ANNA, VERA, ADMIN)] == ["running"] * 3
    assert [await seen(changing, caller) for caller in (ANNA, VERA, ADMIN)] == [
        "running", "permission_denied", "running",
    ]  # fmt: skip
    for call in (reading, changing):
        await stop(service, await call.id())


async def test_an_id_that_nobody_knows(world: World) -> None:
    with pytest.raises(InfrastructorError) as unknown:
        await stop(world.application().service, uuid4())
    assert unknown.value.code == "not_found"


@pytest.fixture
async def two_processes(world: World, storage: Database) -> AsyncIterator[list[UnifiedDataCollectionService]]:
    """Two services that share the audit store and, over PostgreSQL, the requests to stop."""
    services, followed = [], []
    for _ in range(2):
        cancels = PostgresCancelRequests(storage)
        world.cancels = cancels  # type: ignore[assignment]
        services.append(world.application().service)
        await cancels.follow(services[-1].runs.heed)
        followed.append(cancels)
    yield services
    for cancels in followed:
        await cancels.close()


@pytest.mark.parametrize("reads", [True, False], ids=["read", "change"])
async def test_a_run_of_another_process_is_stopped_there(
    world: World, two_processes: list[UnifiedDataCollectionService], reads: bool
) -> None:
    here, there = two_processes
    argument = number()
    call = (
        Call(there, slow_read, ANNA, seconds=int(argument))
        if reads
        else Call(there, slow_change, ANNA, first=f"sleep {argument}; true")
    )
    await until(lambda: running(argument), PATIENCE_S)
    known = (await here.submit(operation_get, {"operation_id": str(await call.id())}, ANNA)).result
    said = await stop(here, await call.id())

    assert known.state == "running"
    assert "Another process" in (known.message or "")
    assert (said.state, said.cancelled_by) == ("cancelled", "anna")
    assert not running(argument)
    assert (await call.error()).code == "cancelled"
