"""From an engine's events and lists to ours, each once."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from infrastructor.container_store import ContainerState
from infrastructor.events import Severity
from infrastructor.watchers.engine_events import EngineEvent
from infrastructor.watchers.tracker import Difference, Tracker
from tests.fakes import device

NOW = datetime(2026, 11, 21, tzinfo=UTC)


def seen(action: str, time_ns: int = 1, **fields: Any) -> EngineEvent:
    values = {"container_id": "a" * 64, "name": "web", **fields}
    return EngineEvent(action=action, time_ns=time_ns, **values)


def listed(state: str = "running", **fields: Any) -> ContainerState:
    values = {"name": "web", "container_id": "a" * 64, **fields}
    return ContainerState(state=state, **values)


def differences(tracker: Tracker, *states: ContainerState) -> list[tuple[str, str]]:
    return [(one.action, one.name) for one in tracker.compare(states, untouched_since=tracker.mark())]


def test_an_event_counts_once_and_noise_not_at_all() -> None:
    tracker = Tracker(device("nas"))
    first = tracker.apply(seen("start"))
    assert first is not None
    assert (first.kind, first.subject, first.device, first.topic) == ("container.start", "web", "nas", "containers")
    assert tracker.apply(seen("start")) is None
    assert tracker.apply(seen("exec_start", 2)) is None
    assert tracker.apply(seen("start", 3)) is not None


def test_ids_are_the_same_in_every_process() -> None:
    nas = device("nas")
    one, other = Tracker(nas).apply(seen("start")), Tracker(nas).apply(seen("start"))
    assert one is not None
    assert other is not None
    assert one.id == other.id
    elsewhere = Tracker(device("web")).apply(seen("start"))
    assert elsewhere is not None
    assert elsewhere.id != one.id


def test_a_signal_to_reload_is_no_request_to_end() -> None:
    tracker = Tracker(device("nas"))
    for number, (action, signal) in enumerate([("start", None), ("kill", "1"), ("kill", "10")]):
        tracker.apply(seen(action, number, signal=signal))
    died = tracker.apply(seen("die", 9, exit_code=139))
    assert died is not None
    assert died.severity is Severity.WARNING


def test_an_end_is_a_warning_unless_somebody_asked_for_it() -> None:
    tracker = Tracker(device("nas"))
    severities = []
    for number, (action, code) in enumerate(
        [("start", None), ("die", 1), ("start", None), ("kill", None), ("die", 137), ("start", None), ("die", 137)]
    ):
        event = tracker.apply(seen(action, number, exit_code=code))
        assert event is not None
        if action == "die":
            severities.append(event.severity)
    assert severities == [Severity.WARNING, Severity.INFO, Severity.WARNING]


def test_health_is_told_when_it_changes() -> None:
    tracker = Tracker(device("nas"))
    told = [
        tracker.apply(seen("health_status", number, health=health)) is not None
        for number, health in enumerate(["starting", "healthy", "healthy", "unhealthy", "unhealthy", "healthy"])
    ]
    assert told == [False, True, False, True, False, True]


def test_a_list_tells_what_no_event_did() -> None:
    tracker = Tracker(device("nas"))
    tracker.begin_with([listed(), listed("exited", name="db", container_id="b"), listed(name="old", container_id="c")])
    now = (
        listed("exited", exit_code=137),
        listed("running", name="database", container_id="b"),
        listed(name="new", container_id="d"),
        listed("removing", name="going", container_id="e"),
    )
    assert differences(tracker, *now) == [
        ("die", "web"),
        ("start", "database"),
        ("rename", "database"),
        ("start", "new"),
        ("destroy", "old"),
    ]
    found = tracker.compare(now, untouched_since=tracker.mark())
    events = tracker.resolve(found, NOW)
    assert [event.kind for event in events] == [
        f"container.{action}" for action in ("die", "start", "rename", "start", "destroy")
    ]
    assert {event.data["source"] for event in events} == {"resync"}
    assert differences(tracker, *now) == []


def test_what_an_event_touched_meanwhile_is_left_to_events() -> None:
    tracker = Tracker(device("nas"))
    tracker.begin_with([listed()])
    mark = tracker.mark()
    tracker.apply(seen("die", exit_code=0))
    assert tracker.compare([listed("running")], untouched_since=mark) == []
    assert tracker.compare([], untouched_since=mark) == []


def test_health_is_compared_for_what_runs() -> None:
    tracker = Tracker(device("nas"))
    tracker.begin_with([listed(health="healthy")])
    assert differences(tracker, listed(health="starting")) == []
    assert differences(tracker, listed(health="unhealthy")) == [("health_status", "web")]
    (event,) = tracker.resolve([Difference("a" * 64, "health_status", "web", "healthy", "unhealthy")], NOW)
    assert (event.severity, event.data["health"]) == (Severity.WARNING, "unhealthy")


ACTIONS = st.sampled_from(["create", "start", "die", "pause", "unpause", "kill", "stop", "restart", "exec_start"])


@given(history=st.lists(st.tuples(ACTIONS, st.sampled_from("abc")), max_size=30), cut=st.integers(0, 30))
def test_after_a_resync_we_believe_what_events_would_have_told(history: list[tuple[str, str]], cut: int) -> None:
    """Whatever was missed: a list brings the same belief as having heard it all."""
    nas = device("nas")
    whole, partly = Tracker(nas), Tracker(nas)
    for number, (action, name) in enumerate(history):
        event = seen(action, number, container_id=name, name=name, exit_code=0)
        whole.apply(event)
        if number < cut:
            partly.apply(event)
    now = [listed(known.state, name=known.name, container_id=key) for key, known in whole.known.items()]
    partly.resolve(partly.compare(now, untouched_since=partly.mark()), NOW)
    assert {key: known.state for key, known in partly.known.items()} == {
        key: known.state for key, known in whole.known.items()
    }
    assert partly.compare(now, untouched_since=partly.mark()) == []


def test_a_list_is_the_beginning_where_nothing_is_known() -> None:
    tracker = Tracker(device("nas"))
    mark = tracker.mark()
    tracker.apply(seen("die", exit_code=0))
    tracker.adopt([listed("running"), replace(listed(), name="db", container_id="b")], untouched_since=mark)
    assert tracker.known["a" * 64].state == "exited", "an event that came meanwhile is newer than the list"
    assert tracker.has_baseline
    assert differences(tracker, listed("exited"), replace(listed(), name="db", container_id="b")) == []
