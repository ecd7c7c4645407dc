"""The container engine's API through the SSH connection, against a real dockerd."""

import asyncio
import json
import shutil
from pathlib import Path

import pytest

from infrastructor.errors import CommandTimeout, EngineUnavailable
from infrastructor.ports.ssh import EngineCall, EngineReply, Lane, Via
from infrastructor.ssh import AsyncSSHClient
from infrastructor.ssh.lanes import Use
from tests.support.docker import IMAGE, DockerEngine
from tests.support.sshd import Sshd, line
from tests.support.wait import until

pytestmark = pytest.mark.xdist_group("docker")  # one engine for all

LIST = EngineCall(target="/containers/json?all=true")


@pytest.fixture(params=["socket", "stdio"])
def host(request: pytest.FixtureRequest, docker_host: Sshd, stdio_host: Sshd) -> Sshd:
    return docker_host if request.param == "socket" else stdio_host


async def test_the_api_answers_by_the_best_way_that_is_allowed(
    client: AsyncSSHClient, host: Sshd, docker_host: Sshd, docker_engine: DockerEngine
) -> None:
    docker_engine.docker("run", "-d", "--name", "one", IMAGE, "sleep", "60")
    try:
        reply = await client.ask_engine(host.device(), LIST)
    finally:
        docker_engine.remove_all()
    assert reply.status == 200
    assert reply.via is (Via.SOCKET if host is docker_host else Via.STDIO)
    assert [row["Names"] for row in json.loads(reply.body)] == [["/one"]]


async def test_many_at_once_share_few_connections(client: AsyncSSHClient, host: Sshd) -> None:
    device = host.device()
    replies = await asyncio.gather(
        *(client.ask_engine(device, EngineCall(target=f"/containers/no{n}/json")) for n in range(40))
    )
    for number, reply in enumerate(replies):
        assert reply.status == 404
        assert f"no{number}" in json.loads(reply.body)["message"]


async def test_one_connection_serves_one_question_after_the_other(client: AsyncSSHClient, host: Sshd) -> None:
    device = host.device()
    await client.ask_engine(device, LIST)
    engine = client._engines[device.id]
    [(connection, _)] = engine._idle
    for _ in range(5):
        await client.ask_engine(device, LIST)
        assert [kept for kept, _ in engine._idle] == [connection]


async def test_a_body_over_its_cap_is_cut_and_says_so(client: AsyncSSHClient, host: Sshd) -> None:
    whole = await client.ask_engine(host.device(), EngineCall(target="/info"))
    cut = await client.ask_engine(host.device(), EngineCall(target="/info", max_output_bytes=100))
    assert (cut.body, cut.truncated) == (whole.body[:100], True)
    assert (await client.ask_engine(host.device(), LIST)).status == 200


async def test_a_hanging_answer_ends_at_its_deadline_and_hurts_nobody(client: AsyncSSHClient, host: Sshd) -> None:
    with pytest.raises(CommandTimeout, match="did not answer within"):
        await client.ask_engine(host.device(), EngineCall(target="/events", timeout_s=0.5))
    assert (await client.ask_engine(host.device(), LIST)).status == 200


async def test_a_restarted_engine_is_found_again(
    client: AsyncSSHClient, host: Sshd, docker_engine: DockerEngine
) -> None:
    assert (await client.ask_engine(host.device(), LIST)).status == 200
    docker_engine.stop()
    docker_engine.start()
    assert (await client.ask_engine(host.device(), LIST)).status == 200


async def test_events_are_followed_as_they_happen(
    client: AsyncSSHClient, host: Sshd, docker_engine: DockerEngine
) -> None:
    device = host.device()
    async with client.follow(device, EngineCall(target="/events")) as lines:
        docker_engine.docker("run", "--rm", "--name", "brief", IMAGE, "true")
        actions = []
        async with asyncio.timeout(10):
            async for line in lines:
                event = json.loads(line)
                if event["Type"] == "container":
                    actions.append(event["Action"])
                if event.get("Action") == "destroy":
                    break
    assert [action for action in actions if action in {"create", "start", "die", "destroy"}] == [
        *("create", "start", "die", "destroy")
    ]


async def test_leaving_a_follower_ends_its_channel(client: AsyncSSHClient, docker_host: Sshd) -> None:
    device = docker_host.device()
    async with client.follow(device, EngineCall(target="/events")):
        connection = client._links[device.id].carrier.connection  # type: ignore[union-attr]
        open_then = len(connection._channels)
    await until(lambda: len(connection._channels) < open_then)


async def test_a_login_that_may_not_is_told_so(
    client: AsyncSSHClient, docker_engine: DockerEngine, docker_host: Sshd, plain_user: str
) -> None:
    docker_engine.socket.chmod(0o600)
    try:
        with pytest.raises(EngineUnavailable, match=r"permission denied"):
            await client.ask_engine(docker_host.device(ssh_username=plain_user), LIST)
    finally:
        docker_engine.socket.chmod(0o660)


async def test_a_host_without_an_engine_says_so(
    client: AsyncSSHClient, docker_engine: DockerEngine, ssh_folder: Path
) -> None:
    bare = docker_engine.sshd(ssh_folder / "bare-host")
    empty = ssh_folder / "empty-run"
    (empty / "sshd").mkdir(parents=True)
    bare.command_prefix = tuple(part.replace(str(docker_engine.run_folder), str(empty)) for part in bare.command_prefix)
    bare.start()
    try:
        with pytest.raises(EngineUnavailable, match="cannot be reached"):
            await client.ask_engine(bare.device(), LIST)
    finally:
        bare.stop()
        shutil.rmtree(empty, ignore_errors=True)


@pytest.mark.parametrize("sessions", [1, 2, 3])
async def test_questions_and_commands_share_few_sessions(
    client: AsyncSSHClient, docker_engine: DockerEngine, ssh_folder: Path, sessions: int
) -> None:
    """Where sshd forwards no socket, each connection to the engine is a session; neither side starves the other."""
    options = f"MaxSessions {sessions}\nAllowStreamLocalForwarding no"
    server = docker_engine.sshd(ssh_folder / f"few-{sessions}", options).start()
    host, lanes = server.device(), (Lane.FAST, Lane.SLOW, Lane.FAST, Lane.CHANGE)
    count = 10 * sessions  # with a single one each turn ends a shell and starts another, and nobody waits for ever

    async def ask(number: int) -> EngineReply:
        await asyncio.sleep(number * 0.03)
        return await client.ask_engine(host, LIST)

    async def run(number: int) -> bytes:
        await asyncio.sleep(number * 0.03)
        return (await client.execute_command(host, line(f"echo {number}", lanes[number % 4]))).stdout

    try:
        async with asyncio.timeout(50):
            answers = await asyncio.gather(*(part for n in range(count) for part in (ask(n), run(n))))
        assert {reply.via for reply in answers[::2]} == {Via.STDIO}
        assert list(answers[1::2]) == [f"{n}\n".encode() for n in range(count)]
        found = client._links[host.id]._lanes
        assert found is not None
        assert found.count <= sessions
    finally:
        await client.forget(host.id)
        server.stop()


async def test_a_kept_connection_gives_way_to_a_command(
    client: AsyncSSHClient, docker_engine: DockerEngine, ssh_folder: Path
) -> None:
    options = "MaxSessions 2\nAllowStreamLocalForwarding no"
    server = docker_engine.sshd(ssh_folder / "gives-way", options).start()
    host = server.device()
    try:
        await client.execute_command(host, line("true"))
        await client.ask_engine(host, LIST)
        lanes = client._links[host.id]._lanes
        assert lanes is not None
        assert lanes.count == 2
        resident = lanes._fast[False]
        output = await client.execute_command(host, line("echo hi", Lane.SLOW))
        assert (output.stdout, len(lanes.holders)) == (b"hi\n", 0)
        assert not resident.retiring  # the idle connection went, not the shell that every command needs

        async with client.follow(host, EngineCall(target="/events")):
            assert [holder.use for holder in lanes.holders] == [Use.FOLLOWING]
            outputs = await asyncio.gather(*(client.execute_command(host, line("echo hi", lane)) for lane in Lane))
        assert {output.stdout for output in outputs} == {b"hi\n"}
        assert lanes.holders == []
    finally:
        await client.forget(host.id)
        server.stop()
