"""A compose file fitted to a device: paths, owners, time zone, ports, networks. Pure.

Only values are touched, by their places in the text: comments, order and layout stay byte for byte.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from infrastructor.domains.compose.preflight import Holder, free_near
from infrastructor.domains.compose.project import Published
from infrastructor.formats import compose as compose_text
from infrastructor.formats.compose import PortPlace
from infrastructor.formats.yaml_text import Branch, CannotEdit, Editor, Path, Scalar

# Where examples and other machines keep what belongs to an application.
_FOREIGN = re.compile(
    r"^(/path/to(/your)?|/mnt/user/appdata|/mnt/cache/appdata|/opt/appdata|/srv/(appdata|docker)|/volume\d+/docker"
    r"|/home/[^/]+/(docker|appdata|containers)|/(opt/)?docker(/appdata)?|/appdata|/share/Container)(?=/)"
)
_OF_THE_SYSTEM = re.compile(r"^/(etc|dev|proc|sys|run|var/run|var/lib/docker|var/log|lib|tmp|usr|boot)(/|$)|^/$")
_FROM_LINUXSERVER = re.compile(r"(^|/)linuxserver/")


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a device has for a stack. None: not known, so it is left as it is."""

    stack: str
    appdata: str | None = None
    uid: int | None = None
    gid: int | None = None
    zone: str | None = None
    network: str | None = None
    prefixes: Mapping[str, str] = field(default_factory=dict)
    taken: Sequence[Holder] = ()
    names: Mapping[str, str | None] = field(default_factory=dict)  # containers and their stacks
    networks: frozenset[str] = frozenset()
    missing: frozenset[str] = frozenset()  # paths of the file that are not on the device


@dataclass(frozen=True, slots=True)
class Change:
    """One value that was changed, and why."""

    where: str
    before: str | None
    after: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    text: str = field(repr=False)
    changes: tuple[Change, ...]
    problems: tuple[str, ...]


def fit(text: str, device: Surroundings) -> Fitted:
    """Raises `NotYaml` for what is none."""
    fitting = _Fitting(text, device)
    for service in compose_text.services(fitting.editor.document):
        fitting.identity(service)
        fitting.ports(service)
        fitting.paths(service)
        fitting.join(service)
        fitting.names(service)
    fitting.declare_networks()
    return Fitted(text=fitting.editor.result(), changes=tuple(fitting.changes), problems=tuple(fitting.problems))


def paths_in(text: str, device: Surroundings) -> list[str]:
    """Paths of the device that the fitted file would mount."""
    editor = Editor(text)
    found = {
        _moved(bind.source, device) or bind.source
        for service in compose_text.services(editor.document)
        for bind in compose_text.binds(editor.document, service)
    }
    return sorted(path for path in found if path.startswith("/"))


def common_root(sources: Iterable[str], names: Iterable[str]) -> str | None:
    """The folder under which a device keeps its applications: most of its mounts are `<root>/<application>/…`."""
    known = {name.lower() for name in names}
    votes: Counter[str] = Counter()
    for source in sources:
        if _OF_THE_SYSTEM.match(source):
            continue
        parts = source.split("/")
        for place in range(2, len(parts)):
            if parts[place].lower() in known:
                votes["/".join(parts[:place])] += 1
                break
    best = votes.most_common(1)
    return best[0][0] if best and best[0][1] > 1 else None


def _moved(source: str, device: Surroundings) -> str | None:
    """Where a path is to be on the device; None: where it is."""
    for prefix, other in sorted(device.prefixes.items(), key=lambda pair: -len(pair[0])):
        bare = prefix.rstrip("/")
        if source == bare or source.startswith(f"{bare}/"):
            return other.rstrip("/") + source[len(bare) :]
    if device.appdata is None:
        return None
    root = device.appdata.rstrip("/")
    if source.startswith("./"):
        return f"{root}/{device.stack}/{source[2:]}".rstrip("/")
    match = _FOREIGN.match(source)
    if match is None or source.startswith(f"{root}/"):
        return None
    return root + source[match.end() :]


class _Fitting:
    """The text under edit, and what was done to it."""

    def __init__(self, text: str, device: Surroundings) -> None:
        self.editor = Editor(text)
        self.device = device
        self.changes: list[Change] = []
        self.problems: list[str] = []
        self._given: list[Holder] = []
        self._joined = False

    def _replace(self, where: str, path: Path, value: str, *, told: tuple[str, str], why: str) -> None:
        try:
            self.editor.replace(path, value)
        except CannotEdit as error:
            self.problems.append(f"{where} should be {told[1]} ({why}), but is left: {error}")
        else:
            self.changes.append(Change(where, told[0], told[1], why))

    def identity(self, service: str) -> None:
        document = self.editor.document
        present = compose_text.environment(document, service)
        device = self.device
        wanted = {
            "PUID": (device.uid, "owner of the application data there"),
            "PGID": (device.gid, "group of the application data there"),
            "TZ": (device.zone, "time zone of the device"),
        }
        image = compose_text.text_at(document, ("services", service, "image")) or ""
        for name, (value, why) in wanted.items():
            if value is None:
                continue
            if name in present:
                path, now = present[name]
                if now != str(value) and "$" not in now:
                    text = f"{name}={value}" if isinstance(path[-1], int) else str(value)
                    self._replace(f"{service}.environment.{name}", path, text, told=(now, str(value)), why=why)
            elif _FROM_LINUXSERVER.search(image) and present:
                self._add_variable(service, name, str(value), why)

    def _add_variable(self, service: str, name: str, value: str, why: str) -> None:
        path: Path = ("services", service, "environment")
        node = self.editor.document.at(path)
        try:
            if isinstance(node, Branch) and node.is_mapping:
                self.editor.add(path, name, value)
            else:
                self.editor.append(path, f"{name}={value}")
        except CannotEdit as error:
            self.problems.append(f"{service}: {name}={value} ({why}) could not be added: {error}")
        else:
            self.changes.append(Change(f"{service}.environment.{name}", None, value, why))

    def ports(self, service: str) -> None:
        others = [holder for holder in self.device.taken if holder.stack != self.device.stack]
        places = list(compose_text.ports(self.editor.document, service))
        for place in places:
            wanted = Published(place.port, place.protocol, place.ip)
            holder = next((one for one in (*others, *self._given) if one.collides(wanted)), None)
            port = place.port
            if holder is not None:
                port = self._other_port(place, holder, places, others) or place.port
            self._given.append(
                Holder(place.protocol, port, frozenset({place.ip} if place.ip else ()), service, self.device.stack)
            )

    def _other_port(
        self, place: PortPlace, holder: Holder, places: Sequence[PortPlace], others: Sequence[Holder]
    ) -> int | None:
        where = f"{place.service}.ports.{place.port}"
        wanted_too = [one.port for one in places]
        port = free_near(place.port, place.protocol, (*others, *self._given), wanted_too)
        if port is None:
            self.problems.append(f"{where} is taken by {holder.who}, and no other is free.")
            return None
        why = f"taken by {holder.who}"
        self._replace(where, place.path, place.with_port(port), told=(str(place.port), str(port)), why=why)
        return port

    def paths(self, service: str) -> None:
        for bind in compose_text.binds(self.editor.document, service):
            moved = _moved(bind.source, self.device)
            source = moved or bind.source
            if moved is not None and moved != bind.source:
                given = any(bind.source.startswith(prefix.rstrip("/")) for prefix in self.device.prefixes)
                why = "as asked" if given else f"application data is under {self.device.appdata} there"
                self._replace(
                    f"{service}.volumes.{bind.source}", bind.path, bind.with_source(moved),
                    told=(bind.source, moved), why=why,
                )  # fmt: skip
            elif source in self.device.missing and not _OF_THE_SYSTEM.match(source):
                self.problems.append(f"{service}: {source} is not on the device; it would be made, empty.")
            elif source in self.device.missing:
                self.problems.append(f"{service}: {source} of the system is not on the device.")

    def join(self, service: str) -> None:
        """Into the network that was asked for, with those it is in already."""
        name, document = self.device.network, self.editor.document
        base: Path = ("services", service)
        if name is None or document.at((*base, "network_mode")) is not None:
            return
        node = document.at((*base, "networks"))
        if isinstance(node, Branch) and name in (node.items if node.is_mapping else _words(node)):
            self._joined = True
            return
        try:
            if node is None:
                self.editor.add(base, "networks", ["default", name])
            elif isinstance(node, Branch) and node.is_mapping:
                self.editor.add((*base, "networks"), name, {})
            else:
                self.editor.append((*base, "networks"), name)
        except CannotEdit as error:
            self.problems.append(f"{service} could not be put into the network {name}: {error}")
        else:
            self._joined = True
            self.changes.append(Change(f"{service}.networks", None, name, "to be reached in that network"))

    def declare_networks(self) -> None:
        """The network that was joined is one of the device, not one of the stack."""
        document, name = self.editor.document, self.device.network
        declared = document.at(("networks",))
        if isinstance(declared, Branch) and isinstance(declared.items, Mapping):
            for key in declared.items:
                real = compose_text.text_at(document, ("networks", key, "name")) or key
                external = compose_text.text_at(document, ("networks", key, "external"))
                if external == "true" and real not in self.device.networks and real != name:
                    self.problems.append(f"The external network {real} does not exist on the device.")
        if name is None or not self._joined:
            return
        if name not in self.device.networks:
            self.problems.append(f"The network {name} does not exist on the device.")
        if declared is None:
            self.editor.add_top("networks", name, {"external": "true"})
            self.changes.append(Change(f"networks.{name}", None, "external: true", "it belongs to the device"))
        elif isinstance(declared, Branch) and declared.is_mapping:
            if name not in declared.items:
                try:
                    self.editor.add(("networks",), name, {"external": "true"})
                except CannotEdit as error:
                    self.problems.append(f"networks.{name} could not be declared external: {error}")
                else:
                    self.changes.append(Change(f"networks.{name}", None, "external: true", "it belongs to the device"))
        else:
            self.problems.append(f"networks: is empty; declare {name} there, with external: true.")

    def names(self, service: str) -> None:
        name = compose_text.text_at(self.editor.document, ("services", service, "container_name"))
        if name is not None and self.device.names.get(name, self.device.stack) != self.device.stack:
            self.problems.append(f"{service}: a container named {name} exists already, outside of this stack.")


def _words(node: Branch) -> set[str]:
    return {item.value for item in node.items if isinstance(item, Scalar)}
