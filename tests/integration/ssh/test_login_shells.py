"""Whatever shell a login has, a value arrives as it was and runs nothing."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar
from uuid import uuid4

import pytest

from infrastructor.command import Command
from infrastructor.errors import CommandFailed
from infrastructor.ports.ssh import CommandLine, CommandOutput, Lane
from infrastructor.ssh import AsyncSSHClient
from tests.support.payloads import payloads
from tests.support.programs import program
from tests.support.sshd import Sshd, add_user, line, remove_user
from tests.support.wait import exists, write

SHELLS = ["dash", "bash", "busybox ash", "zsh", "fish", "tcsh"]


@pytest.fixture(scope="module", params=SHELLS)
def login(request: pytest.FixtureRequest, ssh_folder: Path) -> Iterator[str]:
    """A user with this login shell."""
    shell: str = request.param
    if shell == "busybox ash":
        link = ssh_folder / f"{uuid4().hex}" / "ash"
        link.parent.mkdir()
        link.symlink_to(program("busybox"))
        path = str(link)
    else:
        path = program(shell)
    name = add_user(path)
    yield name
    remove_user(name)


@dataclass(frozen=True)
class Echo(Command[bytes]):
    value: str = ""
    values: tuple[str, ...] = ()

    def parse(self, output: CommandOutput) -> bytes:
        return output.stdout


class WholeWord(Echo):
    template = "printf -- '%s\\0' {value}"


class PartOfAWord(Echo):
    template = "printf -- '%s\\0' --name={value}:end"


class ScriptArgument(Echo):
    template = "{value} fixed {value}"
    script: ClassVar[str | None] = """printf '%s\\0' "$@" """


class Tuple(Echo):
    template = "printf -- '%s\\0' {values}"


def cases(payload: str) -> list[tuple[Echo, list[str]]]:
    return [
        (WholeWord(value=payload), [payload]),
        (PartOfAWord(value=payload), [f"--name={payload}:end"]),
        (ScriptArgument(value=payload), [payload, "fixed", payload]),
        (Tuple(values=(payload, "-x", payload)), [payload, "-x", payload]),
    ]


def on(lane: Lane, command: Echo) -> CommandLine:
    rendered = command.render()
    return CommandLine(text=rendered.text, lane=lane, timeout_s=30)


async def test_no_payload_runs_or_is_mangled(client: AsyncSSHClient, sshd: Sshd, login: str) -> None:
    canary = Path(f"/tmp/canary-{uuid4().hex}")
    host = sshd.device(ssh_username=login)
    values = payloads(str(canary))
    assert len(values) >= 300
    asked = [(Lane.FAST, case) for value in values for case in cases(value)]
    # A channel of its own each: fewer one by one, and all of them together in one argument list.
    asked += [(Lane.SLOW, case) for value in values[::5] for case in cases(value)]
    asked += [(Lane.SLOW, (Tuple(values=tuple(values)), values))]
    outputs = await asyncio.gather(*(client.execute_command(host, on(lane, command)) for lane, (command, _) in asked))

    expected = [[word.encode() for word in words] for _, (_, words) in asked]
    arrived = [output.stdout.split(b"\0")[:-1] for output in outputs]
    assert [pair for pair in zip(arrived, expected, strict=True) if pair[0] != pair[1]] == []
    assert not exists(canary)


async def test_every_login_shell_keeps_the_promises(client: AsyncSSHClient, sshd: Sshd, login: str) -> None:
    host = sshd.device(ssh_username=login)
    known = await client.capabilities(host)
    changed = await client.execute_command(host, line("echo changed; exit 3", Lane.CHANGE))

    assert (known.user, changed.exit_status, changed.stdout) == (login, 3, b"changed\n")


NOISE = {
    "bash": (".bashrc", "echo welcome; echo careful >&2; printf 'no newline'; echo '{ cat; }'\n"),
    "zsh": (".zshenv", "echo welcome; echo careful >&2; printf 'no newline'\n"),
    "fish": (".config/fish/config.fish", "echo welcome; echo careful >&2; printf 'no newline'\n"),
    "tcsh": (".tcshrc", "echo welcome\nprintf 'no newline'\n"),
}


@pytest.mark.parametrize("shell", NOISE)
async def test_login_scripts_may_print_what_they_like(client: AsyncSSHClient, sshd: Sshd, shell: str) -> None:
    name = add_user(program(shell))
    file, text = NOISE[shell]
    write(Path(f"/home/{name}/{file}"), text)
    try:
        host = sshd.device(ssh_username=name)
        for lane in (Lane.FAST, Lane.SLOW, Lane.CHANGE):
            output = await client.execute_command(host, line("echo hi", lane))
            assert (output.stdout, output.stderr) == (b"hi\n", b"")
    finally:
        await client.forget(host.id)
        remove_user(name)


async def test_a_banner_is_no_answer(client: AsyncSSHClient, start_sshd: Callable[..., Sshd], ssh_folder: Path) -> None:
    banner = write(ssh_folder / uuid4().hex, "AUTHORISED USE ONLY\n" * 200)
    host = start_sshd(f"Banner {banner}").device()
    assert (await client.execute_command(host, line("echo hi"))).stdout == b"hi\n"


async def test_a_login_without_a_shell_is_said(client: AsyncSSHClient, sshd: Sshd) -> None:
    name = add_user("/usr/sbin/nologin")
    try:
        with pytest.raises(CommandFailed, match=r"gives no shell.*not available"):
            await client.execute_command(sshd.device(ssh_username=name), line("echo hi"))
    finally:
        await client.close()
        remove_user(name)


@pytest.mark.parametrize("command", ["echo only this; exit 1", "cat >/dev/null", "internal-sftp"])
async def test_a_forced_command_is_said(
    client: AsyncSSHClient, start_sshd: Callable[..., Sshd], command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = start_sshd(f"ForceCommand {command}").device()
    monkeypatch.setattr(client, "_settings", client._settings.model_copy(update={"ssh_login_timeout_s": 1.0}))
    for lane in (Lane.FAST, Lane.SLOW):
        with pytest.raises(CommandFailed, match="gives no shell"):
            await client.execute_command(host, line("echo hi", lane))
