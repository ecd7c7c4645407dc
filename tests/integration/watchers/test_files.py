"""The same traps for every way to watch: real sshd, real programs, real files."""

import asyncio
import os
import shlex
import shutil
import stat
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from infrastructor.ports.ssh import CommandLine
from infrastructor.snapshot_store import Change, Holding
from infrastructor.watchers import inotify
from infrastructor.watchers.agent import agent_line
from infrastructor.watchers.inotify import WatchOptions
from tests.integration.watchers.conftest import AGENTS, ALL, REMOTE, Watch, Watched, agent_processes
from tests.support.sshd import Sshd
from tests.support.wait import exists, until

pytestmark = [pytest.mark.xdist_group("file_watchers"), pytest.mark.timeout(120)]
CREATED, MODIFIED, DELETED = Change.CREATE, Change.MODIFY, Change.DELETE


@pytest.fixture(params=ALL)
def watched(request: pytest.FixtureRequest, watch: Watch) -> Watched:
    return watch(request.param)


@pytest.fixture(params=AGENTS)
def by_agent(request: pytest.FixtureRequest, watch: Watch) -> Watched:
    return watch(request.param)


async def test_a_file_is_followed_from_its_creation_to_its_end(watched: Watched) -> None:
    old, new = watched.root / "old.conf", watched.root / "new.conf"
    old.write_text("first\n")
    async with watched.watching():
        await watched.holds(old, "first\n")
        new.write_text("a=1\n")
        await watched.holds(new, "a=1\n")
        new.write_text("a=2\n")
        await watched.holds(new, "a=2\n")
        new.chmod(0o600)
        await until(lambda: stat.S_IMODE(watched.versions(new)[-1].mode or 0) == 0o600, watched.patience_s)
        new.unlink()
        await watched.holds(new, None)
    assert watched.changes(new) == [CREATED, MODIFIED, MODIFIED, DELETED]
    assert watched.changes(old) == [CREATED]


async def test_editors_and_docker_cp_make_one_version(watched: Watched) -> None:
    path = watched.root / "app.yml"
    path.write_text("one\n")
    async with watched.watching():
        await watched.holds(path, "one\n")
        await asyncio.to_thread(subprocess.run, ["sed", "-i", "s/one/two/", str(path)], check=True)
        await watched.holds(path, "two\n")
        swap = watched.root / ".app.yml.swp"
        swap.write_text("vim")
        (watched.root / "app.yml~").write_text("backup")
        temporary = watched.root / "app.yml.tmp"
        temporary.write_text("three\n")
        temporary.replace(path)
        await watched.holds(path, "three\n")
        path.unlink()  # as docker cp does
        path.write_text("four\n")
        await watched.holds(path, "four\n")
        await asyncio.sleep(0.5)
    assert watched.changes(path) == [CREATED, MODIFIED, MODIFIED, MODIFIED]
    assert {one.path for one in watched.store.kept} == {str(path)}


async def test_what_is_written_into_new_folders_is_found(watched: Watched) -> None:
    async with watched.watching():
        wanted = {}
        for number in range(40):
            folder = watched.root / f"stack{number}" / "deep" / "er"
            folder.mkdir(parents=True)
            (folder / "compose.yml").write_text(f"services: {number}\n")
            wanted[str(folder / "compose.yml")] = f"services: {number}\n".encode()
        await until(lambda: watched.stored() == wanted, 20)


async def test_a_renamed_folder_takes_its_files_along(watched: Watched) -> None:
    (watched.root / "a" / "b").mkdir(parents=True)
    (watched.root / "a" / "b" / "file").write_text("x")
    async with watched.watching():
        (watched.root / "a").rename(watched.root / "z")
        await watched.holds(watched.root / "z" / "b" / "file", "x")
        await watched.holds(watched.root / "a" / "b" / "file", None)
        (watched.root / "z" / "b" / "file").write_text("y")
        await watched.holds(watched.root / "z" / "b" / "file", "y")
        shutil.rmtree(watched.root / "z")
        await watched.holds(watched.root / "z" / "b" / "file", None)
    assert watched.stored() == {}


async def test_links_special_binary_and_big_files_are_kept_for_what_they_are(watched: Watched) -> None:
    root = watched.root
    outside = root.parent / f"{root.name}-secret"
    outside.write_text("not to be read through a link")
    big = os.urandom(1 << 20) + b"!"
    try:
        async with watched.watching():
            (root / "link").symlink_to(outside)
            (root / "dangling").symlink_to("no where")
            os.mkfifo(root / "pipe")
            (root / "logo.png").write_bytes(b"\x89PNG\0\xff\n")
            (root / "big").write_bytes(big)
            (root / "edge").write_bytes(big[:-1])
            (root / "empty").touch()
            (root / "odd na'me\t.conf").write_text("odd")
            await until(lambda: len(watched.stored()) == 8, watched.patience_s)
            await watched.holds(root / "edge", big[:-1])
            await watched.holds(root / "odd na'me\t.conf", "odd")
            await until(lambda: watched.versions(root / "big")[-1].size_bytes == len(big), watched.patience_s)
            (root / "link").unlink()
            (root / "link").symlink_to("elsewhere")
            await until(lambda: watched.versions(root / "link")[-1].target == "elsewhere", watched.patience_s)
    finally:
        outside.unlink()
    newest = {Path(one.path).name: one for one in watched.store.kept}
    assert watched.versions(root / "link")[0].target == str(outside)
    assert newest["dangling"].target == "no where"
    assert (newest["pipe"].holding, newest["pipe"].reason) == (Holding.NONE, "a socket, pipe or device")
    assert (newest["logo.png"].holding, newest["logo.png"].config_type) == (Holding.CONTENT, "binary")
    assert (newest["big"].holding, newest["edge"].holding) == (Holding.DIGEST, Holding.CONTENT)
    assert b"not to be read through a link" not in watched.store.raw.values()


async def test_a_file_read_while_it_is_written_ends_whole(watched: Watched) -> None:
    path = watched.root / "slow.conf"
    async with watched.watching():
        with path.open("w") as file:
            for number in range(30):
                file.write(f"line {number}\n")
                file.flush()
                await asyncio.sleep(0.02)
        await watched.holds(path, path.read_bytes())


@pytest.mark.parametrize("watched", REMOTE, indirect=True)  # watchfiles has no connection to lose
async def test_a_lost_connection_loses_no_final_state(watched: Watched, sshd: Sshd) -> None:
    keep, change, gone = (watched.root / name for name in ("keep", "change", "gone"))
    for path in (keep, change, gone):
        path.write_text("before")
    async with watched.watching() as watcher:
        await until(lambda: len(watched.stored()) == 3)
        sshd.kill_sessions()
        change.write_text("after")
        gone.unlink()
        (watched.root / "new").write_text("new")
        await watched.holds(change, "after")
        await watched.holds(gone, None)
        await watched.holds(watched.root / "new", "new")
        await until(lambda: watcher.state.mode == watched.mode, 20)
        if watched.mode == "polling":
            return  # blind between any two looks; the next one is a new connection
        # The device's clock is ours here: the time of the change, not that of its discovery.
        span = watcher.state.spans[-1]
        assert span.begin <= watched.versions(change)[-1].time <= span.end
    assert watched.changes(keep) == [CREATED]
    assert watched.changes(change) == [CREATED, MODIFIED]


async def test_nothing_is_left_on_the_device(by_agent: Watched) -> None:
    async with by_agent.watching():
        pids = agent_processes(by_agent.mode)
        assert pids
    await until(lambda: not any(exists(f"/proc/{pid}/exe") for pid in pids))


async def test_a_restart_says_since_when_nobody_watched(by_agent: Watched) -> None:
    path = by_agent.root / "a.conf"
    path.write_text("1")
    async with by_agent.watching():
        await by_agent.holds(path, "1")
    await asyncio.sleep(0.2)
    path.write_text("2")
    async with by_agent.watching() as watcher:
        await by_agent.holds(path, "2")
        assert "did not watch" in watcher.state.spans[-1].reason
        assert (watcher.state.spans[-1].end - watcher.state.spans[-1].begin).total_seconds() < 10
    assert by_agent.changes(path) == [CREATED, MODIFIED]


async def test_while_the_database_is_away_nothing_is_lost(by_agent: Watched) -> None:
    async with by_agent.watching() as watcher:
        by_agent.store.away = True
        for number in range(50):
            (by_agent.root / f"{number}.conf").write_text(str(number))
        await until(lambda: watcher.state.storing != "")
        by_agent.store.away = False
        await until(lambda: by_agent.stored() == by_agent.real(), 20)
        await until(lambda: watcher.state.storing == "")


async def test_storms_arrive_whole(by_agent: Watched) -> None:
    async with by_agent.watching():
        folder = by_agent.root / "new"
        folder.mkdir()
        for number in range(10_000):
            (folder / f"{number}.conf").write_text(f"{number}\n")
        await until(lambda: len(by_agent.stored()) == 10_000, 30)
        assert by_agent.stored() == by_agent.real()


async def test_an_overflow_is_made_good(by_agent: Watched) -> None:
    async with by_agent.watching() as watcher:
        pids = agent_processes(by_agent.mode)
        for pid in pids:
            os.kill(pid, 19)
        for number in range(9_000):
            (by_agent.root / f"{number}.conf").write_text(f"{number}\n")
        for pid in pids:
            os.kill(pid, 18)
        began = asyncio.get_running_loop().time()
        await until(lambda: len(by_agent.stored()) == 9_000, 30)
        assert asyncio.get_running_loop().time() - began < 10
        assert by_agent.stored() == by_agent.real()
        await until(lambda: any("lost events" in span.reason for span in watcher.state.spans))


async def test_too_few_watches_are_said_and_made_up_for(by_agent: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit is that of a user namespace, so that nobody else feels it."""

    def limited(interpreter: str, *, sudo: bool) -> CommandLine:
        line = agent_line(interpreter, sudo=sudo)
        setting = "echo 5 >/proc/sys/user/max_inotify_watches && "
        return replace(line, text=f"exec unshare -Ur sh -c {shlex.quote(setting + line.text)}")

    monkeypatch.setattr(inotify, "agent_line", limited)
    for number in range(20):
        (by_agent.root / f"d{number}").mkdir()
    by_agent.options = WatchOptions(poll_s=0.5)
    async with by_agent.watching() as watcher:
        for number in range(20):
            (by_agent.root / f"d{number}" / "file").write_text(str(number))
        await until(lambda: by_agent.stored() == by_agent.real(), 20)
        assert watcher.state.polled >= 15
        assert watcher.state.facts()["polled_folders"] == watcher.state.polled
        (by_agent.root / "d19" / "file").unlink()
        (by_agent.root / "d18" / "new").mkdir()
        (by_agent.root / "d18" / "new" / "file").write_text("new")
        await until(lambda: by_agent.stored() == by_agent.real(), 20)


async def test_more_files_than_the_limit_are_said(watch: Watch) -> None:
    watched = watch("python3", max_files=5)
    for number in range(8):
        (watched.root / str(number)).write_text("x")
    async with watched.watching() as watcher:
        await until(lambda: len(watched.stored()) == 5)
        assert watcher.state.beyond == 3


async def test_what_may_not_be_read_is_said(by_agent: Watched, sshd: Sshd, plain_user: str) -> None:
    """As a login that is not root; readable again, it is read."""
    secret, closed = by_agent.root / "secret.conf", by_agent.root / "closed"
    secret.write_text("x")
    secret.chmod(0o600)
    closed.mkdir(mode=0o700)
    (closed / "inner").write_text("y")
    by_agent.device = sshd.device(ssh_username=plain_user)
    async with by_agent.watching() as watcher:
        await until(lambda: len(watcher.state.unreadable) == 2)
        assert watcher.state.unreadable == {str(secret): "permission denied", f"{closed}/": "permission denied"}
        await until(lambda: bool(by_agent.versions(secret)))  # what is noted at once is stored a moment later
        assert by_agent.versions(secret)[-1].reason == "permission denied"
        secret.chmod(0o644)
        closed.chmod(0o755)
        await by_agent.holds(secret, "x")
        await by_agent.holds(closed / "inner", "y")
        await until(lambda: not any(path == str(secret) for path in watcher.state.unreadable))
        closed.chmod(0o700)
        await asyncio.sleep(1.0)
        assert by_agent.changes(closed / "inner") == [CREATED]  # not seen is not deleted


async def test_a_root_may_be_a_file_or_come_later(watched: Watched) -> None:
    single, later = watched.root / "single.conf", watched.root / "later"
    single.write_text("1")
    (watched.root / "other.conf").write_text("not watched")
    async with watched.watching(single, later):
        await watched.holds(single, "1")
        temporary = watched.root / "x"
        temporary.write_text("2")
        temporary.replace(single)
        await watched.holds(single, "2")
        later.mkdir()
        (later / "file").write_text("3")
        await watched.holds(later / "file", "3")
        shutil.rmtree(later)
        await watched.holds(later / "file", None)
    assert str(watched.root / "other.conf") not in {one.path for one in watched.store.kept}


@pytest.mark.parametrize("whole", [True, False], ids=["folder", "file"])
async def test_a_tree_that_is_replaced_from_above_is_watched_on(by_agent: Watched, whole: bool) -> None:
    """As by `mv app app.old && cp -r new app`: the kernel says nothing to who watches what is below."""
    by_agent.options = WatchOptions(poll_s=0.5)
    folder = by_agent.root / "app" / "conf"
    path = folder / "a.conf"
    folder.mkdir(parents=True)
    path.write_text("1")
    async with by_agent.watching(folder if whole else path) as watcher:
        await by_agent.holds(path, "1")
        (by_agent.root / "app").rename(by_agent.root / "app.old")
        folder.mkdir(parents=True)
        path.write_text("2")
        await by_agent.holds(path, "2")
        assert "lost events" in watcher.state.spans[-1].reason
        path.write_text("3")
        await by_agent.holds(path, "3")
        (by_agent.root / "app.old" / "conf" / "a.conf").write_text("nobody watches this one")
        path.write_text("4")
        await by_agent.holds(path, "4")
    assert {one.path for one in by_agent.store.kept} == {str(path)}


async def test_patterns_choose_files(watched: Watched) -> None:
    (watched.root / "cache").mkdir()
    for name in ("a.conf", "b.log", "cache/c.conf", ".git"):
        (watched.root / name).write_text("x")
    async with watched.watching(include=("*.conf",), exclude=("cache",)):
        (watched.root / "d.conf").write_text("y")
        (watched.root / "e.log").write_text("y")
        await watched.holds(watched.root / "d.conf", "y")
        assert {Path(path).name for path in watched.stored()} == {"a.conf", "d.conf"}
