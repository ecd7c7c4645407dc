"""What happens in a real dockerd becomes events: in order, none lost, none twice, gaps written down."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

import pytest

from infrastructor.errors import EngineUnavailable
from infrastructor.events import Event, EventFilter, Severity
from infrastructor.ports.devices import Device
from infrastructor.ports.ssh import Capabilities
from infrastructor.ssh import AsyncSSHClient
from infrastructor.ssh.engine import Engine
from infrastructor.watchers import containers as module
from infrastructor.watchers.containers import ContainerWatcher
from infrastructor.watchers.listing import list_containers
from tests.fakes import FakeContainers, FakeEvents
from tests.support.docker import IMAGE, DockerEngine
from tests.support.podman import PodmanEngine
from tests.support.sshd import Sshd
from tests.support.wait import until

MILESTONES = frozenset({"create", "start", "die", "destroy"})

pytestmark = [pytest.mark.xdist_group("docker"), pytest.mark.timeout(120)]


async def forget(device: Device) -> None:
    """Nothing is cached here."""


class Watching:
    """A watcher that runs, and what it published."""

    def __init__(self, watcher: ContainerWatcher, bus: FakeEvents, task: "asyncio.Task[None]") -> None:
        self.watcher, self.bus, self.task = watcher, bus, task

    @property
    def events(self) -> list[Event]:
        return [row for row in self.bus.rows if row.topic == "containers"]

    @property
    def gaps(self) -> list[Event]:
        return [row for row in self.bus.rows if row.kind == "watch.gap"]

    def of(self, subject: str) -> list[str]:
        return [row.kind.removeprefix("container.") for row in self.events if row.subject == subject]

    async def following(self) -> None:
        await until(lambda: self.watcher.state.following, 30)

    async def interrupted(self) -> None:
        await until(lambda: not self.watcher.state.following, 30)


@pytest.fixture
async def watch(
    client: AsyncSSHClient, docker_engine: DockerEngine, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Callable[..., Any]]:
    monkeypatch.setattr(module, "LONGEST_WAIT_S", 1.0)
    tasks: list[asyncio.Task[None]] = []

    async def start(device: Device, bus: FakeEvents | None = None, store: FakeContainers | None = None) -> Watching:
        events = bus or FakeEvents()
        watcher = ContainerWatcher(
            device,
            ssh=client,
            bus=events,
            store=store or FakeContainers(),
            list_containers=partial(list_containers, client),
            outdate=forget,
            connecting=asyncio.Semaphore(4),
        )
        task = asyncio.create_task(watcher.run())
        tasks.append(task)
        watching = Watching(watcher, events, task)
        await watching.following()
        return watching

    yield start
    for task in tasks:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    docker_engine.remove_all()


async def docker(engine: DockerEngine, *arguments: str, check: bool = True) -> str:
    return await asyncio.to_thread(engine.docker, *arguments, check=check)


@pytest.fixture(params=["socket", "stdio"])
def host(request: pytest.FixtureRequest, docker_host: Sshd, stdio_host: Sshd) -> Sshd:
    return docker_host if request.param == "socket" else stdio_host


async def test_a_life_is_told_in_order(watch: Any, host: Sshd, docker_engine: DockerEngine) -> None:
    watching = await watch(host.device())
    for line in (
        ("run", "-d", "--name", "web", "--label", "com.docker.compose.project=shop", IMAGE, "sleep", "100"),
        ("pause", "web"),
        ("unpause", "web"),
        ("exec", "web", "true"),
        ("rename", "web", "web2"),
        ("restart", "-t", "0", "web2"),
        ("kill", "web2"),
        ("rm", "web2"),
    ):
        await docker(docker_engine, *line)
    await until(lambda: watching.of("web2")[-1:] == ["destroy"], 30)
    assert watching.of("web") == ["create", "start", "pause", "unpause"]
    stopped = ["kill", "kill", "die", "stop", "start", "restart", "kill", "die", "destroy"]
    assert [kind for kind in watching.of("web2") if kind != "rename"] in (stopped, stopped[1:])
    rename = next(event for event in watching.events if event.kind == "container.rename")
    assert (rename.subject, rename.data["old_name"], rename.data["stack"]) == ("web2", "web", "shop")
    assert {event.severity for event in watching.events} == {Severity.INFO}, "all of it was asked for"
    assert [event.at for event in watching.events] == sorted(event.at for event in watching.events)
    assert watching.gaps == []


async def test_ends_nobody_asked_for_and_failing_checks_are_warnings(
    watch: Any, docker_host: Sshd, docker_engine: DockerEngine
) -> None:
    watching = await watch(docker_host.device())
    await docker(docker_engine, "run", "--name", "bad", IMAGE, "sh", "-c", "exit 3", check=False)
    check = ("--health-cmd", "false", "--health-interval", "200ms", "--health-retries", "1")
    await docker(docker_engine, "run", "-d", "--name", "sick", *check, IMAGE, "sleep", "100")
    await until(lambda: "health_status" in watching.of("sick"), 30)
    await asyncio.sleep(1)
    die = next(event for event in watching.events if event.kind == "container.die")
    assert (die.subject, die.data["exit_code"], die.severity) == ("bad", 3, Severity.WARNING)
    health = [event for event in watching.events if event.kind == "container.health_status"]
    assert [(event.data["health"], event.severity) for event in health] == [("unhealthy", Severity.WARNING)]
    assert not [event for event in watching.events if "exec" in event.kind], "no noise"


async def test_running_out_of_memory_is_a_fault(watch: Any, docker_host: Sshd, docker_engine: DockerEngine) -> None:
    watching = await watch(docker_host.device())
    eat = "dd if=/dev/zero of=/dev/null bs=200M count=1; sleep 5"
    await docker(docker_engine, "run", "-d", "--name", "oom", "-m", "32m", IMAGE, "sh", "-c", eat)
    await until(lambda: "oom" in watching.of("oom"), 30)
    assert next(event for event in watching.events if event.kind == "container.oom").severity is Severity.ERROR


async def test_a_cut_connection_loses_and_doubles_nothing(watch: Any, host: Sshd, docker_engine: DockerEngine) -> None:
    watching = await watch(host.device())
    going = asyncio.Event()

    async def churn() -> None:
        for n in range(30):
            await docker(docker_engine, "run", "-d", "--name", f"c{n}", IMAGE, "sleep", "100")
            await docker(docker_engine, "rm", "-f", f"c{n}")
        going.set()

    churning = asyncio.create_task(churn())
    while not going.is_set():
        await asyncio.sleep(1.2)
        host.kill_sessions()
    await churning
    await until(lambda: watching.of("c29")[-1:] == ["destroy"] and watching.watcher.state.following, 30)
    await until(lambda: len(watching.gaps) == watching.watcher.state.connects - 1)
    for n in range(30):
        assert watching.of(f"c{n}") == ["create", "start", "kill", "die", "destroy"], n
    assert watching.gaps
    assert all(gap.data["complete"] and gap.data["resynced"] == 0 for gap in watching.gaps)
    assert len({event.id for event in watching.events}) == len(watching.events)


async def test_a_burst_is_told_whole(watch: Any, docker_host: Sshd, docker_engine: DockerEngine) -> None:
    watching = await watch(docker_host.device())
    names = [f"b{n}" for n in range(8)]
    for name in names:
        await docker(docker_engine, "run", "-d", "--name", name, IMAGE, "sleep", "1000")
    for _ in range(62):  # 62 × 8 × 2 = 992 events
        await docker(docker_engine, "pause", *names)
        await docker(docker_engine, "unpause", *names)
    await until(lambda: watching.watcher.state.events >= 8 * (2 + 124), 30)
    for name in names:
        assert watching.of(name) == ["create", "start", *(["pause", "unpause"] * 62)]


async def test_what_an_engine_forgot_is_told_by_its_list(
    watch: Any, docker_engine: DockerEngine, docker_host: Sshd
) -> None:
    """More than the engine keeps happens while nobody listens."""
    watching = await watch(docker_host.device())
    for name in ("stays", "stops", "goes"):
        await docker(docker_engine, "run", "-d", "--name", name, IMAGE, "sleep", "1000")
    await until(lambda: len(watching.events) == 6, 30)
    docker_host.stop()
    await watching.interrupted()
    await docker(docker_engine, "kill", "stops")
    await docker(docker_engine, "rm", "-f", "goes")
    await docker(docker_engine, "run", "-d", "--name", "new", IMAGE, "sleep", "1000")
    for _ in range(140):
        await docker(docker_engine, "pause", "stays")
        await docker(docker_engine, "unpause", "stays")
    docker_host.start()
    await watching.following()
    await until(lambda: len(watching.gaps) == 1, 30)
    resync = {event.subject: event for event in watching.events if event.data.get("source") == "resync"}
    assert {name: event.kind for name, event in resync.items()} == {
        "stops": "container.die",
        "goes": "container.destroy",
        "new": "container.start",
    }
    assert resync["stops"].data["exit_code"] == 137
    (gap,) = watching.gaps
    assert (gap.data["complete"], gap.data["resynced"], gap.severity) == (False, 3, Severity.WARNING)
    assert gap.data["replayed"] >= 250


async def test_a_restarted_engine_is_followed_on(watch: Any, docker_engine: DockerEngine, docker_host: Sshd) -> None:
    watching = await watch(docker_host.device())
    await docker(docker_engine, "run", "-d", "--name", "always", "--restart", "always", IMAGE, "sleep", "1000")
    await docker(docker_engine, "run", "-d", "--name", "once", IMAGE, "sleep", "1000")
    await until(lambda: len(watching.events) == 4, 30)
    await asyncio.to_thread(docker_engine.halt)
    await watching.interrupted()
    await asyncio.to_thread(docker_engine.start)
    await watching.following()
    await until(lambda: watching.gaps and watching.of("always")[-1:] == ["start"], 30)
    assert watching.of("once")[:2] == ["create", "start"]
    assert watching.of("once")[2:].count("die") == 1
    assert watching.of("always").count("start") == 2
    await docker(docker_engine, "rm", "-f", "always")
    await until(lambda: watching.of("always")[-1:] == ["destroy"], 30)


async def test_an_end_during_an_engine_restart_is_not_missed(
    watch: Any, docker_engine: DockerEngine, docker_host: Sshd
) -> None:
    """The connection is down while a container ends and the engine restarts: nothing is left to replay."""
    watching = await watch(docker_host.device())
    await docker(docker_engine, "run", "-d", "--name", "victim", IMAGE, "sleep", "1000")
    await until(lambda: len(watching.events) == 2, 30)
    docker_host.stop()
    await watching.interrupted()
    await docker(docker_engine, "kill", "victim")
    await asyncio.to_thread(docker_engine.halt)
    await asyncio.to_thread(docker_engine.start)
    docker_host.start()
    await watching.following()
    await until(lambda: len(watching.gaps) == 1, 30)
    assert watching.of("victim") == ["create", "start", "die"]
    assert watching.events[-1].data["source"] == "resync"
    assert watching.gaps[0].data["complete"] is False


async def test_a_new_process_goes_on_where_the_last_one_ended(
    watch: Any, docker_engine: DockerEngine, docker_host: Sshd
) -> None:
    device, bus = docker_host.device(), FakeEvents()
    await asyncio.sleep(1.1)  # a replay begins with a whole second: not one that has another test's events
    first = await watch(device, bus)
    await docker(docker_engine, "run", "-d", "--name", "web", IMAGE, "sleep", "1000")
    await until(lambda: len(first.events) == 2, 30)
    first.task.cancel()
    await asyncio.wait({first.task})
    await docker(docker_engine, "kill", "web")
    second = await watch(device, bus)
    await until(lambda: second.gaps, 30)
    assert second.of("web") == ["create", "start", "kill", "die"]
    assert [gap.data["complete"] for gap in second.gaps] == [True]
    stored = await bus.since(0, EventFilter(topics=("containers",)))
    assert len({event.id for event in stored}) == len(stored) == 4


async def test_a_login_that_may_only_use_the_program_is_followed_by_it(
    watch: Any, docker_engine: DockerEngine, docker_host: Sshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> Any:
        raise EngineUnavailable("no API for this login")

    monkeypatch.setattr(Engine, "follow", refuse)
    monkeypatch.setattr(Engine, "ask", refuse)
    watching = await watch(docker_host.device())
    assert watching.watcher.state.mode == "cli"
    await docker(docker_engine, "run", "-d", "--name", "followed", IMAGE, "sleep", "1000")
    await until(lambda: len(watching.of("followed")) == 2, 30)
    docker_host.kill_sessions()
    await watching.interrupted()
    await docker(docker_engine, "kill", "followed")
    await watching.following()
    await until(lambda: len(watching.of("followed")) == 4, 30)
    assert watching.of("followed") == ["create", "start", "kill", "die"]
    await until(lambda: [gap.data["complete"] for gap in watching.gaps] == [True], 30)


async def test_a_device_without_an_engine_is_left_alone(
    client: AsyncSSHClient, docker_host: Sshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    async def capabilities(device: Device, *, refresh: bool = False) -> Capabilities:
        asked.append(refresh)
        return Capabilities(system="Linux")

    monkeypatch.setattr(client, "capabilities", capabilities)
    monkeypatch.setattr(module, "LOOK_S", 0.05)
    watcher = ContainerWatcher(
        docker_host.device(),
        ssh=client,
        bus=FakeEvents(),
        store=FakeContainers(),
        list_containers=partial(list_containers, client),
        outdate=forget,
        connecting=asyncio.Semaphore(1),
    )
    task = asyncio.create_task(watcher.run())
    await until(lambda: len(asked) > 3)
    assert (watcher.state.mode, True in asked) == ("no_engine", False)
    task.cancel()
    await asyncio.wait({task})


@pytest.mark.parametrize("way", ["api", "cli"])
async def test_podman_is_followed_by_its_api_and_by_its_program(
    watch: Any, podman_host: Sshd, podman_engine: PodmanEngine, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    if way == "api" and podman_engine.service is None:
        podman_engine.serve()
        await until(podman_engine.socket.exists, 10)
    if way == "cli":

        def refuse(*_: object) -> Any:
            raise EngineUnavailable("no API for this login")

        monkeypatch.setattr(Engine, "follow", refuse)
        monkeypatch.setattr(Engine, "ask", refuse)
    watching = await watch(podman_host.device())
    assert watching.watcher.state.mode == way
    name = f"followed-{way}"
    await asyncio.to_thread(podman_engine.run, name, "sh", "-c", "sleep 0.5; exit 3")
    await until(lambda: watching.of(name)[-1:] == ["die"], 30)
    await asyncio.to_thread(podman_engine.podman, "rm", name)
    await until(lambda: watching.of(name)[-1:] == ["destroy"], 30)
    assert [kind for kind in watching.of(name) if kind in MILESTONES] == ["create", "start", "die", "destroy"]
    die = next(event for event in watching.events if event.kind == "container.die" and event.subject == name)
    assert (die.severity, die.data["exit_code"]) == (Severity.WARNING, 3)
