"""What stands against a deployment, found out before anything is touched. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from infrastructor.domains.compose.commands import Checked, PathFact
from infrastructor.domains.compose.project import Project, Published
from infrastructor.domains.containers.rows import Row
from infrastructor.domains.network.containers import Container
from infrastructor.domains.network.models import PortRow, Scope
from infrastructor.domains.network.ports import protocol_of

_ROOM_KIB = 4 << 10  # beside what the files themselves need
_ENGINE_ROOM_KIB = 256 << 10  # an engine whose disk is that full cannot even start what it has
_FILES = {"conf", "cfg", "ini", "json", "yaml", "yml", "toml", "env", "sock", "pem", "crt", "key", "sh", "sql", "txt",
          "xml", "properties", "htpasswd", "list", "rules", "py", "js", "lua"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Holder:
    """Who has a port or will have it once started; no addresses: on every one."""

    protocol: str
    port: int
    addresses: frozenset[str]
    who: str
    stack: str | None

    def collides(self, wanted: Published) -> bool:
        return (
            (self.protocol, self.port) == (wanted.protocol, wanted.port)
            and (not self.addresses or wanted.ip is None or wanted.ip in self.addresses)
        )  # fmt: skip


def holders(rows: Iterable[PortRow], stopped: Iterable[Container]) -> tuple[Holder, ...]:
    """Sockets that listen, ports of containers that run, and those that others will want when they are started."""
    found = [
        Holder(
            row.protocol,
            row.port,
            frozenset() if row.scope is Scope.ALL else frozenset(row.addresses),
            f"container {row.container}" if row.container else row.unit or row.process or "a process",
            row.stack,
        )
        for row in rows
    ]
    for container in stopped:
        for binding in container.details.bindings if container.details else ():
            if binding.host_port is not None:
                wide = binding.address is None or binding.address.is_unspecified
                found.append(
                    Holder(
                        protocol_of(binding),
                        binding.host_port,
                        frozenset() if wide else frozenset({str(binding.address)}),
                        f"container {container.name}, which does not run now,",
                        container.stack,
                    )
                )
    return tuple(found)


def free_near(port: int, protocol: str, taken: Iterable[Holder], barred: Iterable[int] = ()) -> int | None:
    """The next free port above, as people number them: 8080 taken → 8081."""
    used = {holder.port for holder in taken if holder.protocol == protocol} | set(barred)
    start = port if port >= 1024 else port + 8000  # noqa: PLR2004 - the first that needs no rights
    return next((number for number in range(start, 65536) if number not in used), None)


def obstacles(
    *,
    stack: str,
    project: Project,
    checked: Checked,
    rows: Sequence[Row],
    taken: Sequence[Holder],
    paths: Mapping[str, PathFact],
    size_bytes: int,
    main_folder: str,
) -> list[str]:
    """Why it would fail, in words; empty when nothing is known to be in the way."""
    found = []
    fresh = [name for name in checked.unset if name not in checked.unset_now]
    if fresh:
        found.append(f"Variables without a value: {', '.join(fresh)}. Set them in .env, or give a default: ${{X:-y}}.")
    others = [holder for holder in taken if holder.stack != stack]
    wanted: dict[tuple[str, int, str | None], str] = {}
    for name, service in sorted(project.services.items()):
        if service.replicas > 0 and service.network_mode != "host":
            for port in service.ports:
                twin = wanted.setdefault((port.protocol, port.port, port.ip), name)
                if twin != name:
                    found.append(f"{name} and {twin} both want port {port.port}/{port.protocol}.")
                holder = next((one for one in others if one.collides(port)), None)
                if holder is not None:
                    near = free_near(port.port, port.protocol, taken)
                    found.append(f"{name}: port {port.port}/{port.protocol} is taken by {holder.who}; {near} is free.")
        found += _names(stack, service.container_name, rows)
        found += [
            f"{name}: {bind.source} is not there, and Docker would make a folder of that name. Create the file first."
            for bind in service.binds
            if _missing_file(bind.source, paths)
        ]
    found += [
        f"The network {one} does not exist." for one in sorted(project.external_networks.difference(checked.networks))
    ]
    found += [
        f"The volume {one} does not exist." for one in sorted(project.external_volumes.difference(checked.volumes))
    ]
    if not checked.writable:
        found.append(f"{main_folder} may not be written to by this login.")
    room = size_bytes // 1024 * 3 + _ROOM_KIB
    if checked.free_kib is not None and checked.free_kib < room:
        found.append(f"Only {checked.free_kib} KiB are free where {main_folder} is; {room} are needed.")
    if checked.engine_free_kib is not None and checked.engine_free_kib < _ENGINE_ROOM_KIB:
        found.append(f"Only {checked.engine_free_kib >> 10} MiB are free for the container engine.")
    return found


def _names(stack: str, name: str | None, rows: Iterable[Row]) -> list[str]:
    return [
        f"A container named {name} exists already, {f'of the stack {row.stack}' if row.stack else 'of no stack'}."
        for row in rows
        if name is not None and row.name == name and row.stack != stack
    ]


def _missing_file(source: str, paths: Mapping[str, PathFact]) -> bool:
    """A missing source whose name says that it is to be a file."""
    fact = paths.get(source)
    name = source.rpartition("/")[2]
    return fact is not None and fact.kind == "missing" and name.rpartition(".")[2].lower() in _FILES and "." in name


def missing_folders(project: Project, paths: Mapping[str, PathFact]) -> list[tuple[str, str]]:
    """Folders to be made for services, with `uid:gid` or `-`; Docker would make them for root."""
    found: dict[str, str] = {}
    for service in project.services.values():
        owner = "-" if service.uid is None else f"{service.uid}:{service.uid if service.gid is None else service.gid}"
        for bind in service.binds:
            fact = paths.get(bind.source)
            if fact is not None and fact.kind == "missing" and not _missing_file(bind.source, paths):
                found.setdefault(bind.source, owner)
    return sorted(found.items())


def to_pull(project: Project, checked: Checked, policy: str) -> list[tuple[str, str]]:
    """Services and images that have to be fetched first; what is built is not."""
    return sorted(
        (service.name, service.image)
        for service in project.services.values()
        if service.image
        and not service.builds
        and service.replicas > 0
        and (policy == "always" or image_id(service.image, checked.images) is None)
    )


def image_id(image: str, images: Mapping[str, str]) -> str | None:
    """The image of that name on the device: names are written short there."""
    if image.startswith("sha256:"):
        return image if image in images.values() else None
    name, at, digest = image.partition("@")
    for prefix in ("docker.io/library/", "docker.io/", "index.docker.io/", "library/"):
        name = name.removeprefix(prefix)
    if at:
        bare = name.rpartition(":")[0] if ":" in name.rpartition("/")[2] else name
        return images.get(f"{bare}@{digest}")
    tagged = name if ":" in name.rpartition("/")[2] else f"{name}:latest"
    return images.get(tagged)
