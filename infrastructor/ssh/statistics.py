"""Counters of the whole engine. Plain integers, since they are touched for every command."""


class Counters:
    __slots__ = (
        "coalesced",
        "commands",
        "connects",
        "failures",
        "lanes_opened",
        "reconnects",
        "refusals",
        "replays",
        "seconds",
        "truncated",
    )

    def __init__(self) -> None:
        self.commands = 0
        self.failures = 0
        self.coalesced = 0
        self.truncated = 0
        self.replays = 0
        self.refusals = 0
        self.lanes_opened = 0
        self.connects = 0
        self.reconnects = 0
        self.seconds = 0.0

    def snapshot(self) -> dict[str, int | float | None]:
        """Everything counted since the start; mean_ms is None before the first answer."""
        answered = self.commands - self.failures
        return {
            "commands": self.commands,
            "failures": self.failures,
            "coalesced": self.coalesced,
            "truncated": self.truncated,
            "replays": self.replays,
            "channel_refusals": self.refusals,
            "shells_opened": self.lanes_opened,
            "connects": self.connects,
            "reconnects": self.reconnects,
            "mean_ms": self.seconds / answered * 1000 if answered > 0 else None,
        }
