"""What `docker inspect` says of a container, distilled. Pure.

Docker's API and program and Podman's API say the same; Podman's program says `ImageName`, `ImageDigest` and, in
version 4, `Healthcheck`. Seen: Docker 20.10 and 28.2, Podman 4.3 and 5.4.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError
from pydantic_core import from_json

from infrastructor.domains.containers.models import (
    ContainerDetail,
    HealthProbe,
    Limits,
    Mount,
    NetworkEndpoint,
    PublishedPort,
    State,
)
from infrastructor.errors import ParseError
from infrastructor.masking import MASK, mask_secrets
from infrastructor.paging import fitting
from infrastructor.ports.ssh import Via
from infrastructor.protection import PROTECTED, is_set
from infrastructor.sanitize import clean
from infrastructor.secret_words import mask_words

_COMPOSE = ("com.docker.compose.", "io.podman.compose.")
_PROBES = 3
_OUTPUT = 500
_VALUE = 200
_MOST = 500  # words, variables and labels that are masked; masking takes its time
#: Characters of the lists of a `ContainerDetail`; together they stay below what an answer may have.
_BUDGETS = {
    "command": 5000, "stack_files": 2000, "ports": 7000, "mounts": 6000, "networks": 4000, "env": 5000, "labels": 6000,
}  # fmt: skip
_WORD = 500
_HARMLESS = re.compile(
    r"P[UG]ID|UMASK(_SET)?|TZ|LANG(UAGE)?|LC_[A-Z]+|PATH|HOME|TERM|HOSTNAME|USER|NODE_ENV|LOG_LEVEL|[A-Z][A-Z0-9]*_VERSION"
)
_ANONYMOUS = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Inspection:
    """One container in full. `env` and `command` hold secrets: `detail` masks them."""

    id: str
    name: str
    image: str
    image_id: str | None
    command: tuple[str, ...]
    created_at: datetime | None
    state: State
    restart_policy: str | None
    labels: Mapping[str, str]
    env: tuple[str, ...]
    ports: tuple[PublishedPort, ...]
    mounts: tuple[Mount, ...]
    network_mode: str | None
    networks: tuple[NetworkEndpoint, ...]
    limits: Limits
    privileged: bool
    user: str | None
    logging_driver: str | None
    pod: str | None
    tty: bool
    auto_remove: bool

    @property
    def running(self) -> bool:
        return self.state.status in {"running", "paused", "restarting"}

    @property
    def protected(self) -> bool:
        return is_set(self.labels, PROTECTED)

    @property
    def stack(self) -> str | None:
        return self._compose("project")

    @property
    def anonymous_volumes(self) -> tuple[str, ...]:
        """Volumes nobody named: those that `docker rm --volumes` deletes."""
        return tuple(
            m.source for m in self.mounts if m.type == "volume" and m.source and _ANONYMOUS.fullmatch(m.source)
        )

    @property
    def named_volumes(self) -> tuple[str, ...]:
        anonymous = self.anonymous_volumes
        return tuple(m.source for m in self.mounts if m.type == "volume" and m.source and m.source not in anonymous)

    def _compose(self, name: str) -> str | None:
        return next((value for prefix in _COMPOSE if (value := self.labels.get(prefix + name))), None)

    def detail(self, device: str, via: Via) -> ContainerDetail:
        """What an answer may say of it."""
        files = self._compose("project.config_files") or ""
        labels = sorted(pair for pair in self.labels.items() if not pair[0].startswith(_COMPOSE))
        whole: dict[str, list[Any]] = {
            "command": _masked_words(self.command[:_MOST]),
            "stack_files": [file for file in files.split(",") if file],
            "ports": list(self.ports),
            "mounts": list(self.mounts),
            "networks": list(self.networks),
            "env": _masked_env(self.env[:_MOST]),
            "labels": _masked_labels(labels[:_MOST]),
        }
        shown = {name: fitting(rows, _BUDGETS[name]) for name, rows in whole.items()}
        totals = {name: len(rows) for name, rows in whole.items()} | {
            "command": len(self.command),
            "env": len(self.env),
            "labels": len(labels),
        }
        return ContainerDetail(
            device=device,
            via=via,
            name=self.name,
            id=self.id,
            image=self.image,
            image_id=self.image_id,
            command=shown["command"],
            created_at=self.created_at,
            state=self.state,
            restart_policy=self.restart_policy,
            stack=self.stack,
            service=self._compose("service"),
            stack_files=shown["stack_files"],
            pod=self.pod,
            protected=self.protected,
            ports=shown["ports"],
            mounts=shown["mounts"],
            network_mode=self.network_mode,
            networks=shown["networks"],
            limits=self.limits,
            privileged=self.privileged,
            user=self.user,
            env=dict(shown["env"]),
            labels=dict(shown["labels"]),
            logging_driver=self.logging_driver,
            omitted={name: left for name, rows in shown.items() if (left := totals[name] - len(rows))},
        )


def from_inspect(body: bytes) -> tuple[Inspection, ...]:
    """One object (the API) or an array of them (the programs)."""
    try:
        found = from_json(body)
    except ValueError as error:
        raise ParseError(f"Not what inspect says: {clean(body[:200].decode('utf-8', 'replace'))!r}") from error
    items = found if isinstance(found, list) else [found]
    try:
        return tuple(_inspection(item) for item in items)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError, ValidationError) as error:
        raise ParseError(f"A container was described in an unknown form: {clean(repr(error), 200)}") from error


def _inspection(item: Mapping[str, Any]) -> Inspection:
    config, host = item["Config"] or {}, item.get("HostConfig") or {}
    network = item.get("NetworkSettings") or {}
    restart = host.get("RestartPolicy") or {}
    policy = str(restart.get("Name") or "") or "no"
    if restart.get("MaximumRetryCount"):
        policy = f"{policy}:{int(restart['MaximumRetryCount'])}"
    return Inspection(
        id=str(item["Id"]),
        name=str(item["Name"]).lstrip("/"),
        image=str(item.get("ImageName") or config.get("Image") or item.get("Image") or ""),
        image_id=str(item["Image"]) if item.get("Image") else None,
        command=(str(item.get("Path") or ""), *(str(word) for word in item.get("Args") or ())),
        created_at=moment(item.get("Created")),
        state=_state(item["State"], item.get("RestartCount")),
        restart_policy=policy,
        labels={str(key): str(value) for key, value in (config.get("Labels") or {}).items()},
        env=tuple(str(line) for line in config.get("Env") or ()),
        ports=tuple(_ports(network, host, config)),
        mounts=tuple(_mount(mount) for mount in item.get("Mounts") or ()),
        network_mode=str(host.get("NetworkMode") or "") or None,
        networks=tuple(_endpoint(name, end) for name, end in (network.get("Networks") or {}).items()),
        limits=_limits(host),
        privileged=bool(host.get("Privileged")),
        user=str(config.get("User") or "") or None,
        logging_driver=str((host.get("LogConfig") or {}).get("Type") or "") or None,
        pod=str(item.get("Pod") or "") or None,
        tty=bool(config.get("Tty")),
        auto_remove=bool(host.get("AutoRemove")),
    )


def _state(state: Mapping[str, Any], restarts: Any) -> State:
    status = str(state["Status"]).lower()
    status = {"stopped": "exited", "configured": "created", "initialized": "created"}.get(status, status)
    health = state.get("Health") or state.get("Healthcheck") or {}
    checked = str(health.get("Status") or "none")
    ended = status not in {"running", "paused", "created"}
    error = str(state.get("Error") or "")
    return State(
        status=status,
        health=checked if checked != "none" else None,
        exit_code=int(state["ExitCode"]) if ended or error else None,
        oom_killed=bool(state.get("OOMKilled")),
        error=clean(error, _OUTPUT) or None,
        restarts=None if restarts is None else int(restarts),
        started_at=moment(state.get("StartedAt")),
        finished_at=moment(state.get("FinishedAt")),
        pid=int(state.get("Pid") or 0) or None,
        health_log=[
            HealthProbe(
                ended_at=moment(probe.get("End")),
                exit_code=probe.get("ExitCode"),
                output=clean(mask_secrets(str(probe.get("Output") or "").strip()), _OUTPUT),
            )
            for probe in reversed((health.get("Log") or [])[-_PROBES:])
        ],
    )


def _ports(network: Mapping[str, Any], host: Mapping[str, Any], config: Mapping[str, Any]) -> Iterable[PublishedPort]:
    # A container that does not run has no ports in its network; what it asked for stands in its configuration.
    asked = dict.fromkeys(config.get("ExposedPorts") or {}) | dict(host.get("PortBindings") or {})
    found: dict[PublishedPort, None] = {}
    for inside, bindings in (asked | dict(network.get("Ports") or {})).items():
        port, _, protocol = str(inside).partition("/")
        for binding in bindings or [{}]:
            ip, outside = str(binding.get("HostIp") or ""), str(binding.get("HostPort") or "")
            found[
                PublishedPort(
                    container_port=int(port),
                    protocol=protocol or "tcp",
                    host_ip=None if ip in {"", "0.0.0.0", "::"} else ip,  # noqa: S104 - read, not bound
                    host_port=int(outside) if outside.isdecimal() else None,
                )
            ] = None
    return found


def _mount(mount: Mapping[str, Any]) -> Mount:
    kind = str(mount.get("Type") or "bind")
    source = mount.get("Name") if kind == "volume" else mount.get("Source")
    return Mount(
        type=kind,
        source=str(source) if source else None,
        destination=str(mount.get("Destination") or ""),
        read_only=mount.get("RW") is False,
    )


def _endpoint(name: str, end: Mapping[str, Any] | None) -> NetworkEndpoint:
    end = end or {}
    return NetworkEndpoint(
        name=str(name),
        ip=str(end.get("IPAddress") or "") or None,
        ipv6=str(end.get("GlobalIPv6Address") or "") or None,
        aliases=[str(alias) for alias in end.get("Aliases") or ()],
    )


def _limits(host: Mapping[str, Any]) -> Limits:
    quota, period = int(host.get("CpuQuota") or 0), int(host.get("CpuPeriod") or 0) or 100_000
    nano = int(host.get("NanoCpus") or 0)
    return Limits(
        memory_bytes=_positive(host.get("Memory")),
        memory_swap_bytes=_positive(host.get("MemorySwap")),
        cpus=nano / 1e9 if nano > 0 else round(quota / period, 3) if quota > 0 else None,
        pids=_positive(host.get("PidsLimit")),
    )


def _positive(value: Any) -> int | None:
    number = int(value or 0)
    return number if number > 0 else None


def moment(text: Any) -> datetime | None:
    """RFC 3339 with nanoseconds, as Go prints it; its zero time, the year 1, is None."""
    if not text or str(text).startswith("0001-"):
        return None
    found = datetime.fromisoformat(str(text))
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def _masked_env(lines: Iterable[str]) -> list[tuple[str, str]]:
    pairs = [line.partition("=") for line in lines]
    return [
        (clean(name, _VALUE), clean(mask_secrets(value), _VALUE) if _HARMLESS.fullmatch(name) else MASK)
        for name, _, value in pairs
    ]


def _masked_labels(labels: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(clean(key, _VALUE), clean(mask_secrets(value), _VALUE)) for key, value in labels]


def _masked_words(words: tuple[str, ...]) -> list[str]:
    return [clean(word, _WORD) for word in mask_words([word[: 2 * _WORD] for word in words])]
