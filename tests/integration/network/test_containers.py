"""Ports, networks and dependencies of a real engine's containers."""

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from infrastructor.errors import NotFound
from infrastructor.ssh import AsyncSSHClient
from tests.integration.network.conftest import Ask, asker
from tests.support.docker import IMAGE, DockerEngine
from tests.support.programs import program
from tests.support.sshd import Sshd, free_port

pytestmark = [pytest.mark.xdist_group("docker"), pytest.mark.timeout(180)]


@pytest.fixture
def listener() -> Iterator[int]:
    """A port on loopback that this process listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def run(engine: DockerEngine, name: str, *options: str, command: tuple[str, ...] = ("sleep", "600")) -> None:
    engine.docker("run", "-d", "--name", name, *options, IMAGE, *command)


def compose(stack: str, service: str, *depends_on: str) -> list[str]:
    labels = {
        "project": stack,
        "service": service,
        "depends_on": ",".join(f"{d}:service_started:true" for d in depends_on),
    }
    return [word for key, value in labels.items() for word in ("--label", f"com.docker.compose.{key}={value}")]


async def test_ports_of_processes_and_containers(
    ask_every_way: Ask, docker_engine: DockerEngine, listener: int
) -> None:
    public, private, own = free_port(), free_port(), free_port()
    run(docker_engine, "web", "-p", f"{public}:80", "-p", f"127.0.0.1:{private}:443/tcp", *compose("shop", "web"))
    run(docker_engine, "proxy", "--network", "host", command=("httpd", "-f", "-p", f"127.0.0.1:{own}"))

    found = await ask_every_way("port_list", limit=500)

    rows = {row.port: row for row in found.ports if row.protocol == "tcp"}
    assert found.engine is not None
    assert found.problems == []
    assert (rows[listener].pid, rows[listener].container, rows[listener].scope) == (os.getpid(), None, "loopback")
    told = {
        port: (rows[port].how, rows[port].scope, rows[port].container, rows[port].container_port, rows[port].stack)
        for port in (public, private, own)
    }
    assert told == {
        public: ("listening", "all", "web", 80, "shop"),
        private: ("listening", "loopback", "web", 443, "shop"),
        own: ("listening", "loopback", "proxy", None, None),
    }
    assert (rows[public].process, rows[own].process) == ("docker-proxy", "httpd")


async def test_a_published_port_without_the_userland_proxy_is_found(client: AsyncSSHClient, ssh_folder: Path) -> None:
    folder = ssh_folder / "no-proxy"
    folder.mkdir()
    engine = DockerEngine(folder, ("--userland-proxy=false",)).start()
    server: Sshd | None = None
    port = free_port()
    try:
        engine.import_busybox(IMAGE)
        run(engine, "web", "-p", f"{port}:80")
        server = engine.sshd(ssh_folder / "no-proxy-host").start()
        found = await asker(client, server.device("nas"))("port_list", match=f"tcp/{port}")
    finally:
        if server is not None:
            server.stop()
        engine.stop()
        shutil.rmtree(folder, ignore_errors=True)
    assert [(row.how, row.process, row.container, row.container_port) for row in found.ports] == [
        ("listening", "dockerd", "web", 80)  # dockerd keeps it from others; the kernel forwards
    ]
    assert found.problems == []


async def test_a_scan_tells_the_free_the_taken_and_the_promised(
    ask_every_way: Ask, docker_engine: DockerEngine, listener: int
) -> None:
    promised = free_port()
    docker_engine.docker("create", "--name", "idle", "-p", f"{promised}:80", IMAGE, "true")
    docker_engine.docker("create", "--name", "clash", "-p", f"127.0.0.1:{listener}:80", IMAGE, "true")

    found = await ask_every_way("port_scan", wanted=f"{listener},{promised},1-3", count=2)

    claims = {(claim.port, claim.kind) for claim in found.taken}
    assert {(listener, "listening"), (listener, "reserved"), (promised, "reserved")} == claims
    assert found.free == ["1-3"]
    assert [one.port for one in found.conflicts] == [listener]
    assert len(found.advice) == 2
    assert not {listener, promised} & set(found.advice)


@pytest.fixture
def routed() -> Iterator[str]:
    """An interface of the host with the range 10.213.0.0/16, and nothing behind it."""
    ip, name = program("ip"), f"inf{os.urandom(4).hex()}"
    subprocess.run([ip, "link", "add", name, "type", "veth", "peer", "name", f"{name}p"], check=True)
    try:
        subprocess.run([ip, "addr", "add", "10.213.0.1/16", "dev", name], check=True)
        subprocess.run([ip, "link", "set", name, "up"], check=True)
        yield name
    finally:
        subprocess.run([ip, "link", "delete", name], check=True)


async def test_networks_with_members_and_a_range_that_the_host_routes_elsewhere(
    ask_every_way: Ask, docker_engine: DockerEngine, routed: str
) -> None:
    own = docker_engine.docker("network", "create", "--subnet", "10.213.7.0/24", "colliding")
    docker_engine.docker("network", "create", "--internal", "--label", "com.docker.compose.project=shop", "quiet")
    run(docker_engine, "web", "--network", "quiet")

    found = await ask_every_way("docker_network_list")

    rows = {row.name: row for row in found.networks}
    address = docker_engine.inspect("web")["NetworkSettings"]["Networks"]["quiet"]["IPAddress"]  # type: ignore[index]
    assert rows["quiet"].members == {"web": address}
    assert (rows["quiet"].internal, rows["quiet"].stack, rows["quiet"].driver) == (True, "shop", "bridge")
    assert found.unused == ["colliding"]
    collisions = {one.other: one.other_subnet for one in found.overlaps if one.network == "colliding"}
    assert collisions[f"route through {routed}"] == "10.213.0.0/16"
    assert f"route through br-{own[:12]}" not in collisions


async def test_dependencies_with_their_evidence_and_reach(ask_every_way: Ask, docker_engine: DockerEngine) -> None:
    docker_engine.docker("network", "create", "shop_default")
    inside = ("--network", "shop_default", "--network-alias")
    run(docker_engine, "shop-db-1", *inside, "db", "-v", "shopdata:/data", *compose("shop", "db"))
    run(
        docker_engine,
        "shop-web-1",
        *(*inside, "web", "-v", "shopdata:/data:ro", *compose("shop", "web", "db")),
        *("-e", "DATABASE_URL=postgres://shop:s3cret@db:5432/shop", "-e", "ADMIN_PASSWORD=hunter2"),
    )
    run(docker_engine, "sidecar", "--network", "container:shop-web-1")
    run(docker_engine, "lonely")

    found = await ask_every_way("service_dependency_map")

    assert [(edge.source, edge.target, edge.kind, edge.evidence, edge.problem) for edge in found.edges] == [
        ("shop/web", "shop/db", "depends_on", "depends_on: service_started", None),
        ("shop/web", "shop/db", "env", "DATABASE_URL=db:5432", None),
        ("shop/web", "shop/db", "volume", "reads shopdata, which the other writes", None),
        ("sidecar", "shop/web", "network_mode", "network_mode: uses its network", None),
    ]
    assert (found.services, found.independent) == (4, ["lonely"])
    assert "s3cret" not in found.model_dump_json()
    assert "hunter2" not in found.model_dump_json()

    docker_engine.docker("stop", "-t", "0", "shop-db-1")
    around = await ask_every_way("service_dependency_map", around="shop-db-1")
    assert (around.dependents, around.dependencies) == (["shop/web", "sidecar"], [])
    assert {edge.problem for edge in around.edges if edge.kind != "volume"} == {"shop/db is exited.", None}
    with pytest.raises(NotFound, match="nothing"):
        await ask_every_way("service_dependency_map", around="nothing")
