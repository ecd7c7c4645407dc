"""Names and results of the container operations."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from infrastructor.operation import ChangedBy, DestroyResult, Result, completes
from infrastructor.ports.ssh import Via

ContainerRef = Annotated[
    str,
    StringConstraints(pattern=r"^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}$"),
    Field(description="Name, id or unique start of an id.", json_schema_extra=completes("container")),
]

CONTAINERS = ChangedBy(topic="containers")
ONE_CONTAINER = ChangedBy(topic="containers", subject="container", names=("old_name",), ids=("container_id",))


def _absent(value: Any) -> bool:
    """Lists of many rows leave out what says nothing: null, an empty list."""
    return value is None or value == []


class ContainerRow(Result):
    """A container in a list; what it does not have is left out."""

    name: str = Field(description="Name of the container.")
    image: str = Field(description="Image; short without registry and :latest, whole with detail.")
    state: str = Field(description="running, healthy, unhealthy, starting, exited, created, paused, restarting, dead.")
    ports: list[str] = Field(default_factory=list, exclude_if=_absent, description="Published: '8080->80', '53/udp'.")
    stack: str | None = Field(default=None, exclude_if=_absent, description="Compose project.")
    service: str | None = Field(default=None, exclude_if=_absent, description="Compose service.")
    id: str | None = Field(default=None, exclude_if=_absent, description="First 12 characters of the id.")
    status: str | None = Field(default=None, exclude_if=_absent, description="As the engine words it.")
    created_at: datetime | None = Field(default=None, exclude_if=_absent, description="When it was created (UTC).")
    networks: list[str] = Field(default_factory=list, exclude_if=_absent, description="Networks it is on.")
    pod: str | None = Field(default=None, exclude_if=_absent, description="Podman pod.")


class ContainerList(Result):
    """Containers of a device: those with problems first and in words, then by name."""

    device: str = Field(description="Device name.")
    engine: str = Field(description="docker or podman.")
    via: Via = Field(description="How the engine was asked: socket, stdio or cli.")
    counts: dict[str, int] = Field(description="How many containers are in each state.")
    problems: list[str] = Field(description="What is wrong with which container; container_health tells more.")
    containers: list[ContainerRow] = Field(description="The rows of this page.")
    total: int = Field(description="How many match; more than shown when cut.")
    next_cursor: str | None = Field(description="Pass as cursor for the rest.")


class HealthProbe(Result):
    """One run of a health check."""

    ended_at: datetime | None = Field(description="When it ended (UTC).")
    exit_code: int | None = Field(description="0 is healthy.")
    output: str = Field(description="What it printed, cut.")


class State(Result):
    """What a container is doing."""

    status: str = Field(description="running, exited, created, paused, restarting, dead.")
    health: str | None = Field(description="healthy, unhealthy, starting; null without a health check.")
    exit_code: int | None = Field(description="Of its last end; null while it runs or never ran.")
    oom_killed: bool | None = Field(description="Whether it ended for want of memory.")
    error: str | None = Field(description="What the engine says went wrong.")
    restarts: int | None = Field(description="How often its restart policy restarted it.")
    started_at: datetime | None = Field(description="Last start (UTC).")
    finished_at: datetime | None = Field(description="Last end (UTC).")
    pid: int | None = Field(description="Its first process on the device.")
    health_log: list[HealthProbe] = Field(description="The last runs of its health check, newest first.")


class PublishedPort(Result):
    """A port of a container."""

    container_port: int = Field(description="Inside.")
    protocol: str = Field(description="tcp, udp or sctp.")
    host_ip: str | None = Field(description="Address on the device; null when not published or on all.")
    host_port: int | None = Field(description="On the device; null when only exposed.")


class Mount(Result):
    """Something mounted into a container."""

    type: str = Field(description="bind, volume or tmpfs.")
    source: str | None = Field(description="Path on the device, or name of the volume.")
    destination: str = Field(description="Path inside.")
    read_only: bool = Field(description="Mounted read-only.")


class NetworkEndpoint(Result):
    """A container on a network."""

    name: str = Field(description="Network.")
    ip: str | None = Field(description="IPv4 address.")
    ipv6: str | None = Field(description="IPv6 address.")
    aliases: list[str] = Field(description="Names others reach it by.")


class Limits(Result):
    """What a container may use; null is no limit."""

    memory_bytes: int | None = Field(description="Memory.")
    memory_swap_bytes: int | None = Field(description="Memory and swap together.")
    cpus: float | None = Field(description="CPU time; 1 is one CPU.")
    pids: int | None = Field(description="Processes.")


class ContainerDetail(Result):
    """One container, from what the engine tells of it."""

    device: str = Field(description="Device name.")
    via: Via = Field(description="How the engine was asked.")
    name: str = Field(description="Name of the container.")
    id: str = Field(description="Full id.")
    image: str = Field(description="Image as it was asked for.")
    image_id: str | None = Field(description="Digest of the image it runs.")
    command: list[str] = Field(description="Entry point and arguments; secrets masked.")
    created_at: datetime | None = Field(description="When it was created (UTC).")
    state: State = Field(description="What it is doing.")
    restart_policy: str | None = Field(description="no, always, unless-stopped, on-failure[:n].")
    stack: str | None = Field(description="Compose project.")
    service: str | None = Field(description="Compose service.")
    stack_files: list[str] = Field(description="Compose files of the stack.")
    pod: str | None = Field(description="Podman pod.")
    protected: bool = Field(description="Labelled infrastructor.protected=true: may not be stopped or removed.")
    ports: list[PublishedPort] = Field(description="Exposed and published ports.")
    mounts: list[Mount] = Field(description="Volumes and paths.")
    network_mode: str | None = Field(description="bridge, host, none, a network, or container:<id>.")
    networks: list[NetworkEndpoint] = Field(description="Networks it is on.")
    limits: Limits = Field(description="What it may use.")
    privileged: bool = Field(description="Runs with all rights on the device.")
    user: str | None = Field(description="User inside; null is the image's.")
    env: dict[str, str] = Field(description="Environment; values masked but for harmless ones such as TZ.")
    labels: dict[str, str] = Field(description="Labels, long values cut, those of compose left out.")
    logging_driver: str | None = Field(description="e.g. json-file, journald.")
    omitted: dict[str, int] = Field(
        default_factory=dict, exclude_if=lambda value: not value, description="Left out for size, by field."
    )


class ContainerUse(Result):
    """What one running container uses; what is not known is left out."""

    name: str = Field(description="Name of the container.")
    cpu_percent: float | None = Field(default=None, exclude_if=_absent, description="100 is one CPU.")
    cpu_limit: float | None = Field(default=None, exclude_if=_absent, description="CPUs it may use.")
    throttled_percent: float | None = Field(
        default=None, exclude_if=_absent, description="Share of periods in which it was held back by that limit."
    )
    memory_bytes: int | None = Field(default=None, exclude_if=_absent, description="Without inactive file cache.")
    memory_limit_bytes: int | None = Field(default=None, exclude_if=_absent, description="Absent: no limit.")
    memory_percent: float | None = Field(
        default=None, exclude_if=_absent, description="Of its limit, or of the device's memory."
    )
    oom_kills: int | None = Field(default=None, exclude_if=_absent, description="Since it was started.")
    pids: int | None = Field(default=None, exclude_if=_absent, description="Processes and threads.")
    pids_limit: int | None = Field(default=None, exclude_if=_absent, description="Most it may have.")
    received_bytes: int | None = Field(default=None, exclude_if=_absent, description="Network, since start.")
    sent_bytes: int | None = Field(default=None, exclude_if=_absent, description="Network, since start.")
    read_bytes: int | None = Field(default=None, exclude_if=_absent, description="From disks, since start.")
    written_bytes: int | None = Field(default=None, exclude_if=_absent, description="To disks, since start.")


class ContainerStats(Result):
    """What the running containers of a device use now."""

    device: str = Field(description="Device name.")
    via: Via = Field(description="How the engine was asked for the names.")
    source: Literal["cgroup", "engine"] = Field(description="cgroup: the kernel's files. engine: its own statistics.")
    cpus: int | None = Field(description="CPUs of the device.")
    memory_total_bytes: int | None = Field(description="Memory of the device.")
    sampled_over_seconds: float | None = Field(description="The interval that cpu_percent covers.")
    running: int = Field(description="Containers that run.")
    cpu_percent: float | None = Field(description="All of them together; 100 is one CPU.")
    memory_bytes: int | None = Field(description="All of them together.")
    containers: list[ContainerUse] = Field(description="The rows of this page, in the order asked for.")
    total: int = Field(description="How many match; more than shown when cut.")
    next_cursor: str | None = Field(description="Pass as cursor for the rest.")


class LogLine(Result):
    """One line of a container's log."""

    time: datetime | None = Field(description="When it was printed (UTC).")
    stream: Literal["stdout", "stderr"] = Field(
        default="stdout", exclude_if=lambda value: value == "stdout", description="Absent: stdout."
    )
    text: str = Field(description="The line; secrets masked.")


class ContainerLogs(Result):
    """Lines of a container's log, oldest first."""

    device: str = Field(description="Device name.")
    name: str = Field(description="Name of the container.")
    via: Via = Field(description="How the engine was asked.")
    lines: list[LogLine] = Field(description="The newest matching lines, oldest of them first.")
    searched: int = Field(description="How many lines were looked through.")
    next_cursor: str | None = Field(description="Pass as cursor for older lines; null: there are none.")
    hint: str | None = Field(default=None, description="What was left out and how to get it.")


class ContainerChange(Result):
    """A container before and after a change."""

    device: str = Field(description="Device name.")
    name: str = Field(description="Name of the container.")
    id: str = Field(description="Full id.")
    changed: bool = Field(description="False: it was in that state already and nothing was done.")
    before: State = Field(description="State before.")
    after: State = Field(description="State read back afterwards.")
    message: str = Field(description="What happened, in words.")


class ContainerRemoved(DestroyResult):
    """Outcome of removing a container."""

    name: str | None = Field(default=None, description="The container that was removed.")
    id: str | None = Field(default=None, description="Its id.")


class ContainerExec(Result):
    """What a program run inside a container said."""

    device: str = Field(description="Device name.")
    name: str = Field(description="Name of the container.")
    exit_code: int | None = Field(description="Of the program; null when it was stopped at its timeout.")
    timed_out: bool = Field(description="True: it was given up; it may go on inside the container.")
    stdout: str = Field(description="What it printed.")
    stderr: str = Field(description="What it printed to stderr.")
    truncated: bool = Field(description="True: there was more.")


class ContainerProblem(Result):
    """A container somebody should look at."""

    name: str = Field(description="Name of the container.")
    what: str = Field(
        description="dead, restart_loop, oom_killed, unhealthy, failed_to_start, exited, restarted, paused."
    )
    severity: Literal["critical", "warning"] = Field(description="How bad it is.")
    message: str = Field(description="In words, with the numbers.")
    stack: str | None = Field(default=None, exclude_if=_absent, description="Compose project.")
    output: str | None = Field(default=None, exclude_if=_absent, description="What its health check said last.")


class ContainerHealth(Result):
    """How the containers of a device are: problems spelled out, the rest counted."""

    device: str = Field(description="Device name.")
    via: Via = Field(description="How the engine was asked.")
    verdict: Literal["green", "amber", "red"] = Field(description="red with a critical problem, amber with another.")
    total: int = Field(description="All containers.")
    running: int = Field(description="Of them running.")
    healthy: int = Field(description="Running with a health check that passes.")
    unchecked: int = Field(description="Running without a health check.")
    ended_well: int = Field(description="Ended with exit code 0.")
    without_memory_limit: int = Field(description="Running without a memory limit.")
    problems: list[ContainerProblem] = Field(description="Worst first.")
    omitted: int = Field(default=0, description="Problems left out for size.")
