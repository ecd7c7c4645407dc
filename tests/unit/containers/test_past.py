"""What readings of containers leave behind, and what is told of it."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infrastructor.catalog import CATALOG
from infrastructor.container_store import ContainerState
from infrastructor.domains.containers.record import at_most_ago
from infrastructor.errors import Conflict
from infrastructor.events import Event, Severity
from infrastructor.ids import uuid7
from infrastructor.ports.callers import Caller, Interface, Role
from infrastructor.ports.ssh import CommandOutput
from infrastructor.scheduler import SCHEDULER
from infrastructor.service import UnifiedDataCollectionService
from tests.fakes import FakeAudit, FakeCache, FakeContainers, FakeDevices, FakeEvents, FakeMetrics, FakePlans, FakeSSH
from tests.fakes import device as registered

VIEWER = Caller(principal="vera", role=Role.VIEWER, interface=Interface.MCP)
ID = "a" * 64
NOW = datetime.now(UTC)


class Past:
    """A device with one container that tests put in a state, and the service that reads it."""

    def __init__(self) -> None:
        self.nas = registered("nas")
        self.ssh = FakeSSH()
        self.events, self.containers = FakeEvents(), FakeContainers()
        self.service = UnifiedDataCollectionService(
            operations=CATALOG, devices=FakeDevices(self.nas), ssh=self.ssh, cache=FakeCache(), audit=FakeAudit(),
            metrics=FakeMetrics(), plans=FakePlans(), events=self.events, containers=self.containers,
        )  # fmt: skip

    async def read(self, status: str, *, ago: timedelta, restarts: int = 0, kills: int = 0) -> list[ContainerState]:
        """Let the scheduler read it; the states that were kept because of that."""
        running = status.startswith("Up")
        row = {"Id": ID, "Names": ["/web"], "Image": "app:1", "Status": status, "Created": 1, "Ports": []}
        listed = row | {"State": "running" if running else "exited", "Labels": {}}
        moment = (datetime.now(UTC) - ago).isoformat()
        state = {"Status": listed["State"], "ExitCode": 0, "StartedAt": moment, "FinishedAt": moment}
        inspected = {
            "Id": ID,
            "Name": "/web",
            "Config": {},
            "State": state,
            "RestartCount": restarts,
            "Image": "sha256:1",
        }
        counters = f"uptime 9.0\ndocker/{ID}/memory.current:4096\ndocker/{ID}/memory.events:oom_kill {kills}"
        self.ssh.replies = {
            "/containers/json": json.dumps([listed]).encode(),
            f"/containers/{ID}/json": json.dumps(inspected).encode(),
        }
        output = CommandOutput(exit_status=0, stdout=counters.encode())
        self.ssh.outputs = dict.fromkeys(("set", "\ncd"), output)
        before = len(self.containers.kept)
        outcomes = await self.service.sweep(self.service.operation("container_stats"), [self.nas], SCHEDULER)
        assert outcomes == {"nas": "ok"}
        return [change.state for _, change in self.containers.kept[before:]]

    async def history(self, container: str = "web") -> Any:
        arguments = {"device": "nas", "container": container, "since": "1h"}
        return (await self.service.submit(self.service.operation("container_history"), arguments, VIEWER)).result


async def test_a_restart_between_two_readings_is_kept_though_the_list_says_the_same() -> None:
    past = Past()
    [first] = await past.read("Up 2 hours", ago=timedelta(hours=2))
    assert await past.read("Up 2 hours", ago=timedelta(hours=2)) == []
    [again] = await past.read("Up 3 seconds", ago=timedelta(seconds=3), restarts=1)
    assert (first.restart_count, again.restart_count) == (0, 1)
    asked = len(past.ssh.sent)
    assert await past.read("Up About a minute", ago=timedelta(seconds=3)) == []
    assert f"/containers/{ID}/json" not in [target for _, target in past.ssh.sent[asked:]]
    [ended] = await past.read("Exited (0) 1 second ago", ago=timedelta(seconds=1), restarts=1)
    assert await past.read("Exited (0) 1 second ago", ago=timedelta(seconds=1), restarts=1) == []
    past.containers.kept[-1] = (
        past.nas.id,
        replace(past.containers.kept[-1][1], state=replace(ended, finished_at=None)),
    )
    [looked_at] = await past.read("Exited (0) 3 hours ago", ago=timedelta(hours=3), restarts=1)
    assert looked_at.finished_at is not None
    assert "restarted by its policy, 1 times so far" in [line.what for line in (await past.history()).story]


async def test_what_the_kernel_killed_is_known_without_an_event() -> None:
    past = Past()
    await past.read("Up 2 hours", ago=timedelta(hours=2))
    [killed] = await past.read("Up 2 hours", ago=timedelta(hours=2), kills=2)
    assert killed.oom_kills == 2
    assert await past.read("Up 2 hours", ago=timedelta(hours=2), kills=2) == []
    assert await past.read("Up 2 hours", ago=timedelta(hours=2)) == [], "it was not read this time"
    await past.read("Up 2 hours", ago=timedelta(hours=2), kills=5)
    told = await past.history()
    assert told.oom_kills == 5
    assert [line.what for line in told.story] == [f"{n} processes were killed in it for want of memory" for n in (5, 2)]


async def test_all_events_are_counted_however_few_are_told() -> None:
    past = Past()
    await past.events.publish(
        [
            Event(
                id=uuid7(), topic="containers", kind=kind, at=NOW - timedelta(seconds=n), severity=severity,
                device_id=past.nas.id, device="nas", subject="web",
            )
            for n in range(1, 1501)
            for kind, severity in (("container.start", Severity.INFO), ("container.die", Severity.WARNING))
        ]
    )  # fmt: skip
    told = await past.history()
    assert (told.starts, told.failed_ends, len(told.story) + told.story_omitted) == (1500, 1500, 3000)


async def test_the_start_of_two_ids_is_no_container() -> None:
    past = Past()
    states = [ContainerState(name=name, container_id=f"ab{name}", state="running") for name in ("one", "two")]
    await past.containers.add_states(past.nas.id, NOW, states)
    with pytest.raises(Conflict, match="one, two"):
        await past.history("ab")


@given(
    st.integers(0, 10**8), st.sampled_from(["Up {}", "Exited (0) {} ago", "Restarting (-1) {} ago", "Up {} (healthy)"])
)
def test_ages_as_an_engine_words_them_are_never_taken_for_younger(seconds: int, form: str) -> None:
    assert at_most_ago(form.format(worded(seconds))) >= timedelta(seconds=seconds)  # type: ignore[operator]


def worded(seconds: int) -> str:
    """As Docker and Podman write a duration."""
    minutes, hours = seconds // 60, int(seconds / 3600 + 0.5)
    for holds, text in (
        (seconds < 1, "Less than a second"),
        (seconds < 2, "1 second"),
        (seconds < 60, f"{seconds} seconds"),
        (minutes < 2, "About a minute"),
        (minutes < 60, f"{minutes} minutes"),
        (hours < 2, "About an hour"),
        (hours < 48, f"{hours} hours"),
        (hours < 24 * 7 * 2, f"{hours // 24} days"),
        (hours < 24 * 30 * 2, f"{hours // 24 // 7} weeks"),
        (hours < 24 * 365 * 2, f"{hours // 24 // 30} months"),
    ):
        if holds:
            return text
    return f"{hours // 24 // 365} years"
