"""How a watcher is, as the health report shows it."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

FOLLOWING = frozenset({"api", "cli", "follow", "poll"})
GAPS = 20
SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """A time in which nobody listened. `complete` when all its events came back by replay."""

    begin: datetime
    end: datetime
    reason: str
    complete: bool
    replayed: int
    resynced: int


@dataclass(slots=True, kw_only=True)
class WatchState:
    """mode: starting, api, cli, waiting (it failed and will try again), no_engine.

    Of ZFS: follow, poll (where no root shell is allowed), no_zfs, no_permission.
    """

    mode: str = "starting"
    since: datetime = field(default_factory=lambda: datetime.now(UTC))
    message: str = ""
    last_event: datetime | None = None
    events: int = 0
    unreadable: int = 0
    connects: int = 0
    gaps: deque[Gap] = field(default_factory=lambda: deque(maxlen=GAPS))

    @property
    def following(self) -> bool:
        return self.mode in FOLLOWING

    def become(self, mode: str, message: str = "") -> None:
        if mode != self.mode:
            self.mode, self.since = mode, datetime.now(UTC)
        self.message = message

    def facts(self) -> Mapping[str, Any]:
        gaps = [
            {"from": gap.begin.isoformat(), "to": gap.end.isoformat(), "reason": gap.reason, "complete": gap.complete}
            for gap in list(self.gaps)[-SHOWN:]
        ]
        return {
            "mode": self.mode,
            "since": self.since.isoformat(),
            "last_event": self.last_event.isoformat() if self.last_event else None,
            "events": self.events,
            "reconnects": max(0, self.connects - 1),
            **({"gaps": gaps} if gaps else {}),
            **({"message": self.message} if self.message else {}),
            **({"unreadable": self.unreadable} if self.unreadable else {}),
        }
