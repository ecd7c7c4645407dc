"""What the container operations may run on a device to change something. Detached: each at most once."""

from dataclasses import dataclass
from datetime import timedelta

from infrastructor.command import Command
from infrastructor.domains.containers.commands import EngineCommand
from infrastructor.ports import CommandOutput, Lane

LONGEST_STOP_S = 120
LONGEST_EXEC_S = 600
_REMOVAL = {"force": "--force", "volumes": "--volumes"}
_TIMEOUT = timedelta(seconds=LONGEST_STOP_S + 60)  # a stop waits for the program, then for its killing


@dataclass(frozen=True)
class PodmanStartContainer(Command[None]):
    """Start a container, by Podman."""

    template = "podman start -- {container}"
    needs = "podman"
    lane = Lane.CHANGE
    timeout = _TIMEOUT
    may_sudo = True
    container: str

    def parse(self, output: CommandOutput) -> None:
        return None


@dataclass(frozen=True)
class StartContainer(EngineCommand[None]):
    """Start a container."""

    template = "docker start -- {container}"
    lane = Lane.CHANGE
    timeout = _TIMEOUT
    podman = PodmanStartContainer
    container: str

    def parse(self, output: CommandOutput) -> None:
        return None


@dataclass(frozen=True)
class PodmanStopContainer(Command[None]):
    """Ask a container's program to end, and kill it after the wait, by Podman."""

    template = "podman stop -t={wait} -- {container}"
    needs = "podman"
    lane = Lane.CHANGE
    timeout = _TIMEOUT
    may_sudo = True
    container: str
    wait: int | None = None

    def parse(self, output: CommandOutput) -> None:
        return None


@dataclass(frozen=True)
class StopContainer(EngineCommand[None]):
    """Ask a container's program to end, and kill it after the wait."""

    template = "docker stop -t={wait} -- {container}"
    lane = Lane.CHANGE
    timeout = _TIMEOUT
    podman = PodmanStopContainer
    container: str
    wait: int | None = None

    def parse(self, output: CommandOutput) -> None:
        return None


@dataclass(frozen=True)
class PodmanRestartContainer(Command[None]):
    """Stop and start a container, by Podman."""

    template = "podman restart -t={wait} -- {container}"
    needs = "podman"
    lane = Lane.CHANGE
    timeout = _TIMEOUT
    may_sudo = True
    container: str
    wait: int | None = None

    def parse(self, output: CommandOutput) -> None:
        return None


@dataclass(frozen=True)
class RestartContainer(EngineCommand[None]):
    """Stop and start a container."""

    template = "docker restart -t={wait} -- {container}"
    lane = Lane.CHANGE
    timeout = _TIMEOUT
    podman = PodmanRestartContainer
    container: str
    wait: int | None = None

    def parse(self, output: CommandOutput) -> None:
        return None


@dataclass(frozen=True)
class PodmanRemoveContainer(Command[None]):
    """Remove a container, by Podman."""

    template = "podman rm {force} {volumes} -- {container}"
    flags = _REMOVAL
    needs = "podman"
    lane = Lane.CHANGE
    timeout = _TIMEOUT
    may_sudo = True
    container: str
    force: bool = False
    volumes: bool = False

    def parse(self, output: CommandOutput) -> None:
        return None


@dataclass(frozen=True)
class RemoveContainer(EngineCommand[None]):
    """Remove a container, and with `volumes` those of its volumes that nobody named."""

    template = "docker rm {force} {volumes} -- {container}"
    flags = _REMOVAL
    lane = Lane.CHANGE
    timeout = _TIMEOUT
    podman = PodmanRemoveContainer
    container: str
    force: bool = False
    volumes: bool = False

    def parse(self, output: CommandOutput) -> None:
        return None


_EVERY_STATUS = frozenset(range(256))  # the program's own, and 124 and 137 of `timeout`
_EXEC_OUTPUT = 256 << 10


@dataclass(frozen=True)
class PodmanExecInContainer(Command[CommandOutput]):
    """Run a program inside a container, by Podman, no longer than the first argument says."""

    script = 'limit=$1; shift; exec timeout -k 5 "$limit" podman exec "$@"'
    template = "{seconds} --user={user} --workdir={workdir} -- {container} {argv}"
    lane = Lane.CHANGE
    timeout = timedelta(seconds=LONGEST_EXEC_S + 30)
    max_output = _EXEC_OUTPUT
    ok_statuses = _EVERY_STATUS
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
class ExecInContainer(EngineCommand[CommandOutput]):
    """Run a program inside a container, no longer than the first argument says."""

    # `needs` is not said: 127 is also what a program that is missing inside the container ends with.
    needs = None
    script = 'limit=$1; shift; exec timeout -k 5 "$limit" docker exec "$@"'
    template = "{seconds} --user={user} --workdir={workdir} -- {container} {argv}"
    lane = Lane.CHANGE
    timeout = timedelta(seconds=LONGEST_EXEC_S + 30)
    max_output = _EXEC_OUTPUT
    ok_statuses = _EVERY_STATUS
    accepts_truncated = True
    podman = PodmanExecInContainer
    seconds: int
    container: str
    argv: tuple[str, ...]
    user: str | None = None
    workdir: str | None = None

    def parse(self, output: CommandOutput) -> CommandOutput:
        return output
