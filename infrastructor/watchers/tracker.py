"""What we believe of a device's containers, and the events that follow when it changes. Pure: no waiting, no clock."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID, uuid5

from infrastructor.container_store import ContainerState
from infrastructor.events import Event, Severity
from infrastructor.ids import uuid7
from infrastructor.ports.devices import Device
from infrastructor.watchers.engine_events import HEALTH, EngineEvent

TOPIC = "containers"
NAMESPACE = UUID("7b1d0c52-6f0e-5f0a-9a52-0c8c6a1f7e11")
SEEN = 8192  # more than an engine replays
#: What is published, and the state it leads to.
LEADS_TO: dict[str, str | None] = {
    "create": "created", "start": "running", "restart": "running", "pause": "paused", "unpause": "running",
    "die": "exited", "destroy": None, "stop": "exited", "kill": None, "oom": None, "rename": None, HEALTH: None,
}  # fmt: skip
_KIND_OF_STATE = {"created": "create", "running": "start", "paused": "pause", "exited": "die"}
_SAME = {"configured": "created", "initialized": "created", "stopped": "exited", "restarting": "exited"}
_PASSING = {"removing", "dead", "stopping"}
_STOPPED_BY_US = {"0", "130", "137", "143"}
_NO_END = {"1", "10", "12"}  # HUP, USR1, USR2: reload, reopen logs; whoever sends one expects it to go on


@dataclass(slots=True)
class Known:
    """One container as events and lists have told it."""

    name: str
    state: str
    health: str | None = None
    signalled: bool = False
    touched: int = 0


@dataclass(frozen=True, slots=True)
class Difference:
    """A list says otherwise than the events did."""

    container_id: str
    action: str
    name: str
    before: str | None
    now: str | None
    exit_code: int | None = None
    image: str | None = None
    stack: str | None = None


class Tracker:
    """`apply` takes each event of an engine once; `compare` finds what no event told."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._seen: OrderedDict[UUID, None] = OrderedDict()
        self._touches = 0
        self.known: dict[str, Known] = {}
        self.has_baseline = False

    def begin_with(self, states: Sequence[ContainerState]) -> None:
        """What was known when this process started."""
        self.known = {one.container_id: Known(one.name, _state(one.state), _health(one.health)) for one in states}
        self.has_baseline = self.has_baseline or bool(states)

    def key(self, event: EngineEvent) -> UUID:
        """The same for the same event, whoever reads it and however often."""
        return uuid5(NAMESPACE, f"{self._device.id} {event.container_id} {event.time_ns} {event.action} {event.health}")

    def apply(self, event: EngineEvent) -> Event | None:
        """What to publish; None for noise and for what was there already."""
        key = self.key(event)
        if key in self._seen:
            return None
        self._seen[key] = None
        if len(self._seen) > SEEN:
            self._seen.popitem(last=False)
        if event.action not in LEADS_TO:
            return None
        known = self.known.get(event.container_id)
        before = known.health if known else None
        self._follow(event, known)
        if event.action == HEALTH and _health(event.health) == before:
            return None  # Podman tells every check, changed or not
        data = {
            "container_id": event.container_id,
            "image": event.image,
            "stack": event.stack,
            "exit_code": event.exit_code,
            "signal": event.signal,
            "health": event.health,
            "old_name": event.old_name if event.action == "rename" else None,
        }
        severity = _severity(event, signalled=bool(known and known.signalled))
        return self._event(key, event.action, name=event.name, at=event.at, severity=severity, data=data)

    def _follow(self, event: EngineEvent, known: Known | None) -> None:
        self._touches += 1
        if event.action == "destroy":
            self.known.pop(event.container_id, None)
            return
        if known is None:
            known = self.known[event.container_id] = Known(event.name, "created")
        known.name, known.touched = event.name, self._touches
        known.state = LEADS_TO[event.action] or known.state
        if event.action == "kill":
            known.signalled = known.signalled or event.signal not in _NO_END
        elif event.action in {"start", "restart"}:
            known.signalled, known.health = False, None
        elif event.action == HEALTH:
            known.health = _health(event.health)

    # --- resync --------------------------------------------------------------------------------------

    def mark(self) -> int:
        """Now, in events; for `compare`."""
        return self._touches

    def compare(self, states: Sequence[ContainerState], *, untouched_since: int) -> list[Difference]:
        """What the list says otherwise, leaving out containers that an event has told of since the mark."""
        listed = {one.container_id: one for one in states if one.state not in _PASSING}
        passing = {one.container_id for one in states} - listed.keys()
        found = []
        for container_id, one in listed.items():
            known, state = self.known.get(container_id), _state(one.state)
            if known is not None and known.touched > untouched_since:
                continue
            before = known.state if known else None
            if state != before:
                found.append(_difference(one, _KIND_OF_STATE.get(state, "start"), before, state))
            if known is not None and one.name != known.name:
                found.append(_difference(one, "rename", known.name, one.name))
            health = _health(one.health)
            if known is not None and state == before == "running" and health not in {known.health, None}:
                found.append(_difference(one, HEALTH, known.health, health))
        for container_id, known in self.known.items():
            if container_id not in listed and container_id not in passing and known.touched <= untouched_since:
                found.append(Difference(container_id, "destroy", known.name, known.state, None))
        return found

    def adopt(self, states: Sequence[ContainerState], *, untouched_since: int) -> None:
        """Take a list as the beginning, without events; what events told meanwhile stands."""
        for one in states:
            known = self.known.get(one.container_id)
            if one.state not in _PASSING and (known is None or known.touched <= untouched_since):
                self.known[one.container_id] = Known(one.name, _state(one.state), _health(one.health))
        self.has_baseline = True

    def resolve(self, differences: Sequence[Difference], at: datetime) -> list[Event]:
        """Believe the list, and say so."""
        events = []
        for one in differences:
            if one.action == "destroy":
                self.known.pop(one.container_id, None)
            else:
                known = self.known.setdefault(one.container_id, Known(one.name, "created"))
                known.name = one.name
                if one.action == HEALTH:
                    known.health = one.now
                elif one.action != "rename":
                    known.state, known.health = one.now or known.state, None
            data = {
                "source": "resync",
                "container_id": one.container_id,
                "before": one.before,
                "now": one.now,
                "exit_code": one.exit_code if one.action == "die" else None,
                "image": one.image,
                "stack": one.stack,
                "health": one.now if one.action == HEALTH else None,
                "old_name": one.before if one.action == "rename" else None,
            }
            failed = one.action == "die" and str(one.exit_code or 0) not in _STOPPED_BY_US
            bad = failed or (one.action == HEALTH and one.now == "unhealthy")
            severity = Severity.WARNING if bad else Severity.INFO
            events.append(self._event(uuid7(), one.action, name=one.name, at=at, severity=severity, data=data))
        return events

    def _event(
        self, key: UUID, action: str, *, name: str, at: datetime, severity: Severity, data: Mapping[str, Any]
    ) -> Event:
        return Event(
            id=key,
            topic=TOPIC,
            kind=f"container.{action}",
            at=at,
            severity=severity,
            device_id=self._device.id,
            device=self._device.hostname,
            subject=name,
            data={name: value for name, value in data.items() if value is not None},
        )


def _severity(event: EngineEvent, *, signalled: bool) -> Severity:
    """An end nobody asked for and a failing health check are worth a look; running out of memory is a fault."""
    if event.action == "oom":
        return Severity.ERROR
    if event.action == HEALTH:
        return Severity.WARNING if event.health == "unhealthy" else Severity.INFO
    if event.action == "die" and event.exit_code not in {None, 0} and not signalled:
        return Severity.WARNING
    return Severity.INFO


def _state(word: str) -> str:
    return _SAME.get(word, word)


def _health(word: str | None) -> str | None:
    """A container that has just been started has no health yet; no engine tells an event for that."""
    return None if word in {"starting", "none"} else word


def _difference(one: ContainerState, action: str, before: str | None, now: str | None) -> Difference:
    return Difference(one.container_id, action, one.name, before, now, one.exit_code, one.image, one.stack)
