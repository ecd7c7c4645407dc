"""No answer has more characters than an assistant takes, however much a device has, and what is cut can be had."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from infrastructor.catalog import CATALOG
from infrastructor.domains.logs.merge import Part, merge
from infrastructor.domains.logs.models import LogLine, LogPage
from infrastructor.domains.network import links
from infrastructor.errors import SSHConnectionError
from infrastructor.events import Event, Severity
from infrastructor.ids import uuid7
from infrastructor.operation import Operation
from infrastructor.ports.callers import Caller, Effect, Interface, Role
from infrastructor.ports.ssh import Capabilities, CommandOutput
from infrastructor.service import UnifiedDataCollectionService
from mcp_server.door import MAX_RESULT
from tests.fake_history import fake_history
from tests.fakes import (
    FakeAudit,
    FakeCache,
    FakeContainers,
    FakeDevices,
    FakeEvents,
    FakeMetrics,
    FakePlans,
    FakeSSH,
    device,
)

FIXTURES = Path(__file__).parents[1] / "fixtures"
VIEWER = Caller(principal="vera", role=Role.VIEWER, interface=Interface.MCP)
PORTS = [{"IP": "0.0.0.0", "PrivatePort": port, "PublicPort": port, "Type": "udp"} for port in range(10_000, 20_000)]


def fixture(path: str) -> CommandOutput:
    return CommandOutput(exit_status=0, stdout=(FIXTURES / path).read_bytes())


class Asker:
    """The real service over fakes; every answer is measured."""

    def __init__(self, ssh: FakeSSH, devices: FakeDevices | None = None) -> None:
        self.events = FakeEvents()
        self.service = UnifiedDataCollectionService(
            operations=CATALOG,
            devices=devices or FakeDevices(device("nas")),
            ssh=ssh,
            cache=FakeCache(),
            audit=FakeAudit(),
            metrics=FakeMetrics(),
            plans=FakePlans(),
            events=self.events,
            containers=FakeContainers(),
            history=fake_history(),
        )

    async def ask(self, name: str, **arguments: Any) -> dict[str, Any]:
        answer = await self.service.submit(self.service.operation(name), arguments, VIEWER)
        assert len(answer.body) <= MAX_RESULT
        found: dict[str, Any] = json.loads(answer.body)
        return found

    async def pages(self, name: str, rows: str, **arguments: Any) -> list[Any]:
        """The rows of all pages."""
        page = await self.ask(name, **arguments)
        found = list(page[rows])
        while page["next_cursor"] is not None:
            page = await self.ask(name, **arguments, cursor=page["next_cursor"])
            found += page[rows]
        return found


def phone_system(count: int = 10_000) -> FakeSSH:
    """One container that publishes very many ports, as voice over IP wants it."""
    ports = PORTS[:count]
    row = {"Id": "a" * 64, "Names": ["/pbx"], "Image": "pbx", "State": "running", "Status": "Up", "Created": 1}
    inspected = {
        "Id": "a" * 64,
        "Name": "/pbx",
        "Image": "pbx",
        "Config": {"Env": [f"NAME_{n}=x" for n in range(900)], "Labels": {f"label.{n}": "y" * 99 for n in range(900)}},
        "State": {"Status": "running", "ExitCode": 0},
        "NetworkSettings": {"Ports": {f"{p['PrivatePort']}/udp": [{"HostPort": str(p["PublicPort"])}] for p in ports}},
        "Mounts": [{"Type": "bind", "Source": f"/srv/{n}", "Destination": f"/mnt/{n}"} for n in range(200)],
    }
    return FakeSSH(
        outputs={"\ncommand": fixture("network/ReadSockets/debian-13.out")},
        replies={
            "/containers/json": json.dumps([row | {"Ports": ports}]).encode(),
            f"/containers/{'a' * 64}/json": json.dumps(inspected).encode(),
            "/containers/pbx/json": json.dumps(inspected).encode(),
        },
    )


def crowd(count: int = 500) -> FakeSSH:
    """Unhealthy containers with long names in stacks of two, one of which needs the other, and statistics of each."""
    rows, replies, cgroups = [], {}, ["cpus 0-3", "MemTotal: 16000000 kB", "uptime 100.0"]
    for n in range(count):
        identity, stack = f"{n:064x}", f"an-application-with-a-name-{n // 2:04}"
        name = f"{stack}-{'web' if n % 2 else 'database'}-1"
        labels = {"com.docker.compose.project": stack, "com.docker.compose.service": "web" if n % 2 else "database"}
        labels |= {"com.docker.compose.depends_on": "database:service_healthy:false"} if n % 2 else {}
        labels |= {"com.docker.compose.project.working_dir": f"/srv/{stack}"}
        labels |= {"com.docker.compose.project.config_files": f"/srv/{stack}/compose.yaml"}
        ports = [{"IP": "0.0.0.0", "PrivatePort": 8080, "PublicPort": 10_000 + n, "Type": "tcp"}]
        networks = {"Networks": {f"{stack}_default": {"NetworkID": f"{n // 2:064x}", "IPAddress": "172.20.0.2"}}}
        mounts = [{"Type": "bind", "Source": f"/srv/{stack}/{n}", "Destination": "/data", "RW": True}]
        common = {"Id": identity, "Image": "registry.example.org/app:1.2.3", "Mounts": mounts}
        status = "Up 3 hours (unhealthy)"
        rows.append(
            common
            | {"Names": [f"/{name}"], "State": "running", "Status": status, "Created": n, "Labels": labels}
            | {"Ports": ports, "NetworkSettings": networks, "HostConfig": {"NetworkMode": f"{stack}_default"}}
        )
        probe = {"End": "2026-11-21T10:00:00Z", "ExitCode": 1, "Output": "the database does not answer " * 20}
        health = {"Status": "unhealthy", "Log": [probe]}
        replies[f"/containers/{identity}/json"] = json.dumps(
            common
            | {"Name": f"/{name}", "Config": {"Labels": labels, "Image": "app", "Env": ["CACHE_HOST=far.example.org"]}}
            | {"State": {"Status": "running", "ExitCode": 0, "Health": health}, "NetworkSettings": networks}
        ).encode()
        group = f"system.slice/docker-{identity}.scope"
        cgroups += [f"{group}/cpu.stat:usage_usec {n}", f"{group}/memory.current:{n << 20}"]
    counters = CommandOutput(exit_status=0, stdout="\n".join(cgroups).encode())
    return FakeSSH(
        outputs={
            "\ncommand": fixture("network/ReadSockets/debian-13.out"),
            **dict.fromkeys(("set", "\ncd"), counters),
            "\nprintf": fixture("network/ReadLinks/debian-13.out"),
        },
        replies={"/containers/json": json.dumps(rows).encode(), "/networks": b"[]", **replies},
        found=Capabilities(tools=frozenset({"docker"}), docker_socket="/run/docker.sock"),
    )


LONG_LISTS = {
    "container_list": ("containers", {"detail": True}),
    "container_stats": ("containers", {}),
    "port_list": ("ports", {"match": "application"}),
    "service_dependency_map": ("edges", {"detail": True}),
    "stack_list": ("stacks", {}),
}
SUMMARIES: dict[str, dict[str, Any]] = {
    "container_health": {},
    "port_scan": {"wanted": "10000-19999"},
    "docker_network_list": {},
    "config_watch_discover": {},
    "proxy_config_list": {"swag": "/srv/swag"},
    "proxy_sample_list": {"swag": "/srv/swag"},
    "proxy_template_list": {"swag": "/srv/swag"},
    "proxy_summary": {"swag": "/srv/swag"},
}


def test_everything_that_looks_at_all_containers_is_measured() -> None:
    looking = {
        operation.name
        for operation in CATALOG
        if operation.queries and operation.effect is Effect.READ and _required(operation) == {"device"}
    }
    assert looking == LONG_LISTS.keys() | SUMMARIES.keys()


def _required(operation: Operation[Any, Any]) -> set[str]:
    return {name for name, field in operation.params.model_fields.items() if field.is_required()}


@pytest.mark.parametrize("name", LONG_LISTS)
async def test_five_hundred_containers_come_in_pages_that_fit(name: str) -> None:
    rows, arguments = LONG_LISTS[name]
    asker = Asker(crowd())
    first = await asker.ask(name, device="nas", limit=500, **arguments)
    found = await asker.pages(name, rows, device="nas", limit=500, **arguments)
    total = first.get("total", first.get("edges_total"))
    assert len({json.dumps(row) for row in found}) == total
    assert total >= (250 if name == "stack_list" else 500)
    assert first["next_cursor"] is not None


@pytest.mark.parametrize("name", SUMMARIES)
async def test_what_is_told_of_five_hundred_containers_fits(name: str) -> None:
    ssh = crowd()
    ssh.outputs["set"] = fixture("proxies/ReadProxyConfigs/debian-12.out")
    found = await Asker(ssh).ask(name, device="nas", **SUMMARIES[name])
    if name == "container_health":
        assert len(found["problems"]) + found["omitted"] == 500
    if name == "config_watch_discover":
        assert sum(map(len, found["found"].values())) + len(found["added"]) + found["omitted"] == 500


async def test_what_hangs_on_one_of_five_hundred_services_fits() -> None:
    ssh = crowd()
    rows = json.loads(ssh.replies["/containers/json"])  # type: ignore[arg-type]
    for row in rows:
        row["Labels"] |= {"com.docker.compose.project": "one", "com.docker.compose.service": row["Names"][0][1:]}
        row["Labels"]["com.docker.compose.depends_on"] = rows[0]["Names"][0][1:] + ":service_started:false"
    ssh.replies["/containers/json"] = json.dumps(rows).encode()
    for row in rows:
        inspected = json.loads(ssh.replies[f"/containers/{row['Id']}/json"])  # type: ignore[arg-type]
        inspected["Config"]["Labels"] = row["Labels"]
        ssh.replies[f"/containers/{row['Id']}/json"] = json.dumps(inspected).encode()
    found = await Asker(ssh).ask("service_dependency_map", device="nas", around=rows[0]["Names"][0][1:], limit=500)
    assert found["dependents"][-1] == f"… {499 - (len(found['dependents']) - 1)} more"


async def test_a_device_with_five_hundred_stacks_is_analysed_in_bounds() -> None:
    files = [f"/srv/an-application-with-a-name-{n:04}/docker-compose.yaml" for n in range(500)]
    ssh = crowd()
    projects = "".join(f"an-application-with-a-name-{n:04}\t{file}\n" for n, file in enumerate(files))
    ssh.outputs["docker"] = CommandOutput(exit_status=0, stdout=projects.encode())
    paths = "".join(f"compose\t{file}\n" for file in files)
    ssh.outputs["\nfound()"] = CommandOutput(exit_status=0, stdout=paths.encode())
    found = await Asker(ssh).ask("device_analyze", device="nas")
    projects_left = f"{500 - len(found['compose_projects'])} more compose projects; stack_list has them."
    paths_left = f"{500 - len(found['config_paths'])} more configuration files; config_watch_list has them."
    assert found["problems"] == [projects_left, paths_left]


async def test_ten_thousand_lines_of_a_log_fit() -> None:
    lines = "".join(f"{1_700_000_000 + n}.0\tNov 14 22:13:20 nas app[{n}]: {'word ' * 30}{n}\n" for n in range(10_000))
    output = CommandOutput(exit_status=0, stdout=b"# file:/var/log/x\n" + lines.encode())
    asker = Asker(FakeSSH(outputs={"set": output}))
    page = await asker.ask("log_query", device="nas", source="file:/var/log/x", limit=500)
    assert page["lines"][-1]["message"].endswith(" 9999")
    assert page["next_cursor"] is not None


async def test_an_empty_journal_where_none_is_written_is_said_to_be_so() -> None:
    page = await Asker(FakeSSH(found=Capabilities(tools=frozenset({"journalctl"})))).ask(
        "log_query", device="nas", source="unit:ssh"
    )
    assert page["lines"] == []
    assert "systemd does not run there" in page["problems"][0]["problem"]


async def test_a_container_with_ten_thousand_ports_is_shown_and_says_what_is_left_out() -> None:
    shown = await Asker(phone_system()).ask("container_get", device="nas", container="pbx")
    assert len(shown["ports"]) + shown["omitted"]["ports"] == 10_000
    assert len(shown["env"]) + shown["omitted"]["env"] == 900
    assert len(shown["labels"]) + shown["omitted"]["labels"] == 900
    assert len(shown["mounts"]) + shown["omitted"]["mounts"] == 200
    assert "networks" not in shown["omitted"]


async def test_many_ports_come_in_pages() -> None:
    rows = await Asker(phone_system(1000)).pages("port_list", "ports", device="nas", match="pbx", limit=500)
    assert [row["port"] for row in rows] == list(range(10_000, 11_000))


async def test_a_scan_of_ten_thousand_taken_ports_counts_them() -> None:
    found = await Asker(phone_system()).ask("port_scan", device="nas", wanted="10000-19999", protocol="udp")
    assert (found["free"], found["taken_total"]) == ([], 10_000)


async def test_hundreds_of_networks_come_in_pages() -> None:
    networks = [
        {"Id": f"{n:064x}", "Name": f"application-number-{n:03}_default", "Driver": "bridge", "Scope": "local"}
        | {"IPAM": {"Config": [{"Subnet": f"10.{n % 250}.0.0/16", "Gateway": f"10.{n % 250}.0.1"}]}}
        for n in range(500)
    ]
    ssh = FakeSSH(replies={"/networks": json.dumps(networks).encode(), "/containers/json": b"[]"})
    rows = await Asker(ssh).pages("docker_network_list", "networks", device="nas", limit=500)
    assert [row["name"] for row in rows] == [network["Name"] for network in networks]


def test_interfaces_with_many_addresses_are_counted_where_they_do_not_fit() -> None:
    facts = links.LinkFacts(
        links=tuple(
            links.Link(
                name=f"enp0s{n}", kind="ethernet", state="up", mac="02:42:ac:11:00:02", mtu=1500, speed_mbps=1000,
                duplex="half", lower=(), counters=(10**12,) * 16,
                addresses=tuple(f"fd00:1234:5678:9abc:def0:1234:{n:x}:{m:x}/64" for m in range(20)),
            )
            for n in range(300)
        ),
        default_routes=(), servers=(), search=(), has_ip=True,
    )  # fmt: skip
    found = links.describe("nas", facts, every=False)
    assert len(found.model_dump_json()) <= MAX_RESULT
    assert found.problems[0] == f"{300 - len(found.interfaces)} more interfaces are not shown."


async def test_many_services_come_in_pages() -> None:
    lines = [
        f"unit-with-a-long-name-{n:04}.service loaded active running A service with a description that tells something"
        for n in range(900)
    ]
    found = Capabilities(tools=frozenset({"systemctl"}), systemd=True)
    ssh = FakeSSH(outputs={"systemctl": CommandOutput(exit_status=0, stdout="\n".join(lines).encode())}, found=found)
    rows = await Asker(ssh).pages("service_list", "services", device="nas", limit=500)
    assert len({row["name"] for row in rows}) == 900


def fleet(count: int) -> FakeDevices:
    tags = {f"tag{n}": "v" * 40 for n in range(10)}
    return FakeDevices(*(device(f"machine-with-a-long-name-{n:04}", tags=tags) for n in range(count)))


async def test_many_devices_come_in_pages() -> None:
    rows = await Asker(FakeSSH(), fleet(500)).pages("device_list", "devices", limit=500)
    assert len({row["hostname"] for row in rows}) == 500


@pytest.mark.parametrize(("name", "arguments"), [("fleet_overview", {"limit": 500}), ("log_search", {"selector": "*"})])
async def test_a_fleet_that_is_away_is_told_in_bounds(name: str, arguments: dict[str, Any]) -> None:
    away = SSHConnectionError(f"Nothing answers: {'x' * 200}.")
    ssh = FakeSSH(outputs=dict.fromkeys(("\ncommand", "\nkind=$1", "\ntail", "journalctl", "set", "tail"), away))
    found = await Asker(ssh, fleet(500)).ask(name, **arguments)
    assert found["devices"] == 500
    assert found["problems"]


def test_short_lines_of_long_named_units_fit() -> None:
    start = datetime(2026, 11, 21, tzinfo=UTC)
    lines = [
        LogLine(
            time=start + timedelta(microseconds=n), source="journal", unit=f"{'unit-name' * 12}.service",
            process="some-long-process-name[1234567]", priority=None, message='"quoted" \\',
        )
        for n in range(500)
    ]  # fmt: skip
    shown, cursor = merge([Part(lines, complete=True)], 500, None, 0)
    page = LogPage(device="nas", lines=shown, problems=[], next_cursor=cursor)
    assert len(page.model_dump_json()) <= MAX_RESULT
    assert cursor is not None


async def test_a_story_of_long_words_is_cut_and_counted() -> None:
    asker = Asker(FakeSSH())
    nas = await asker.service.devices.find("nas")
    assert nas is not None
    now = datetime.now(UTC)
    await asker.events.publish(
        [
            Event(
                id=uuid7(), topic="containers", kind="container.rename", at=now - timedelta(seconds=n + 1),
                severity=Severity.INFO, device_id=nas.id, device="nas", subject="web",
                data={"old_name": "n" * 300, "signal": "s" * 300},
            )
            for n in range(400)
        ]
    )  # fmt: skip
    found = await asker.ask("container_history", device="nas", container="web")
    assert len(found["story"]) + found["story_omitted"] == 400
