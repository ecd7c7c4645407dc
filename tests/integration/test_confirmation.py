"""Trying to get something destroyed without its confirmation, at every door, for every operation that destroys.

Nothing may be carried out, and each attempt leaves a record that says why.
"""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from fastmcp.client.elicitation import ElicitResult

from infrastructor.catalog import CATALOG
from infrastructor.errors import InfrastructorError
from infrastructor.operation import Operation
from infrastructor.ports.callers import Caller, Effect, Interface, Role
from infrastructor.ports.ssh import Lane
from infrastructor.protection import PROTECTED, READ_ONLY
from tests.destroy_samples import OF_THE_TESTS, SAMPLES
from tests.doors.catalog import pool_destroy
from tests.doors.clients import ERAS, mcp_app, mcp_http, rest
from tests.doors.world import World
from tests.integration.confirming import DESTROYING, DOORS, Fortress, Said, run_cli, sample_of, words_of
from tests.support.postgres import TestPostgres, rows

pytestmark = pytest.mark.timeout(120)

NAS: dict[str, Any] = {"device": "nas"}
every_operation = pytest.mark.parametrize("operation", DESTROYING, ids=lambda operation: operation.name)
every_door = pytest.mark.parametrize("door", DOORS)


def test_every_operation_that_destroys_has_a_sample() -> None:
    destroying = {operation.name for operation in CATALOG if operation.effect is Effect.DESTROY}
    assert destroying == SAMPLES.keys()


@pytest.fixture
def fortress(operation: Operation[Any, Any], dsn: str, tmp_path: Path) -> Fortress:
    return Fortress(dsn, tmp_path, sample_of(operation.name))


@pytest.fixture
async def world(fortress: Fortress) -> AsyncIterator[World]:
    async with fortress.open() as opened:
        yield opened


class Attacker:
    """Somebody at a door who wants one operation carried out."""

    def __init__(self, fortress: Fortress, world: World, operation: Operation[Any, Any], door: str) -> None:
        self.fortress = fortress
        self.world = world
        self.operation = operation
        self.door = door
        self.arguments = NAS | dict(sample_of(operation.name).arguments)

    async def ask(self, *, role: Role = Role.ADMIN, name: str | None = None, **more: Any) -> Said:
        return await DOORS[self.door](
            self.fortress, self.world, self.operation, {**self.arguments, **more}, role=role, name=name
        )

    async def plan(self) -> str:
        said = await self.ask()
        assert said.result["status"] == "planned", said
        return said.token

    async def is_refused(self, code: str, **more: Any) -> None:
        before = self.fortress.executions
        said = await self.ask(**more)
        assert said.code == code, said
        assert self.fortress.executions == before

    async def recorded(self, *codes: str) -> None:
        await self.world.application().service.drain(5)
        assert [code for _, code in await self.fortress.refusals()] == list(codes)


@pytest.fixture
def attacker(fortress: Fortress, world: World, operation: Operation[Any, Any], door: str) -> Attacker:
    return Attacker(fortress, world, operation, door)


@every_operation
@every_door
async def test_the_plan_is_carried_out_once_with_its_token(attacker: Attacker) -> None:
    token = await attacker.plan()
    assert attacker.fortress.executions == 0
    assert (await attacker.ask(plan_token=token)).result["status"] == "done"
    await attacker.is_refused("plan_rejected", plan_token=token)
    assert attacker.fortress.executions == 1
    await attacker.recorded("plan_rejected")


@every_operation
@every_door
@pytest.mark.parametrize(
    "forged", ["plan_" + "A" * 32, "x", "' OR true --", "plan_\u0000x", "true", "yes"], ids=range(6)
)
async def test_a_forged_token(attacker: Attacker, forged: str) -> None:
    await attacker.plan()
    if "\0" in forged and attacker.door == "cli":
        pytest.skip("no command line carries a NUL")
    await attacker.is_refused("plan_rejected", plan_token=forged)
    await attacker.recorded("plan_rejected")


@every_operation
@every_door
async def test_an_expired_token(attacker: Attacker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infrastructor.plans.PLAN_LIFETIME", timedelta(seconds=-1))
    token = await attacker.plan()
    await attacker.is_refused("plan_rejected", plan_token=token)
    await attacker.recorded("plan_rejected")


@every_operation
@every_door
async def test_a_token_for_another_device(attacker: Attacker) -> None:
    token = await attacker.plan()
    await attacker.is_refused("plan_rejected", plan_token=token, device="web-1")
    await attacker.is_refused("plan_rejected", plan_token=token)  # and it is used up
    await attacker.recorded("plan_rejected", "plan_rejected")


@every_operation
@every_door
async def test_a_token_of_another_operation(attacker: Attacker, fortress: Fortress, world: World, door: str) -> None:
    other = next(operation for operation in DESTROYING if operation is not attacker.operation)
    fortress.world.ssh.outputs.update(sample_of(other.name).outputs)
    fortress.world.ssh.replies.update(sample_of(other.name).replies)
    token = await Attacker(fortress, world, other, door).plan()
    await attacker.is_refused("plan_rejected", plan_token=token)
    await attacker.recorded("plan_rejected")


@every_operation
@every_door
async def test_a_token_for_other_parameters(attacker: Attacker) -> None:
    other = sample_of(attacker.operation.name).other
    if other is None:
        pytest.skip("it takes nothing but the device")
    token = await attacker.plan()
    await attacker.is_refused("plan_rejected", plan_token=token, **other)
    await attacker.recorded("plan_rejected")


@every_operation
@pytest.mark.parametrize("door", ["rest", "mcp"])  # the command line has one principal
async def test_a_token_of_another_caller(attacker: Attacker) -> None:
    token = await attacker.plan()
    await attacker.is_refused("plan_rejected", plan_token=token, name="other")
    await attacker.recorded("plan_rejected")


@every_operation
@every_door
async def test_a_state_that_has_changed(attacker: Attacker) -> None:
    token = await attacker.plan()
    await sample_of(attacker.operation.name).disturb(attacker.fortress.world)
    await attacker.is_refused("plan_rejected", plan_token=token)
    await attacker.recorded("plan_rejected")


@every_operation
@pytest.mark.parametrize("door", ["rest", "mcp"])
@pytest.mark.parametrize("role", [Role.VIEWER, Role.OPERATOR])
async def test_a_role_that_may_not(attacker: Attacker, role: Role) -> None:
    token = await attacker.plan()
    await attacker.is_refused("permission_denied", role=role)
    await attacker.is_refused("permission_denied", role=role, plan_token=token)
    await attacker.recorded("permission_denied", "permission_denied")


@every_operation
@every_door
@pytest.mark.parametrize(
    ("mark", "code"), [(PROTECTED, "protected"), (READ_ONLY, "read_only")], ids=["protected", "readonly"]
)
@pytest.mark.parametrize("value", ["true", "1", "whatever"])
async def test_a_device_that_is_marked(attacker: Attacker, mark: str, code: str, value: str) -> None:
    token = await attacker.plan()
    rows_ = attacker.fortress.world.devices.rows
    rows_["nas"] = rows_["nas"].model_copy(update={"tags": {mark: value}})
    await attacker.is_refused(code)
    await attacker.is_refused(code, plan_token=token)
    await attacker.recorded(code, code)


@every_operation
@every_door
async def test_a_server_that_only_reads(fortress: Fortress, operation: Operation[Any, Any], door: str) -> None:
    async with fortress.open(read_only=True) as opened:
        attacker = Attacker(fortress, opened, operation, door)
        if door == "cli":
            said = await asyncio.to_thread(run_cli, fortress, *words_of(operation, attacker.arguments), read_only=True)
            assert said.code == "read_only"
        else:
            await attacker.is_refused("read_only")
        assert fortress.executions == 0
        await attacker.recorded("read_only")


@every_operation
async def test_two_processes_redeem_one_token_at_once(fortress: Fortress, operation: Operation[Any, Any]) -> None:
    arguments = NAS | dict(sample_of(operation.name).arguments)
    caller = Caller(principal="anna", role=Role.ADMIN, interface=Interface.REST)
    async with fortress.open() as one, fortress.open() as two:
        services = [one.application().service, two.application().service]
        found = services[0].operation(operation.name)
        planned = (await services[0].submit(found, arguments, caller)).result
        token = {"plan_token": planned.plan.plan_token}
        outcomes = await asyncio.gather(
            *(services[n % 2].submit(found, arguments | token, caller) for n in range(20)), return_exceptions=True
        )
    refused = [outcome.code for outcome in outcomes if isinstance(outcome, InfrastructorError)]
    assert refused == ["plan_rejected"] * 19
    assert fortress.executions == 1
    assert [code for _, code in await fortress.refusals()] == refused


@every_operation
@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("action", ["decline", "cancel"])
async def test_a_user_who_says_no_in_the_client(
    fortress: Fortress, world: World, operation: Operation[Any, Any], era: str, action: Any
) -> None:
    async def handler(*_: Any) -> Any:
        return ElicitResult(action=action)

    arguments = NAS | dict(sample_of(operation.name).arguments)
    headers = {"Authorization": f"Bearer {await fortress.secret(Role.ADMIN, None)}"}
    async with (
        mcp_app(world) as server,
        server.client(headers=headers, mode=era, elicitation_handler=handler) as client,
    ):
        result = await client.call_tool(operation.name, arguments, raise_on_error=False)
    assert result.content[0].text.startswith("declined: ")
    assert fortress.executions == 0
    assert await fortress.refusals() == [(operation.name, "declined")]


@every_operation
async def test_a_user_who_says_no_on_the_terminal(fortress: Fortress, operation: Operation[Any, Any]) -> None:
    words = words_of(operation, NAS | dict(sample_of(operation.name).arguments))
    for typed in ("n\n", "\n", "nonsense\n", ""):
        said = await asyncio.to_thread(run_cli, fortress, *words, typed=typed)
        assert said.code == "declined"
    alone = await asyncio.to_thread(run_cli, fortress, *words, "--yes")
    assert alone.code == "validation_failed"
    assert fortress.executions == 0
    assert [code for _, code in await fortress.refusals()] == ["declined"] * 4 + ["validation_failed"]


@every_operation
@pytest.mark.parametrize("door", ["rest", "mcp"])  # the command line does not even start
async def test_a_database_that_does_not_answer(
    operation: Operation[Any, Any], door: str, broken_dsn: str, own_postgres: TestPostgres, tmp_path: Path
) -> None:
    fortress = Fortress(broken_dsn, tmp_path, sample_of(operation.name))
    async with fortress.open() as opened:
        attacker = Attacker(fortress, opened, operation, door)
        token = await attacker.plan()
        with own_postgres.frozen():
            await attacker.is_refused("audit_unavailable", plan_token=token)
            await attacker.is_refused("audit_unavailable")
        async with asyncio.timeout(30):
            while opened.application().service.audit.statistics()["spooled"]:
                await asyncio.sleep(0.05)
        assert [code for _, code in await fortress.refusals()] == ["audit_unavailable"] * 2


# --- where an admin must approve ---------------------------------------------------------------------------


@pytest.fixture
async def strict(fortress: Fortress) -> AsyncIterator[World]:
    async with fortress.open(destroy_approval="human") as opened:
        yield opened


@every_operation
async def test_what_mcp_proposed_waits_for_somebody_else(
    fortress: Fortress, strict: World, operation: Operation[Any, Any]
) -> None:
    attacker = Attacker(fortress, strict, operation, "mcp")
    planned = await attacker.ask()
    token, plan_id = planned.token, planned.result["plan"]["plan_id"]
    assert planned.result["plan"]["needs_approval"] is True
    await attacker.is_refused("approval_needed", plan_token=token)
    attacker.door = "rest"  # the same secret at another door
    await attacker.is_refused("approval_needed", plan_token=token)

    approve = f"/api/plans/{plan_id}/approve"
    async with mcp_http(strict, await fortress.secret(Role.ADMIN, None)) as mcp:
        listed = {tool.name for tool in await mcp.list_tools()}
        by_mcp = await mcp.call_tool("plan_approve", {"plan_id": plan_id}, raise_on_error=False)
    assert not listed & {"plan_approve", "plan_list", "plan_decline"}
    assert by_mcp.is_error
    refused = {}
    for role, name in ((Role.ADMIN, None), (Role.OPERATOR, "op"), (Role.VIEWER, "view")):
        async with rest(strict, await fortress.secret(role, name)) as client:
            refused[role] = (await client.post(approve, json={})).json()["code"]
    assert set(refused.values()) == {"permission_denied"}
    assert fortress.executions == 0

    async with rest(strict, await fortress.secret(Role.ADMIN, "second")) as client:
        (shown,) = (await client.get("/api/plans")).json()["plans"]
        approved = (await client.post(approve, json={})).json()
        again = (await client.post(approve, json={})).json()
    assert (shown["plan_id"], shown["device"], shown["approved_by"]) == (plan_id, "nas", None)
    assert token not in str(shown)
    assert (approved["decision"], approved["plan"]["approved_by"]) == ("approved", "second")
    assert again["code"] == "conflict"
    attacker.door = "mcp"
    assert (await attacker.ask(plan_token=token)).result["status"] == "done"
    await attacker.is_refused("plan_rejected", plan_token=token)
    assert fortress.executions == 1


@every_operation
async def test_an_approved_plan_still_holds_only_for_what_it_was_made_for(
    fortress: Fortress, strict: World, operation: Operation[Any, Any]
) -> None:
    attacker = Attacker(fortress, strict, operation, "mcp")
    planned = await attacker.ask()
    plan_id = planned.result["plan"]["plan_id"]
    by_cli = await asyncio.to_thread(run_cli, fortress, "plan", "approve", plan_id, destroy_approval="human")
    assert by_cli.result["decision"] == "approved"
    await sample_of(operation.name).disturb(fortress.world)
    await attacker.is_refused("plan_rejected", plan_token=planned.token)
    assert fortress.executions == 0


@every_operation
async def test_a_plan_that_an_admin_declines_is_worth_nothing(
    fortress: Fortress, strict: World, operation: Operation[Any, Any]
) -> None:
    attacker = Attacker(fortress, strict, operation, "mcp")
    planned = await attacker.ask()
    plan_id = planned.result["plan"]["plan_id"]
    for verb in ("approve", "decline"):
        await asyncio.to_thread(run_cli, fortress, "plan", verb, plan_id, destroy_approval="human")
    await attacker.is_refused("plan_rejected", plan_token=planned.token)
    assert fortress.executions == 0
    (row,) = await rows(fortress.dsn, "SELECT approved_by FROM plans WHERE id = $1::text::uuid", plan_id)
    assert row["approved_by"].startswith("cli:")


@every_operation
@pytest.mark.parametrize("door", ["rest", "cli"])
async def test_what_people_propose_themselves_needs_no_second_person(
    fortress: Fortress, operation: Operation[Any, Any], door: str
) -> None:
    async with fortress.open(destroy_approval="human") as opened:
        attacker = Attacker(fortress, opened, operation, door)
        assert (await attacker.ask(plan_token=await attacker.plan())).result["status"] == "done"


def test_the_samples_of_the_tests_are_used() -> None:
    assert OF_THE_TESTS.keys() == {operation.name for operation in DESTROYING} - SAMPLES.keys()


@every_operation
async def test_what_was_agreed_to_is_acted_on_without_a_second_look(operation: Operation[Any, Any]) -> None:
    """Between the plan's own look and the first change nothing is read, so nothing can come between them."""
    sample = sample_of(operation.name)
    world = World(operations=(*CATALOG, pool_destroy))
    world.ssh.outputs |= sample.outputs
    world.ssh.replies |= sample.replies
    world.ssh.after |= sample.after
    service, caller = world.application().service, Caller(principal="anna", role=Role.ADMIN, interface=Interface.REST)
    arguments = NAS | dict(sample.arguments)
    plan = (await service.submit(operation, arguments, caller)).result.plan
    looked = list(world.ssh.sent)
    await service.submit(operation, {**arguments, "plan_token": plan.plan_token}, caller)

    assert world.ssh.sent[len(looked) : 2 * len(looked)] == looked
    acted = world.ssh.sent[2 * len(looked) :]
    changes = [line.text for line in world.ssh.lines if line.lane is Lane.CHANGE]
    assert [text for _, text in acted[:1]] == changes[:1]
    assert bool(changes) is any(command.lane is Lane.CHANGE for command in operation.commands)
