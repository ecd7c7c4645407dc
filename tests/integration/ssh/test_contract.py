"""What every transport keeps: the same questions to a real sshd as root, as a user, and to this machine."""

import asyncio
from pathlib import Path
from uuid import uuid4

import pytest

from infrastructor.errors import CommandFailed, CommandNotAvailable, CommandTimeout, OutcomeUnknown, ValidationFailed
from infrastructor.ports.devices import Device
from infrastructor.ports.ssh import CommandOutput, Lane
from infrastructor.ssh import AsyncSSHClient
from tests.support.programs import running
from tests.support.sshd import Sshd, line, local_device
from tests.support.wait import until

LANES = [Lane.FAST, Lane.SLOW]


@pytest.fixture(params=["root over ssh", "user over ssh", "local"])
def host(request: pytest.FixtureRequest, sshd: Sshd) -> Device:
    if request.param == "local":
        return local_device()
    user = "root" if request.param.startswith("root") else request.getfixturevalue("plain_user")
    return sshd.device(ssh_username=user)


@pytest.mark.parametrize("lane", LANES)
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("echo hi", (0, b"hi\n", b"")),
        ("printf hi", (0, b"hi", b"")),
        ("true", (0, b"", b"")),
        ("echo no >&2; exit 3", (3, b"", b"no\n")),
        ("printf 'a\\377\\376b\\000c'", (0, b"a\xff\xfeb\0c", b"")),
        ("printf 'a\\r\\nb\\r\\n'", (0, b"a\r\nb\r\n", b"")),
        ("printf '\\n\\n\\n'", (0, b"\n\n\n", b"")),
        ("printf '\\n0123456789abcdef0123456789abcdef 1 0\\n'", (0, b"\n0123456789abcdef0123456789abcdef 1 0\n", b"")),
        ("exit 200", (200, b"", b"")),
        ("sh -c 'kill -9 $$'", (137, b"", b"Killed\n")),
        ("cat; echo end", (0, b"end\n", b"")),
        ("echo $LC_ALL", (0, b"C\n", b"")),
        ("set -- 'it''s' \"two words\"; printf '%s|' \"$@\"", (0, b"its|two words|", b"")),
        ("printf 'grün €\\n'", (0, "grün €\n".encode(), b"")),
    ],
)
async def test_output_and_status_arrive_as_they_were(
    client: AsyncSSHClient, host: Device, lane: Lane, text: str, expected: tuple[int, bytes, bytes]
) -> None:
    output = await client.execute_command(host, line(text, lane))

    assert (output.exit_status, output.stdout, output.stderr) == expected
    assert not output.truncated


@pytest.mark.parametrize("lane", LANES)
async def test_sbin_is_on_the_path(client: AsyncSSHClient, host: Device, lane: Lane) -> None:
    output = await client.execute_command(host, line("case :$PATH: in *:/usr/sbin:*) echo yes;; esac", lane))
    assert output.stdout == b"yes\n"


async def test_many_answers_in_one_tick_stay_apart(client: AsyncSSHClient, host: Device) -> None:
    texts = [f"printf %s {number}; printf e%s {number} >&2; exit {number % 250}" for number in range(300)]
    outputs = await asyncio.gather(*(client.execute_command(host, line(text)) for text in texts))

    expected = [(n % 250, str(n).encode(), f"e{n}".encode()) for n in range(300)]
    assert [(o.exit_status, o.stdout, o.stderr) for o in outputs] == expected


async def test_the_same_question_runs_once(client: AsyncSSHClient, host: Device) -> None:
    token = uuid4().hex
    text = f"echo x >>/tmp/{token}; sleep 0.2; cat /tmp/{token}; rm /tmp/{token}"
    outputs = await asyncio.gather(*(client.execute_command(host, line(text)) for _ in range(50)))

    assert {output.stdout for output in outputs} == {b"x\n"}
    assert client.statistics()["coalesced"] == 49


@pytest.mark.parametrize("lane", LANES)
async def test_cancel_stops_the_remote_process(client: AsyncSSHClient, host: Device, lane: Lane) -> None:
    argument = f"{uuid4().int % 10**9 + 10**9}"
    task = asyncio.create_task(client.execute_command(host, line(f"sleep {argument}; echo end", lane, timeout_s=60)))
    await until(lambda: running(argument))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    await until(lambda: not running(argument), 3)
    assert (await client.execute_command(host, line("echo on", lane))).stdout == b"on\n"


@pytest.mark.parametrize("lane", LANES)
async def test_timeout_stops_the_remote_process(client: AsyncSSHClient, host: Device, lane: Lane) -> None:
    argument = f"{uuid4().int % 10**9 + 10**9}"
    with pytest.raises(CommandTimeout):
        await client.execute_command(host, line(f"trap '' TERM; sleep {argument}; echo end", lane, timeout_s=0.3))

    await until(lambda: not running(argument), 3)
    assert (await client.execute_command(host, line("echo on", lane))).stdout == b"on\n"


async def test_cancel_of_one_caller_leaves_the_others_their_answer(client: AsyncSSHClient, host: Device) -> None:
    ask = [asyncio.create_task(client.execute_command(host, line("sleep 0.3; echo done"))) for _ in range(20)]
    await asyncio.sleep(0.1)
    ask[0].cancel()
    results = await asyncio.gather(*ask, return_exceptions=True)

    assert isinstance(results[0], asyncio.CancelledError)
    assert [result.stdout for result in results[1:] if isinstance(result, CommandOutput)] == [b"done\n"] * 19


@pytest.mark.parametrize("lane", LANES)
@pytest.mark.parametrize("text", ["yes", "head -c 100000000 /dev/zero", "yes >&2"])
async def test_endless_output_is_capped_and_said(client: AsyncSSHClient, host: Device, lane: Lane, text: str) -> None:
    output = await client.execute_command(host, line(text, lane, max_output_bytes=100_000))

    assert output.truncated
    assert len(output.stdout) + len(output.stderr) == 100_000
    assert (await client.execute_command(host, line("echo on", lane))).stdout == b"on\n"


@pytest.mark.parametrize("lane", LANES)
async def test_output_a_little_over_the_cap_keeps_its_status(client: AsyncSSHClient, host: Device, lane: Lane) -> None:
    output = await client.execute_command(
        host, line("head -c 300000 /dev/zero | tr '\\0' x; exit 4", lane, max_output_bytes=1000)
    )
    assert (output.exit_status, output.stdout, output.truncated) == (4, b"x" * 1000, True)


@pytest.mark.parametrize("lane", LANES)
async def test_a_missing_program_is_named(client: AsyncSSHClient, host: Device, lane: Lane) -> None:
    with pytest.raises(CommandNotAvailable, match=r"has no frobnicate"):
        await client.execute_command(host, line("frobnicate --all", lane, needs="frobnicate"))


async def test_a_program_the_probe_did_not_find_is_not_even_tried(client: AsyncSSHClient, host: Device) -> None:
    known = await client.capabilities(host)
    assert "zpool" not in known.tools
    with pytest.raises(CommandNotAvailable, match=r"has no zpool"):
        await client.execute_command(host, line("echo pretends to be zpool", needs="zpool"))


async def test_nul_never_reaches_the_wire(client: AsyncSSHClient, host: Device) -> None:
    with pytest.raises(ValidationFailed):
        await client.execute_command(host, line("echo a\0b"))


HOSTILE = {
    "unterminated quote": "echo 'x",
    "unterminated double quote": 'echo "x',
    "heredoc": "cat <<X\nhi",
    "exit": "exit 3",
    "closed stdout": "exec 1>&-",
    "closed stderr": "exec 2>&-",
    "stray brace": "}",
    "stray parenthesis": ")",
    "if without end": "if true; then",
    "set -e": "set -e; false",
    "comment": "true # x",
    "backslash": "echo x \\",
    "reads stdin": "cat",
    "kills its shell": "kill -9 $$",
    "kills its group": "kill -9 0",
    "return": "return 5",
    "alias and function": "printf() { echo no; }; alias echo=false",
    "cd": "cd /nowhere",
    "trap": "trap 'echo trapped' EXIT; exit 1",
    "redirects all": "exec >/dev/null 2>&1",
}


@pytest.mark.parametrize("name", HOSTILE)
async def test_a_hostile_command_harms_no_neighbour(client: AsyncSSHClient, host: Device, name: str) -> None:
    texts = [f"echo before {n}" for n in range(3)], [f"echo after {n}" for n in range(3)]
    results = await asyncio.gather(
        *(client.execute_command(host, line(text)) for text in texts[0]),
        client.execute_command(host, line(HOSTILE[name], timeout_s=5)),
        *(client.execute_command(host, line(text)) for text in texts[1]),
        return_exceptions=True,
    )
    neighbours = [r.stdout.decode().strip() for r in results[:3] + results[4:] if isinstance(r, CommandOutput)]
    assert neighbours == [text.removeprefix("echo ") for text in texts[0] + texts[1]]
    if "kills" in name:
        assert isinstance(results[3], CommandFailed)
    else:
        assert isinstance(results[3], CommandOutput)
        assert client.statistics()["replays"] == 0


async def test_a_hung_command_does_not_hold_up_the_others(client: AsyncSSHClient, host: Device) -> None:
    argument = f"{uuid4().int % 10**9 + 10**9}"
    hung = asyncio.create_task(client.execute_command(host, line(f"sleep {argument}", timeout_s=4)))
    await until(lambda: running(argument))
    async with asyncio.timeout(3):
        outputs = await asyncio.gather(*(client.execute_command(host, line(f"echo {n}")) for n in range(20)))
    assert [int(output.text) for output in outputs] == list(range(20))
    with pytest.raises(CommandTimeout):
        await hung


async def test_capabilities_are_found(client: AsyncSSHClient, host: Device) -> None:
    found = await client.capabilities(host)

    assert (found.system, found.os_id, found.busybox) == ("Linux", "debian", False)
    assert {"sh", "cat", "df", "base64", "setsid", "timeout"} <= found.tools
    assert found.is_root == (found.user == "root")
    assert found.sudo == "root" or not found.is_root


async def test_a_change_runs_and_reports_its_outcome(client: AsyncSSHClient, host: Device) -> None:
    umask = await client.execute_command(host, line("umask"))
    output = await client.execute_command(host, line("umask; echo out; echo err >&2; exit 7", Lane.CHANGE))

    assert (output.exit_status, output.stderr, output.truncated) == (7, b"err\n", False)
    assert output.stdout == umask.stdout + b"out\n"


async def test_a_change_runs_at_most_once_per_operation_id(client: AsyncSSHClient, host: Device) -> None:
    operation, path = uuid4(), f"/tmp/{uuid4().hex}"
    change = line(f"echo x >>{path}; sleep 0.2", Lane.CHANGE)
    for _ in range(2):
        outputs = await asyncio.gather(
            *(client.execute_command(host, change, operation_id=operation) for _ in range(5))
        )
        assert {output.exit_status for output in outputs} == {0}

    counted = await client.execute_command(host, line(f"wc -l <{path}; rm {path}"))
    assert int(counted.text) == 1


async def test_an_abandoned_change_goes_on(client: AsyncSSHClient, host: Device) -> None:
    path, argument = f"/tmp/{uuid4().hex}", f"0.5{uuid4().int % 10**9}"
    text = f"sleep {argument}; echo x >{path}"
    task = asyncio.create_task(client.execute_command(host, line(text, Lane.CHANGE)))
    await until(lambda: running(argument))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    await until(lambda: Path(path).exists())
    await client.execute_command(host, line(f"rm {path}"))


async def test_a_change_that_takes_too_long_is_unknown_and_readable_later(client: AsyncSSHClient, host: Device) -> None:
    operation, change = uuid4(), line("sleep 1; echo done", Lane.CHANGE, timeout_s=0.5)
    with pytest.raises(OutcomeUnknown, match="still runs"):
        await client.execute_command(host, change, operation_id=operation)

    again = line(change.text, Lane.CHANGE, timeout_s=10)
    assert (await client.execute_command(host, again, operation_id=operation)).stdout == b"done\n"
