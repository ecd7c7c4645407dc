"""Secrets that a caller gives, at every door: none is in the audit table, the spool or the log."""

import asyncio
import io
import json
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from infrastructor.app import Application
from infrastructor.catalog import CATALOG
from infrastructor.cli import build
from infrastructor.errors import CommandFailed
from infrastructor.ports.callers import Role
from infrastructor.ports.ssh import Capabilities, CommandOutput
from infrastructor.settings import Settings
from tests.doors.clients import mcp_http, rest
from tests.doors.world import World
from tests.fakes import FakeDevices, FakeSSH, device
from tests.support.audit import CALLER, audit_log
from tests.support.logged import logged
from tests.support.postgres import rows

FIXTURE = Path(__file__).parents[2] / "fixtures/containers/QueryContainer/docker-20.10.out"
SECRETS = [f"planted{n}" for n in range(7)]
ARGV = [
    *("sh", "-c", f"mysql -u root -p{SECRETS[0]} db | gzip >'/out put'"),
    *("--password", f"{SECRETS[1]} {SECRETS[1]}"),
    *("-e", f"FOO_TOKEN={SECRETS[2]},{SECRETS[2]}"),
    *("mysqldump", f"-p{SECRETS[3]}", "curl", "-u", f"anna:{SECRETS[4]}"),
    f"https://anna:{SECRETS[5]}@nas.example",
    json.dumps({"password": SECRETS[6]}),
]


def ssh(output: CommandOutput | CommandFailed) -> FakeSSH:
    return FakeSSH(
        outputs={"set": output},
        replies={"/containers/nextcloud/json": FIXTURE.read_bytes()},
        found=Capabilities(tools=frozenset({"docker", "timeout"}), docker_socket="/var/run/docker.sock"),
    )


WORKS = CommandOutput(exit_status=0, stdout=b"done")
FAILS = CommandFailed(f"timeout on nas said: cannot run {ARGV!r}: password is {SECRETS[0]}")


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    with logged() as stream:
        yield stream


@asynccontextmanager
async def kept_world(dsn: str, folder: Path, fake: FakeSSH) -> AsyncIterator[World]:
    async with audit_log(dsn, folder) as log:
        yield World(operations=CATALOG, devices=FakeDevices(device("nas")), ssh=fake, audit=log)  # type: ignore[arg-type]


async def over_mcp(dsn: str, folder: Path, fake: FakeSSH) -> None:
    async with (
        kept_world(dsn, folder, fake) as world,
        mcp_http(world, await world.token(Role.OPERATOR), mcp_exec=True) as mcp,
    ):
        arguments = {"device": "nas", "container": "nextcloud", "argv": ARGV}
        await mcp.call_tool("container_exec", arguments, raise_on_error=False)
        await mcp.call_tool("container_exec", {**arguments, "user": f"--password={SECRETS[0]}"}, raise_on_error=False)


async def over_rest(dsn: str, folder: Path, fake: FakeSSH) -> None:
    async with kept_world(dsn, folder, fake) as world, rest(world, await world.token(Role.OPERATOR)) as client:
        await client.post("/api/containers/nas/nextcloud/exec", json={"argv": ARGV})
        await client.post("/api/containers/nas/nextcloud/exec", json={"argv": ARGV, "user": f"-p{SECRETS[0]}"})
        await client.post(f"/api/containers/--password={SECRETS[0]}/nextcloud/exec", json={"argv": ARGV})


async def over_cli(dsn: str, folder: Path, fake: FakeSSH) -> None:
    @asynccontextmanager
    async def opener(_settings: Settings) -> AsyncIterator[Application]:
        async with kept_world(dsn, folder, fake) as world:
            yield world.application()

    def invoke() -> None:
        words = [word for argument in ARGV for word in ("--argv", argument)]
        runner, app = CliRunner(), build(CATALOG, opener, lambda: False)
        runner.invoke(app, ["container", "exec", "nas", "nextcloud", *words])
        runner.invoke(app, ["container", "exec", "nas", "nextcloud", *words, "--user", f"-p{SECRETS[0]}"])

    await asyncio.to_thread(invoke)


def files_in(folder: Path) -> str:
    return "".join(path.read_text(errors="replace") for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("door", [over_mcp, over_rest, over_cli])
@pytest.mark.parametrize("output", [WORKS, FAILS], ids=["works", "fails"])
async def test_planted_secrets_are_nowhere(
    dsn: str, tmp_path: Path, stream: io.StringIO, door: Any, output: CommandOutput | CommandFailed
) -> None:
    fake = ssh(output)
    await door(dsn, tmp_path, fake)

    kept = await rows(dsn, "SELECT * FROM data_collection_audit ORDER BY started_at")
    assert [row["outcome"] for row in kept][:2] == ["ok" if output is WORKS else "error", "refused"]
    assert any(SECRETS[0] in line for _, line in fake.sent), "the device must get the real one"
    assert "ExecInContainer 30" in kept[0]["commands"][-1]
    everything = "\n".join(str(dict(row)) for row in kept) + stream.getvalue()
    everything += await asyncio.to_thread(files_in, tmp_path)
    assert not [secret for secret in SECRETS if secret in everything]
    for public in ("mysql", "root", "gzip", "anna", "nas.example"):
        assert public in everything


async def test_a_log_line_shows_none_in_whatever_it_holds(stream: io.StringIO) -> None:
    class Odd:
        def __str__(self) -> str:
            return f"mysql -p{SECRETS[0]}"

    try:
        raise ValueError(f"cannot run {ARGV!r}")
    except ValueError:
        logging.getLogger("infrastructor.service").exception("broke: %s", ARGV, extra={"argv": ARGV, "odd": Odd()})
    logging.getLogger("x").warning(json.dumps({"argv": ARGV}))
    assert not [secret for secret in SECRETS if secret in stream.getvalue()]
    assert "gzip" in stream.getvalue()


async def test_the_row_of_a_map_of_five_hundred_containers_is_short(dsn: str, tmp_path: Path) -> None:
    one = json.loads(FIXTURE.read_bytes())
    listed = json.loads((FIXTURE.parents[1] / "QueryContainers/docker-20.10.out").read_bytes())[0]
    ids = [f"{n:064x}" for n in range(500)]
    replies = {
        f"/containers/{key}/json": json.dumps({**one, "Id": key, "Name": f"/c{key[-3:]}"}).encode() for key in ids
    }
    every = [{**listed, "Id": key, "Names": [f"/c{key[-3:]}"], "Labels": {}} for key in ids]
    fake = FakeSSH(replies={"/containers/json": json.dumps(every).encode(), **replies})
    async with kept_world(dsn, tmp_path, fake) as world:
        service = world.application().service
        await service.submit(service.operation("service_dependency_map"), {"device": "nas"}, CALLER)
    (row,) = await rows(dsn, "SELECT commands FROM data_collection_audit")
    assert len([sent for _, sent in fake.sent if sent.startswith("/containers/0")]) == 500
    assert "… and 497 more like this: engine GET /containers/*/json" in row["commands"]
    assert len(row["commands"]) < 10
