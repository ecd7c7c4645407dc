"""Containers and sockets made by hand, and the recorded ones."""

from ipaddress import ip_address
from pathlib import Path
from typing import Any

from infrastructor.domains.network.commands import ReadLinks, ReadSockets
from infrastructor.domains.network.containers import Attachment, Container, Details, Mount, Publication
from infrastructor.domains.network.links import LinkFacts
from infrastructor.domains.network.queries import DescribeContainers
from infrastructor.domains.network.references import references
from infrastructor.domains.network.sockets import Socket, Sockets
from infrastructor.ports.ssh import CommandOutput

FIXTURES = Path(__file__).parents[2] / "fixtures" / "network"


def output(command: str, machine: str) -> CommandOutput:
    return CommandOutput(exit_status=0, stdout=(FIXTURES / command / f"{machine}.out").read_bytes())


def recorded_sockets(machine: str) -> Sockets:
    return ReadSockets().parse(output("ReadSockets", machine))


def recorded_containers(machine: str) -> tuple[Container, ...]:
    return DescribeContainers().parse(output("DescribeContainers", machine))


def recorded_links(machine: str) -> LinkFacts:
    return ReadLinks().parse(output("ReadLinks", machine))


def sockets(*found: Socket, uid: int = 0, reserved: tuple[tuple[int, int], ...] = ()) -> Sockets:
    return Sockets(sockets=found, uid=uid, ephemeral=(32768, 60999), reserved=reserved)


def socket(port: int, address: str = "0.0.0.0", process: str | None = "nginx", **fields: Any) -> Socket:
    return Socket(
        **({"protocol": "tcp", "uid": 0, "pid": 7} | fields), port=port, address=ip_address(address), process=process
    )


def published(inside: int, host_port: int, address: str = "0.0.0.0") -> Publication:
    return Publication("tcp", inside, host_port, ip_address(address))


def container(name: str, **fields: Any) -> Container:
    """`env`, `links`, `bindings` and `networks` are short for what the engine tells."""
    stack, _, service = name.rpartition("/")
    networks = fields.pop("networks", ("net",))
    details = Details(
        bindings=fields.pop("bindings", ()),
        links=fields.pop("links", ()),
        references=references(fields.pop("env", ())),
        aliases={},
        hostname=None,
    )
    known = {
        "id": (name.encode().hex() + "0" * 64)[:64],
        "name": f"{stack}-{service}-1" if stack else name,
        "image": "app:1",
        "state": "running",
        "stack": stack or None,
        "service": service if stack else None,
        "network_mode": "net",
        "depends_on": (),
        "ports": (),
        "attachments": tuple(Attachment(network, network, None, (service,)) for network in networks),
        "mounts": (),
        "details": details,
    }
    return Container(**(known | fields))


def volume(source: str, writable: bool = True) -> Mount:
    return Mount(source, not source.startswith("/"), "/data", writable)
