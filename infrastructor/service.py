"""The one path every run of every operation takes, whoever asks.

`submit` validates and calls `run`; `run` is: role → device → cache → intent → handler → cache and history →
outcome. Read `run` and `_carry_out` top to bottom to know what happens to a request.
"""

import asyncio
import logging
from collections.abc import Collection, Coroutine, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from time import perf_counter
from typing import Any, TypeVar
from uuid import UUID

from pydantic import ValidationError

from infrastructor.arguments import MAX_ARGUMENTS, identity_of, outweighs, validation_failed
from infrastructor.container_store import ContainerStore
from infrastructor.context import Progress, RunContext, Started
from infrastructor.deployment_store import DeploymentStore
from infrastructor.errors import (
    AuditUnavailable,
    CommandTimeout,
    Declined,
    DeviceNotFound,
    InfrastructorError,
    OperationNotFound,
    PermissionDenied,
    PlanRejected,
    ReadOnlyMode,
    RequestTooLarge,
    Unauthenticated,
)
from infrastructor.events import EventBus
from infrastructor.flight import Flight, Flights
from infrastructor.ids import uuid7
from infrastructor.operation import Answer, DestroyParams, DeviceParams, Operation, Params, Result
from infrastructor.outcome import exit_body, log_finished, milliseconds, new_record
from infrastructor.plans import Plans
from infrastructor.ports.audit import AuditLog, AuditRecord
from infrastructor.ports.cache import CacheEntry, CacheKey, CacheManager, CacheState
from infrastructor.ports.callers import Caller, Effect, Interface, Role
from infrastructor.ports.devices import Device, DeviceRegistry
from infrastructor.ports.plans import PlanStore
from infrastructor.ports.runs import CancelRequests
from infrastructor.ports.series import DriveStore, MetricStore
from infrastructor.ports.ssh import SSHClient
from infrastructor.protection import check_device
from infrastructor.refusals import RefusalBudget
from infrastructor.runs import Run, Runs
from infrastructor.sanitize import clean
from infrastructor.snapshot_store import History
from infrastructor.sweep import Sweeps

P = TypeVar("P", bound=Params)
R = TypeVar("R", bound=Result)

logger = logging.getLogger(__name__)

_OUTCOMES = {"outcome_unknown": "unknown", "cancelled": "cancelled"}


class UnifiedDataCollectionService:
    """Runs operations. Doors call `submit`; handlers reach it through their context."""

    def __init__(
        self,
        *,
        operations: Sequence[Operation[Any, Any]],
        devices: DeviceRegistry,
        ssh: SSHClient,
        cache: CacheManager,
        audit: AuditLog,
        metrics: MetricStore,
        plans: PlanStore,
        events: EventBus,
        containers: ContainerStore,
        drives: DriveStore | None = None,
        history: History | None = None,
        deployments: DeploymentStore | None = None,
        cancels: CancelRequests | None = None,
        read_only: bool = False,
        opted_in: Collection[Interface] = (),
        human_approval: bool = False,
    ) -> None:
        self.operations = {operation.name: operation for operation in operations}
        self.devices = devices
        self.ssh = ssh
        self.cache = cache
        self.audit = audit
        self.metrics = metrics
        self.events = events
        self.containers = containers
        self.drives = drives
        self.history = history
        self.deployments = deployments
        self.read_only = read_only
        self.opted_in = frozenset(opted_in)
        self.human_approval = human_approval
        self.runs = Runs(audit, cancels)
        self.plan_store = plans
        self.memory: dict[tuple[str, UUID], Any] = {}
        self._plans = Plans(plans, human_approval=human_approval)
        self._flights = Flights()
        self._sweeps = Sweeps(self, flights=self._flights, handle=self._handle, finish=self._finish_shielded)
        self._background: set[asyncio.Task[Any]] = set()
        self._refusals = RefusalBudget()

    def operation(self, name: str) -> Operation[Any, Any]:
        """The operation of this name. Raises `OperationNotFound`."""
        try:
            return self.operations[name]
        except KeyError:
            raise OperationNotFound(
                f"There is no operation {clean(name, 80)!r}.", hint=f"One of: {', '.join(sorted(self.operations))}."
            ) from None

    async def submit(
        self,
        operation: Operation[Any, Any],
        arguments: Mapping[str, Any],
        caller: Caller,
        *,
        parent_id: UUID | None = None,
        progress: Progress | None = None,
        started: Started | None = None,
    ) -> Answer[Any]:
        """Validate what a door received and run it. Bad input is refused and audited; nothing is sent."""
        params = await self._validated(operation, arguments, caller, parent_id)
        return await self.run(operation, params, caller, parent_id=parent_id, progress=progress, started=started)

    async def _validated(
        self, operation: Operation[Any, Any], arguments: Mapping[str, Any], caller: Caller, parent_id: UUID | None
    ) -> Params:
        if outweighs(arguments, MAX_ARGUMENTS):
            large = RequestTooLarge(f"{operation.name}: the arguments are longer than {MAX_ARGUMENTS:,} characters.")
            await self.refuse(operation, caller, large)
            raise large
        try:
            params: Params = operation.params.model_validate(arguments)
        except ValidationError as error:
            failure = validation_failed(operation, error)
            record = new_record(operation, caller, parent_id)
            record.params = {"invalid": failure.message}
            device = arguments.get("device")
            record.device = clean(device, 255) if isinstance(device, str) else None
            await self._refuse(record, failure)
            raise failure from error
        return params

    async def watch(
        self, operation: Operation[Any, Any], arguments: Mapping[str, Any], caller: Caller, uri: str
    ) -> Params:
        """Check that the caller may read this, who wants to be told when it changes. Audited; nothing runs."""
        params = await self._validated(operation, arguments, caller, None)
        record = new_record(operation, caller, None, params)
        record.operation, record.params = "resource_subscribe", {"uri": clean(uri, 1000)}
        await self._admit(operation, params, record)
        record.outcome = "ok"
        record.duration_ms = (datetime.now(UTC) - record.started_at).total_seconds() * 1000
        self.audit.note(record)
        return params

    async def refuse(self, operation: Operation[Any, Any] | None, caller: Caller, error: InfrastructorError) -> None:
        """Audit a request that a door could not even read as arguments; its id is put on the error."""
        record = AuditRecord(
            operation_id=uuid7(),
            operation="unreadable_request" if operation is None else operation.name,
            effect=Effect.READ if operation is None else operation.effect,
            caller=caller,
            started_at=datetime.now(UTC),
        )
        await self._refuse(record, error)

    async def decline(
        self, operation: Operation[Any, Any], arguments: Mapping[str, Any], token: str, caller: Caller, why: str
    ) -> Declined:
        """A person saw the plan and did not agree: its token dies, and there is a record of it."""
        error = Declined(f"{operation.name} was not carried out: {why}.")
        try:  # through the model, which masks what is secret
            params = operation.params.model_validate(arguments)
        except ValidationError:
            params = None
        record = new_record(operation, caller, None, params)
        device = arguments.get("device")
        record.device = clean(device, 255) if isinstance(device, str) else None
        try:
            await self._plans.withdraw(token, record)
        except InfrastructorError as failure:  # it dies by itself within minutes
            logger.warning("A declined plan was not withdrawn: %s", failure)
        await self._refuse(record, error)
        return error

    async def refuse_authentication(self, interface: Interface, client: str | None, error: Unauthenticated) -> None:
        """Audit a caller nobody knows; a flood leaves a few rows and a count, not a full table."""
        suppressed = self._refusals.spend()
        if suppressed is None:
            return
        record = AuditRecord(
            operation_id=uuid7(),
            operation="authenticate",
            effect=Effect.READ,
            caller=Caller(principal="anonymous", role=Role.VIEWER, interface=interface, client=client),
            started_at=datetime.now(UTC),
            details={"suppressed": suppressed} if suppressed else None,
        )
        await self._refuse(record, error)

    async def run(
        self,
        operation: Operation[P, R],
        params: P,
        caller: Caller,
        *,
        parent_id: UUID | None = None,
        progress: Progress | None = None,
        started: Started | None = None,
    ) -> Answer[R]:
        """Run an operation for a caller. Raises `InfrastructorError` kinds only; all of them are audited."""
        record = new_record(operation, caller, parent_id, params)
        target = await self._admit(operation, params, record)
        context = RunContext(
            service=self, declared=operation, record=record, target=target, report=progress, started=started
        )
        if operation.effect is Effect.READ:
            return await self.collect_and_store_data(context, operation, params)
        return await self._change(context, operation, params)

    async def collect_and_store_data(self, context: RunContext, operation: Operation[P, R], params: P) -> Answer[R]:
        """Cache first; else join an identical run under way; else ask the device and store the answer."""
        record = context.record
        fresh = bool(getattr(params, "force_refresh", False))
        identity = identity_of(params)
        key = None
        if operation.cache is not None:
            scope = str(record.device_id or "all")
            key = CacheKey(data_type=operation.cache.data_type, device_id=scope, additional_key=identity)
            if not fresh:
                state, entry = await self.cache.get(key)
                if entry is not None and entry.schema == operation.schema_fingerprint:
                    return self._answered_from_cache(record, operation, entry)
                record.cache = CacheState.MISS if state is not CacheState.BYPASS else CacheState.BYPASS
        flight_key = (operation.name, record.device_id, identity, record.caller.role)
        joined = self._flights.join(flight_key, fresh=fresh or operation.cache is None)
        if joined is not None:
            return await self._join(joined, record, context.started)

        async def run(flight: Flight[Answer[R]]) -> Answer[R]:
            started = perf_counter()
            answer = await self._carry_out(context.in_flight(flight), operation, params, started)
            if key is not None and operation.cache is not None and not flight.outdated:
                entry = CacheEntry(
                    schema=operation.schema_fingerprint, collected_at=answer.collected_at, body=answer.body
                )
                await self.cache.set(key, entry, operation.cache.ttl)
            return answer

        return await self._flights.start(flight_key, record.device_id, run).wait()

    async def _change(self, context: RunContext, operation: Operation[P, R], params: P) -> Answer[R]:
        """A change goes on to its end, and is recorded truly, even when its caller leaves."""
        task = asyncio.create_task(self._carry_out(context, operation, params, perf_counter()))
        self._keep(task)
        return await asyncio.shield(task)

    async def _carry_out(self, context: RunContext, operation: Operation[P, R], params: P, started: float) -> Answer[R]:
        """One run, known while it goes on."""
        with self.runs.under_way(context.record) as run:
            if context.started is not None:
                context.started(context.record.operation_id)
            return await self._recorded(replace(context, under_way=run), run, operation, params, started)

    async def _recorded(
        self, context: RunContext, run: Run, operation: Operation[P, R], params: P, started: float
    ) -> Answer[R]:
        """Intent, handler, outcome. The only place that calls a handler."""
        record = context.record
        durable = operation.reaches_device
        try:
            if durable:
                await self.audit.begin(record)
            # Before the first command: a change that comes later must find this answer older than itself.
            collected_at = datetime.now(UTC)
            try:
                async with asyncio.timeout(operation.deadline.total_seconds()):
                    result = await self._handle(context, operation, params)
            except TimeoutError as error:
                raise CommandTimeout(
                    f"{operation.name} took longer than {operation.deadline.total_seconds():g} s."
                ) from error
            body = exit_body(result)
            record.outcome = "ok"
        except asyncio.CancelledError:
            if run.cancelled_by is not None:
                # Stopped by operation_cancel: whoever waits gets an error, not a cancellation nobody asked them for.
                cancelled = run.cancelled()
                cancelled.operation_id = str(record.operation_id)
                _note_cancel(run)
                await self._failed(record, cancelled, started)
                raise cancelled from None
            record.outcome, record.error_code = "cancelled", "cancelled"
            record.duration_ms = milliseconds(started)
            self._keep(asyncio.create_task(self.audit.finish(record)))
            raise
        except InfrastructorError as error:
            error.operation_id = str(record.operation_id)
            _note_cancel(run)
            await self._failed(record, error, started)
            if operation.effect is not Effect.READ and record.commands:
                await self._invalidate(operation, record)  # what it had done until then
            raise
        except Exception as error:
            logger.exception("Operation broke", extra={"operation_id": str(record.operation_id)})
            failure = InfrastructorError(
                f"{operation.name} broke: {type(error).__name__}.",
                hint=f"This is a bug in Infrastructor; the server's log has it under {record.operation_id}.",
            )
            failure.operation_id = str(record.operation_id)
            await self._failed(record, failure, started)
            raise failure from error
        record.duration_ms = milliseconds(started)
        planned_only = record.details is not None and "planned" in record.details
        _note_cancel(run)
        if operation.effect is not Effect.READ and not planned_only:
            await self._invalidate(operation, record)
        if durable:
            await self.audit.finish(record)
        else:
            self.audit.note(record)
        log_finished(operation, record)
        return Answer(
            body=body,
            model=operation.result,
            operation_id=record.operation_id,
            cache=record.cache,
            collected_at=collected_at,
            duration_ms=record.duration_ms,
        )

    async def _handle(self, context: RunContext, operation: Operation[P, R], params: P) -> Result:
        if operation.plan is None or not isinstance(params, DestroyParams):
            return await operation.handler(context, params)
        record = context.record
        draft = await operation.plan(context, params)
        if params.plan_token is None:
            plan = await self._plans.propose(draft, record)
            record.details = {"planned": True}
            return operation.result.model_validate({"status": "planned", "plan": plan})
        record.plan_id = await self._plans.redeem(params.plan_token, draft, record)
        return await operation.handler(replace(context, draft=draft), params)

    async def _join(self, flight: Flight[Answer[R]], record: AuditRecord, announce: Started | None) -> Answer[R]:
        started = perf_counter()
        try:
            with self.runs.under_way(record, flight.task):
                if announce is not None:
                    announce(record.operation_id)
                answer = await flight.wait()
        except asyncio.CancelledError:
            record.outcome, record.error_code = "cancelled", "cancelled"
            record.duration_ms = milliseconds(started)
            self.audit.note(record)
            raise
        except InfrastructorError as error:
            own = error.again()
            own.operation_id = str(record.operation_id)
            record.outcome = "cancelled" if own.code == "cancelled" else "error"
            record.error_code, record.error_message = own.code, clean(own.message, 1000)
            record.duration_ms = milliseconds(started)
            record.details = {"joined": error.operation_id}
            self.audit.note(record)
            raise own from error
        record.outcome = "ok"
        record.duration_ms = milliseconds(started)
        record.details = {"joined": str(answer.operation_id)}
        self.audit.note(record)
        return Answer(
            body=answer.body,
            model=answer.model,
            operation_id=record.operation_id,
            cache=record.cache,
            collected_at=answer.collected_at,
            duration_ms=record.duration_ms,
        )

    def _answered_from_cache(self, record: AuditRecord, operation: Operation[P, R], entry: CacheEntry) -> Answer[R]:
        record.cache, record.outcome = CacheState.HIT, "ok"
        record.duration_ms = (datetime.now(UTC) - record.started_at).total_seconds() * 1000
        self.audit.note(record)
        return Answer(
            body=entry.body,
            model=operation.result,
            operation_id=record.operation_id,
            cache=CacheState.HIT,
            collected_at=entry.collected_at,
            duration_ms=record.duration_ms,
        )

    async def _invalidate(self, operation: Operation[P, R], record: AuditRecord) -> None:
        await self.outdate(record.device_id, operation.invalidates)

    async def outdate(self, device_id: UUID | None, data_types: Sequence[str]) -> None:
        """Something changed there: no answer from before is given again, kept or joined."""
        self._flights.outdate(device_id)
        for data_type in data_types:
            await self.cache.invalidate(data_type, str(device_id or "all"))

    def offers(self, operation: Operation[Any, Any], interface: Interface) -> bool:
        """Whether a door may show and run it, roles aside."""
        hidden = interface in operation.hidden_from
        return not hidden and (interface not in operation.opt_in or interface in self.opted_in)

    def _authorize(self, operation: Operation[Any, Any], caller: Caller) -> None:
        if self.read_only and operation.effect is not Effect.READ:
            raise ReadOnlyMode(f"{operation.name} changes things, and this server only reads.")
        if not self.offers(operation, caller.interface):
            raise PermissionDenied(
                f"{operation.name} is not offered over {caller.interface}.",
                hint="The operator can allow it with INFRASTRUCTOR_MCP_EXEC=true; REST and the CLI have it."
                if caller.interface in operation.opt_in
                else "A person runs it, on the command line or over REST.",
            )
        if not operation.allows(caller.role):
            raise PermissionDenied(
                f"Role {caller.role} may not run {operation.name} ({operation.effect}).",
                hint="Ask an admin for a token with a higher role.",
            )

    async def _admit(self, operation: Operation[Any, Any], params: Params, record: AuditRecord) -> Device | None:
        """Role, device and what the device allows; whatever forbids it is audited."""
        try:
            self._authorize(operation, record.caller)
            _check_guarded(operation, params, record.caller)
            target = await self._resolve(params)
            if target is not None:
                record.device, record.device_id = target.hostname, target.id
                check_device(target, operation.name, operation.effect, registration_only=operation.registration_only)
        except InfrastructorError as error:
            await self._refuse(record, error)
            raise
        return target

    async def _resolve(self, params: Params) -> Device | None:
        if not isinstance(params, DeviceParams):
            return None
        device = await self.devices.find(params.device)
        if device is None:
            raise DeviceNotFound(f"No device is named {params.device!r}.")
        return device

    async def _refuse(self, record: AuditRecord, error: InfrastructorError) -> None:
        record.outcome, record.error_code, record.error_message = "refused", error.code, clean(error.message, 1000)
        record.duration_ms = (datetime.now(UTC) - record.started_at).total_seconds() * 1000
        error.operation_id = str(record.operation_id)
        await self._finish_shielded(record)

    async def _failed(self, record: AuditRecord, error: InfrastructorError, started: float) -> None:
        refused = isinstance(error, PlanRejected | AuditUnavailable) or (
            isinstance(error, PermissionDenied) and not record.commands  # else something of it was done
        )
        record.outcome = "refused" if refused else _OUTCOMES.get(error.code, "error")
        record.error_code, record.error_message = error.code, clean(error.message, 1000)
        record.duration_ms = milliseconds(started)
        await self._finish_shielded(record)
        log_finished(self.operation(record.operation), record)

    async def _finish_shielded(self, record: AuditRecord) -> None:
        """The outcome is written even when the caller leaves now; a lost audit store must not hide the error."""
        task = asyncio.create_task(self.audit.finish(record))
        self._keep(task)
        try:
            await asyncio.shield(task)
        except InfrastructorError as error:
            logger.error("Outcome not recorded: %s", error, extra={"operation_id": str(record.operation_id)})

    def _keep(self, task: "asyncio.Task[Any]") -> None:
        self._background.add(task)
        task.add_done_callback(self._released)

    def _released(self, task: "asyncio.Task[Any]") -> None:
        self._background.discard(task)
        if not task.cancelled():
            task.exception()

    async def sweep(self, operation: Operation[P, R], devices: Sequence[Device], caller: Caller) -> dict[str, str]:
        """Run a READ operation on many devices under one audit record; outcome code by hostname."""
        return await self._sweeps.run(operation, devices, caller)

    def spawn(self, work: Coroutine[Any, Any, Any]) -> None:
        """Run something to its end in the background; `drain` waits for it."""
        self._keep(asyncio.create_task(work))

    async def drain(self, timeout_s: float = 20.0) -> None:
        """Wait for changes and outcomes under way; called once at shutdown."""
        if self._background:
            await asyncio.wait(set(self._background), timeout=timeout_s)


def _check_guarded(operation: Operation[Any, Any], params: Params, caller: Caller) -> None:
    for name, role in operation.guarded:
        if getattr(params, name) and not caller.role.includes(role):
            raise PermissionDenied(
                f"Role {caller.role} may not run {operation.name} with {name}.",
                hint=f"Leave {name} out, or ask for a token of role {role}.",
            )


def _note_cancel(run: Run) -> None:
    """Who wanted it stopped, whether or not that came in time."""
    if run.cancelled_by is not None:
        run.record.details = {**(run.record.details or {}), "cancelled_by": run.cancelled_by}
