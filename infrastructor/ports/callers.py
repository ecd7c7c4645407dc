"""Who asks, through which door, and what a role may do."""

from dataclasses import dataclass
from enum import StrEnum


class Effect(StrEnum):
    """What an operation does to the world; role, hints, HTTP verb and confirmation follow from it."""

    READ = "read"
    CHANGE = "change"
    DESTROY = "destroy"


class Role(StrEnum):
    """viewer may READ, operator may also CHANGE, admin may also DESTROY."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"

    def allows(self, effect: Effect) -> bool:
        return _RANK[self] >= _NEEDED[effect]

    def includes(self, other: "Role") -> bool:
        """Whether this role may do all that the other may."""
        return _RANK[self] >= _RANK[other]


_RANK = {Role.VIEWER: 0, Role.OPERATOR: 1, Role.ADMIN: 2}
_NEEDED = {Effect.READ: 0, Effect.CHANGE: 1, Effect.DESTROY: 2}


class Interface(StrEnum):
    """The door a caller came through."""

    MCP = "mcp"
    REST = "rest"
    CLI = "cli"
    SCHEDULER = "scheduler"
    WATCHER = "watcher"


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who asks, in which role, through which door. `client` is e.g. `claude-code/2.1`."""

    principal: str
    role: Role
    interface: Interface
    client: str | None = None
