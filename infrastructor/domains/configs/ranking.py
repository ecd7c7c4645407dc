"""Which of the things that happened around a change belong to it: a pure ranking of facts.

Three things count: how near in time, how closely related (the same stack, container, folder, operation), and how
serious. Each is between 0 and 1; a fact is ranked by their weighted sum and says in words what ties it to the change.
"""

import math
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import PurePosixPath
from typing import Any, Literal
from uuid import UUID

Kind = Literal["container", "operation", "package", "config", "metric", "watcher"]

_NEAR, _KIN, _SEVERE = 0.4, 0.4, 0.2
_CAUSES_FIRST = 0.85  # what came after follows from it, what came long before seldom leads to it
_TOO_GENERAL = frozenset({
    "etc", "opt", "srv", "home", "root", "var", "usr", "mnt", "data", "docker", "compose", "config", "conf", "nginx",
    "app", "stacks", "appdata", "volumes", "lib", "local", "default", "proxy-confs", "yml", "yaml", "env",
    "docker-compose",
})  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeFacts:
    """The change to be explained. `names` are what it is about: services, containers, stacks, upstreams."""

    at: datetime
    path: str
    operation_id: UUID | None = None
    names: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """Something that happened. `names` and `path` are what it is about; `severity` is 0 to 1."""

    at: datetime
    kind: Kind
    what: str
    severity: float = 0.0
    names: frozenset[str] = frozenset()
    path: str | None = None
    operation_id: UUID | None = None
    evidence: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Ranked:
    """A fact with its score (0 to 1) and the reason for it."""

    fact: Fact
    score: float
    why: str


def rank(change: ChangeFacts, facts: Iterable[Fact], window: timedelta) -> list[Ranked]:
    """The facts, the likeliest to belong to the change first; equal ones by time."""
    ranked = [_ranked(change, fact, window) for fact in facts]
    return sorted(ranked, key=lambda one: (-one.score, abs((one.fact.at - change.at).total_seconds()), one.fact.what))


def _ranked(change: ChangeFacts, fact: Fact, window: timedelta) -> Ranked:
    seconds = (fact.at - change.at).total_seconds()
    if change.operation_id is not None and fact.operation_id == change.operation_id:
        return (
            Ranked(fact, 1.0, "it wrote this version")
            if fact.kind == "operation"
            else Ranked(fact, 0.99, "by the same operation")
        )
    near = math.exp(-4 * abs(seconds) / max(1.0, window.total_seconds()))
    if seconds < 0 and fact.kind != "operation":
        near *= _CAUSES_FIRST
    kin, tie = _kinship(change, fact)
    score = _NEAR * near + _KIN * kin + _SEVERE * min(1.0, max(0.0, fact.severity))
    return Ranked(fact, round(min(0.99, score), 3), f"{_when(seconds)}{f'; {tie}' if tie else ''}")


def _kinship(change: ChangeFacts, fact: Fact) -> tuple[float, str]:
    """How closely a fact is related to the change, and by what."""
    if fact.path is not None:
        if fact.path == change.path:
            return 1.0, "the same file"
        folder, other = str(PurePosixPath(change.path).parent), str(PurePosixPath(fact.path).parent)
        if folder == other and folder.count("/") > 1:
            return 0.8, f"the same folder {folder}"
    shared = sorted(change.names & fact.names)
    if shared:
        return 1.0, f"about {', '.join(shared[:3])}"
    # A package is called after the program whose folder it is: there `nginx` says something.
    general = frozenset() if fact.kind == "package" else _TOO_GENERAL
    hinted = sorted(names_in_path(change.path, general) & {name.lower() for name in fact.names})
    if hinted:
        return 0.9, f"the path names {hinted[0]}"
    if fact.path is not None and (common := _common_names(change.path, fact.path)):
        return 0.6, f"both paths name {common[0]}"
    return 0.0, ""


def _common_names(path: str, other: str) -> list[str]:
    """Names in both, but those of folders far above, which hold everything: of them only the next one counts."""
    shared = [
        one for one, two in zip(PurePosixPath(path).parts, PurePosixPath(other).parts, strict=False) if one == two
    ]
    near = {PurePosixPath(path).parent.name, PurePosixPath(other).parent.name}
    above = {part.lower() for part in shared if part not in near}
    return sorted((names_in_path(path) & names_in_path(other)) - above)


def names_in_path(path: str, general: Collection[str] = _TOO_GENERAL) -> frozenset[str]:
    """Words of a path that may be the name of a stack, container or service."""
    pure = PurePosixPath(path.lower())
    words = {part for part in pure.parts if part != "/"} | {pure.name.partition(".")[0]}
    return frozenset(word for word in words if len(word) > 1 and word not in general and not word.startswith("."))


def names_in_tree(kind: str, tree: Any) -> frozenset[str]:
    """Services, containers and upstreams that a file of configuration names."""
    names: set[str] = set()
    if kind == "compose" and isinstance(tree, dict):
        services = tree.get("services")
        for name, service in (services if isinstance(services, dict) else {}).items():
            names.add(str(name).lower())
            if isinstance(service, dict) and isinstance(service.get("container_name"), str):
                names.add(service["container_name"].lower())
        if isinstance(tree.get("name"), str):
            names.add(tree["name"].lower())
    elif kind in {"swag", "nginx"}:
        _upstreams(tree, names)
    return frozenset(names)


_HOST = re.compile(r"^(?:https?://|grpcs?://)?([A-Za-z0-9][\w.-]*)")


def _upstreams(tree: Any, names: set[str]) -> None:
    if not isinstance(tree, dict):
        return
    for key, value in tree.items():
        if isinstance(value, dict):
            _upstreams(value, names)
        elif key in {"set $upstream_app", "proxy_pass", "grpc_pass"} and isinstance(value, list):
            names.update(match[1].lower() for one in value if (match := _HOST.match(str(one))))


def _when(seconds: float) -> str:
    size = abs(seconds)
    text = f"{size:.1f} s" if size < 10 else f"{size:.0f} s" if size < 120 else f"{size / 60:.0f} min"  # noqa: PLR2004
    return f"{text} {'after' if seconds >= 0 else 'before'}"


# --- figures -----------------------------------------------------------------------------------------

_LEAST_STEP = 10.0  # percentage points


@dataclass(frozen=True, slots=True)
class Step:
    """A figure that went from one level to another around a time."""

    name: str
    before: float
    after: float

    @property
    def severity(self) -> float:
        return min(1.0, abs(self.after - self.before) / 60.0)


def step(name: str, before: Collection[float], after: Collection[float]) -> Step | None:
    """The step between two runs of samples; None where it is within what they vary anyway."""
    if len(before) < 2 or len(after) < 2:  # noqa: PLR2004 - one sample is no level
        return None
    old, new = sum(before) / len(before), sum(after) / len(after)
    spread = math.sqrt(sum((value - old) ** 2 for value in before) / len(before))
    return Step(name, round(old, 1), round(new, 1)) if abs(new - old) >= max(_LEAST_STEP, 3 * spread) else None
