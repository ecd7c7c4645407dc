"""What is watched of a device, in the form both sides read: folders or files, and regular expressions of names."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from infrastructor.snapshot_store import ConfigWatch

#: What editors, package managers and version control leave for a moment, or for themselves.
PASSING = (
    "*.sw?", "4913", "*~", ".#*", "#*#", "*.tmp", ".tmp*", "sed??????", ".goutputstream-*", "*.dpkg-new", "*.dpkg-tmp",
    ".nfs????????????????????????", ".fuse_hidden*", ".git", ".svn", ".hg", "node_modules", "__pycache__",
)  # fmt: skip
_END = r"(?![\s\S])"  # the end of the text, in Python and in Perl alike


@dataclass(frozen=True)
class Root:
    """A folder or a file. The patterns are matched against the path below it, from its beginning."""

    path: str
    recursive: bool
    include: str | None
    exclude: str | None

    @cached_property
    def _patterns(self) -> tuple["re.Pattern[str] | None", "re.Pattern[str] | None"]:
        compiled = [None if text is None else re.compile(text, re.DOTALL) for text in (self.include, self.exclude)]
        return compiled[0], compiled[1]

    def covers(self, path: str) -> bool:
        """Whether a file at this path is watched."""
        if path == self.path:
            return True
        prefix = self.path.rstrip("/") + "/"
        if not path.startswith(prefix):
            return False
        below = path[len(prefix) :]
        if "/" in below and not self.recursive:
            return False
        include, exclude = self._patterns
        parts = below.split("/")
        if exclude is not None and any(exclude.match("/".join(parts[: n + 1])) for n in range(len(parts))):
            return False
        return include is None or include.match(below) is not None


def roots_of(watches: Iterable[ConfigWatch]) -> tuple[Root, ...]:
    """Each watch once, by path."""
    found = {
        Root(
            path=_normal(watch.path),
            recursive=watch.recursive,
            include=pattern(watch.include) if watch.include else None,
            exclude=pattern((*PASSING, *watch.exclude)),
        )
        for watch in watches
    }
    return tuple(sorted(found, key=lambda root: (root.path, root.recursive, root.include or "", root.exclude or "")))


def covered(roots: Sequence[Root], path: str) -> bool:
    return any(root.covers(path) for root in roots)


def pattern(names: Iterable[str]) -> str:
    """One regular expression of name patterns: with a slash for the path below the root, else for any name.

    Those for any name share one way to it: agents match every path of a tree.
    """
    stripped = [name.strip("/") for name in names]
    anywhere = ["".join(_pieces(name)) for name in stripped if "/" not in name]
    ways = ["".join(_pieces(name)) for name in stripped if "/" in name]
    if anywhere:
        ways.insert(0, f"(?:.*/)?(?:{'|'.join(anywhere)})")
    return f"(?:{'|'.join(ways)}){_END}"


def _pieces(name: str) -> Iterable[str]:
    at = 0
    while at < len(name):
        if name.startswith("**/", at):
            yield "(?:.*/)?"
            at += 3
        elif name.startswith("**", at):
            yield ".*"
            at += 2
        elif name[at] == "*":
            yield "[^/]*"
            at += 1
        elif name[at] == "?":
            yield "[^/]"
            at += 1
        else:
            plain = name[at].isalnum() or name[at] in "_/" or not name[at].isascii()
            yield name[at] if plain else f"\\{name[at]}"
            at += 1


def _normal(path: str) -> str:
    return re.sub(r"/{2,}", "/", path).rstrip("/") or "/"
