"""Differences of Compose files, in Compose's terms: short and long forms of one thing are the same thing."""

from collections.abc import Iterator
from typing import Any

from infrastructor.formats.tree_changes import MISSING, changed, shown, words
from infrastructor.formats.trees import Tree

Line = tuple[str, str]

_IMAGE, _ENV, _PORTS, _VOLUMES, _NETWORKS, _HEALTH = "image", "env", "ports", "volumes", "networks", "health"
_ABOUT = {
    "build": _IMAGE, "platform": _IMAGE, "env_file": _ENV, "environment": _ENV, "ports": _PORTS, "expose": _PORTS,
    "volumes": _VOLUMES, "tmpfs": _VOLUMES, "volumes_from": _VOLUMES, "networks": _NETWORKS, "network_mode": _NETWORKS,
    "dns": _NETWORKS, "extra_hosts": _NETWORKS, "links": _NETWORKS, "hostname": _NETWORKS, "healthcheck": _HEALTH,
}  # fmt: skip
_MAPS = frozenset({"environment", "labels", "extra_hosts", "sysctls", "args", "annotations"})
_LISTS = frozenset({"ports", "expose", "volumes", "env_file", "dns", "tmpfs", "networks", "cap_add", "devices"})
_SINGULAR = {"ports": "port", "volumes": "volume", "networks": "network", "devices": "device", "expose": "exposed port"}
_AUTH = ("auth", "authelia", "authentik", "ldap", "oauth")


def differences(old: dict[str, Tree], new: dict[str, Tree]) -> Iterator[Line]:
    """Class and line of each difference, services first."""
    before, after = _mapping(old.get("services")), _mapping(new.get("services"))
    renamed = dict(_renamed(before, after))
    for name in [*before, *(name for name in after if name not in before)]:
        if name in renamed:
            yield "other", f"service {name}: renamed to {renamed[name]}"
        elif name in renamed.values():
            continue
        elif name not in after:
            yield "service_removed", f"service {name}: removed{_with_image(before[name])}"
        elif name not in before:
            yield "service_added", f"service {name}: added{_with_image(after[name])}"
        else:
            yield from _service(name, _mapping(before[name]), _mapping(after[name]))
    for key in [*old, *(key for key in new if key not in old)]:
        if key != "services":
            about = {"volumes": _VOLUMES, "networks": _NETWORKS}.get(key, "other")
            for path, gone, come in changed(old.get(key, MISSING), new.get(key, MISSING), (key,)):
                yield about, words(path, gone, come)


def _renamed(before: dict[str, Tree], after: dict[str, Tree]) -> Iterator[tuple[str, str]]:
    gone = [name for name in before if name not in after]
    come = [name for name in after if name not in before]
    for name in gone:
        same = [other for other in come if after[other] == before[name]]
        if len(same) == 1:
            come.remove(same[0])
            yield name, same[0]


def _service(name: str, old: dict[str, Tree], new: dict[str, Tree]) -> Iterator[Line]:
    for key in [*old, *(key for key in new if key not in old)]:
        gone, come = old.get(key, MISSING), new.get(key, MISSING)
        if gone == come and gone is not MISSING:
            continue
        for about, line in _entry(key, gone, come):
            yield about, f"service {name}: {line}"


def _entry(key: str, gone: Any, come: Any) -> Iterator[Line]:
    if key == "image":
        yield _IMAGE, _image(gone, come)
    elif key in _MAPS:
        for path, was, now in changed(_as_map(gone), _as_map(come)):
            about = (
                _ENV
                if key == "environment"
                else _label(".".join(path))
                if key == "labels"
                else _ABOUT.get(key, "other")
            )
            yield about, words((key, *path) if key != "environment" else path, was, now)
    elif key in _LISTS:
        was, now = _as_list(gone, key), _as_list(come, key)
        said = _SINGULAR.get(key, key)
        lines = [f"{said} {item} removed" for item in was if item not in now]
        lines += [f"{said} {item} added" for item in now if item not in was]
        for line in lines:
            yield _ABOUT.get(key, "other"), line
        if not lines and was != now:
            yield _ABOUT.get(key, "other"), f"order of {key} changed"
    else:
        for path, was, now in changed(gone, come, (key,)):
            yield _ABOUT.get(key, "other"), words(path, was, now)


def _image(gone: Any, come: Any) -> str:
    if gone is MISSING or come is MISSING or not isinstance(gone, str) or not isinstance(come, str):
        return words(("image",), gone, come)
    (repository, tag), (other, new_tag) = _split(gone), _split(come)
    return f"image {repository} {tag} → {new_tag}" if repository == other else f"image {gone} → {come}"


def _split(image: str) -> tuple[str, str]:
    repository, at, digest = image.partition("@")
    head, colon, tag = repository.rpartition(":")
    if not colon or "/" in tag:
        head, tag = repository, "latest" if not at else ""
    return head, f"{tag}{at}{digest}" if at else tag


def _with_image(service: Tree) -> str:
    image = _mapping(service).get("image")
    return f" ({image})" if isinstance(image, str) else ""


def _label(name: str) -> str:
    lowered = name.lower()
    if any(word in lowered for word in _AUTH):
        return "auth"
    return "upstream" if lowered.startswith(("traefik.", "swag", "caddy", "virtual_host")) else "other"


def _mapping(tree: Tree) -> dict[str, Tree]:
    return tree if isinstance(tree, dict) else {}


def _as_map(tree: Any) -> dict[str, Tree]:
    """`["A=1", "B"]` and `{A: 1, B: null}` are one thing; so are `1` and `"1"`."""
    if isinstance(tree, dict):
        return {key: None if value is None else shown(value) for key, value in tree.items()}
    if isinstance(tree, list):
        pairs = (str(item).partition("=") for item in tree)
        return {key: shown(value) if sign else None for key, sign, value in pairs}
    return {}


def _as_list(tree: Any, key: str) -> list[str]:
    if tree is MISSING or tree is None:
        return []
    if isinstance(tree, dict):  # networks by name
        return [name if value is None else f"{name} {shown(value)}" for name, value in tree.items()]
    return [_item(item, key) for item in (tree if isinstance(tree, list) else [tree])]


def _item(item: Tree, key: str) -> str:
    """The short form, where there is one."""
    if not isinstance(item, dict):
        return str(item)
    if key == "ports" and "target" in item:
        parts = [str(item[name]) for name in ("host_ip", "published", "target") if item.get(name) is not None]
        protocol = item.get("protocol", "tcp")
        return ":".join(parts) + ("" if protocol == "tcp" else f"/{protocol}")
    if (
        key == "volumes"
        and item.get("type") in {"bind", "volume"}
        and set(item) <= {"type", "source", "target", "read_only"}
    ):
        parts = [str(item[name]) for name in ("source", "target") if item.get(name)]
        return ":".join(parts) + (":ro" if item.get("read_only") else "")
    return shown(item)
