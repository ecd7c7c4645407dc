"""The same operations on a host that has Podman and no Docker, by its program and by its API."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from infrastructor.errors import NotFound, Protected
from infrastructor.ssh import AsyncSSHClient
from tests.support.containers import Host
from tests.support.podman import PodmanEngine
from tests.support.sshd import Sshd
from tests.support.wait import until

pytestmark = pytest.mark.xdist_group("docker")


@pytest.fixture(params=["cli", "socket"])
async def podman(
    request: pytest.FixtureRequest, client: AsyncSSHClient, podman_host: Sshd, podman_engine: PodmanEngine
) -> AsyncIterator[Host]:
    if request.param == "socket" and podman_engine.service is None:
        podman_engine.serve()
        await until(podman_engine.socket.exists)
    host = Host(client, podman_host.device("nas"), None)
    if request.param == "cli":
        host.without_api()
    yield host
    podman_engine.remove_all()


def way(request: pytest.FixtureRequest) -> str:
    return str(request.node.callspec.params["podman"])


async def test_lists_details_and_statistics(
    podman: Host, podman_engine: PodmanEngine, request: pytest.FixtureRequest
) -> None:
    options = ("--label", "io.podman.compose.project=shop", "--memory", "32m", "-e", "TOKEN=s3cret")
    identity = podman_engine.run("web", options=options)
    podman_engine.run("crashed", "sh", "-c", "exit 3")
    await until(lambda: podman_engine.state("crashed") == "exited")
    listed = await podman.ask("container_list")
    assert (listed.engine, listed.via, listed.counts) == ("podman", way(request), {"exited": 1, "running": 1})
    assert [(row.name, row.image, row.state, row.stack) for row in listed.containers] == [
        ("crashed", "busybox", "exited", None),
        ("web", "busybox", "running", "shop"),
    ]
    detail = await podman.ask("container_get", container=identity[:12])
    assert (detail.name, detail.id, detail.limits.memory_bytes) == ("web", identity, 32 << 20)
    assert (detail.env["TOKEN"], detail.stack, detail.state.health) == ("‹masked›", "shop", None)
    stats = await podman.ask("container_stats")
    assert (stats.source, [use.name for use in stats.containers]) == ("cgroup", ["web"])
    assert (stats.containers[0].memory_limit_bytes, stats.containers[0].pids) == (32 << 20, 1)
    health = await podman.ask("container_health")
    assert [(problem.name, problem.what) for problem in health.problems] == [("crashed", "exited")]


async def test_logs_of_both_streams(podman: Host, podman_engine: PodmanEngine) -> None:
    podman_engine.run("talk", "sh", "-c", "echo one; sleep 0.2; echo two >&2; sleep 0.2; echo three")
    await until(lambda: podman_engine.state("talk") == "exited")
    result = await podman.ask("container_logs", container="talk")
    assert [(line.stream, line.text) for line in result.lines] == [
        *(("stdout", "one"), ("stderr", "two"), ("stdout", "three")),
    ]
    older = await podman.ask("container_logs", container="talk", tail=1)
    assert [line.text for line in older.lines] == ["three"]
    older = await podman.ask("container_logs", container="talk", tail=5, cursor=older.next_cursor)
    assert [line.text for line in older.lines] == ["one", "two"]


async def test_changes_and_removal(podman: Host, podman_engine: PodmanEngine) -> None:
    identity = podman_engine.run("web", "sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.05; done")
    result = await podman.ask("container_exec", container="web", argv=["echo", "$HOME; id"])
    assert (result.exit_code, result.stdout) == (0, "$HOME; id\n")
    stopped = await podman.ask("container_stop", container="web", wait_seconds=5)
    assert (stopped.before.status, stopped.after.status) == ("running", "exited")
    assert (await podman.ask("container_start", container="web")).after.status == "running"
    assert (await podman.ask("container_restart", container="web", wait_seconds=0)).after.status == "running"
    plan = (await podman.ask("container_remove", container="web", force=True)).plan
    assert plan.commands == [f"podman rm --force -- {identity}"]
    await podman.ask("container_remove", container="web", force=True, plan_token=plan.plan_token)
    with pytest.raises(NotFound):
        await podman.ask("container_get", container="web")


async def test_protection_holds_here_too(podman: Host, podman_engine: PodmanEngine) -> None:
    podman_engine.run("db", options=("--label", "infrastructor.protected=true"))
    with pytest.raises(Protected):
        await podman.ask("container_stop", container="db")


async def test_without_containers_there_is_nothing_and_no_error(podman: Host) -> None:
    stats, listed = await asyncio.gather(podman.ask("container_stats"), podman.ask("container_list"))
    assert (stats.running, stats.containers, listed.total) == (0, [], 0)
