"""What the container operations may run on a device to change something. Detached: each at most once."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import ClassVar

from infrastructor.command import Command
from infrastructor.domains.containers.commands import EngineCommand
from infrastructor.ports.ssh import CommandOutput, Lane

LONGEST_STOP_S = 120
LONGEST_EXEC_S = 600
_TIMEOUT = timedelta(seconds=LONGEST_STOP_S + 60)  # a stop waits for the program, then for its killing


@dataclass(frozen=True)
class _Change(Command[None]):
    """What changes a container: whatever it prints, the state is read back afterwards."""

    lane = Lane.CHANGE
    timeout = _TIMEOUT
    may_sudo = True
    container: str

    def parse(self, output: CommandOutput) -> None:
        return None


@dataclass(frozen=True)
class _EndingChange(_Change):
    """One that asks the container's program to end, and kills it after the wait."""

    wait: int | None = None


@dataclass(frozen=True)
class _Removal(_Change):
    """One that removes a container, and with `volumes` those of its volumes that nobody named."""

    flags: ClassVar[Mapping[str, str]] = {"force": "--force", "volumes": "--volumes"}
    force: bool = False
    volumes: bool = False


@dataclass(frozen=True)
class PodmanStartContainer(_Change):
    """Start a container, by Podman."""

    template = "podman start -- {container}"
    needs = "podman"


@dataclass(frozen=True)
class StartContainer(EngineCommand[None], _Change):
    """Start a container."""

    template = "docker start -- {container}"
    podman = PodmanStartContainer


@dataclass(frozen=True)
class PodmanStopContainer(_EndingChange):
    """Ask a container's program to end, and kill it after the wait, by Podman."""

    template = "podman stop -t={wait} -- {container}"
    needs = "podman"


@dataclass(frozen=True)
class StopContainer(EngineCommand[None], _EndingChange):
    """Ask a container's program to end, and kill it after the wait."""

    template = "docker stop -t={wait} -- {container}"
    podman = PodmanStopContainer


@dataclass(frozen=True)
class PodmanRestartContainer(_EndingChange):
    """Stop and start a container, by Podman."""

    template = "podman restart -t={wait} -- {container}"
    needs = "podman"


@dataclass(frozen=True)
class RestartContainer(EngineCommand[None], _EndingChange):
    """Stop and start a container."""

    template = "docker restart -t={wait} -- {container}"
    podman = PodmanRestartContainer


@dataclass(frozen=True)
class PodmanRemoveContainer(_Removal):
    """Remove a container, by Podman."""

    template = "podman rm {force} {volumes} -- {container}"
    needs = "podman"


@dataclass(frozen=True)
class RemoveContainer(EngineCommand[None], _Removal):
    """Remove a container, and with `volumes` those of its volumes that nobody named."""

    template = "docker rm {force} {volumes} -- {container}"
    podman = PodmanRemoveContainer


@dataclass(frozen=True)
class _Exec(Command[CommandOutput]):
    """What runs a program inside a container; its output is the answer, whatever status it ends with."""

    # `needs` is not said: 127 is also what a program that is missing inside the container ends with.
    needs = None
    template = "{seconds} --user={user} --workdir={workdir} -- {container} {argv}"
    lane = Lane.CHANGE
    timeout = timedelta(seconds=LONGEST_EXEC_S + 30)
    max_output = 256 << 10
    ok_statuses = frozenset(range(256))  # the program's own, and 124 and 137 of `timeout`
    accepts_truncated = True
    may_sudo = True
    seconds: int
    container: str
    argv: tuple[str, ...]
    user: str | None = None
    workdir: str | None = None

    def parse(self, output: CommandOutput) -> CommandOutput:
        return output


@dataclass(frozen=True)
class PodmanExecInContainer(_Exec):
    """Run a program inside a container, by Podman, no longer than the first argument says."""

    script = 'limit=$1; shift; exec timeout -k 5 "$limit" podman exec "$@"'


@dataclass(frozen=True)
class ExecInContainer(EngineCommand[CommandOutput], _Exec):
    """Run a program inside a container, no longer than the first argument says."""

    needs = None
    script = 'limit=$1; shift; exec timeout -k 5 "$limit" docker exec "$@"'
    podman = PodmanExecInContainer
