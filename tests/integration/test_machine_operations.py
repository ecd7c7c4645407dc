"""What the operations on logs, packages, services and drives say of a real machine behind a real sshd."""

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from infrastructor.catalog import CATALOG
from infrastructor.errors import CommandFailed, ValidationFailed
from infrastructor.ports.callers import Caller, Interface, Role
from infrastructor.ports.devices import Device
from infrastructor.service import UnifiedDataCollectionService
from infrastructor.ssh.client import AsyncSSHClient
from tests.fakes import FakeAudit, FakeCache, FakeContainers, FakeDevices, FakeEvents, FakeMetrics, FakePlans
from tests.support.programs import need_root, program

VIEWER = Caller(principal="anna", role=Role.VIEWER, interface=Interface.CLI)


@pytest.fixture
async def service(client: AsyncSSHClient, ssh_host: Device) -> AsyncIterator[UnifiedDataCollectionService]:
    running = UnifiedDataCollectionService(
        operations=CATALOG,
        devices=FakeDevices(ssh_host, ssh_host.model_copy(update={"id": uuid4(), "hostname": "other"})),
        ssh=client,
        cache=FakeCache(),
        audit=FakeAudit(),
        metrics=FakeMetrics(),
        plans=FakePlans(),
        events=FakeEvents(),
        containers=FakeContainers(),
    )
    yield running
    await running.drain()


async def ask(service: UnifiedDataCollectionService, name: str, **arguments: Any) -> Any:
    answer = await asyncio.wait_for(service.submit(service.operation(name), arguments, VIEWER), 60)
    return answer.result


async def test_drive_stats_measures_what_a_write_does(
    service: UnifiedDataCollectionService, tmp_path_factory: pytest.TempPathFactory
) -> None:
    first = await ask(service, "drive_stats", device="host", interval_seconds=0.2)
    assert 0.19 <= first.sampled_over_seconds <= 5
    await asyncio.sleep(1.1)
    since = await ask(service, "drive_stats", device="host")
    assert since.sampled_over_seconds >= 1.0
    names = {row.name for row in since.drives} | set(since.idle)
    assert names == {row.name for row in first.drives} | set(first.idle)
    assert not any(name.startswith("loop") for name in names)


@pytest.fixture
def log() -> Iterator[Path]:
    """A file below /var/log with lines of the last hours, a secret and what tries to act on a reader."""
    need_root()
    path = Path(f"/var/log/infrastructor-test-{os.getpid()}.log")
    start = datetime.now(UTC).astimezone() - timedelta(hours=5)
    rows = [
        f"{start + timedelta(minutes=n):%b %e %H:%M:%S} nas app[{n}]: line {n} of $(id) 'quoted'" for n in range(300)
    ]
    rows.append(
        f"{start + timedelta(hours=5):%b %e %H:%M:%S} nas app[9]: password=hunter2 \x1b[31mred\x1b[0m \u202eevil"
    )
    path.write_text("\n".join(rows) + "\n")
    yield path
    path.unlink()


async def test_log_query_pages_through_a_file_without_gap_or_repeat(
    service: UnifiedDataCollectionService, log: Path
) -> None:
    found: list[str] = []
    cursor = None
    while True:
        arguments = {"cursor": cursor} if cursor else {}
        page = await ask(service, "log_query", device="host", source=f"file:{log}", limit=120, **arguments)
        found = [line.message for line in page.lines] + found
        cursor = page.next_cursor
        if cursor is None:
            break
    assert [text for text in found if text.startswith("line")] == [f"line {n} of $(id) 'quoted'" for n in range(300)]
    assert "password=‹masked›" in found[-1]
    assert "\x1b" not in found[-1]
    assert "\u202e" not in found[-1]


async def test_log_query_narrows_by_time_text_and_expression(service: UnifiedDataCollectionService, log: Path) -> None:
    source = f"file:{log}"
    recent = await ask(service, "log_query", device="host", source=source, since="31m", until="1m")
    assert 28 <= len(recent.lines) <= 31
    exact = await ask(service, "log_query", device="host", source=source, grep="LINE 7 of $(id) 'q")
    assert [line.message for line in exact.lines] == ["line 7 of $(id) 'quoted'"]
    some = await ask(service, "log_query", device="host", source=source, grep=r"line 29\d ", regex=True)
    assert len(some.lines) == 10
    with pytest.raises(ValidationFailed):
        await ask(service, "log_query", device="host", source=source, grep="(a+)+$", regex=True)


@pytest.mark.parametrize("path", ["/var/log/../../etc/shadow", "/var/log", "/etc/shadow"])
async def test_only_logs_are_read(service: UnifiedDataCollectionService, path: str) -> None:
    with pytest.raises((ValidationFailed, CommandFailed)):
        await ask(service, "log_query", device="host", source=f"file:{path}")


async def test_a_link_out_of_the_logs_is_not_followed(service: UnifiedDataCollectionService, log: Path) -> None:
    link = log.with_suffix(".lnk")
    link.symlink_to("/etc/passwd")
    try:
        with pytest.raises(CommandFailed, match="outside"):
            await ask(service, "log_query", device="host", source=f"file:{link}")
    finally:
        link.unlink()


async def test_a_source_that_fails_does_not_hide_the_others(service: UnifiedDataCollectionService, log: Path) -> None:
    page = await ask(service, "log_query", device="host", source=f"file:/var/log/nosuch,file:{log}", limit=1)
    assert len(page.lines) == 1
    assert "does not exist" in page.problems[0].problem


async def test_log_search_merges_devices_by_time(service: UnifiedDataCollectionService, log: Path) -> None:
    page = await ask(service, "log_search", selector="*", source=f"file:{log}", limit=40)
    assert page.counts == {"host": 20, "other": 20}
    assert [line.time for line in page.lines] == sorted(line.time for line in page.lines)
    older = await ask(service, "log_search", selector="*", source=f"file:{log}", limit=40, cursor=page.next_cursor)
    assert older.lines[-1].time <= page.lines[0].time
    assert not {(row.device, row.message) for row in older.lines} & {(row.device, row.message) for row in page.lines}


async def test_package_updates_tells_what_apt_would_do(service: UnifiedDataCollectionService) -> None:
    program("apt-get")
    command = ["apt-get", "-s", "-q", "dist-upgrade"]
    simulated = await asyncio.to_thread(subprocess.run, command, check=True, capture_output=True, text=True)
    result = await ask(service, "package_updates", device="host", limit=500)
    if result.manager == "apt":
        assert result.total == sum(line.startswith("Inst ") for line in simulated.stdout.splitlines())
        security = [update.security for update in result.updates]
        assert security == sorted(security, reverse=True)
    assert result.lists_age_seconds is None or result.lists_age_seconds >= 0


async def test_drive_health_says_when_there_is_no_drive_to_judge(service: UnifiedDataCollectionService) -> None:
    program("smartctl")
    result = await ask(service, "drive_health", device="host")
    assert bool(result.drives) is (result.note is None or "history" in result.note)
