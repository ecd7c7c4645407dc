"""Reading and changing files through a real sshd, and with BusyBox for all programs."""

import asyncio
import hashlib
import os
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from infrastructor.command import Command
from infrastructor.domains.configs.file_commands import (
    ABSENT,
    LONGEST,
    Done,
    MakeFolder,
    MoveFile,
    ReadFile,
    Refused,
    RemoteFile,
    RemoveFile,
    Unlike,
    WriteFile,
)
from infrastructor.domains.configs.judged_change import JudgedChange, Said, joined, move, put, remove
from infrastructor.errors import ValidationFailed
from infrastructor.ids import uuid7
from infrastructor.ports.ssh import CommandOutput
from infrastructor.ssh import AsyncSSHClient
from tests.support.programs import program
from tests.support.sshd import Sshd

Run = Callable[[Command[Any]], Awaitable[Any]]
ROOT = os.geteuid() == 0


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def files_in(folder: Path) -> list[str]:
    return [entry.name for entry in folder.iterdir() if entry.is_file()]


@pytest.fixture
def applets(tmp_path: Path) -> Path:
    folder = tmp_path / "applets"
    folder.mkdir()
    subprocess.run([program("busybox"), "--install", "-s", str(folder)], check=True)
    return folder


@pytest.fixture(params=["sshd", "busybox"])
def run(request: pytest.FixtureRequest, client: AsyncSSHClient, sshd: Sshd, applets: Path) -> Run:
    async def by_ssh(command: Command[Any]) -> Any:
        output = await client.execute_command(sshd.device(), command.render(), operation_id=uuid7())
        return parsed(command, output)

    async def by_busybox(command: Command[Any]) -> Any:
        done = await asyncio.create_subprocess_exec(
            program("busybox"),
            "sh",
            "-s",
            env={"PATH": str(applets)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        stdout, stderr = await done.communicate(command.render().text.encode())
        assert done.returncode is not None
        return parsed(command, CommandOutput(exit_status=done.returncode, stdout=stdout, stderr=stderr))

    return by_ssh if request.param == "sshd" else by_busybox


def parsed(command: Command[Any], output: CommandOutput) -> Any:
    assert output.exit_status in command.ok_statuses, (output.exit_status, output.stdout, output.stderr)
    return command.parse(output)


CONTENTS = {
    "empty": b"",
    "text": b"server {\n  listen 80;\n}\n",
    "no newline at the end": b"a: 1",
    "newlines at the end": b"a\n\n\n",
    "quotes": b'it\'s "$HOME" `id` \\ %s $(reboot)\n',
    "crlf and bom": b"\xef\xbb\xbfa: 1\r\nb: 2\r\n",
    "binary": bytes(range(256)) * 9,
    "umlaut": "grüße\n".encode(),
    "a dash": b"-n",
    "large": b"# comment\n" * (LONGEST // 10),
}


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS)
async def test_what_is_written_is_read_again(run: Run, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "it's a file.conf"
    assert await run(ReadFile(str(path))) == RemoteFile(path=str(path), exists=False)
    assert await run(WriteFile(str(path), ABSENT, content)) == Done(way="new")
    assert path.read_bytes() == content
    seen = await run(ReadFile(str(path)))
    assert (seen.content, seen.sha256, seen.size_bytes, seen.mode) == (content, sha256(content), len(content), 0o644)
    assert seen.inode == path.stat().st_ino
    assert await run(WriteFile(str(path), seen.sha256, content + b"more")) == Done(way="renamed")
    assert path.read_bytes() == content + b"more"
    assert files_in(tmp_path) == [path.name]


async def test_another_version_is_not_overwritten(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "a.conf"
    path.write_bytes(b"theirs")
    for command in (
        WriteFile(str(path), sha256(b"expected"), b"ours"),
        WriteFile(str(path), ABSENT, b"ours"),
        RemoveFile(str(path), sha256(b"expected")),
        MoveFile(str(path), sha256(b"expected"), str(tmp_path / "b.conf")),
    ):
        assert await run(command) == Unlike(sha256=sha256(b"theirs"))
    assert path.read_bytes() == b"theirs"
    path.unlink()
    assert await run(WriteFile(str(path), sha256(b"theirs"), b"ours")) == Unlike(sha256=ABSENT)
    assert files_in(tmp_path) == []


async def test_mode_and_owner_stay(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "secret.env"
    path.write_bytes(b"A=1\n")
    path.chmod(0o640)
    if ROOT:
        os.chown(path, 1000, 100)
    before = path.stat()
    assert await run(WriteFile(str(path), sha256(b"A=1\n"), b"A=2\n")) == Done(way="renamed")
    after = path.stat()
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
    assert after.st_ino != before.st_ino
    assert await run(WriteFile(str(path), sha256(b"A=2\n"), b"A=3\n", mode=0o600)) == Done(way="renamed")
    assert path.stat().st_mode & 0o7777 == 0o600


async def test_a_file_of_two_names_keeps_its_inode(run: Run, tmp_path: Path) -> None:
    path, other = tmp_path / "a", tmp_path / "b"
    path.write_bytes(b"old")
    other.hardlink_to(path)
    assert await run(WriteFile(str(path), sha256(b"old"), b"new")) == Done(way="in_place")
    assert other.read_bytes() == b"new"


@pytest.mark.skipif(not ROOT, reason="mounting needs root")
async def test_a_file_that_is_mounted_elsewhere_keeps_its_inode(run: Run, tmp_path: Path) -> None:
    path, inside = tmp_path / "my app.conf", tmp_path / "inside"
    path.write_bytes(b"old")
    inside.touch()
    mounted = await asyncio.create_subprocess_exec(
        "unshare", "-m", "sh", "-c", 'mount --bind "$1" "$2"; echo ready; read -r x; cat "$2"', "sh", path, inside,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert mounted.stdout is not None
    assert await mounted.stdout.readline() == b"ready\n"
    assert await run(WriteFile(str(path), sha256(b"old"), b"new")) == Done(way="in_place")
    seen, _ = await mounted.communicate(b"\n")
    assert seen == b"new"


async def test_a_link_is_followed_and_stays(run: Run, tmp_path: Path) -> None:
    (tmp_path / "available").mkdir()
    real, link, nowhere = tmp_path / "available" / "site", tmp_path / "enabled", tmp_path / "nowhere"
    real.write_bytes(b"old")
    link.symlink_to("available/site")
    nowhere.symlink_to("/nonexistent/file")
    seen = await run(ReadFile(str(link)))
    assert (seen.path, seen.content) == (str(real), b"old")
    assert await run(WriteFile(str(link), sha256(b"old"), b"new")) == Done(way="renamed")
    assert link.is_symlink()
    assert real.read_bytes() == b"new"
    assert await run(RemoveFile(str(link), sha256(b"new"))) == Done()
    assert not link.is_symlink()
    assert real.exists()
    assert isinstance(await run(ReadFile(str(nowhere))), Refused)


async def test_what_is_no_file_is_refused(run: Run, tmp_path: Path) -> None:
    folder, pipe = tmp_path / "folder", tmp_path / "pipe"
    folder.mkdir()
    os.mkfifo(pipe)
    for path in (folder, pipe):
        for command in (ReadFile(str(path)), WriteFile(str(path), ABSENT, b"x"), RemoveFile(str(path), ABSENT)):
            assert await run(command) == Refused(reason="no regular file", denied=False)
    answer = await run(WriteFile(str(tmp_path / "no" / "such" / "folder"), ABSENT, b"x"))
    assert answer == Refused(reason=f"{tmp_path}/no/such/ cannot be written to, or is full", denied=True)


async def test_a_file_can_be_removed_and_renamed(run: Run, tmp_path: Path) -> None:
    path, target, taken = tmp_path / "a.conf", tmp_path / "a.conf.disabled", tmp_path / "taken"
    path.write_bytes(b"x")
    taken.write_bytes(b"y")
    refused = await run(MoveFile(str(path), sha256(b"x"), str(taken)))
    assert refused == Refused(reason=f"{taken} is there already", denied=False)
    assert await run(MoveFile(str(path), sha256(b"x"), str(target))) == Done()
    assert await run(RemoveFile(str(path), ABSENT)) == Done()
    assert await run(RemoveFile(str(target), sha256(b"x"))) == Done()
    assert files_in(tmp_path) == ["taken"]
    assert taken.read_bytes() == b"y"


async def test_folders_that_are_missing_are_made(run: Run, tmp_path: Path) -> None:
    (tmp_path / "srv").mkdir(mode=0o755)
    deep = tmp_path / "srv" / "app data" / "config"
    assert await run(MakeFolder(str(deep), 0o750)) == Done(folders=(str(deep.parent), str(deep)))
    assert [folder.stat().st_mode & 0o777 for folder in (tmp_path / "srv", deep.parent, deep)] == [0o755, 0o750, 0o750]
    assert await run(MakeFolder(str(deep))) == Done(folders=())
    (tmp_path / "file").touch()
    assert await run(MakeFolder(str(tmp_path / "file" / "x"))) == Refused(
        reason=f"{tmp_path}/file is no folder", denied=False
    )


async def test_a_long_file_is_hashed_only(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "big.log"
    path.write_bytes(b"x" * (LONGEST + 1))
    seen = await run(ReadFile(str(path)))
    assert (seen.content, seen.size_bytes, seen.sha256) == (None, LONGEST + 1, sha256(b"x" * (LONGEST + 1)))
    with pytest.raises(ValidationFailed):
        WriteFile(str(path), seen.sha256, b"x" * (LONGEST + 1))


@pytest.mark.skipif(not ROOT, reason="a file system of its own needs root")
async def test_a_full_file_system_changes_nothing(run: Run, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    await asyncio.to_thread(subprocess.run, ["mount", "-t", "tmpfs", "-o", "size=64k", "none", small], check=True)
    try:
        path = small / "a.conf"
        path.write_bytes(b"old")
        answer = await run(WriteFile(str(path), sha256(b"old"), b"x" * 100_000))
        assert isinstance(answer, Refused)
        assert path.read_bytes() == b"old"
        assert [entry.name for entry in small.iterdir()] == ["a.conf"]
    finally:
        await asyncio.to_thread(subprocess.run, ["umount", small], check=True)


def test_contents_are_not_told_to_the_audit() -> None:
    summary = WriteFile("/etc/app/.env", ABSENT, b"DB_PASSWORD=hunter2\n").summary()
    assert "hunter2" not in summary
    assert summary.startswith("WriteFile /etc/app/.env expect=absent sha256=")


async def test_changes_of_several_files_are_all_put_back(run: Run, tmp_path: Path, applets: Path) -> None:
    """Whatever the last of them fails of, and whatever nginx says: here it is a program that refuses a word."""
    nginx = applets / "judge"
    nginx.write_text(f"#!{applets}/sh\necho said >&2\n! {applets}/grep -q nonsense {tmp_path}/*.conf\n")
    nginx.chmod(0o755)
    new, old, gone, here = (tmp_path / f"{name}'s.conf" for name in ("new", "old", "gone", "here"))
    before = {old: b"old\n", gone: b"\x00\xffgone", here: b"here"}
    for path, content in before.items():
        path.write_bytes(content)
        path.chmod(0o640)
    there = tmp_path / "there.conf"

    def change(last: bytes, expect: bytes = b"old\n") -> JudgedChange:
        steps = (
            put(str(new), None, b"new\n", mode=0o600),
            remove(str(gone), before[gone], mode=0o640, owner=f"{os.getuid()}:{os.getgid()}"),
            move(str(here), str(there), before[here]),
            put(str(old), expect, last),
        )
        # As `docker exec -- CONTAINER nginx …`: the program stands for both.
        return JudgedChange(str(nginx), joined(steps))

    def there_is() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in tmp_path.glob("*.conf")}

    def as_before() -> bool:
        return there_is() == before and {path.stat().st_mode & 0o777 for path in before} == {0o640}

    refused = await run(change(b"nonsense"))
    assert (refused.outcome, refused.judged, refused.left) == ("refused", Said(status=1, text="said"), ())
    assert as_before()
    assert refused.again == Said(status=0, text="said")
    clash = await run(change(b"new", expect=b"another"))
    assert (clash.outcome, clash.failed) == ("failed", (3, 75, sha256(b"old\n")))
    assert as_before()
    there.write_bytes(b"in the way")
    blocked = await run(change(b"new"))
    assert (blocked.outcome, blocked.failed[:2], blocked.left) == ("failed", (2, 76), ())
    there.unlink()
    assert as_before()
    done = await run(change(b"changed"))
    assert (done.outcome, done.ways) == ("done", ("new", "", "", "renamed"))
    assert there_is() == {new: b"new\n", old: b"changed", there: b"here"}
