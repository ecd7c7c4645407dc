"""Texts known to be quick and silent share one end marker on stderr: until one of them is neither, nobody notices.

Each command here is quick and silent until its turn comes: then it does what its test is about.
"""

import asyncio
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic
from uuid import uuid4

import pytest

from infrastructor.errors import CommandFailed, CommandTimeout
from infrastructor.ports.devices import Device
from infrastructor.ports.ssh import CommandOutput
from infrastructor.ssh import AsyncSSHClient
from tests.support.programs import program, running
from tests.support.sshd import Sshd, add_user, line, local_device, remove_user
from tests.support.wait import until

SIZE = 6
CULPRIT = 3


class Party:
    """A few commands, asked all at once."""

    def __init__(self, folder: Path, client: AsyncSSHClient, host: Device, *, sudo: bool) -> None:
        self.folder = folder
        self._client = client
        self.host = host
        self.sudo = sudo
        self.culprit = CULPRIT
        self.turns: dict[int, str] = {}
        self.timeout_s = 20.0

    def ask(self) -> list[asyncio.Task[CommandOutput]]:
        return [asyncio.create_task(self._ask(number)) for number in range(SIZE)]

    async def _ask(self, number: int) -> CommandOutput:
        runs, go = self.folder / f"runs{number}", self.folder / "go"
        turn = f"[ -e {go} ] && {{ {self.turns[number]}; }}; " if number in self.turns else ""
        text = f"echo x >>{runs}; {turn}printf '\\nout%s\\n\\n' {number}; exit {number}"
        timeout_s = self.timeout_s if number == self.culprit else 20.0
        asked = line(text, sudo=self.sudo, timeout_s=timeout_s, max_output_bytes=1000)
        return await self._client.execute_command(self.host, asked)

    async def get_known(self, turn: str = "true", timeout_s: float = 20.0) -> None:
        """Run everything once, each with its own markers, then let the culprit's turn come."""
        self.turns[self.culprit], self.timeout_s = turn, timeout_s
        assert [plain(output) for output in await asyncio.gather(*self.ask())] == [ok(n) for n in range(SIZE)]
        assert self.runs() == [1] * SIZE
        (self.folder / "go").touch()

    def runs(self) -> list[int]:
        """How often each has run so far."""
        return [len((self.folder / f"runs{number}").read_text().split()) for number in range(SIZE)]

    @property
    def replays(self) -> int:
        return int(self._client.statistics()["replays"])


def plain(output: CommandOutput) -> tuple[int, bytes, bytes, bool]:
    return output.exit_status, output.stdout, output.stderr, output.truncated


def ok(number: int, stderr: bytes = b"") -> tuple[int, bytes, bytes, bool]:
    return number, f"\nout{number}\n\n".encode(), stderr, False


NEIGHBOURS = [number for number in range(SIZE) if number != CULPRIT]
EXPECTED = [ok(number) for number in NEIGHBOURS]


async def neighbours(tasks: list[asyncio.Task[CommandOutput]]) -> list[tuple[int, bytes, bytes, bool]]:
    return [plain(await tasks[number]) for number in NEIGHBOURS]


@pytest.fixture
def sudoer() -> Iterator[str]:
    program("sudo")
    name = add_user("/bin/sh")
    file = Path(f"/etc/sudoers.d/{name}")
    file.write_text(f"{name} ALL=(root) NOPASSWD: ALL\n")
    file.chmod(0o440)
    yield name
    file.unlink()
    remove_user(name)


@pytest.fixture(params=["root over ssh", "sudo over ssh", "local"])
def party(
    request: pytest.FixtureRequest, client: AsyncSSHClient, sshd: Sshd, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Party]:
    # However busy the machine is, the first run counts as quick.
    monkeypatch.setattr("infrastructor.ssh.texts.QUICK_S", 60.0)
    host = local_device() if request.param == "local" else sshd.device()
    sudo = request.param.startswith("sudo")
    if sudo:
        host = sshd.device(ssh_username=request.getfixturevalue("sudoer"))
    folder = Path(f"/tmp/{uuid4().hex}")
    folder.mkdir(mode=0o777)
    yield Party(folder, client, host, sudo=sudo)
    shutil.rmtree(folder)


def number() -> str:
    return str(uuid4().int % 10**9 + 10**9)


async def test_a_silent_group_runs_once(party: Party) -> None:
    await party.get_known()
    for round_ in (2, 3):
        outputs = await asyncio.gather(*party.ask())
        assert [plain(output) for output in outputs] == [ok(n) for n in range(SIZE)]
        assert party.runs() == [round_] * SIZE
    assert party.replays == 0


async def test_what_one_of_a_group_says_is_nobody_elses(party: Party) -> None:
    await party.get_known("echo no >&2")
    tasks = party.ask()
    assert await neighbours(tasks) == EXPECTED
    assert plain(await tasks[CULPRIT]) == ok(CULPRIT, b"no\n")
    # The group once, then each by itself.
    assert party.runs() == [3] * SIZE
    assert party.replays == SIZE


async def test_who_has_spoken_has_its_own_marker_from_then_on(party: Party) -> None:
    await party.get_known("echo no >&2")
    await asyncio.gather(*party.ask())
    before = party.runs()
    for _ in range(2):
        outputs = await asyncio.gather(*party.ask())
        assert [output.stderr for output in outputs] == [b"no\n" if n == CULPRIT else b"" for n in range(SIZE)]
    assert party.runs() == [runs + 2 for runs in before]
    assert party.replays == SIZE


async def test_a_marker_like_line_on_stderr_is_only_text(party: Party) -> None:
    forged = "\\n0123456789abcdef0123456789abcdef 9\\n"
    await party.get_known(f"printf '{forged}' >&2")
    tasks = party.ask()
    assert await neighbours(tasks) == EXPECTED
    assert (await tasks[CULPRIT]).stderr == forged.replace("\\n", "\n").encode()


async def test_a_cancel_hurts_only_its_own(party: Party) -> None:
    argument = number()
    await party.get_known(f"sleep {argument}")
    tasks = party.ask()
    await until(lambda: running(argument))
    tasks[CULPRIT].cancel()
    async with asyncio.timeout(5):
        assert await neighbours(tasks) == EXPECTED
    await until(lambda: not running(argument), 3)


async def test_a_timeout_hurts_only_its_own(party: Party) -> None:
    argument = number()
    await party.get_known(f"sleep {argument}", timeout_s=0.5)
    tasks = party.ask()
    assert await neighbours(tasks) == EXPECTED
    with pytest.raises(CommandTimeout):
        await tasks[CULPRIT]
    await until(lambda: not running(argument), 3)


@pytest.mark.parametrize("culprit", [CULPRIT, SIZE - 1])
async def test_one_that_becomes_slow_holds_up_its_group_for_a_second_and_only_once(party: Party, culprit: int) -> None:
    party.culprit = culprit
    await party.get_known("sleep 4")
    tasks, begun = party.ask(), monotonic()
    others = await asyncio.gather(*(task for n, task in enumerate(tasks) if n != culprit))
    assert [plain(output) for output in others] == [ok(n) for n in range(SIZE) if n != culprit]
    assert monotonic() - begun < 3
    assert plain(await tasks[culprit]) == ok(culprit)
    assert party.runs()[culprit] == 2

    before = party.runs()
    tasks = party.ask()
    for earlier in tasks[:culprit]:
        await earlier
    assert not tasks[culprit].done()
    assert party.runs()[:culprit] == [runs + 1 for runs in before[:culprit]]
    assert plain(await tasks[culprit]) == ok(culprit)
    await asyncio.gather(*tasks)


async def test_a_slow_one_does_not_wait_for_a_slower_one_after_it(party: Party) -> None:
    party.turns = {CULPRIT + 1: "sleep 18"}
    await party.get_known("sleep 2")
    tasks = party.ask()
    async with asyncio.timeout(12):
        assert plain(await tasks[CULPRIT]) == ok(CULPRIT)
    tasks[CULPRIT + 1].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_one_that_kills_the_shell_is_found(party: Party) -> None:
    await party.get_known("kill -9 $$")
    tasks = party.ask()
    assert await neighbours(tasks) == EXPECTED
    with pytest.raises(CommandFailed):
        await tasks[CULPRIT]


@pytest.mark.parametrize("where", [1, 2])
async def test_endless_output_is_cut_for_its_own_only(party: Party, where: int) -> None:
    await party.get_known(f"yes >&{where}")
    tasks = party.ask()
    assert await neighbours(tasks) == EXPECTED
    output = await tasks[CULPRIT]
    said = output.stdout if where == 1 else output.stderr
    assert (output.truncated, said) == (True, b"y\n" * 500)


@pytest.mark.parametrize("where", [1, 2])
async def test_a_little_over_the_cap_is_cut_for_its_own_only(party: Party, where: int) -> None:
    await party.get_known(f"yes | head -c 5000 >&{where}")
    tasks = party.ask()
    assert await neighbours(tasks) == EXPECTED
    output = await tasks[CULPRIT]
    said = output.stdout if where == 1 else output.stderr
    assert (output.exit_status, output.truncated, said) == (CULPRIT, True, b"y\n" * 500)


async def test_a_newcomer_does_not_hold_up_those_before_it(party: Party, client: AsyncSSHClient) -> None:
    """Only known texts share a marker; one asked for the first time might take any time."""
    await party.get_known()
    tasks = party.ask()
    newcomer = asyncio.create_task(client.execute_command(party.host, line("sleep 0.8; echo end", sudo=party.sudo)))
    for task in tasks:
        await task
    assert not newcomer.done()
    assert (await newcomer).stdout == b"end\n"
    assert party.replays == 0


async def test_finished_ones_of_a_group_survive_the_connection(
    client: AsyncSSHClient, start_sshd: Callable[..., Sshd], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Their stdout had come, but not the end of their group's stderr."""
    monkeypatch.setattr("infrastructor.ssh.texts.QUICK_S", 60.0)
    server, argument = start_sshd(), number()
    party = Party(tmp_path, client, server.device(), sudo=False)
    await party.get_known(f"rm {tmp_path}/go; sleep {argument}")
    tasks = party.ask()
    await until(lambda: running(argument))
    server.kill_sessions()

    assert await neighbours(tasks) == EXPECTED
    assert plain(await tasks[CULPRIT]) == ok(CULPRIT)
