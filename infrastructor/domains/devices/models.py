"""Names and results of the device operations."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

from pydantic import Field, StringConstraints

from infrastructor.operation import PLAIN, DestroyResult, Result
from infrastructor.ports.devices import Device, HostKey, Transport
from infrastructor.ports.ssh import Capabilities, LinkStatus

Hostname = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,252}$"),
    Field(description="Name for it, e.g. nas."),
]
Address = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z0-9:]([A-Za-z0-9._:%-]{0,251}[A-Za-z0-9])?$"),
    Field(description="DNS name or IP; else the hostname."),
]
Username = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9._@\\-]{0,98}\$?$"),
    Field(description="Login user; the server's default when left out.", json_schema_extra=PLAIN),
]
KeyPath = Annotated[
    str,
    StringConstraints(pattern=r"^(~?/)[^\x00-\x1f\x7f]{1,490}$"),
    Field(description="Key file on this server."),
]
Port = Annotated[int, Field(ge=1, le=65535, description="SSH port.", json_schema_extra=PLAIN)]
Text = Annotated[str, StringConstraints(max_length=500, pattern=r"^[^\x00-\x08\x0b-\x1f\x7f]*$")]
Tags = Annotated[
    dict[
        Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,62}$")],
        Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]{0,200}$")],
    ],
    Field(max_length=50, description='Labels, e.g. {"role": "db"}.'),
]
Fingerprint = Annotated[
    str,
    StringConstraints(pattern=r"^SHA256:[A-Za-z0-9+/]{43}$"),
    Field(description="SHA256:… of the host key."),
]


class DeviceRow(Result):
    """A device in a list."""

    hostname: str = Field(description="Name of the device.")
    transport: Transport = Field(description="ssh, or local for the server itself.")
    address: str | None = Field(description="Where it is dialled.")
    device_type: str = Field(description="e.g. server, nas, vm.")
    state: str = Field(description="Of the connection: idle, ready, backoff, blocked, …")
    reason: str | None = Field(description="Error code when it is not well.")
    trusted: bool = Field(description="Whether a host key is trusted; nothing is sent before.")
    tags: dict[str, str] = Field(description="Labels.")


class DeviceList(Result):
    """Registered devices by name."""

    devices: list[DeviceRow] = Field(description="The rows of this page.")
    total: int = Field(description="How many match.")
    next_cursor: str | None = Field(description="Pass as cursor for the rest.")


class DeviceDetail(Result):
    """Everything known about a device without asking it."""

    hostname: str = Field(description="Name of the device.")
    id: str = Field(description="Stable id, survives renaming.")
    device_type: str = Field(description="e.g. server, nas, vm.")
    description: str | None = Field(description="Free text.")
    location: str | None = Field(description="Free text.")
    transport: Transport = Field(description="ssh or local.")
    address: str | None = Field(description="Where it is dialled.")
    ssh_port: int = Field(description="SSH port.")
    ssh_username: str | None = Field(description="Login user; None is the server's default.")
    ssh_private_key_path: str | None = Field(description="Key file on the server; None is its default keys.")
    jump: str | None = Field(description="Device the connection goes through.")
    host_keys: list[HostKey] = Field(description="Trusted host keys.")
    monitoring_enabled: bool = Field(description="Whether the scheduler collects its metrics.")
    tags: dict[str, str] = Field(description="Labels.")
    state: str = Field(description="Of the connection.")
    reason: str | None = Field(description="Error code when it is not well.")
    message: str | None = Field(description="What went wrong last.")
    retry_in_seconds: float | None = Field(description="Until the next attempt, when it is waiting.")
    created_at: datetime = Field(description="When it was registered (UTC).")
    updated_at: datetime = Field(description="When its registration last changed (UTC).")


def detail(device: Device, status: LinkStatus) -> DeviceDetail:
    """The registration and the connection of a device in one."""
    return DeviceDetail(
        **device.model_dump(exclude={"id", "host_keys"}),
        id=str(device.id),
        host_keys=list(device.host_keys),
        state=status.state,
        reason=status.reason,
        message=status.message,
        retry_in_seconds=status.retry_in_s,
    )


class DeviceAdded(Result):
    """A device after it was added or its trust changed."""

    device: DeviceDetail = Field(description="As registered.")
    offered_keys: list[HostKey] = Field(description="Keys the device shows now; compare before trusting one.")
    trusted: bool = Field(description="Whether one of them is trusted.")
    next_step: str = Field(description="What to do now.")


class DeviceRemoved(DestroyResult):
    """Outcome of removing a device."""

    hostname: str | None = Field(default=None, description="The device that was removed.")


class Verdict(StrEnum):
    GREEN = "green"
    AMBER = "amber"
    RED = "red"


class Check(Result):
    """One thing that was tested."""

    name: str = Field(description="host_key, login, clock, tools or sudo.")
    verdict: Verdict = Field(description="green works, amber works in part, red does not.")
    message: str = Field(description="What was found.")
    fix: str | None = Field(description="What to do about it.")


class DeviceTest(Result):
    """Whether a device can be worked with, and the fix where not."""

    device: str = Field(description="Device name.")
    verdict: Verdict = Field(description="The worst of the checks.")
    login_ms: float | None = Field(description="Time of one command, connecting included if it was needed.")
    checks: list[Check] = Field(description="In the order they were made.")


class ConfigPath(Result):
    """A place where configuration lives."""

    kind: str = Field(description="swag, compose, appdata, nginx, apache or traefik.")
    path: str = Field(description="Absolute path on the device.")


class DeviceAnalysis(Result):
    """What a device is able to do and what runs on it."""

    device: str = Field(description="Device name.")
    capabilities: Capabilities = Field(description="System, tools, sudo, sockets.")
    container_runtimes: list[str] = Field(description="docker, podman: installed.")
    compose: str | None = Field(description="Version of docker compose (v2) or docker-compose (v1).")
    package_manager: str | None = Field(description="apt, dnf, apk, pacman, …")
    versions: dict[str, str] = Field(description="What the main programs say of their version.")
    gpus: list[str] = Field(description="Graphics cards.")
    services: list[str] = Field(description="Running services people ask about.")
    failed_services: list[str] = Field(description="Services that failed.")
    compose_projects: dict[str, list[str]] = Field(description="Compose projects of containers: their files.")
    config_paths: list[ConfigPath] = Field(description="Where configuration was found.")
    problems: list[str] = Field(description="What could not be found out, and why.")


class ImportedHost(Result):
    """One Host of an ssh_config."""

    hostname: str = Field(description="Device name.")
    action: str = Field(description="add, update or unchanged.")
    address: str | None = Field(description="HostName.")
    ssh_port: int = Field(description="Port.")
    ssh_username: str | None = Field(description="User.")
    jump: str | None = Field(description="ProxyJump.")


class SkippedHost(Result):
    """What of an ssh_config was not imported."""

    line: int = Field(description="Line number.")
    text: str = Field(description="What stood there.")
    reason: str = Field(description="Why it was left out.")


class DeviceImport(Result):
    """Outcome of an import."""

    path: str = Field(description="The file that was read.")
    dry_run: bool = Field(description="True: nothing was registered.")
    hosts: list[ImportedHost] = Field(description="What was, or would be, registered.")
    skipped: list[SkippedHost] = Field(description="What was left out and why.")
    next_step: str = Field(description="What to do now.")


class FleetAnswer(Result):
    """The answer of one device."""

    device: str = Field(description="Device name.")
    result: dict[str, Any] | None = Field(default=None, description="The operation's result.")
    collected_at: datetime | None = Field(default=None, description="When the device said it (UTC).")
    cache: str | None = Field(default=None, description="hit, miss or bypass.")
    error: str | None = Field(default=None, description="Error code.")
    message: str | None = Field(default=None, description="What went wrong.")
    hint: str | None = Field(default=None, description="What to do about it.")


class FleetRun(Result):
    """One operation on many devices."""

    operation: str = Field(description="What was asked.")
    selected: int = Field(description="How many devices the selector means.")
    ok: int = Field(description="How many answered.")
    failed: int = Field(description="How many did not.")
    answers: list[FleetAnswer] = Field(description="Failures first, then answers, by name.")
    truncated: bool = Field(default=False, description="True: answers beyond the size limit were left out.")
    hint: str | None = Field(default=None, description="How to get what was left out.")


class OverviewRow(Result):
    """One device at a glance."""

    device: str = Field(description="Device name.")
    cpu_percent: float | None = Field(description="CPU use.")
    memory_percent: float | None = Field(description="Memory use.")
    fullest_mount: str | None = Field(description="The mount with the least room.")
    fullest_percent: float | None = Field(description="How full it is.")
    load_one: float | None = Field(description="1 minute load.")
    uptime_seconds: int | None = Field(description="Since boot.")


class Problem(Result):
    """Something a person should look at."""

    device: str = Field(description="Device name.")
    what: str = Field(description="unreachable, failed, disk_full, memory_high, cpu_high, mount_hung, rebooted.")
    message: str = Field(description="In words, with the numbers.")
    hint: str | None = Field(default=None, description="What to do about it.")


class FleetOverview(Result):
    """The whole fleet: problems spelled out, the rest in one row each."""

    devices: int = Field(description="Registered devices.")
    healthy: int = Field(description="How many have no problem.")
    unreachable: int = Field(description="How many did not answer.")
    problems: list[Problem] = Field(description="What to look at, worst first.")
    rows: list[OverviewRow] = Field(description="Devices that answered, fullest first.")
    total: int = Field(description="How many answered; more than rows when cut.")
