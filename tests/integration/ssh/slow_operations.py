"""Operations that take long on a real device, for stopping them."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from pydantic import Field

from infrastructor.command import Command
from infrastructor.domains.operations.operations import operation_cancel, operation_get
from infrastructor.errors import InfrastructorError
from infrastructor.operation import Cache, CachedParams, Context, DeviceParams, Operation, Result, operation
from infrastructor.ports.callers import Effect
from infrastructor.ports.ssh import CommandOutput, Lane


@dataclass(frozen=True)
class SleepFast(Command[None]):
    """Sleep in the resident shell."""

    template = "sleep {seconds}"
    timeout = timedelta(seconds=60)
    seconds: int

    def parse(self, output: CommandOutput) -> None:
        return None


@dataclass(frozen=True)
class SleepSlow(Command[None]):
    """Sleep in a session of its own."""

    template = "sleep {seconds}"
    timeout = timedelta(seconds=60)
    lane = Lane.SLOW
    seconds: int

    def parse(self, output: CommandOutput) -> None:
        return None


@dataclass(frozen=True)
class Change(Command[None]):
    """Do what the script says, detached."""

    template = "{text}"
    script = 'eval "$1"'
    timeout = timedelta(seconds=60)
    lane = Lane.CHANGE
    text: str

    def parse(self, output: CommandOutput) -> None:
        return None


class SleepParams(CachedParams):
    seconds: int = Field(description="How long.")
    fast: bool = Field(default=False, description="In the resident shell.")


class ChangeParams(DeviceParams):
    first: str = Field(description="First script.")
    second: str = Field(default=":", description="Second script.")
    tidy: str | None = Field(default=None, description="What runs when the others did not.")


class Done(Result):
    done: bool = Field(default=True, description="Always true.")


@operation(
    name="slow_read",
    effect=Effect.READ,
    route="GET /api/slow/{device}",
    cache=Cache("slow"),
    commands=(SleepFast, SleepSlow),
)
async def slow_read(ctx: Context, params: SleepParams) -> Done:
    """Sleep. For these tests."""
    await ctx.run(SleepFast(params.seconds) if params.fast else SleepSlow(params.seconds))
    return Done()


@operation(name="slow_change", effect=Effect.CHANGE, route="POST /api/slow/{device}", commands=(Change,))
async def slow_change(ctx: Context, params: ChangeParams) -> Done:
    """Do two things. For these tests."""
    try:
        await ctx.run(Change(params.first))
        await ctx.run(Change(params.second))
    except InfrastructorError:
        if params.tidy is not None:
            await ctx.run(Change(params.tidy))
        raise
    return Done()


@operation(
    name="slow_whole", effect=Effect.CHANGE, route="POST /api/slow/{device}/whole", uses=(slow_change, slow_read)
)
async def slow_whole(ctx: Context, params: ChangeParams) -> Done:
    """Do what slow_change does, as a part. For these tests."""
    await ctx.call(slow_change, params)
    await ctx.call(slow_read, SleepParams(device=params.device, seconds=600))
    return Done()


@operation(name="slow_look", effect=Effect.CHANGE, route="POST /api/slow/{device}/look", commands=(SleepSlow,))
async def slow_look(ctx: Context, params: SleepParams) -> Done:
    """Look for long before a change. For these tests."""
    await ctx.run(SleepSlow(params.seconds))
    return Done()


OPERATIONS: tuple[Operation[Any, Any], ...] = (
    slow_read, slow_change, slow_whole, slow_look, operation_get, operation_cancel,
)  # fmt: skip
