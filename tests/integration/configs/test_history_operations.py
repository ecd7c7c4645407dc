"""The operations on history, on a real device through a real sshd; only the stores are in memory."""

import hashlib
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from stat import S_IFREG
from typing import Any
from uuid import UUID

import pytest

from infrastructor.catalog import CATALOG
from infrastructor.errors import Conflict, InfrastructorError, NotFound, PermissionDenied, ValidationFailed
from infrastructor.events import Event, Severity
from infrastructor.formats.kinds import config_type
from infrastructor.ids import uuid7
from infrastructor.outcome import new_record
from infrastructor.ports.callers import Caller, Interface, Role
from infrastructor.ports.devices import Device
from infrastructor.ports.series import MetricSample
from infrastructor.service import UnifiedDataCollectionService
from infrastructor.snapshot_store import REFUSED, BlindTime, ConfigWatch, Holding, Signature, Version
from infrastructor.ssh import AsyncSSHClient
from tests import fakes
from tests.fake_history import fake_history
from tests.support.programs import missing
from tests.support.sshd import Sshd

OLD = 'services:\n  web:\n    image: nginx:1.2\n    environment:\n      DB_PASSWORD: "hunter-one"\n'
NEW = OLD.replace("1.2", "1.3").replace("hunter-one", "hunter-two")


class World:
    """One device with a folder that is watched, and another device that is only known by its history."""

    def __init__(self, client: AsyncSSHClient, device: Device, folder: Path) -> None:
        self.device, self.folder = device, folder
        self.other = fakes.device("twin")
        self.history = fake_history()
        self.audit, self.events, self.metrics = fakes.FakeAudit(), fakes.FakeEvents(), fakes.FakeMetrics()
        self.service = UnifiedDataCollectionService(
            operations=CATALOG,
            devices=fakes.FakeDevices(device, self.other),
            ssh=client,
            cache=fakes.FakeCache(),
            audit=self.audit,
            metrics=self.metrics,
            plans=fakes.FakePlans(),
            events=self.events,
            containers=fakes.FakeContainers(),
            history=self.history,
        )

    async def ask(self, name: str, role: Role = Role.OPERATOR, /, **arguments: Any) -> Any:
        operation = self.service.operation(name)
        if "device" in operation.params.model_fields and operation.params.model_fields["device"].is_required():
            arguments.setdefault("device", self.device.hostname)
        caller = Caller(principal="anna", role=role, interface=Interface.REST)
        return (await self.service.submit(operation, arguments, caller)).result

    async def seen(
        self, path: str, content: str | None, ago: float = 0.0, *, device: Device | None = None, by: UUID | None = None
    ) -> UUID:
        """What a watcher would have kept so many seconds ago."""
        raw = None if content is None else content.encode()
        signature = None
        if raw is not None:
            signature = Signature(
                inode=1, size_bytes=len(raw), mtime_ns=0, ctime_ns=0, mode=S_IFREG | 0o644, uid=0, gid=0
            )
        version = Version(
            path=path,
            time=datetime.now(UTC) - timedelta(seconds=ago),
            config_type=config_type(path, raw),
            signature=signature,
            holding=Holding.CONTENT if raw is not None else Holding.NONE,
            content=raw,
            content_hash=hashlib.sha256(raw).hexdigest() if raw is not None else None,
            operation_id=by,
        )
        (kept,) = await self.history.snapshots.add((device or self.device).id, [version])
        return kept.id

    @property
    def outcomes(self) -> list[tuple[str, str, str | None]]:
        return [(one.operation, one.outcome, one.error_code) for one in self.audit.finished]


@pytest.fixture
async def world(client: AsyncSSHClient, sshd: Sshd, tmp_path: Path) -> World:
    made = World(client, sshd.device(), tmp_path / "stack")
    made.folder.mkdir()
    await made.history.watches.add_watch(ConfigWatch(device_id=made.device.id, path=str(made.folder), source="user"))
    return made


@pytest.fixture
def put(world: World) -> Callable[[str, str], str]:
    def write(name: str, content: str) -> str:
        path = world.folder / name
        path.write_text(content)
        return str(path)

    return write


Put = Callable[[str, str], str]


async def test_a_watch_is_added_listed_and_removed(world: World) -> None:
    added = await world.ask("config_watch_add", path="/etc/nginx/", include=["*.conf"])
    again = await world.ask("config_watch_add", path="/etc/nginx", include=["*.conf"])
    listed = await world.ask("config_watch_list", Role.VIEWER)
    removed = await world.ask("config_watch_remove", path="/etc/nginx")

    assert (added.changed, again.changed, removed.changed) == (True, False, True)
    assert [(row.path, row.include) for row in listed.watches] == [
        ("/etc/nginx", ["*.conf"]),
        (str(world.folder), None),
    ]


async def test_a_file_is_read_now_with_its_secrets_masked(world: World, put: Put) -> None:
    path = put("compose.yml", OLD)
    found = await world.ask("config_get", Role.VIEWER, path=path)
    assert (found.source, found.config_type, found.secrets_masked, found.version) == ("device", "compose", 1, None)
    assert "hunter" not in found.text
    assert "nginx:1.2" in found.text
    parsed = await world.ask("config_get", Role.VIEWER, path=path, parsed=True)
    assert parsed.parsed["services"]["web"]["image"] == "nginx:1.2"
    assert "hunter" not in parsed.model_dump_json()


async def test_only_an_admin_sees_secrets_and_both_leave_a_record(world: World, put: Put) -> None:
    path = put("compose.yml", OLD)
    with pytest.raises(PermissionDenied):
        await world.ask("config_get", Role.OPERATOR, path=path, reveal=True)
    found = await world.ask("config_get", Role.ADMIN, path=path, reveal=True)
    assert found.text == OLD
    assert world.outcomes == [("config_get", "refused", "permission_denied"), ("config_get", "ok", None)]
    assert world.audit.finished[1].params["reveal"] is True


async def test_only_what_is_watched_is_read(world: World, tmp_path: Path) -> None:
    secret = tmp_path / "elsewhere"
    secret.write_text("x")
    (world.folder / "link").symlink_to(secret)
    with pytest.raises(NotFound):
        await world.ask("config_get", path=str(secret))
    with pytest.raises(PermissionDenied):
        await world.ask("config_get", path=str(world.folder / "link"))
    (world.folder / "folder").symlink_to(tmp_path)
    with pytest.raises(PermissionDenied, match="is a link to"):
        await world.ask("config_get", path=str(world.folder / "folder" / "elsewhere"))
    # What somebody took off the list is not watched, whoever wrote that down; nor is what is left out.
    watches = world.history.watches
    await watches.add_watch(ConfigWatch(device_id=world.device.id, path=str(tmp_path), source=REFUSED))
    with pytest.raises(NotFound):
        await world.ask("config_get", path=str(secret))
    await watches.add_watch(
        ConfigWatch(device_id=world.device.id, path=str(tmp_path), source="user", exclude=("else*",))
    )
    with pytest.raises(NotFound):
        await world.ask("config_get", path=str(secret))


async def test_a_watched_folder_may_itself_be_a_link(world: World, tmp_path: Path) -> None:
    place, name = tmp_path / "place", tmp_path / "name"
    place.mkdir()
    (place / "a.conf").write_text("a\n")
    name.symlink_to(place)
    await world.history.watches.add_watch(ConfigWatch(device_id=world.device.id, path=str(name), source="user"))
    assert (await world.ask("config_get", path=f"{name}/a.conf")).text == "a\n"


async def test_nothing_is_put_back_through_a_link_that_leads_away(world: World, tmp_path: Path) -> None:
    """Who may write into a watched folder must not have us write elsewhere, nor show what is there."""
    path, elsewhere = world.folder / "app.conf", tmp_path / "elsewhere"
    elsewhere.write_text("somebody's\n")
    version = await world.seen(str(path), "old\n", 60)
    path.symlink_to(elsewhere)
    with pytest.raises(PermissionDenied):
        await world.ask("config_restore", path=str(path), version=str(version))
    assert elsewhere.read_text() == "somebody's\n"


async def test_a_long_file_is_read_in_parts(world: World, put: Put) -> None:
    text = "".join(f"line {number} of a long file\n" for number in range(1, 4001))
    path = put("long.txt", text)
    parts, line = [], 1
    while line is not None:
        found = await world.ask("config_get", path=path, line=line)
        assert len(found.model_dump_json()) < 40_000
        parts.append(found.text)
        line = found.next_line
    assert "".join(parts) == text
    assert len(parts) > 2


async def test_the_history_of_a_file_says_what_each_version_changed(world: World) -> None:
    path = f"{world.folder}/compose.yml"
    first, second = await world.seen(path, OLD, 60), await world.seen(path, NEW, 30)
    third = await world.seen(path, None, 10)
    found = await world.ask("config_history", Role.VIEWER, path=path)
    assert [(row.id, row.change, row.about) for row in found.versions] == [
        (third, "DELETE", ["other"]), (second, "MODIFY", ["image", "env"]), (first, "CREATE", ["other"]),
    ]  # fmt: skip
    assert found.versions[1].what[0] == "service web: image nginx 1.2 → 1.3"
    assert "hunter" not in found.model_dump_json()
    page = await world.ask("config_history", path=path, limit=2)
    rest = await world.ask("config_history", path=path, limit=2, cursor=page.next_cursor)
    assert [row.id for row in (*page.versions, *rest.versions)] == [third, second, first]


async def test_a_file_is_shown_as_of_a_time(world: World) -> None:
    path = f"{world.folder}/compose.yml"
    await world.seen(path, OLD, 600)
    await world.seen(path, NEW, 60)
    before = await world.ask("config_get", path=path, at="5m")
    listed = await world.ask("config_file_list", at="5m")
    assert "nginx:1.2" in before.text
    assert [(row.path, row.config_type) for row in listed.files] == [(path, "compose")]
    with pytest.raises(NotFound):
        await world.ask("config_get", path=path, at="1d")


async def test_versions_devices_and_the_live_file_are_compared(world: World, put: Put) -> None:
    path = put("compose.yml", NEW.replace("1.3", "1.4"))
    first = await world.seen(path, OLD, 60)
    await world.seen(path, NEW, 30)
    await world.seen(path, OLD, 30, device=world.other)

    last = await world.ask("config_diff", path=path)
    live = await world.ask("config_diff", path=path, old="latest", new="live")
    named = await world.ask("config_diff", path=path, old=str(first), new="live")
    twin = await world.ask("config_diff", path=path, to_device="twin")

    assert last.differences[0] == "service web: image nginx 1.2 → 1.3"
    assert (last.lines_added, last.lines_removed) == (2, 2)
    assert "service web: image nginx 1.3 → 1.4" in live.differences
    assert named.differences[0] == "service web: image nginx 1.2 → 1.4"
    assert twin.differences[0] == "service web: image nginx 1.3 → 1.2"
    for found in (last, live, named, twin):
        assert "hunter" not in found.model_dump_json()
    assert any("DB_PASSWORD: ‹masked-" in line and "→" in line for line in last.differences)


async def test_search_finds_lines_now_and_ever(world: World) -> None:
    path = f"{world.folder}/compose.yml"
    await world.seen(path, OLD, 60)
    await world.seen(path, NEW, 30)
    now = await world.ask("config_search", Role.VIEWER, query="NGINX:1.")
    ever = await world.ask(
        "config_search", query=r"nginx:1\.[0-9]", regex=True, ever=True, selector=world.device.hostname
    )
    secret = await world.ask("config_search", query="hunter")
    assert [(hit.path, hit.line_number, hit.line) for hit in now.hits] == [(path, 3, "image: nginx:1.3")]
    assert sorted(hit.line for hit in ever.hits) == ["image: nginx:1.2", "image: nginx:1.3"]
    assert secret.hits == []


async def test_drift_from_a_baseline_and_from_another_device(world: World) -> None:
    base = str(world.folder)
    await world.seen(f"{base}/compose.yml", OLD, 60)
    await world.seen(f"{base}/same.txt", "x\n", 60)
    await world.seen(f"{base}/gone.txt", "x\n", 60)
    pinned = await world.ask("config_baseline_set", path=base, at="30s", note="after the audit")
    await world.seen(f"{base}/compose.yml", NEW, 10)
    await world.seen(f"{base}/gone.txt", None, 9)
    await world.seen(f"{base}/new.txt", "x\n", 8)
    await world.seen(f"{base}/ours.txt", "x\n", 8, by=uuid7())
    drift = await world.ask("config_drift", Role.VIEWER, path=base)
    assert pinned.files == 3
    assert [(row.path.rsplit("/", 1)[1], row.state) for row in drift.files] == [
        ("compose.yml", "changed"), ("gone.txt", "missing"), ("new.txt", "extra"),
    ]  # fmt: skip
    assert drift.files[0].what[0] == "service web: image nginx 1.2 → 1.3"
    assert (drift.same, drift.by_operations, drift.drifted) == (1, 1, 3)

    await world.seen(f"{base}/compose.yml", NEW, 5, device=world.other)
    other = await world.ask("config_drift", path=f"{base}/compose.yml", against="twin")
    assert (other.same, other.files) == (1, [])
    assert [(row.path, row.note) for row in (await world.ask("config_baseline_list")).baselines] == [
        (base, "after the audit")
    ]
    await world.ask("config_baseline_remove", path=base)
    with pytest.raises(NotFound):
        await world.ask("config_drift", path=base)


async def test_a_restore_is_shown_then_done_and_both_states_are_versions(world: World, put: Put) -> None:
    path = put("app.json", '{"a": 2, "password": "hunter-now"}')
    target = world.folder / "app.json"
    target.chmod(0o640)
    old = await world.seen(path, '{"a": 1, "password": "hunter-old"}', 60)

    dry = await world.ask("config_restore", path=path, version=str(old), dry_run=True)
    assert (dry.changed, dry.validated_by, dry.differences[0]) == (True, "parsing", "mode 640 → 644")
    assert "a: 2 → 1" in dry.differences
    assert target.read_text() == '{"a": 2, "password": "hunter-now"}'

    done = await world.ask("config_restore", path=path, version="1m", expect=dry.before_sha256)
    assert target.read_text() == '{"a": 1, "password": "hunter-old"}'
    assert target.stat().st_mode & 0o777 == 0o640
    assert "hunter" not in dry.model_dump_json() + done.model_dump_json()
    history = await world.ask("config_history", path=path)
    assert [row.id for row in history.versions] == [done.after_version, done.before_version, old]
    record = next(one for one in world.audit.finished if one.operation == "config_restore" and one.params["expect"])
    assert history.versions[0].operation_id == record.operation_id
    assert "hunter" not in " ".join(record.commands)
    assert (await world.ask("config_restore", path=path, version=str(old))).message == "It is so already."


async def test_a_restore_is_refused_when_the_file_is_another_by_now(world: World, put: Put) -> None:
    path = put("app.json", '{"a": 2}')
    await world.seen(path, '{"a": 1}', 60)
    dry = await world.ask("config_restore", path=path, version="latest", dry_run=True)
    put("app.json", '{"a": 3}')
    with pytest.raises(Conflict):
        await world.ask("config_restore", path=path, version="latest", expect=dry.before_sha256)
    assert (world.folder / "app.json").read_text() == '{"a": 3}'


async def test_a_version_that_does_not_parse_is_not_put_back(world: World, put: Put) -> None:
    path = put("app.json", '{"a": 2}')
    await world.seen(path, '{"a": ', 60)
    with pytest.raises(ValidationFailed):
        await world.ask("config_restore", path=path, version="latest")
    assert (world.folder / "app.json").read_text() == '{"a": 2}'


async def test_a_deleted_file_is_put_back(world: World) -> None:
    path = f"{world.folder}/gone.txt"
    old = await world.seen(path, "it was here\n", 60)
    await world.seen(path, None, 30)
    done = await world.ask("config_restore", path=path, version="previous")
    assert (world.folder / "gone.txt").read_text() == "it was here\n"
    assert (done.before_sha256, done.version) == ("absent", old)
    with pytest.raises(ValidationFailed):
        await world.ask("config_restore", path=path, version="25s")


async def test_a_viewer_restores_nothing(world: World) -> None:
    with pytest.raises(PermissionDenied):
        await world.ask("config_restore", Role.VIEWER, path="/x", version="latest")


async def test_changes_are_listed_over_the_fleet(world: World) -> None:
    await world.seen("/a", "1\n", 50)
    await world.seen("/srv/compose.yml", OLD, 40, device=world.other)
    await world.seen("/srv/compose.yml", NEW, 30, device=world.other)
    every = await world.ask("change_list", Role.VIEWER)
    assert [(row.device, row.path, row.change) for row in every.changes] == [
        ("twin", "/srv/compose.yml", "MODIFY"), ("twin", "/srv/compose.yml", "CREATE"),
        (world.device.hostname, "/a", "CREATE"),
    ]  # fmt: skip
    images = await world.ask("change_list", about="image", device="twin", since="1h")
    assert [row.change for row in images.changes] == ["MODIFY"]


async def test_a_change_is_explained_by_what_happened_around_it(world: World) -> None:
    path = "/srv/shop/compose.yml"
    by = uuid7()
    await world.seen(path, OLD, 300)
    change = await world.seen(path, NEW, 100, by=by)
    now = datetime.now(UTC)
    await world.seen("/etc/hosts", "x\n", 400)
    await world.seen("/srv/shop/.env", "A=1\n", 101)
    ids = {"device_id": world.device.id, "device": world.device.hostname, "topic": "containers"}
    await world.events.publish([
        Event(id=uuid7(), kind="container.die", at=now - timedelta(seconds=97), subject="web",
              severity=Severity.WARNING, data={"exit_code": 1, "stack": "shop"}, **ids),
        Event(id=uuid7(), kind="container.start", at=now - timedelta(seconds=97), subject="unrelated", **ids),
        Event(id=uuid7(), kind="container.die", at=now - timedelta(days=2), subject="web", **ids),
    ])  # fmt: skip
    for seconds in range(300, 0, -20):
        await world.metrics.add(
            MetricSample(
                device_id=world.device.id,
                timestamp=now - timedelta(seconds=seconds),
                cpu_usage_percent=10.0 if seconds > 100 else 90.0,
                memory_usage_percent=50.0,
                disk_usage_percent=None,
                load_average_1m=None,
                uptime_seconds=1000,
            )
        )
    caller = Caller(principal="anna", role=Role.OPERATOR, interface=Interface.MCP)
    record = new_record(world.service.operation("config_restore"), caller, None)
    record.operation_id, record.device_id = by, world.device.id
    record.started_at = now - timedelta(seconds=101)
    world.audit.note(record)

    found = await world.ask("change_explain", Role.VIEWER, change=str(change))
    told = [(fact.kind, fact.what) for fact in found.facts]
    assert told[0] == ("operation", "anna ran config_restore over mcp: started")
    assert found.facts[0].why == "it wrote this version"
    assert told[1] == ("container", "web container die with exit code 1")
    assert ("metric", "CPU of the device: 10 → 90 %") in told
    ranks = {what.split()[0]: place for place, (_, what) in enumerate(told)}
    assert ranks["/srv/shop/.env"] < ranks["unrelated"]
    assert len([what for _, what in told if "die" in what]) == 1
    assert "hunter" not in found.model_dump_json()
    with pytest.raises(InfrastructorError):
        await world.ask("change_explain", change=str(uuid7()))


def last_installed() -> tuple[str, str]:
    """When, and what, by the log of this machine."""
    log = Path("/var/log/dpkg.log")
    lines = re.findall(r"^(\S+ \S+) install ([^\s:]+)", log.read_text() if log.exists() else "", re.MULTILINE)
    if not lines:
        missing("/var/log/dpkg.log tells of no package that was installed: apt-get install one")
    at, name = lines[-1]
    return at, name


async def test_a_change_is_explained_by_the_packages_that_came_with_it(world: World) -> None:
    at, name = last_installed()
    ago = (datetime.now(UTC) - datetime.fromisoformat(at).astimezone()).total_seconds()
    change = await world.seen(f"/etc/{name}/{name}.conf", "a\n", ago)
    found = await world.ask("change_explain", Role.VIEWER, change=str(change))
    facts = [fact for fact in found.facts if fact.kind == "package"]
    assert any(fact.why.endswith(f"the path names {name}") and fact.evidence["packages"] for fact in facts)
    assert found.problems == []


async def test_a_change_of_a_device_out_of_reach_is_explained_by_the_rest(world: World) -> None:
    change = await world.seen("/etc/hosts", "a\n", 10, device=world.other)
    found = await world.ask("change_explain", Role.VIEWER, change=str(change))
    assert len(found.problems) == 1
    assert found.problems[0].startswith("Package changes are not known: ")
    # What only marks until when somebody watched is no span in which nobody did.
    now = datetime.now(UTC)
    for begin in (now, now - timedelta(seconds=5)):
        await world.history.snapshots.add_blind(world.other.id, BlindTime(begin=begin, end=now, reason="x"))
    found = await world.ask("change_explain", Role.VIEWER, change=str(change))
    assert [(one.begin, one.end) for one in found.blind] == [(now - timedelta(seconds=5), now)]
