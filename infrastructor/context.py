"""What a handler gets: the implementation of `operation.Context` for one run."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

from infrastructor.command import Command
from infrastructor.container_store import ContainerStore
from infrastructor.deployment_store import DeploymentStore
from infrastructor.engine import EngineQuery, Reply, check_reply
from infrastructor.errors import (
    Cancelled,
    CommandFailed,
    CommandNotAvailable,
    DatabaseOperationError,
    EngineUnavailable,
    InfrastructorError,
    ParseError,
    UndeclaredCommand,
)
from infrastructor.events import EventBus
from infrastructor.flight import Flight
from infrastructor.formats.secrets import Masker
from infrastructor.operation import Answer, Operation, Params, PlanDraft, Result
from infrastructor.ports.audit import AuditRecord, AuditTrail
from infrastructor.ports.callers import Caller, Effect
from infrastructor.ports.devices import Device, DeviceRegistry
from infrastructor.ports.plans import PlanStore
from infrastructor.ports.runs import RunControl, RunProgress
from infrastructor.ports.series import DriveStore, MetricStore
from infrastructor.ports.ssh import CommandLine, CommandOutput, DeviceLinks, Flow, Lane, Via
from infrastructor.protection import check_writable
from infrastructor.runs import Run
from infrastructor.sanitize import clean
from infrastructor.snapshot_store import BaselineStore, History, SnapshotStore, WatchStore

if TYPE_CHECKING:
    from infrastructor.service import UnifiedDataCollectionService

T = TypeVar("T")
P = TypeVar("P", bound=Params)
R = TypeVar("R", bound=Result)

Started = Callable[[UUID], None]
Progress = Callable[[float, float | None, str], Awaitable[None]]

_NOT_FOUND = 127
_AUDITED_LINE = 8192  # of which storage keeps a part, once it has masked secrets


@dataclass(frozen=True, kw_only=True)
class RunContext:
    """One run of one operation on at most one device."""

    service: "UnifiedDataCollectionService"
    declared: Operation[Any, Any]
    record: AuditRecord
    target: Device | None = None
    flight: Flight[Any] | None = None
    report: Progress | None = None
    started: Started | None = None
    under_way: Run | None = None
    draft: PlanDraft | None = None

    @property
    def device(self) -> Device:
        if self.target is None:
            raise InfrastructorError(f"{self.declared.name} has no device.")
        return self.target

    @property
    def caller(self) -> Caller:
        return self.record.caller

    @property
    def now(self) -> datetime:
        return datetime.now(UTC)

    @property
    def devices(self) -> DeviceRegistry:
        return self.service.devices

    @property
    def links(self) -> DeviceLinks:
        return self.service.ssh

    @property
    def metrics(self) -> MetricStore:
        return self.service.metrics

    @property
    def events(self) -> EventBus:
        return self.service.events

    @property
    def containers(self) -> ContainerStore:
        return self.service.containers

    @property
    def drives(self) -> DriveStore | None:
        return self.service.drives

    @property
    def snapshots(self) -> SnapshotStore:
        return self._history.snapshots

    @property
    def watches(self) -> WatchStore:
        return self._history.watches

    @property
    def baselines(self) -> BaselineStore:
        return self._history.baselines

    @property
    def masker(self) -> Masker:
        return self._history.masker

    @property
    def _history(self) -> History:
        if self.service.history is None:
            raise InfrastructorError(f"{self.declared.name} needs the history of configuration, and none is kept here.")
        return self.service.history

    @property
    def trail(self) -> AuditTrail:
        return self.service.audit

    @property
    def operation_id(self) -> UUID:
        return self.record.operation_id

    @property
    def deployments(self) -> DeploymentStore:
        if self.service.deployments is None:
            raise DatabaseOperationError("There is no journal of deployments, so none can begin.")
        return self.service.deployments

    @property
    def runs(self) -> RunControl:
        return self.service.runs

    @property
    def plans(self) -> PlanStore:
        return self.service.plan_store

    def operation(self, name: str) -> Operation[Any, Any]:
        return self.service.operation(name)

    def on(self, device: Device) -> "RunContext":
        return replace(self, target=device)

    def in_flight(self, flight: Flight[Any]) -> "RunContext":
        """The same context, telling the flight when a command is sent."""
        return replace(self, flight=flight)

    async def progress(self, done: float, total: float | None, message: str) -> None:
        if self.under_way is not None:
            self.under_way.progress = RunProgress(done=done, total=total, message=message)
        if self.report is not None:
            await self.report(done, total, message)

    def recall(self) -> Any:
        return self.service.memory.get((self.declared.name, self.device.id))

    def remember(self, value: Any) -> None:
        self.service.memory[self.declared.name, self.device.id] = value

    def planned(self, kind: type[T]) -> T:
        found = None if self.draft is None else self.draft.found
        if not isinstance(found, kind):
            raise InfrastructorError(f"The plan of {self.declared.name} found no {kind.__name__}.")
        return found

    async def run(self, command: Command[T]) -> T:
        device = self.device
        if type(command).variant is not Command.variant:
            command = command.variant(await self.service.ssh.capabilities(device))
        line = self._declared(command, device)
        output = await self._execute(device, line)
        _check(command, output, device)
        return command.parse(output)

    async def follow(self, command: Command[Any], line: Callable[[bytes], None]) -> None:
        device, ssh = self.device, self.service.ssh
        rendered = self._declared(command.variant(await ssh.capabilities(device)), device)

        async def follow() -> None:
            async with ssh.follow(device, rendered) as lines:
                async for each in lines:
                    line(each)

        await self._unless_stopped(follow)

    async def pipe(self, send: Command[Any], sink: Device, receive: Command[Any], flow: Flow) -> None:
        source, ssh = self.device, self.service.ssh
        sending = self._declared(send.variant(await ssh.capabilities(source)), source)
        receiving = self._declared(receive.variant(await ssh.capabilities(sink)), sink)
        try:
            await self._unless_stopped(lambda: ssh.pipe(source, sending, sink, receiving, flow))
        finally:
            await self.outdate(sink)

    async def outdate(self, device: Device) -> None:
        await self.service.outdate(device.id, self.declared.invalidates)

    def _declared(self, command: Command[Any], device: Device) -> CommandLine:
        """The line of a command that this operation may run on this device; from here on it is on record."""
        if type(command) not in self.declared.commands:
            raise UndeclaredCommand(f"{self.declared.name} does not declare {type(command).__name__}.")
        line = command.render()
        if line.lane is Lane.CHANGE:
            check_writable(device, self.declared.name)
            self.record.changes.append(len(self.record.commands))
            # Sent again after a lost connection it is the same step; the same command run twice is two.
            line = replace(line, step=len(self.record.commands))
        elsewhere = "" if self.record.device in {None, device.hostname} else f"on {device.hostname}: "
        self.record.commands.append(f"{elsewhere}{command.summary()}"[:_AUDITED_LINE])
        if self.flight is not None:
            self.flight.asked = True
        return line

    async def ask(self, query: EngineQuery[T]) -> Reply[T]:
        device = self.device
        if type(query) not in self.declared.queries:
            raise UndeclaredCommand(f"{self.declared.name} does not declare {type(query).__name__}.")
        call = query.render()
        if self.flight is not None:
            self.flight.asked = True
        try:
            reply = await self._unless_stopped(lambda: self.service.ssh.ask_engine(device, call))
        except EngineUnavailable:
            command = query.command()
            if command is None:
                raise
            return Reply(await self.run(command), Via.CLI)
        finally:
            self.record.commands.append(f"engine GET {call.target}"[:_AUDITED_LINE])
        check_reply(query, reply, device)
        return Reply(query.parse(reply), reply.via)

    async def _execute(self, device: Device, line: CommandLine) -> CommandOutput:
        """Send it; a change that was told to stop ends here, with what is true of its command."""
        ssh, operation_id, run = self.service.ssh, self.record.operation_id, self.under_way
        if run is None or run.stopping is None:
            return await ssh.execute_command(device, line, operation_id=operation_id)
        run.go_on()
        if line.lane is not Lane.CHANGE:
            return await run.unless_stopped(ssh.execute_command(device, line, operation_id=operation_id))
        try:
            return await ssh.execute_command(device, replace(line, stop=run.stop), operation_id=operation_id)
        except Cancelled:
            run.told = True
            raise

    async def _unless_stopped(self, work: Callable[[], Awaitable[T]]) -> T:
        """Something that only reads; a change that was told to stop drops it."""
        run = self.under_way
        if run is None or run.stopping is None:
            return await work()
        run.go_on()
        return await run.unless_stopped(work())

    async def _run_child(self, operation: Operation[Any, Any], work: Callable[[], Awaitable[T]]) -> T:
        """Another operation as part of this one; a change among them is stopped by itself, and says how it ended."""
        run = self.under_way
        if run is None or run.stopping is None or operation.effect is Effect.READ:
            return await self._unless_stopped(work)
        run.go_on()
        try:
            return await work()
        except Cancelled:
            run.told = True
            raise

    async def call(self, operation: Operation[P, R], params: P) -> Answer[R]:
        if operation not in self.declared.uses:
            raise UndeclaredCommand(f"{self.declared.name} does not declare that it uses {operation.name}.")
        service, parent = self.service, self.record.operation_id
        return await self._run_child(operation, lambda: service.run(operation, params, self.caller, parent_id=parent))

    async def submit(self, operation: Operation[Any, Any], arguments: Mapping[str, Any]) -> Answer[Any]:
        if not self.declared.fan_out:
            raise UndeclaredCommand(f"{self.declared.name} is not declared with fan_out.")
        service, parent = self.service, self.record.operation_id
        return await self._run_child(
            operation, lambda: service.submit(operation, arguments, self.caller, parent_id=parent)
        )


def _check(command: Command[Any], output: CommandOutput, device: Device) -> None:
    """Raise the error that fits an output no parser should see."""
    name = command.needs or type(command).__name__
    if output.exit_status == _NOT_FOUND and _NOT_FOUND not in command.ok_statuses:
        raise CommandNotAvailable(
            f"{device.hostname} has no {name}.", hint=f"Install {name} on {device.hostname}, or ask another device."
        )
    if output.truncated and not command.accepts_truncated:
        # Before the status: a command that was cut off has the status of one whose reader left.
        raise ParseError(
            f"The output of {name} on {device.hostname} is longer than {command.max_output} bytes and was cut.",
            hint="Ask for less, with a narrower filter.",
        )
    if output.exit_status not in command.ok_statuses and not output.truncated:
        said = clean(output.error_text or output.text.strip(), 300) or "nothing"
        raise CommandFailed(
            f"{name} on {device.hostname} ended with status {output.exit_status} and said: {said}",
            hint="Fix what the device says, or check the permissions of the login user with device_test.",
            exit_status=output.exit_status,
        )
