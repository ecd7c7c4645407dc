"""What a change of a configuration file means: its classes, and one readable line for each difference.

    service web: image nginx 1.2 → 1.3
    service web: port 8080:80 added

Pure, and for masked texts: what it quotes is what it is given.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from infrastructor.formats import compose_terms, directive_terms, nginx, traefik_terms
from infrastructor.formats.directives import apache_words, nginx_words
from infrastructor.formats.kinds import NGINX_KINDS, TEXT
from infrastructor.formats.tree_changes import changed, shortened, words
from infrastructor.formats.trees import NotUnderstood, Tree, parse

_MOST = 500


class ChangeClass(StrEnum):
    """What a difference is about."""

    COSMETIC = "cosmetic"
    IMAGE = "image"
    ENV = "env"
    PORTS = "ports"
    VOLUMES = "volumes"
    NETWORKS = "networks"
    HEALTH = "health"
    AUTH = "auth"
    UPSTREAM = "upstream"
    SERVICE_ADDED = "service_added"
    SERVICE_REMOVED = "service_removed"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Difference:
    """One difference: what it is about, and in words."""

    about: ChangeClass
    line: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """All differences of two texts. `parsed`: they were compared by meaning, not only by lines."""

    differences: tuple[Difference, ...]
    parsed: bool = True
    omitted: int = 0

    @property
    def classes(self) -> tuple[str, ...]:
        """Each class once, in the order of `ChangeClass`; nothing where there is no difference."""
        found = {difference.about for difference in self.differences}
        return tuple(about.value for about in ChangeClass if about in found)


_COSMETIC = Difference(ChangeClass.COSMETIC, "only comments, order or spacing")
_REORDERED = Difference(ChangeClass.OTHER, "directives in another order, or what is no directive")


def compare(kind: str, before: str, after: str) -> Comparison:
    """The differences of two texts of one type. Total: what does not parse is compared by lines."""
    if before == after:
        return Comparison(())
    if kind in NGINX_KINDS and (nginx.read(before).faults or nginx.read(after).faults):
        same = nginx_words(before) == nginx_words(after)
        return Comparison((_COSMETIC if same else _by_lines(before, after),), parsed=False)
    try:
        old, new = parse(kind, before), parse(kind, after)
    except NotUnderstood:
        return Comparison((_by_lines(before, after),), parsed=False)
    found: list[Difference] = []
    omitted = 0
    for about, line in _terms(kind, old, new):
        if len(found) < _MOST:
            found.append(Difference(ChangeClass(about), shortened(line)))
        else:
            omitted += 1
    if not found:
        return Comparison((_unnamed(kind, before, after),))
    return Comparison(tuple(found), omitted=omitted)


def _unnamed(kind: str, before: str, after: str) -> Difference:
    """What two texts with the same tree differ in. To nginx and Apache the order of directives means something."""
    if kind == TEXT:
        return _by_lines(before, after)
    reads = nginx_words if kind in NGINX_KINDS else apache_words if kind == "apache" else None
    return _COSMETIC if reads is None or reads(before) == reads(after) else _REORDERED


def classes(kind: str, before: str, after: str) -> tuple[str, ...]:
    """Only the classes."""
    return compare(kind, before, after).classes


def _terms(kind: str, old: Tree, new: Tree) -> Iterator[tuple[str, str]]:
    if kind == TEXT:
        if old != new:
            difference = _by_lines("\n".join(old), "\n".join(new))
            yield difference.about, difference.line
    elif kind == "compose" and isinstance(old, dict) and isinstance(new, dict):
        yield from compose_terms.differences(old, new)
    elif kind == "env":
        for path, gone, come in changed(old, new):
            yield ChangeClass.ENV, words(path, gone, come)
    elif kind in NGINX_KINDS or kind == "apache":
        for path, gone, come in changed(old, new):
            yield directive_terms.about(path, gone, come), directive_terms.words(path, gone, come)
    elif kind == "traefik":
        for path, gone, come in changed(old, new):
            yield traefik_terms.about(path), words(path, gone, come)
    else:
        for path, gone, come in changed(old, new):
            yield ChangeClass.OTHER, words(path, gone, come)


def _by_lines(before: str, after: str) -> Difference:
    old, new = before.splitlines(), after.splitlines()
    kept: dict[str, int] = {}
    for line in old:
        kept[line] = kept.get(line, 0) + 1
    added = 0
    for line in new:
        if kept.get(line, 0):
            kept[line] -= 1
        else:
            added += 1
    removed = sum(kept.values())
    if added == removed == 0:
        return Difference(ChangeClass.OTHER, "lines moved" if old != new else "line ends changed")
    counted = ((added, "added"), (removed, "removed"))
    parts = [f"{count} {'line' if count == 1 else 'lines'} {what}" for count, what in counted if count]
    return Difference(ChangeClass.OTHER, ", ".join(parts))
