"""How a watcher of files is, as the health report shows it."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from infrastructor.snapshot_store import BlindTime

SPANS, SHOWN, NAMED = 20, 5, 1000


@dataclass(slots=True, kw_only=True)
class FileWatchState:
    """mode: starting, python3, perl, inotifywait, inotifyd, watchfiles, polling, or waiting after a failure."""

    mode: str = "starting"
    why: str = ""
    since: datetime = field(default_factory=lambda: datetime.now(UTC))
    error: str = ""
    connects: int = 0
    events: int = 0  # versions handed over
    last_event: datetime | None = None
    files: int = 0
    folders: int = 0
    polled: int = 0  # folders looked at now and then, for want of watches
    beyond: int = 0  # files beyond the limit
    missing: tuple[str, ...] = ()  # watched paths that are not there
    unreadable: dict[str, str] = field(default_factory=dict)  # path: why; at most NAMED
    more_unreadable: int = 0
    misunderstood: int = 0
    compared: datetime | None = None  # when the whole was last found the same on both sides
    storing: str = ""  # why versions wait here
    spans: deque[BlindTime] = field(default_factory=lambda: deque(maxlen=SPANS))

    def become(self, mode: str, why: str = "") -> None:
        if mode != self.mode:
            self.mode, self.since = mode, datetime.now(UTC)
        self.why = why

    def refuse(self, path: str, reason: str) -> None:
        """Note what may not be read."""
        if path in self.unreadable or len(self.unreadable) < NAMED:
            self.unreadable[path] = reason
        else:
            self.more_unreadable += 1

    def facts(self) -> Mapping[str, Any]:
        spans = [
            {"from": span.begin.isoformat(), "to": span.end.isoformat(), "reason": span.reason}
            for span in list(self.spans)[-SHOWN:]
        ]
        unreadable = {path: self.unreadable[path] for path in sorted(self.unreadable)[: 2 * SHOWN]}
        optional = {
            "error": self.error,
            "storing": self.storing,
            "polled_folders": self.polled,
            "files_beyond_limit": self.beyond,
            "missing": list(self.missing[: 2 * SHOWN]),
            "unreadable": unreadable,
            "unreadable_count": len(self.unreadable) + self.more_unreadable,
            "misunderstood": self.misunderstood,
            "blind": spans,
        }
        return {
            "mode": self.mode,
            "why": self.why,
            "since": self.since.isoformat(),
            "files": self.files,
            "folders": self.folders,
            "versions": self.events,
            "last_version": self.last_event.isoformat() if self.last_event else None,
            "compared": self.compared.isoformat() if self.compared else None,
            "reconnects": max(0, self.connects - 1),
            **{name: value for name, value in optional.items() if value},
        }
