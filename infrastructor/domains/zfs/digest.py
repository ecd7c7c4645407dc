"""From what the ZFS module tells to what is stored: each event once, and of a flood its beginning and its end.

A failing disk gives twenty checksum events a second, a pool that loses its last disk a thousand in one, and a recursive
snapshot one for each dataset. Of errors of one kind and disk, or changes of one pool, within a span of time the first
is told at once, the last when the span is over, with how many there were. Ids are made of what an event is, so the same
events give the same ids, whoever reads them and however often: after a reconnect, after a restart, in two processes.
"""

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID, uuid5

from infrastructor.domains.zfs.events import NOISE, ZfsEvent, severity_of
from infrastructor.events import Event
from infrastructor.ports.devices import Device

TOPIC = "zfs"
NAMESPACE = UUID("3d5b8f0e-52b1-5f7c-9c0a-6a1f0f3b7c20")
_HISTORY = "history_event"
_SECOND = 10**9
_HISTORY_SPAN_S = 10
_ERRORS_SPAN_S = 60
_GRACE_S = 5  # events come late by that much
_SEEN = 8192  # more than the module keeps


@dataclass(slots=True)
class _Span:
    """Events that say the same, within one span of time."""

    key: str
    ends_ns: int
    last: ZfsEvent
    count: int = 1


class Digest:
    """`take` each event in its order; `over` gives the ends of spans that are over. Pure: no waiting, no clock."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._seen: OrderedDict[tuple[int, int], None] = OrderedDict()
        self._spans: dict[str, _Span] = {}

    def take(self, event: ZfsEvent) -> list[Event]:
        """What to publish; nothing for noise and for what was there already."""
        place = (event.time_ns, event.eid)
        if place in self._seen:
            return []
        self._seen[place] = None
        if len(self._seen) > _SEEN:
            self._seen.popitem(last=False)
        if event.kind in NOISE:
            return []
        found = self.over(event.time_ns)
        about, span_s = _about(event)
        if about is None:
            return [*found, self._told(event, f"{event.time_ns} {event.eid} {event.event_class}")]
        start = event.time_ns // (span_s * _SECOND)
        key = f"{about} {start}"
        span = self._spans.get(key)
        if span is not None:
            span.last, span.count = event, span.count + 1
            return found
        self._spans[key] = _Span(key, (start + 1) * span_s * _SECOND, event)
        return [*found, self._told(event, key)]

    def over(self, now_ns: int) -> list[Event]:
        """The last events of the spans that ended before this time of the device."""
        ended = [span for span in self._spans.values() if span.ends_ns + _GRACE_S * _SECOND <= now_ns]
        for span in ended:
            del self._spans[span.key]
        return [self._last(span) for span in ended if span.count > 1]

    def rest(self) -> list[Event]:
        """The ends of all spans, over or not: nothing more will come."""
        spans, self._spans = list(self._spans.values()), {}
        return [self._last(span) for span in spans if span.count > 1]

    @property
    def waiting(self) -> bool:
        """Whether a span may still have an end to tell."""
        return any(span.count > 1 for span in self._spans.values())

    def _last(self, span: _Span) -> Event:
        return self._told(span.last, f"{span.key} last", events=span.count)

    def _told(self, event: ZfsEvent, key: str, **more: int) -> Event:
        data: dict[str, object] = {
            "pool": event.pool,
            "class": event.event_class,
            "eid": event.eid,
            **event.data,
            **more,
        }
        if event.dropped:
            data["dropped_before"] = event.dropped
        return Event(
            id=uuid5(NAMESPACE, f"{self._device.id} {key}"),
            topic=TOPIC,
            kind=f"zfs.{'history' if event.kind == _HISTORY else event.kind}",
            at=event.at,
            severity=severity_of(event),
            device_id=self._device.id,
            device=self._device.hostname,
            subject=event.pool,
            data={key: value for key, value in data.items() if value is not None},
        )


def _about(event: ZfsEvent) -> tuple[str | None, int]:
    """What an event is about where many say the same, and within how many seconds; None for one that stands alone."""
    if event.kind == _HISTORY:
        return f"history {event.pool_guid}", _HISTORY_SPAN_S
    if event.event_class.startswith("ereport."):
        return f"{event.event_class} {event.pool_guid} {event.vdev_guid}", _ERRORS_SPAN_S
    return None, 0


def digested(device: Device, events: Iterable[ZfsEvent]) -> list[Event]:
    """All that is to be told of some events, in their order."""
    digest = Digest(device)
    told = [one for event in events for one in digest.take(event)]
    return sorted([*told, *digest.rest()], key=lambda event: event.at)
