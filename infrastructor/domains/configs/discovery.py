"""What is worth watching on a device, from where people keep configuration and from what its containers mount. Pure."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from posixpath import basename, dirname, normpath
from uuid import UUID

from infrastructor.domains.devices.models import ConfigPath
from infrastructor.snapshot_store import ConfigWatch

COMPOSE_FILES = ("*.yml", "*.yaml", ".env", "*.env")
CONFIG_FILES = (
    *("*.conf", "*.cfg", "*.cnf", "*.ini", "*.env", ".env", "*.yml", "*.yaml", "*.json", "*.toml", "*.xml"),
    *("*.properties", "Caddyfile", "Dockerfile", "*.rules", "*.list"),
)
_PROXY_FILES = ("*.conf", "*.sample", "*.template", "*.vhost", "mime.types", "fastcgi_params", "Caddyfile")
_SYSTEM = {"nginx": _PROXY_FILES, "apache": (*_PROXY_FILES, "envvars"), "traefik": ("*.yml", "*.yaml", "*.toml")}
_SYSTEM_BY_FOLDER = frozenset({"sites-available", "sites-enabled", "conf-available", "conf-enabled"})
_SWAG_CONFIG = "/config"
_PROXY_CONFS = "/nginx/proxy-confs"
# A folder that holds much else is no configuration, whatever is mounted from it.
_TOO_WIDE = frozenset({"/", "/etc", "/home", "/root", "/opt", "/srv", "/mnt", "/data", "/usr", "/var", "/boot"})
_NEVER = ("/proc/", "/sys/", "/dev/", "/run/", "/var/run/", "/var/lib/docker/", "/var/lib/containers/")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """A file or folder of the device that a container sees."""

    source: str
    destination: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Mounting:
    """A container, as far as it leads to configuration. `compose_files` are those it was made from."""

    name: str
    image: str
    mounts: tuple[Mount, ...] = ()
    compose_folder: str | None = None
    compose_files: tuple[str, ...] = ()

    @property
    def is_swag(self) -> bool:
        return basename(self.image.partition("@")[0]).partition(":")[0] == "swag"


def candidates(containers: Iterable[Mounting]) -> tuple[str, ...]:
    """Paths that containers name; which of them are there, and folders, the device must tell."""
    found: dict[str, None] = {}
    for container in containers:
        for path in (*_compose_paths(container), *(mount.source for mount in container.mounts)):
            if _sensible(path):
                found[normpath(path)] = None
    return tuple(found)


def watches(
    device_id: UUID,
    paths: Iterable[ConfigPath],
    containers: Sequence[Mounting],
    folders: Iterable[str],
    services: Iterable[str] = (),
) -> tuple[ConfigWatch, ...]:
    """What to watch, each path once for a source. `folders`: which candidates are; `services`: those in appdata."""
    known = frozenset(folders)
    found: dict[tuple[str, str], ConfigWatch] = {}
    for path, source, recursive, include in (
        *_of_swag(paths, containers),
        *_of_compose(paths, containers),
        *_of_programs(paths),
        *_of_mounts(containers, known),
        *((normpath(path), "appdata", False, CONFIG_FILES) for path in services if _sensible(path)),
    ):
        watch = ConfigWatch(device_id=device_id, path=path, source=source, recursive=recursive, include=include)
        other = found.get((path, source))
        found[path, source] = watch if other is None else _joined(watch, other)
    return tuple(watch for watch in found.values() if not _covered(watch, found.values()))


Found = Iterator[tuple[str, str, bool, tuple[str, ...]]]


def _of_swag(paths: Iterable[ConfigPath], containers: Iterable[Mounting]) -> Found:
    for container in containers:
        for mount in container.mounts:
            if container.is_swag and mount.destination == _SWAG_CONFIG and _sensible(mount.source):
                yield f"{normpath(mount.source)}/nginx", "swag", True, _PROXY_FILES
    for one in paths:
        if one.kind == "swag" and one.path.endswith(_PROXY_CONFS):
            yield one.path.removesuffix("/proxy-confs"), "swag", True, _PROXY_FILES


def _of_compose(paths: Iterable[ConfigPath], containers: Iterable[Mounting]) -> Found:
    files = [one.path for one in paths if one.kind == "compose"]
    for container in containers:
        files += _compose_paths(container)
        if container.compose_folder and _sensible(container.compose_folder):
            yield normpath(container.compose_folder), "compose", False, COMPOSE_FILES
    for file in files:
        folder = dirname(normpath(file))
        if _sensible(folder):
            own = () if basename(file).endswith((".yml", ".yaml")) else (basename(file),)
            yield folder, "compose", False, (*COMPOSE_FILES, *own)


def _of_programs(paths: Iterable[ConfigPath]) -> Found:
    """nginx, Apache and Traefik of the machine itself: the whole folder, since sites lie in files of any name."""
    for one in paths:
        if one.kind in _SYSTEM:
            folder = dirname(one.path)
            root = dirname(folder) if basename(folder) == "conf" else folder
            yield root, one.kind, True, _SYSTEM[one.kind]
            if one.kind != "traefik":
                for name in sorted(_SYSTEM_BY_FOLDER):
                    yield f"{root}/{name}", one.kind, True, ()


def _of_mounts(containers: Iterable[Mounting], folders: frozenset[str]) -> Found:
    """What is mounted where containers look for their configuration: single files, and folders without those below."""
    for container in containers:
        for mount in container.mounts:
            path = normpath(mount.source)
            if not _sensible(path):
                continue
            if path not in folders:
                if _is_config(basename(path)):
                    yield dirname(path), "appdata", False, (basename(path),)
            elif mount.destination == _SWAG_CONFIG or mount.destination.startswith("/etc/"):
                yield path, "appdata", False, CONFIG_FILES


def _compose_paths(container: Mounting) -> list[str]:
    folder = container.compose_folder or "/"
    return [file if file.startswith("/") else f"{folder}/{file}" for file in container.compose_files]


def _sensible(path: str) -> bool:
    path = normpath(path)
    return path.startswith("/") and path not in _TOO_WIDE and not path.startswith(_NEVER)


def _is_config(name: str) -> bool:
    return any(name.endswith(pattern.removeprefix("*")) for pattern in CONFIG_FILES)


def _joined(one: ConfigWatch, other: ConfigWatch) -> ConfigWatch:
    """All that either of two watches of a path wants."""
    both = tuple(dict.fromkeys((*other.include, *one.include))) if one.include and other.include else ()
    return replace(one, recursive=one.recursive or other.recursive, include=both)


def _covered(watch: ConfigWatch, others: Iterable[ConfigWatch]) -> bool:
    """Whether another one watches the folder with all its files, or with the same ones, from above or as well."""
    return any(
        other is not watch
        and other.recursive
        and (watch.path == other.path or watch.path.startswith(f"{other.path}/"))
        and (not other.include or (bool(watch.include) and set(watch.include) <= set(other.include)))
        for other in others
    )
