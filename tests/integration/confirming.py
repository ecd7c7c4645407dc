"""A world over a real PostgreSQL, and the three doors as somebody who wants something destroyed sees them."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from infrastructor.app import Application
from infrastructor.catalog import CATALOG
from infrastructor.cli import build
from infrastructor.cli.operations import command_name
from infrastructor.operation import Context, Operation, Result
from infrastructor.ports.callers import Effect, Role
from infrastructor.settings import Settings
from infrastructor.signature import fields_of
from infrastructor.storage.audit import PostgresAuditLog
from infrastructor.storage.plans import PostgresPlanStore
from infrastructor.storage.pool import Database
from tests.destroy_samples import OF_THE_TESTS, SAMPLES, Sample
from tests.doors.catalog import pool_destroy
from tests.doors.clients import mcp_http, rest
from tests.doors.world import World
from tests.fakes import FakeDevices, device
from tests.support.postgres import rows

DESTROYING: tuple[Operation[Any, Any], ...] = (
    *(operation for operation in CATALOG if operation.effect is Effect.DESTROY),
    pool_destroy,
)


def _with_what_they_use(operations: Sequence[Operation[Any, Any]]) -> list[Operation[Any, Any]]:
    """Themselves, what they run, and how plans are approved and runs looked at."""
    found = [*operations, *(one for one in CATALOG if one.domain in {"plan", "operation"})]
    for one in found:
        found += [used for used in one.uses if used not in found]
    return found


SHOWN = _with_what_they_use(DESTROYING)


def sample_of(name: str) -> Sample:
    found = SAMPLES.get(name) or OF_THE_TESTS.get(name)
    assert found is not None, f"{name} destroys and has no sample in tests/destroy_samples.py"
    return found


@dataclass(frozen=True)
class Said:
    """What a door answered: the code of an error, or a result."""

    code: str | None
    result: dict[str, Any]

    @property
    def token(self) -> str:
        return str(self.result["plan"]["plan_token"])


class Fortress:
    """What destroys, of the catalogue, each handler replaced by one that counts.

    The doors show nothing else: three of them are made anew for each of many hundred tests.
    """

    def __init__(self, dsn: str, folder: Path, sample: Sample) -> None:
        self.dsn = dsn
        self.folder = folder
        self.executions = 0
        self.world = World(
            operations=[self._counting(one) for one in SHOWN],
            devices=FakeDevices(device("nas"), device("web-1")),
        )
        self.world.ssh.outputs.update(sample.outputs)
        self.world.ssh.replies.update(sample.replies)
        self.world.ssh.after.update(sample.after)
        self._secrets: dict[tuple[Role, str | None], str] = {}

    def _counting(self, operation: Operation[Any, Any]) -> Operation[Any, Any]:
        if operation.effect is not Effect.DESTROY:
            return operation

        async def handler(ctx: Context, params: Any) -> Result:
            self.executions += 1
            await asyncio.sleep(0.02)
            result: Result = operation.result.model_validate({"status": "done"})
            return result

        return replace(operation, handler=handler)

    @asynccontextmanager
    async def open(self, **settings: Any) -> AsyncIterator[World]:
        """One process: stores of its own over the one PostgreSQL."""
        database = await Database.connect(self.dsn, command_timeout=2, acquire_timeout=1, connect_timeout=2)
        spool = self.folder / "spool"
        audit = PostgresAuditLog(database, spool_dir=spool, write_timeout_s=1.0)
        await audit.start()
        world = replace(self.world, audit=audit, plans=PostgresPlanStore(database))
        application = world.application(**settings)
        try:
            yield _Opened(application)  # type: ignore[misc]
        finally:
            await application.service.drain(5)
            await audit.close()
            await database.close()

    async def secret(self, role: Role, name: str | None) -> str:
        if (role, name) not in self._secrets:
            self._secrets[role, name] = await self.world.token(role, name)
        return self._secrets[role, name]

    async def refusals(self) -> list[tuple[str, str]]:
        """(operation, code) of every refusal on record; none without its reason in words."""
        found = await rows(
            self.dsn,
            "SELECT operation, error_code, error_message FROM data_collection_audit "
            "WHERE outcome = 'refused' ORDER BY operation_id",
        )
        assert all(row["error_message"] for row in found)
        return [(row["operation"], row["error_code"]) for row in found]


@dataclass
class _Opened:
    """What the clients of the doors want of a world."""

    opened: Application

    def application(self, **settings: Any) -> Application:
        del settings
        return self.opened


async def by_rest(
    fortress: Fortress, world: World, operation: Operation[Any, Any], arguments: dict[str, Any], **who: Any
) -> Said:
    rest_of = dict(arguments)
    path = re.sub(r"\{(\w+)(?::path)?\}", lambda match: str(rest_of.pop(match[1])), operation.route.path)
    async with rest(world, await fortress.secret(**who)) as client:
        given = {"params": rest_of} if operation.route.method in {"GET", "DELETE"} else {"json": rest_of}
        answer = (await client.request(operation.route.method, path, **given)).json()  # type: ignore[arg-type]
    return Said(answer.get("code"), answer)


async def by_mcp(
    fortress: Fortress, world: World, operation: Operation[Any, Any], arguments: dict[str, Any], **who: Any
) -> Said:
    async with mcp_http(world, await fortress.secret(**who)) as client:
        result = await client.call_tool(operation.name, arguments, raise_on_error=False)
    code = result.content[0].text.partition(":")[0] if result.is_error else None
    return Said(code, result.structured_content or {})


def run_cli(fortress: Fortress, *words: str, typed: str | None = None, **settings: Any) -> Said:
    """A command line of its own process would open its own stores; so does this one, in a loop of its own."""

    @asynccontextmanager
    async def opener(given: Settings) -> AsyncIterator[Application]:
        async with fortress.open(**settings) as world:
            yield world.application()

    app = build(fortress.world.operations, opener, lambda: typed is not None)
    ran = CliRunner().invoke(app, [*words, "--json"], input=typed)
    if ran.exception is not None and not isinstance(ran.exception, SystemExit):
        raise ran.exception
    codes = re.findall(r"(?:^|\]: ?)([a-z_]+): ", ran.stderr, flags=re.MULTILINE)  # typed input is not echoed here
    shown = [line for line in ran.stdout.splitlines() if line.startswith("{")]
    return Said(None if shown else codes[-1] if codes else "no answer", json.loads(shown[-1]) if shown else {})


def words_of(operation: Operation[Any, Any], arguments: dict[str, Any]) -> Sequence[str]:
    words = [operation.domain, command_name(operation)]
    for field in fields_of(operation):
        if field.name not in arguments:
            continue
        value, option = arguments[field.name], f"--{field.name.replace('_', '-')}"
        words += [str(value)] if field.required else [option] if value is True else [option, str(value)]
    return words


async def by_cli(
    fortress: Fortress, world: World, operation: Operation[Any, Any], arguments: dict[str, Any], **who: Any
) -> Said:
    del world, who
    return await asyncio.to_thread(run_cli, fortress, *words_of(operation, arguments))


DOORS = {"rest": by_rest, "mcp": by_mcp, "cli": by_cli}
