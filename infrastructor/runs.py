"""The operations under way in this process: how far each is, and how it is stopped.

A read is stopped by cancelling its task, for everybody who waits for it. A change is told: the command that runs on
the device is ended there and its true outcome read, the next one is refused. It is told once; what its handler does
afterwards, to put things back in order, runs.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar
from uuid import UUID

from infrastructor.errors import Cancelled
from infrastructor.ports.audit import AuditLog, AuditRecord
from infrastructor.ports.callers import Effect
from infrastructor.ports.runs import CancelRequests, RunProgress, RunState

T = TypeVar("T")

WAIT_S = 12.0
"""How long `stop` waits for the truth. On a device, processes have five seconds before they are killed."""

_REMEMBERED = 256
_ASK_S = 0.25


@dataclass(eq=False, slots=True, kw_only=True)
class Run:
    """One run under way. `task` carries it out; `stopping` only a change has."""

    record: AuditRecord
    task: "asyncio.Task[Any]"
    stopping: asyncio.Event | None = None
    joined: bool = False
    progress: RunProgress | None = None
    cancelled_by: str | None = None
    told: bool = False
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def stop(self) -> asyncio.Event | None:
        """What a command on the device listens to; nothing once the handler knows."""
        return None if self.told else self.stopping

    def go_on(self) -> None:
        """Raises `Cancelled`, once, when the change is to stop."""
        if self.stopping is not None and self.stopping.is_set() and not self.told:
            raise self.cancelled()

    def cancelled(self) -> Cancelled:
        """The error a stopped run ends with."""
        self.told = True
        hint = "" if self.stopping is None else "What it had done until then stays: read the state back."
        return Cancelled(f"{self.record.operation} was cancelled by {self.cancelled_by}.", hint=hint)

    async def unless_stopped(self, work: Awaitable[T]) -> T:
        """The result of something that only reads; it is dropped when the change is to stop."""
        if self.stop is None:
            return await work
        reading, stopped = asyncio.ensure_future(work), asyncio.ensure_future(self.stop.wait())
        try:
            await asyncio.wait({reading, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if not reading.done():
                raise self.cancelled()
            return reading.result()
        finally:
            stopped.cancel()
            reading.cancel()


class Runs:
    """`RunControl` over what runs here, the audit store, and the other processes."""

    def __init__(self, audit: AuditLog, requests: CancelRequests | None = None) -> None:
        self._audit = audit
        self._requests = requests
        self._running: dict[UUID, Run] = {}
        self._ended: OrderedDict[UUID, AuditRecord] = OrderedDict()

    @contextmanager
    def under_way(self, record: AuditRecord, joined: "asyncio.Task[Any] | None" = None) -> Iterator[Run]:
        """Know a run while it goes on. `joined` is the task of the run it waits for, when it is another's."""
        task = joined or asyncio.current_task()
        if task is None:
            raise RuntimeError("a run needs a task")
        changes = record.effect is not Effect.READ
        run = Run(record=record, task=task, stopping=asyncio.Event() if changes else None, joined=joined is not None)
        self._running[record.operation_id] = run
        try:
            yield run
        finally:
            del self._running[record.operation_id]
            run.ended.set()
            self._ended[record.operation_id] = record
            if len(self._ended) > _REMEMBERED:
                self._ended.popitem(last=False)

    async def find(self, operation_id: UUID) -> RunState | None:
        run = self._running.get(operation_id)
        if run is not None:
            return RunState(record=run.record, here=True, progress=run.progress)
        record = self._ended.get(operation_id)
        if record is not None:
            return RunState(record=record, here=True)
        record = await self._audit.find(operation_id)
        return None if record is None else RunState(record=record)

    async def stop(self, operation_id: UUID, by: str) -> RunState | None:
        if operation_id in self._running:
            run = self._running[operation_id]
            self._tell(run, by)
            with suppress(TimeoutError):
                async with asyncio.timeout(WAIT_S):
                    await run.ended.wait()
            return await self.find(operation_id)
        state = await self.find(operation_id)
        if state is None or not state.running or self._requests is None:
            return state
        loop = asyncio.get_running_loop()
        until = loop.time() + WAIT_S
        await self._requests.ask(operation_id, by)
        while state is not None and state.running and loop.time() < until:
            await asyncio.sleep(_ASK_S)
            state = await self.find(operation_id)
        return state

    async def heed(self) -> None:
        """Stop what other processes were asked to stop here. Raises `DatabaseOperationError`."""
        if self._requests is None:
            return
        for operation_id, by in (await self._requests.asked(list(self._running))).items():
            if operation_id in self._running:
                self._tell(self._running[operation_id], by)

    def _tell(self, run: Run, by: str) -> None:
        if run.cancelled_by is not None or run.record.outcome != "started":
            return
        if run.stopping is not None:
            run.cancelled_by = by
            run.stopping.set()
            for child in [other for other in self._running.values() if _is_part(other, run)]:
                self._tell(child, by)
            return
        for leader in self._running.values():  # the run itself, or the one it joined
            if leader.task is run.task and not leader.joined and leader.record.outcome == "started":
                run.cancelled_by = by
                leader.cancelled_by = leader.cancelled_by or by
                run.task.cancel()
                return


def _is_part(other: Run, run: Run) -> bool:
    """Whether it is a change that this change makes. Reads are dropped by whoever waits for them."""
    return other.record.parent_id == run.record.operation_id and other.stopping is not None
