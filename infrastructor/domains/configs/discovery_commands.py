"""What discovery asks a device and its container engine."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from pydantic_core import from_json

from infrastructor.command import Command
from infrastructor.domains.configs.discovery import Mount, Mounting
from infrastructor.domains.containers.commands import EngineCommand
from infrastructor.engine import EngineQuery
from infrastructor.errors import ParseError
from infrastructor.ports.ssh import CommandOutput, EngineReply, Lane

_PROJECT = "com.docker.compose.project"
_FORMAT = "[{{json .Name}},{{json .Config.Image}},{{json .Config.Labels}},{{json .Mounts}}]"


@dataclass(frozen=True)
class PodmanInspectMounts(Command[tuple[Mounting, ...]]):
    """Image, labels and mounts of every container, by Podman."""

    script = f"""
ids=$(podman ps -aq) || exit
[ -z "$ids" ] || podman container inspect --format '{_FORMAT}' $ids
"""
    needs = "podman"
    lane = Lane.SLOW
    max_output = 16 << 20
    may_sudo = True

    def parse(self, output: CommandOutput) -> tuple[Mounting, ...]:
        return from_lines(output.stdout)


@dataclass(frozen=True)
class InspectMounts(EngineCommand[tuple[Mounting, ...]]):
    """Image, labels and mounts of every container."""

    script = f"""
ids=$(docker ps -aq) || exit
[ -z "$ids" ] || docker container inspect --format '{_FORMAT}' $ids
"""
    lane = Lane.SLOW
    max_output = 16 << 20
    podman = PodmanInspectMounts

    def parse(self, output: CommandOutput) -> tuple[Mounting, ...]:
        return from_lines(output.stdout)


@dataclass(frozen=True)
class QueryMounts(EngineQuery[tuple[Mounting, ...]]):
    """The same from the engine's list of all containers."""

    target = "/containers/json?all=true"

    def parse(self, reply: EngineReply) -> tuple[Mounting, ...]:
        try:
            items = from_json(reply.body) or []
            return tuple(
                _mounting(min(item["Names"], key=len), item["Image"], item.get("Labels"), item.get("Mounts"))
                for item in items
            )
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ParseError(f"Not a list of containers with mounts: {reply.body[:200]!r}") from error

    def command(self) -> Command[tuple[Mounting, ...]]:
        return InspectMounts()


@dataclass(frozen=True)
class FindFolders(Command[tuple[str, ...]]):
    """Which of some paths are folders."""

    script = """for path do [ -d "$path" ] && printf '%s\\n' "$path"; done; true"""
    template = "{paths}"
    lane = Lane.SLOW
    timeout = timedelta(seconds=15)
    paths: tuple[str, ...]

    def parse(self, output: CommandOutput) -> tuple[str, ...]:
        return tuple(output.text.splitlines())


@dataclass(frozen=True)
class ListServices(Command[tuple[str, ...]]):
    """Folders of services in those that hold all of them, and where those keep their configuration."""

    script = r"""
for base do
  for path in "$base"/*/ "$base"/*/config/ "$base"/*/conf/; do [ -d "$path" ] && printf '%s\n' "${path%/}"; done
done | head -n 1000
true
"""
    template = "{paths}"
    lane = Lane.SLOW
    timeout = timedelta(seconds=15)
    paths: tuple[str, ...]

    def parse(self, output: CommandOutput) -> tuple[str, ...]:
        return tuple(line for line in output.text.splitlines() if line.startswith("/"))


def from_lines(body: bytes) -> tuple[Mounting, ...]:
    """A JSON array of four values a line."""
    found = []
    for line in body.splitlines():
        try:
            name, image, labels, mounts = from_json(line)
            found.append(_mounting(name, image, labels, mounts))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ParseError(f"Not a container with its mounts: {line[:200]!r}") from error
    return tuple(found)


def _mounting(
    name: str, image: str, labels: Mapping[str, Any] | None, mounts: Iterable[Mapping[str, Any]] | None
) -> Mounting:
    labels = labels or {}
    files = str(labels.get(f"{_PROJECT}.config_files") or "")
    return Mounting(
        name=name.lstrip("/"),
        image=image,
        mounts=tuple(
            Mount(source=str(mount["Source"]), destination=str(mount["Destination"]))
            for mount in mounts or ()
            if mount.get("Type") == "bind" and mount.get("Source")
        ),
        compose_folder=str(labels.get(f"{_PROJECT}.working_dir") or "") or None,
        compose_files=tuple(file for file in files.split(",") if file),
    )
