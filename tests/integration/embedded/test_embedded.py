"""The embedded stores: private, shared, durable, and found again after any death."""

import asyncio
import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import asyncpg
import pytest
from redis.asyncio import Redis

from infrastructor import embedded
from infrastructor.attach import attached_stores
from infrastructor.embedded import EmbeddedStores, Stores, account, postgres, valkey
from infrastructor.errors import DatabaseOperationError
from infrastructor.settings import Settings
from tests.support.postgres import execute, rows

ROOT = os.geteuid() == 0


@pytest.fixture
def folder() -> Iterator[Path]:
    """Short, so that the sockets fit below it."""
    path = Path(tempfile.mkdtemp(prefix="emb-"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
async def stores(folder: Path) -> AsyncIterator[EmbeddedStores]:
    stores = EmbeddedStores(folder / "data")
    yield stores
    await stores.stop()


def _processes_in(directory: Path) -> list[str]:
    """Command lines of the processes whose working directory is below this one."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if process.joinpath("cwd").readlink().is_relative_to(directory):
                found.append(process.joinpath("cmdline").read_text())
    return found


async def pong(stores: Stores) -> bool:
    client = Redis.from_url(stores.redis_url)
    try:
        return bool(await client.ping())
    finally:
        await client.aclose()


async def test_they_start_in_seconds_keep_data_and_stop(stores: EmbeddedStores, folder: Path) -> None:
    started = time.perf_counter()
    first = await stores.start()
    cold = time.perf_counter() - started
    assert first.started == ("valkey", "postgres")
    await execute(first.database_url, "CREATE TABLE kept AS SELECT 1 AS x")
    assert await pong(first)
    await stores.stop()
    assert await stores.status() == {"postgres": None, "valkey": None}
    with pytest.raises(OSError, match=r"No such file|refused"):
        await asyncpg.connect(first.database_url, timeout=2)
    started = time.perf_counter()
    second = await stores.start()
    warm = time.perf_counter() - started
    print(f"cold start {cold:.2f} s, warm start {warm:.2f} s")
    assert await rows(second.database_url, "SELECT x FROM kept")
    assert cold < 15, "0.8 s on an idle machine"
    assert warm < 10, "0.1 s on an idle machine"


async def test_everything_is_private_and_nothing_listens_on_the_network(stores: EmbeddedStores, folder: Path) -> None:
    started = await stores.start()
    data = folder / "data"
    for path in (data, data / "postgres", data / "valkey", data / "run"):
        assert _mode(path) == 0o700, path
    for socket in _files(data / "run"):
        assert _mode(socket) & 0o077 == 0, socket
    status = await stores.status()
    ours = {status["postgres"], status["valkey"]}
    listening = await _run("ss", "-Hltnp")
    assert not [line for line in listening.stdout.splitlines() if any(f"pid={pid}," in line for pid in ours)]
    assert await rows(started.database_url, "SELECT 1 FROM pg_settings WHERE name = 'fsync' AND setting = 'on'")
    (role,) = await rows(started.database_url, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user")
    assert role["rolsuper"] is False


@pytest.mark.skipif(not ROOT, reason="tries another user")
async def test_another_user_gets_in_neither_by_socket_nor_by_file(stores: EmbeddedStores, folder: Path) -> None:
    await stores.start()
    _chmod(folder, 0o755)
    run = folder / "data" / "run"
    program = (
        "import socket, sys\n"
        "for path in sys.argv[1:]:\n"
        "    try:\n"
        "        socket.socket(socket.AF_UNIX).connect(path)\n"
        "    except PermissionError:\n"
        "        continue\n"
        "    sys.exit(path)\n"
    )
    command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "/usr/bin/python3", "-c", program]
    paths = [str(run / ".s.PGSQL.5432"), str(run / "valkey.sock")]
    for mode in (0o700, 0o755):  # even when somebody opens the data directory, the sockets stay closed
        _chmod(folder / "data", mode)
        result = await _run(*command, *paths)
        assert result.returncode == 0, result.stderr


@pytest.mark.skipif(not ROOT, reason="root only")
async def test_as_root_they_run_as_somebody_else_with_one_capability(stores: EmbeddedStores) -> None:
    await stores.start()
    for pid in (await stores.status()).values():
        status = _proc_status(pid)
        assert status["Uid"].split()[0] != "0"
        assert int(status["CapEff"], 16) in {0, 1 << 2}, "CAP_DAC_READ_SEARCH at most"
        assert status["NoNewPrivs"] == "1"


@pytest.mark.skipif(not ROOT, reason="root only")
async def test_they_work_below_a_closed_home_of_root() -> None:
    home = Path(tempfile.mkdtemp(prefix="emb-", dir="/root"))
    stores = EmbeddedStores(home / "data")
    before = _mode(Path("/root"))
    try:
        _chmod(home, 0o700)
        assert await pong(await stores.start())
        assert _mode(Path("/root")) == before, "no folder on the way was opened"
        assert _mode(home) == 0o700
    finally:
        await stores.stop()
        await asyncio.to_thread(shutil.rmtree, home)


@pytest.mark.skipif(not ROOT, reason="needs root to become somebody else")
async def test_an_ordinary_user_needs_no_root(folder: Path) -> None:
    _chmod(folder, 0o755)
    home = folder / "home"
    home.mkdir(mode=0o700)
    os.chown(home, 65534, 65534)
    program = (
        "import asyncio, sys; from pathlib import Path\n"
        "from infrastructor.embedded import EmbeddedStores\n"
        "async def main():\n"
        "    stores = EmbeddedStores(Path(sys.argv[1]))\n"
        "    first = await stores.start()\n"
        "    import asyncpg\n"
        "    connection = await asyncpg.connect(first.database_url)\n"
        "    print(await connection.fetchval('SELECT current_user'), *first.started)\n"
        "    await connection.close()\n"
        "    await stores.stop()\n"
        "asyncio.run(main())\n"
    )
    # CAP_DAC_READ_SEARCH only so that this interpreter, which may lie below /root, can be read.
    keep = "-all,+dac_read_search"
    become = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", f"--inh-caps={keep}"]
    become += [f"--ambient-caps={keep}", f"--bounding-set={keep}"]
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "PYTHONPATH": str(Path(__file__).parents[3])}
    result = await _run(*become, sys.executable, "-c", program, str(home / "data"), env=environment)
    assert result.stdout.split() == ["infrastructor", "valkey", "postgres"], result.stderr


START = (
    "import asyncio, sys; from pathlib import Path; from infrastructor.embedded import EmbeddedStores\n"
    "stores = EmbeddedStores(Path(sys.argv[1]))\n"
    "print(asyncio.run(stores.start()).started)"
)


@pytest.mark.skipif(not ROOT, reason="root only")
async def test_root_of_a_container_without_the_capability_needs_an_open_way(
    stores: EmbeddedStores, folder: Path
) -> None:
    start = ["setpriv", "--bounding-set=-dac_read_search", "--inh-caps=-dac_read_search"]
    start += [sys.executable, "-c", START, str(folder / "data")]
    _chmod(folder, 0o700)
    closed = await _run(*start)
    assert f"cannot pass {folder}" in closed.stderr
    _chmod(folder, 0o755)
    opened = await _run(*start)
    assert opened.stdout.strip() == "('valkey', 'postgres')", opened.stderr
    assert _mode(folder / "data" / "postgres") == _mode(folder / "data" / "run") == 0o700


@pytest.mark.skipif(not ROOT, reason="needs another user")
async def test_somebody_elses_data_is_not_touched(stores: EmbeddedStores, folder: Path) -> None:
    (folder / "data").mkdir(mode=0o700)
    os.chown(folder / "data", 65534, 65534)
    for call in (stores.start, stores.stop):
        with pytest.raises(DatabaseOperationError, match="belongs to user id 65534"):
            await call()
    os.chown(folder / "data", 0, 0)


async def test_a_folder_that_cannot_be_used_is_a_clear_error(folder: Path) -> None:
    _write(folder / "file", "")
    with pytest.raises(DatabaseOperationError, match="cannot use"):
        await EmbeddedStores(folder / "file" / "data").start()


async def test_a_second_process_attaches(stores: EmbeddedStores, folder: Path) -> None:
    first = await stores.start()
    pids = await stores.status()
    second = await EmbeddedStores(folder / "data").start()
    assert second.started == ()
    assert (second.database_url, second.redis_url) == (first.database_url, first.redis_url)
    assert await stores.status() == pids


async def test_many_first_starts_at_once_make_one_pair(stores: EmbeddedStores, folder: Path) -> None:
    program = (
        "import asyncio, sys; from pathlib import Path; from infrastructor.embedded import EmbeddedStores\n"
        "print(*asyncio.run(EmbeddedStores(Path(sys.argv[1])).start()).started)"
    )
    processes = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", program, str(folder / "data")), stdout=asyncio.subprocess.PIPE
        )
        for _ in range(4)
    ]
    printed = [(await process.communicate())[0].decode().strip() for process in processes]
    assert sorted(printed) == ["", "", "", "valkey postgres"]


async def test_they_outlive_their_starter_and_are_adopted(stores: EmbeddedStores, folder: Path) -> None:
    program = (
        "import asyncio, os, sys; from pathlib import Path; from infrastructor.embedded import EmbeddedStores\n"
        "asyncio.run(EmbeddedStores(Path(sys.argv[1])).start()); os.kill(os.getpid(), 9)"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program, str(folder / "data"))
    assert await process.wait() == -signal.SIGKILL
    assert None not in (await stores.status()).values()
    adopted = await stores.start()
    assert adopted.started == ()
    assert await pong(adopted)


async def test_kill_9_of_both_is_recovered_without_loss(stores: EmbeddedStores) -> None:
    first = await stores.start()
    await execute(first.database_url, "CREATE TABLE kept AS SELECT 1 AS x")
    for pid in (await stores.status()).values():
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
    again = await stores.start()
    assert again.started == ("valkey", "postgres")
    assert await rows(again.database_url, "SELECT x FROM kept")
    assert await pong(again)


async def test_stale_pid_files_that_name_a_stranger_are_no_obstacle(stores: EmbeddedStores, folder: Path) -> None:
    await stores.start()
    await stores.stop()
    stranger = await asyncio.create_subprocess_exec("sleep", "60")
    _write(
        folder / "data" / "postgres" / "postmaster.pid", f"{stranger.pid}\n{folder}/data/postgres\n0\n5432\n\n\n1 1\n"
    )
    _write(folder / "data" / "valkey" / "valkey.pid", f"{stranger.pid}\n")
    assert await stores.status() == {"postgres": None, "valkey": None}
    await stores.stop()
    assert stranger.returncode is None
    started = await stores.start()
    assert started.started == ("valkey", "postgres")
    stranger.kill()
    await stranger.wait()


@pytest.mark.skipif(not ROOT, reason="root only")
async def test_root_follows_no_link_of_the_account_it_serves(stores: EmbeddedStores, folder: Path) -> None:
    await stores.start()
    await stores.stop()
    victim = folder / "victim"
    _write(victim, "untouched")
    for path in (folder / "data/postgres/postgresql.conf", folder / "data/valkey/valkey.conf"):
        path.unlink()
        path.symlink_to(victim)
    assert await pong(await stores.start())
    assert victim.read_text() == "untouched"
    assert victim.stat().st_uid == 0


async def test_nothing_is_left_running_when_one_of_them_cannot_start(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = folder / "valkey-server"
    _write(slow, f'#!/bin/sh\n(sleep 0.3; exec {valkey.program()} "$@") > /dev/null 2>&1 &\n', mode=0o755)
    monkeypatch.setattr(embedded, "program", lambda: slow)
    monkeypatch.setattr(valkey, "program", lambda: slow)
    monkeypatch.setattr(postgres, "programs", lambda: folder)  # no initdb there: it fails at once
    with pytest.raises(DatabaseOperationError):
        async with attached_stores(Settings(data_dir=folder / "data")):
            pytest.fail("started")
    await asyncio.sleep(0.5)
    assert _processes_in(folder / "data") == []


@pytest.mark.skipif(not ROOT, reason="root only")
def test_first_starts_at_once_agree_on_the_account(monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"infdb{os.getpid()}"
    monkeypatch.setattr(account, "NAME", name)
    try:
        with ProcessPoolExecutor(4, mp_context=get_context("fork")) as pool:
            made = [task.result().pw_uid for task in [pool.submit(account._system_user) for _ in range(4)]]
        assert set(made) == {pwd.getpwnam(name).pw_uid}
    finally:
        subprocess.run(["/usr/sbin/userdel", name], check=True)


async def test_a_removed_socket_directory_is_healed(stores: EmbeddedStores, folder: Path) -> None:
    await stores.start()
    await asyncio.to_thread(shutil.rmtree, folder / "data" / "run")
    again = await stores.start()
    assert again.started == ("valkey", "postgres")
    assert await pong(again)
    assert await rows(again.database_url, "SELECT 1")


async def test_frozen_servers_are_replaced(stores: EmbeddedStores, monkeypatch: pytest.MonkeyPatch) -> None:
    await stores.start()
    monkeypatch.setattr(postgres, "PATIENCE_S", 1.0)
    monkeypatch.setattr(valkey, "PATIENCE_S", 1.0)
    for pid in (await stores.status()).values():
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
    again = await stores.start()
    assert await pong(again)
    assert await rows(again.database_url, "SELECT 1")


async def test_a_long_path_gets_its_sockets_elsewhere(folder: Path) -> None:
    stores = EmbeddedStores(folder / ("long" * 20) / ("path" * 20) / "with 'quotes' and spaces %41")
    first = await stores.start()
    assert len(first.database_url) < 150
    assert await rows(first.database_url, "SELECT 1")
    assert await pong(first)
    await stores.stop()
    second = await stores.start()
    assert second.database_url == first.database_url
    await stores.stop()
    await asyncio.to_thread(shutil.rmtree, first.database_url.split("host=")[1])


async def test_a_start_killed_half_way_is_no_obstacle(stores: EmbeddedStores, folder: Path) -> None:
    program = (
        "import asyncio, sys; from pathlib import Path; from infrastructor.embedded import EmbeddedStores\n"
        "print('go', flush=True); asyncio.run(EmbeddedStores(Path(sys.argv[1])).start())"
    )
    for delay in (0.05, 0.15, 0.3, 0.5):
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", program, str(folder / "data")), stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        await process.stdout.readline()
        await asyncio.sleep(delay)
        process.kill()
        await process.wait()
    started = await stores.start()
    assert await rows(started.database_url, "SELECT 1")


async def test_data_of_another_postgres_is_left_alone(stores: EmbeddedStores, folder: Path) -> None:
    (folder / "data" / "postgres").mkdir(parents=True)
    _write(folder / "data" / "postgres" / "PG_VERSION", "16\n")
    with pytest.raises(DatabaseOperationError, match="PostgreSQL 16"):
        await stores.start()
    assert _files(folder / "data" / "postgres") == [folder / "data" / "postgres" / "PG_VERSION"]


async def test_a_server_that_cannot_start_says_why(stores: EmbeddedStores, folder: Path) -> None:
    await stores.start()
    await stores.stop()
    _write(folder / "data" / "postgres" / "global" / "pg_control", "x")
    with pytest.raises(DatabaseOperationError, match="pg_control"):
        await stores.start()


async def _run(*argv: str, env: dict[str, str] | None = None) -> "subprocess.CompletedProcess[str]":
    return await asyncio.to_thread(subprocess.run, argv, capture_output=True, text=True, check=False, env=env)


def _proc_status(pid: int | None) -> dict[str, str]:
    return dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())


def _mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def _chmod(path: Path, mode: int) -> None:
    path.chmod(mode)


def _files(path: Path) -> list[Path]:
    return list(path.iterdir())


def _write(path: Path, text: str, mode: int = 0o644) -> None:
    path.write_text(text)
    path.chmod(mode)
    if mode & 0o111:
        path.parent.chmod(0o755)  # whoever may run it must get there
