"""The one path: what is recorded, shared, kept and refused, whoever asks."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from infrastructor.errors import (
    AuditUnavailable,
    CommandNotAvailable,
    DeviceNotFound,
    InfrastructorError,
    OutcomeUnknown,
    PermissionDenied,
    PlanRejected,
    ReadOnlyMode,
    SSHConnectionError,
    UndeclaredCommand,
    ValidationFailed,
)
from infrastructor.operation import Answer, Cache, CachedParams, Context, DeviceParams, Result, operation
from infrastructor.ports.cache import CacheState
from infrastructor.ports.callers import Caller, Effect, Interface, Role
from infrastructor.ports.ssh import CommandOutput
from infrastructor.scheduler import SCHEDULER, collect_metrics
from infrastructor.service import UnifiedDataCollectionService
from tests.doors.catalog import OPERATIONS, ZpoolScrub, pool_destroy, pool_list, scrub_start
from tests.doors.world import World

ADMIN = Caller(principal="anna", role=Role.ADMIN, interface=Interface.CLI)
OTHER = Caller(principal="bert", role=Role.ADMIN, interface=Interface.REST)
VIEWER = Caller(principal="vera", role=Role.VIEWER, interface=Interface.MCP)
NAS: dict[str, Any] = {"device": "nas"}
TANK: dict[str, Any] = {"device": "nas", "pool": "tank"}


@pytest.fixture
def world() -> World:
    return World()


def service(world: World, **settings: Any) -> UnifiedDataCollectionService:
    return world.application(**settings).service


async def test_an_answer_is_asked_once_and_then_cached(world: World) -> None:
    core = service(world)
    first = await core.submit(pool_list, NAS, ADMIN)
    second = await core.submit(pool_list, NAS, VIEWER)
    assert (first.cache, second.cache) == (CacheState.MISS, CacheState.HIT)
    assert first.body == second.body
    assert second.collected_at == first.collected_at
    assert len(world.ssh.sent) == 1
    assert [record.cache for record in world.records] == ["miss", "hit"]


async def test_other_parameters_are_another_entry(world: World) -> None:
    core = service(world)
    await core.submit(pool_list, NAS, ADMIN)
    answer = await core.submit(pool_list, TANK, ADMIN)
    assert answer.cache is CacheState.MISS
    assert list(world.cache.entries) != [f"infra_cache:zfs_pools:{world.devices.rows['nas'].id}:"]


async def test_force_refresh_asks_again_and_stores(world: World) -> None:
    core = service(world)
    await core.submit(pool_list, NAS, ADMIN)
    await core.submit(pool_list, NAS | {"force_refresh": True}, ADMIN)
    assert len(world.ssh.sent) == 2
    assert (await core.submit(pool_list, NAS, ADMIN)).cache is CacheState.HIT


async def test_an_entry_of_another_model_is_a_miss(world: World) -> None:
    core = service(world)
    await core.submit(pool_list, NAS, ADMIN)
    for key, entry in world.cache.entries.items():
        world.cache.entries[key] = type(entry)(schema="older", collected_at=entry.collected_at, body=entry.body)
    assert (await core.submit(pool_list, NAS, ADMIN)).cache is CacheState.MISS


async def test_a_hundred_identical_requests_reach_the_device_once(world: World) -> None:
    core = service(world)
    answers = await asyncio.gather(*(core.submit(pool_list, NAS, ADMIN) for _ in range(100)))
    assert len({answer.body for answer in answers}) == 1
    assert len({answer.operation_id for answer in answers}) == 100
    assert len(world.ssh.sent) == 1
    assert len(world.records) == 100


async def test_the_intent_is_durable_before_a_byte_is_sent(world: World) -> None:
    core = service(world)
    sent_before_intent: list[int] = []
    begin = world.audit.begin

    async def watched(record: Any) -> None:
        sent_before_intent.append(len(world.ssh.sent))
        await begin(record)

    world.audit.begin = watched  # type: ignore[method-assign]
    await core.submit(scrub_start, TANK, ADMIN)
    assert sent_before_intent == [0]
    assert world.audit.begun[0].outcome == "started"
    assert world.records[0].commands == ["sudo zpool scrub -- tank"]


async def test_without_an_audit_store_nothing_is_sent(world: World) -> None:
    world.audit.down = True
    with pytest.raises(AuditUnavailable):
        await service(world).submit(scrub_start, TANK, ADMIN)
    assert world.ssh.sent == []
    assert world.outcomes == [("zfs_scrub_start", "refused", "audit_unavailable")]


@pytest.mark.parametrize(
    ("arguments", "caller", "error"),
    [
        (TANK | {"device": "nowhere"}, ADMIN, DeviceNotFound),
        ({"device": "a; touch x"}, ADMIN, ValidationFailed),
        ({"device": "nas\0"}, ADMIN, ValidationFailed),
        ({"device": "nas", "extra": 1}, ADMIN, ValidationFailed),
        ({"device": ["nas"]}, ADMIN, ValidationFailed),
        ({"device": "nas", "pool": "x" * 10_000_000}, ADMIN, ValidationFailed),
        ({}, ADMIN, ValidationFailed),
        (TANK, VIEWER, PermissionDenied),
    ],
)
async def test_what_is_refused_is_recorded_once_and_sends_nothing(
    world: World, arguments: dict[str, Any], caller: Caller, error: type[InfrastructorError]
) -> None:
    with pytest.raises(InfrastructorError) as refusal:
        await service(world).submit(scrub_start, arguments, caller)
    assert isinstance(refusal.value, error) or refusal.value.code == "request_too_large"
    assert refusal.value.operation_id == str(world.records[0].operation_id)
    assert [record.outcome for record in world.records] == ["refused"]
    assert world.ssh.sent == []


async def test_a_server_that_only_reads_refuses_changes(world: World) -> None:
    core = service(world, read_only=True)
    with pytest.raises(ReadOnlyMode):
        await core.submit(scrub_start, TANK, ADMIN)
    assert (await core.submit(pool_list, NAS, ADMIN)).result.pools


async def test_a_destroy_operation_plans_then_acts_on_its_token(world: World) -> None:
    core = service(world)
    planned = (await core.submit(pool_destroy, TANK, ADMIN)).result
    assert planned.status == "planned"
    assert not any("scrub" in line for _, line in world.ssh.sent)
    done = (await core.submit(pool_destroy, TANK | {"plan_token": planned.plan.plan_token}, ADMIN)).result
    assert (done.status, done.pool) == ("done", "tank")
    assert world.records[0].plan_id == world.records[1].plan_id
    assert planned.plan.plan_token not in repr(world.records)


async def test_planning_leaves_the_cache_alone(world: World) -> None:
    core = service(world)
    await core.submit(pool_list, NAS, ADMIN)
    await core.submit(pool_destroy, TANK, ADMIN)
    assert (await core.submit(pool_list, NAS, ADMIN)).cache is CacheState.HIT


async def test_a_plan_token_works_once(world: World) -> None:
    core = service(world)
    planned = (await core.submit(pool_destroy, TANK, ADMIN)).result
    arguments = TANK | {"plan_token": planned.plan.plan_token}
    outcomes = await asyncio.gather(
        *(core.submit(pool_destroy, arguments, ADMIN) for _ in range(20)), return_exceptions=True
    )
    assert sum(1 for outcome in outcomes if isinstance(outcome, Answer)) == 1
    assert sum(1 for outcome in outcomes if isinstance(outcome, PlanRejected)) == 19


@pytest.mark.parametrize("change", ["caller", "params", "device", "state", "made up"])
async def test_a_plan_token_is_worth_nothing_elsewhere(world: World, change: str) -> None:
    core = service(world)
    planned = (await core.submit(pool_destroy, TANK, ADMIN)).result
    arguments, caller = TANK | {"plan_token": planned.plan.plan_token}, ADMIN
    match change:
        case "caller":
            caller = OTHER
        case "params":
            arguments["pool"] = "other"
        case "device":
            arguments["device"] = "web-1"
        case "state":
            world.ssh.outputs["zpool"] = CommandOutput(exit_status=0, stdout=b"tank\tDEGRADED\t1\n")
        case _:
            arguments["plan_token"] = "plan_guessed"
    with pytest.raises(PlanRejected):
        await core.submit(pool_destroy, arguments, caller)
    assert not any("scrub" in line for _, line in world.ssh.sent)
    assert world.outcomes[-1] == ("zfs_pool_destroy", "refused", "plan_rejected")


async def test_a_change_runs_to_its_end_when_its_caller_leaves(world: World) -> None:
    core = service(world)
    reached, go_on = asyncio.Event(), asyncio.Event()
    execute = world.ssh.execute_command

    async def slow(*args: Any, **kwargs: Any) -> CommandOutput:
        reached.set()
        await go_on.wait()
        return await execute(*args, **kwargs)

    world.ssh.execute_command = slow  # type: ignore[method-assign]
    call = asyncio.create_task(core.submit(scrub_start, TANK, ADMIN))
    await reached.wait()
    call.cancel()
    await asyncio.wait([call])
    go_on.set()
    await core.drain()
    assert world.outcomes == [("zfs_scrub_start", "ok", None)]


async def test_a_read_nobody_waits_for_is_stopped_and_recorded(world: World) -> None:
    core = service(world)
    reached, stopped = asyncio.Event(), asyncio.Event()

    async def endless(*args: Any, **kwargs: Any) -> CommandOutput:
        reached.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            stopped.set()
            raise
        raise AssertionError

    world.ssh.execute_command = endless  # type: ignore[method-assign]
    call = asyncio.create_task(core.submit(pool_list, NAS, ADMIN))
    await reached.wait()
    call.cancel()
    await asyncio.wait([call])
    await asyncio.wait_for(stopped.wait(), 5)
    await core.drain()
    assert world.outcomes == [("zfs_pool_list", "cancelled", "cancelled")]


async def test_a_change_makes_what_was_cached_old(world: World) -> None:
    core = service(world)
    await core.submit(pool_list, NAS, ADMIN)
    await core.submit(scrub_start, TANK, ADMIN)
    assert (await core.submit(pool_list, NAS, ADMIN)).cache is CacheState.MISS


@pytest.mark.parametrize(
    ("output", "error", "outcome"),
    [
        (CommandOutput(exit_status=127, stdout=b""), CommandNotAvailable, "error"),
        (CommandOutput(exit_status=1, stdout=b"", stderr=b"\x1b[31mno such pool"), InfrastructorError, "error"),
        (CommandOutput(exit_status=0, stdout=b"tank", truncated=True), InfrastructorError, "error"),
        (SSHConnectionError("nas is gone"), SSHConnectionError, "error"),
        (OutcomeUnknown("nas went away"), OutcomeUnknown, "unknown"),
    ],
)
async def test_failures_are_told_apart_and_recorded(
    world: World, output: CommandOutput | InfrastructorError, error: type[InfrastructorError], outcome: str
) -> None:
    world.ssh.outputs["zpool"] = output
    with pytest.raises(error) as failure:
        await service(world).submit(scrub_start, TANK, ADMIN)
    assert "\x1b" not in failure.value.message
    assert world.outcomes == [("zfs_scrub_start", outcome, failure.value.code)]
    assert not world.cache.entries


async def test_a_failed_run_is_not_cached(world: World) -> None:
    core = service(world)
    world.ssh.outputs["zpool"] = CommandOutput(exit_status=1, stdout=b"")
    with pytest.raises(InfrastructorError):
        await core.submit(pool_list, NAS, ADMIN)
    world.ssh.outputs["zpool"] = CommandOutput(exit_status=0, stdout=b"tank\tONLINE\t1\n")
    assert (await core.submit(pool_list, NAS, ADMIN)).cache is CacheState.MISS


class Text(Result):
    text: str


class TextParams(CachedParams):
    pass


@operation(name="text_show", effect=Effect.READ, route="GET /api/{device}", cache=Cache("text", timedelta(minutes=1)))
async def hostile_text(ctx: Context, params: TextParams) -> Text:
    """Answer what a hostile device says. For this test."""
    return Text(text="ok\x1b]0;owned\x07\u202e\U000e0041\n")


@operation(name="text_broken", effect=Effect.READ, route="GET /api/{device}/broken")
async def broken(ctx: Context, params: DeviceParams) -> Text:
    """Break. For this test."""
    raise KeyError("secret detail")


@operation(name="text_stray", effect=Effect.READ, route="GET /api/{device}/stray")
async def stray(ctx: Context, params: DeviceParams) -> Text:
    """Run what it does not declare. For this test."""
    await ctx.run(ZpoolScrub(pool="tank"))
    return Text(text="")


async def test_what_leaves_us_carries_no_control_characters() -> None:
    world = World(operations=(*OPERATIONS, hostile_text))
    core = service(world)
    for _ in range(2):
        assert (await core.submit(hostile_text, NAS, ADMIN)).result.text == "ok]0;owned\n"


async def test_our_own_bugs_show_no_inside() -> None:
    world = World(operations=(*OPERATIONS, broken))
    with pytest.raises(InfrastructorError) as failure:
        await service(world).submit(broken, NAS, ADMIN)
    assert failure.value.code == "internal_error"
    assert "secret detail" not in failure.value.one_line()
    assert world.outcomes == [("text_broken", "error", "internal_error")]


async def test_a_command_that_is_not_declared_is_not_sent() -> None:
    world = World(operations=(*OPERATIONS, stray))
    with pytest.raises(UndeclaredCommand):
        await service(world).submit(stray, NAS, ADMIN)
    assert world.ssh.sent == []


async def test_a_sweep_is_one_record_and_one_more_for_each_change_of_state(world: World) -> None:
    core = service(world)
    devices = await world.devices.all()
    assert set((await core.sweep(pool_list, devices, SCHEDULER)).values()) == {"ok"}
    assert world.outcomes == [("zfs_pool_list", "ok", None)]
    world.ssh.outputs["zpool"] = SSHConnectionError("gone")
    await core.sweep(pool_list, devices, SCHEDULER)
    await core.sweep(pool_list, devices, SCHEDULER)
    failures = [record.device for record in world.records if record.outcome == "error"]
    assert sorted(failures) == ["nas", "web-1"]
    assert len(world.records) == 5
    assert world.records[-1].details == {"devices": 2, "failed": dict.fromkeys(("nas", "web-1"), "device_unreachable")}


class BreaksOnOne(CachedParams):
    """Input of host_odd."""


@operation(name="host_odd", effect=Effect.READ, route="GET /api/hosts/{device}/odd", cache=Cache("odd"))
async def odd(ctx: Context, params: BreaksOnOne) -> Text:
    """Break on one device. Test only."""
    if ctx.device.hostname == "web-1":
        raise ZeroDivisionError
    return Text(text="fine")


async def test_a_device_that_brings_out_a_bug_does_not_end_the_sweep_of_the_others() -> None:
    world = World(operations=(*OPERATIONS, odd))
    core = service(world)
    outcomes = await core.sweep(odd, await world.devices.all(), SCHEDULER)
    assert outcomes == {"nas": "ok", "web-1": "internal_error"}
    assert (world.records[-1].outcome, world.records[-1].details) == (
        "ok",
        {"devices": 2, "failed": {"web-1": "internal_error"}},
    )


async def test_a_sweep_fills_the_cache(world: World) -> None:
    core = service(world)
    await core.sweep(pool_list, await world.devices.all(), SCHEDULER)
    assert (await core.submit(pool_list, NAS, ADMIN)).cache is CacheState.HIT


async def test_a_sweep_keeps_nothing_that_a_change_has_made_old(world: World) -> None:
    core = service(world)
    answers = world.ssh.execute_command

    async def changed_meanwhile(device: Any, line: Any, **values: Any) -> CommandOutput:
        output = await answers(device, line, **values)
        await core.outdate(device.id, (pool_list.cache.data_type,) if pool_list.cache else ())
        return output

    world.ssh.execute_command = changed_meanwhile  # type: ignore[method-assign]
    await core.sweep(pool_list, await world.devices.all(), SCHEDULER)
    assert (await core.submit(pool_list, NAS, ADMIN)).cache is CacheState.MISS


async def test_metrics_are_not_collected_from_devices_without_a_trusted_key(world: World) -> None:
    await collect_metrics(service(world))
    assert world.ssh.sent == []
    assert world.records == []
