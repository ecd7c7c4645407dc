"""Compose files as text: where their services, ports, paths and values stand, to be edited by place. Pure."""

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from infrastructor.formats.yaml_text import Branch, Path, Scalar, YamlText


def diff(old: str, new: str, old_shown: Sequence[str], new_shown: Sequence[str], name: str) -> str:
    """A unified diff of two texts, told with other lines of the same number: what is masked still shows as changed."""
    before, after = old.splitlines(), new.splitlines()
    if len(before) != len(old_shown) or len(after) != len(new_shown):
        raise ValueError("lines to show must be as many as there are")
    lines: list[str] = []
    for group in difflib.SequenceMatcher(None, before, after, autojunk=False).get_grouped_opcodes(3):
        first, last = group[0], group[-1]
        lines.append(f"@@ -{first[1] + 1},{last[2] - first[1]} +{first[3] + 1},{last[4] - first[3]} @@")
        for kind, start, end, new_start, new_end in group:
            if kind == "equal":
                lines += [f" {line}" for line in old_shown[start:end]]
                continue
            lines += [f"-{line}" for line in old_shown[start:end]]
            lines += [f"+{line}" for line in new_shown[new_start:new_end]]
    return "\n".join([f"--- {name}", f"+++ {name}", *lines]) if lines else ""


# --- what stands where -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PortPlace:
    """A published port in a file; `whole` is the value that holds it and `part` the span of the number in that."""

    service: str
    path: Path
    port: int
    protocol: str
    ip: str | None
    whole: str
    part: tuple[int, int]

    def with_port(self, port: int) -> str:
        return self.whole[: self.part[0]] + str(port) + self.whole[self.part[1] :]


@dataclass(frozen=True, slots=True)
class BindPlace:
    """A path of the device in a file."""

    service: str
    path: Path
    source: str
    rest: str

    def with_source(self, source: str) -> str:
        return source + self.rest


_PORT = re.compile(
    r"^(?:(?P<ip>\d+\.\d+\.\d+\.\d+|\[[0-9a-fA-F:]+\]):)?(?P<host>\d{1,5}):(?P<inside>\d+)(?:/(?P<kind>\w+))?$"
)


def services(document: YamlText) -> Mapping[str, Branch]:
    """The services that are written as mappings."""
    found = document.at(("services",))
    if not isinstance(found, Branch) or not isinstance(found.items, Mapping):
        return {}
    return {name: body for name, body in found.items.items() if isinstance(body, Branch) and body.is_mapping}


def ports(document: YamlText, service: str) -> Iterator[PortPlace]:
    """Single published ports with a number; ranges and variables are left to their author."""
    base: Path = ("services", service, "ports")
    node = document.at(base)
    if not isinstance(node, Branch) or node.is_mapping:
        return
    for place, item in enumerate(node.items):
        path = (*base, place)
        if isinstance(item, Scalar):
            match = _PORT.match(item.value)
            if match:
                ip = (match["ip"] or "").strip("[]")
                wide = ip in {"", "0.0.0.0", "::"}  # noqa: S104 - read, not bound
                kind = match["kind"] or "tcp"
                yield PortPlace(
                    service, path, int(match["host"]), kind, None if wide else ip, item.value, match.span("host")
                )
        elif isinstance(item, Branch) and item.is_mapping:
            published = document.at((*path, "published"))
            if isinstance(published, Scalar) and published.value.isdigit() and len(published.value) <= 5:  # noqa: PLR2004
                kind_node, ip_node = document.at((*path, "protocol")), document.at((*path, "host_ip"))
                yield PortPlace(
                    service,
                    (*path, "published"),
                    int(published.value),
                    kind_node.value if isinstance(kind_node, Scalar) else "tcp",
                    ip_node.value if isinstance(ip_node, Scalar) else None,
                    published.value,
                    (0, len(published.value)),
                )


def binds(document: YamlText, service: str) -> Iterator[BindPlace]:
    """Paths of the device that are mounted: absolute or relative, without variables."""
    base: Path = ("services", service, "volumes")
    node = document.at(base)
    if not isinstance(node, Branch) or node.is_mapping:
        return
    for place, item in enumerate(node.items):
        path = (*base, place)
        if isinstance(item, Scalar):
            source, colon, rest = item.value.partition(":")
            if colon and source.startswith(("/", "./", "../")):
                yield BindPlace(service, path, source, colon + rest)
        elif isinstance(item, Branch) and item.is_mapping:
            kind, source_node = document.at((*path, "type")), document.at((*path, "source"))
            if isinstance(kind, Scalar) and kind.value == "bind" and isinstance(source_node, Scalar):
                yield BindPlace(service, (*path, "source"), source_node.value, "")


def environment(document: YamlText, service: str) -> Mapping[str, tuple[Path, str]]:
    """Literal variables of a service with the path of each; `NAME=value` items and mappings alike."""
    base: Path = ("services", service, "environment")
    node = document.at(base)
    found: dict[str, tuple[Path, str]] = {}
    if isinstance(node, Branch) and isinstance(node.items, Mapping):
        for name, leaf in node.items.items():
            if isinstance(leaf, Scalar):
                found[name] = ((*base, name), leaf.value)
    elif isinstance(node, Branch):
        for place, leaf in enumerate(node.items):
            name, sign, value = leaf.value.partition("=") if isinstance(leaf, Scalar) else ("", "", "")
            if sign:
                found[name] = ((*base, place), value)
    return found


def text_at(document: YamlText, path: Path) -> str | None:
    """The value at a path, where it is a single one."""
    node = document.at(path)
    return node.value if isinstance(node, Scalar) else None
