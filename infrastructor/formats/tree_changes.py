"""Where two trees differ, and how that is said in few words."""

from collections.abc import Iterable, Iterator
from typing import Any

from infrastructor.formats.trees import Tree

_LONGEST = 160
_ITEMS = 4

MISSING: Any = object()
Path = tuple[str, ...]


def changed(old: Tree, new: Tree, path: Path = ()) -> Iterator[tuple[Path, Tree, Tree]]:
    """The deepest places where two trees differ; `MISSING` where there is nothing. Lists are compared as sets."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in [*old, *(key for key in new if key not in old)]:
            yield from changed(old.get(key, MISSING), new.get(key, MISSING), (*path, key))
    elif isinstance(old, list) and isinstance(new, list):
        yield from _of_lists(old, new, path)
    elif old is MISSING or new is MISSING or type(old) is not type(new) or old != new:
        yield path, old, new


def _of_lists(old: list[Tree], new: list[Tree], path: Path) -> Iterator[tuple[Path, Tree, Tree]]:
    gone, come = list(old), list(new)
    for item in old:
        if item in come:
            come.remove(item)
            gone.remove(item)
    if not gone and not come:
        if old != new:
            yield path, old, new
        return
    if len(gone) == len(come) == 1:
        inner = gone[0], come[0]
        nested = all(isinstance(one, dict) for one in inner)
        where = (*path, f"[{old.index(gone[0])}]") if nested else path
        yield from changed(*inner, where)
        return
    for item in gone:
        yield path, item, MISSING
    for item in come:
        yield path, MISSING, item


def words(path: Iterable[str], gone: Tree, come: Tree) -> str:
    """`server.port: 80 → 8080`, `server.tls: added`."""
    name = ".".join(path) or "the file"
    if isinstance(gone, list) and isinstance(come, list) and sorted(map(str, gone)) == sorted(map(str, come)):
        return f"{name}: order changed"
    if gone is MISSING:
        return f"{name}: {shown(come)} added"
    if come is MISSING:
        return f"{name}: {shown(gone)} removed"
    return f"{name}: {shown(gone)} → {shown(come)}"


def shown(value: Tree) -> str:
    """A value in few characters."""
    if isinstance(value, dict):
        inner = ", ".join(f"{key}: {shown(item)}" for key, item in list(value.items())[:_ITEMS])
        return shortened(f"{{{inner}{', …' if len(value) > _ITEMS else ''}}}")
    if isinstance(value, list):
        inner = ", ".join(shown(item) for item in value[:_ITEMS])
        return shortened(f"[{inner}{', …' if len(value) > _ITEMS else ''}]")
    if value is None:
        return "empty"
    if isinstance(value, bool):
        return "true" if value else "false"
    text = str(value)
    return '""' if text == "" else shortened(text.replace("\r", "").replace("\n", "⏎"))


def shortened(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
