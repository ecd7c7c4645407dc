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
from infrastructor.ports.callers import Caller, Interface, Role
from infrastructor.ports.ssh import Capabilities, CommandOutput
from infrastructor.service import UnifiedDataCollectionService
from mcp_server.door import MAX_RESULT
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
