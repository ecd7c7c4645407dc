"""Lists, details and statistics of real containers, by every way to their engine."""

import asyncio
import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from uuid import uuid4

import pytest

import docker
from infrastructor.catalog import COMPLETIONS
from infrastructor.completion import Lookup
from infrastructor.errors import Conflict, EngineForbidden, EngineStopped, NotFound, ValidationFailed
from infrastructor.ports.cache import CacheState
from infrastructor.ssh import AsyncSSHClient
from tests.support.containers import Host
from tests.support.docker import IMAGE, DockerEngine
from tests.support.sshd import free_port
from tests.support.wait import until
from tests.test_catalog import tokens

pytestmark = pytest.mark.xdist_group("docker")

STACK = ("--label", "com.docker.compose.project=media", "--label", "com.docker.compose.service=web")


def rows(result: Any) -> list[Mapping[str, Any]]:
    return [row.model_dump(mode="json") for row in result.containers]


async def test_a_list_tells_state_ports_and_stack_by_every_way(every_way: Host, request: pytest.FixtureRequest) -> None:
    one, two = sorted((free_port(), free_port()), key=str)
    every_way.run("web", options=(*STACK, "-p", f"127.0.0.1:{two}:80", "-p", f"{one}:{one}"))
    every_way.run("crashed", "sh", "-c", "exit 3")
    await until(lambda: every_way.state("crashed")["Status"] == "exited")
    result = await every_way.ask("container_list")
    way = request.node.callspec.params["every_way"]
    assert (result.device, result.engine, result.via, result.total) == ("nas", "docker", way, 2)
    assert result.counts == {"exited": 1, "running": 1}
    assert rows(result) == [
        {"name": "crashed", "image": "busybox", "state": "exited"},
        {
            "name": "web",
            "image": "busybox",
            "state": "running",
            "ports": [str(one), f"127.0.0.1:{two}->80"],
            "stack": "media",
        },
    ]
    assert len(result.problems) == 1
    assert result.problems[0].startswith("crashed exited with code 3 (Exited (3)")


async def test_all_ways_give_the_same_detail(every_way: Host) -> None:
    options = ("-e", "TZ=UTC", "-e", "TOKEN=s3cret", "--memory", "64m", "--cpus", "0.5", "-v", "/data", *STACK)
    identity = every_way.run("web", "sleep", "3600", options=(*options, "--restart", "on-failure:3"))
    result = await every_way.ask("container_get", container="web")
    assert (result.name, result.id, result.image) == ("web", identity, IMAGE)
    assert (result.state.status, result.state.exit_code, result.restart_policy) == ("running", None, "on-failure:3")
    assert (result.limits.memory_bytes, result.limits.cpus) == (64 << 20, 0.5)
    assert result.env == {"TZ": "UTC", "TOKEN": "‹masked›"}
    assert (result.stack, result.service, result.labels) == ("media", "web", {})
    assert [(mount.type, mount.destination) for mount in result.mounts] == [("volume", "/data")]
    assert result.networks[0].ip is not None
    assert "s3cret" not in result.model_dump_json()


async def test_detail_and_filters(host: Host) -> None:
    host.run("web", options=STACK)
    host.run("db")
    detailed = rows(await host.ask("container_list", detail=True, stack="media"))
    assert [row["name"] for row in detailed] == ["web"]
    assert (detailed[0]["image"], detailed[0]["service"], detailed[0]["networks"]) == (IMAGE, "web", ["bridge"])
    for filters, names in (
        ({"name": "D"}, ["db"]),
        ({"label": "com.docker.compose.service=web"}, ["web"]),
        ({"label": "com.docker.compose.service=x"}, []),
        ({"state": "exited"}, []),
        ({"state": "running"}, ["db", "web"]),
    ):
        assert [row["name"] for row in rows(await host.ask("container_list", **filters))] == names


async def test_the_second_answer_comes_from_the_cache(host: Host) -> None:
    host.run("web")
    first = await host.answer("container_list", force_refresh=False)
    second = await host.answer("container_list", force_refresh=False)
    assert (first.cache, second.cache, first.body) == (CacheState.MISS, CacheState.HIT, second.body)


async def test_a_name_an_id_and_the_start_of_an_id_mean_the_same(every_way: Host) -> None:
    identity = every_way.run("web")
    for reference in ("web", identity, identity[:12], identity[:6]):
        assert (await every_way.ask("container_get", container=reference)).id == identity


async def test_an_ambiguous_start_of_an_id_lists_the_candidates(every_way: Host) -> None:
    ids: dict[str, str] = {}
    for number in range(17):  # with 16 hexadecimal digits, two of them start the same
        ids[every_way.engine.docker("create", "--name", f"n{number}", IMAGE, "true")] = f"n{number}"
    starts = [identity[0] for identity in ids]
    start = next(start for start in starts if starts.count(start) > 1)
    named = sorted(name for identity, name in ids.items() if identity.startswith(start))
    with pytest.raises(Conflict) as caught:
        await every_way.ask("container_get", container=start)
    assert all(f"{name} (" in caught.value.message for name in named)
    assert caught.value.message.count("(") == len(named)


async def test_an_unknown_name_tells_the_near_ones(every_way: Host) -> None:
    every_way.run("nextcloud")
    with pytest.raises(NotFound, match="no container 'nextclod'") as caught:
        await every_way.ask("container_get", container="nextclod")
    assert "nextcloud" in caught.value.hint


@pytest.mark.parametrize("reference", ["../x", "-f", "a b", "$(id)", "a;b", "", "a\n", "ü", "x" * 129])
async def test_hostile_references_reach_nobody(host: Host, reference: str) -> None:
    sent = len(host.audit.finished)
    with pytest.raises(ValidationFailed):
        await host.ask("container_get", container=reference)
    assert [record.commands for record in host.audit.finished[sent:]] == [[]]


async def test_statistics_come_from_cgroups_in_one_read(host: Host) -> None:
    # So little that it is held back even where others leave it hardly any.
    host.run("busy", "sh", "-c", "while :; do :; done", options=("--cpus", "0.05", "--memory", "32m"))
    host.run("idle", options=("--pids-limit", "50"))
    await asyncio.sleep(0.5)
    result = await host.ask("container_stats")
    assert (result.source, result.running, result.total) == ("cgroup", 2, 2)
    busy, idle = result.containers
    assert (busy.name, idle.name) == ("busy", "idle")
    assert busy.cpu_percent is not None
    assert 0 < busy.cpu_percent < 25
    assert (busy.cpu_limit, busy.memory_limit_bytes) == (0.05, 32 << 20)
    assert busy.throttled_percent > 30
    assert idle.cpu_percent is not None
    assert idle.cpu_percent < 5
    assert (idle.pids, idle.pids_limit, idle.cpu_limit, idle.throttled_percent) == (1, 50, None, None)
    assert 0 < idle.memory_bytes < 8 << 20
    assert idle.sent_bytes is not None
    assert len(host.commands) == 2
    # The second time it compares with the first: one reading is enough.
    await asyncio.sleep(0.3)
    again = await host.ask("container_stats", container="busy")
    assert [use.name for use in again.containers] == ["busy"]
    assert host.commands[-1] == "ReadCgroups"
    assert again.sampled_over_seconds >= 0.2


async def test_the_docker_sdk_sees_the_same(host: Host) -> None:
    host.run("web", options=(*STACK, "-p", "18081:80"))
    host.run("crashed", "sh", "-c", "exit 3")
    await until(lambda: host.state("crashed")["Status"] == "exited")
    with contextlib.closing(docker.DockerClient(base_url=f"unix://{host.engine.socket}")) as sdk:
        theirs = {
            one.name: (one.short_id, one.status, one.attrs["Config"]["Image"]) for one in sdk.containers.list(all=True)
        }
    listed = (await host.ask("container_list", detail=True)).containers
    assert {row.name: (row.id, row.state, row.image) for row in listed} == theirs


async def test_statistics_agree_with_the_engine(host: Host) -> None:
    host.run("steady", "sh", "-c", "dd if=/dev/zero of=/tmp/x bs=1M count=20; echo written; sleep 3600")
    await until(lambda: "written" in host.engine.docker("logs", "steady"))
    ours = (await host.ask("container_stats")).containers[0]
    theirs = json.loads(host.engine.docker("stats", "--no-stream", "--format", "{{json .}}"))
    assert theirs["PIDs"] == str(ours.pids)
    number, unit = float(theirs["MemUsage"].split("iB")[0][:-1]), theirs["MemUsage"].split("iB")[0][-1]
    assert ours.memory_bytes == pytest.approx(number * {"K": 1 << 10, "M": 1 << 20}[unit], rel=0.05)


async def test_where_cgroups_cannot_be_read_the_engine_is_asked(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.run("web", options=("--memory", "64m"))
    script = "echo cpus 0-1"
    for name in ("ReadCgroups", "ReadCgroupsTwice"):
        monkeypatch.setattr(f"infrastructor.domains.containers.commands.{name}.script", script)
    result = await host.ask("container_stats")
    assert (result.source, [use.name for use in result.containers]) == ("engine", ["web"])
    assert result.containers[0].memory_limit_bytes == 64 << 20


async def test_fifty_containers_cost_few_tokens(host: Host) -> None:
    names = [f"service-{number}" for number in range(50)]
    for start in range(0, 50, 10):
        await asyncio.gather(
            *(
                asyncio.to_thread(
                    *(host.engine.docker, "create", "--name", name, *STACK, "-p", f"{20000 + number}:80", IMAGE, "true")
                )
                for number, name in enumerate(names[start : start + 10], start)
            )
        )
    answer = await host.answer("container_list")
    assert len(answer.result.containers) == 50
    assert tokens(answer.body.decode()) <= 1500


async def test_containers_are_offered_for_completion_by_device(host: Host) -> None:
    for name in ("web", "db"):
        host.engine.docker("create", "--name", name, IMAGE, "true")

    async def offered(**arguments: str) -> list[str]:
        lookup = SimpleNamespace(arguments=arguments, ask=lambda what, given: host.ask(what.name, **given))
        return sorted(await COMPLETIONS["container"](cast(Lookup, lookup)))

    assert await offered(device="nas") == ["db", "web"]
    assert await offered() == []


async def test_a_login_that_may_not_use_the_engine_is_told_what_to_do(host: Host, plain_user: str) -> None:
    host.engine.socket.chmod(0o600)
    other = Host(host.client, host.device.model_copy(update={"id": uuid4(), "ssh_username": plain_user}), host.engine)
    try:
        with pytest.raises(EngineForbidden, match=f"{plain_user} may not use the docker of nas") as caught:
            await other.ask("container_list")
    finally:
        host.engine.socket.chmod(0o660)
    assert "group docker" in caught.value.hint


async def test_an_engine_that_does_not_run_is_not_called_missing(
    client: AsyncSSHClient, docker_engine: DockerEngine, ssh_folder: Path
) -> None:
    empty = ssh_folder / "stopped-run"
    (empty / "sshd").mkdir(parents=True)
    server = docker_engine.sshd(ssh_folder / "stopped-host")
    server.command_prefix = tuple(
        part.replace(str(docker_engine.run_folder), str(empty)) for part in server.command_prefix
    )
    server.start()
    try:
        with pytest.raises(EngineStopped, match="docker engine of nas does not answer"):
            await Host(client, server.device("nas"), docker_engine).ask("container_list")
    finally:
        server.stop()
