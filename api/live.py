"""Events as they happen, over a WebSocket: `POST /api/ws/ticket`, then `/ws?ticket=…`.

Browsers cannot send a header with a WebSocket, and a token in a URL would stand in every log on the way: so the token
buys a ticket, which works once, for seconds. `docs/how-to/follow-events.md` has the messages.
"""

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from time import monotonic
from typing import Annotated, Any

from fastapi import FastAPI, Request, WebSocket
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from pydantic_core import to_json
from starlette.responses import Response
from starlette.websockets import WebSocketDisconnect

from api.auth import TokenOf, caller_of, client_of
from api.errors import problem
from infrastructor.app import Application
from infrastructor.errors import (
    DatabaseOperationError,
    DeviceNotFound,
    LimitReached,
    SubscriberTooSlow,
    Unauthenticated,
    ValidationFailed,
)
from infrastructor.events import Event
from infrastructor.ids import uuid7
from infrastructor.operation import DeviceName
from infrastructor.ports.audit import AuditRecord
from infrastructor.ports.callers import Caller, Effect, Interface
from infrastructor.ports.devices import Device
from infrastructor.ports.tokens import ApiToken
from infrastructor.sanitize import clean, clean_json

logger = logging.getLogger(__name__)

PATH = "/ws"
HEARTBEAT_S = 15.0
SEND_S = 10.0  # a client that takes longer to read one message is gone, or as good as gone
MOST_OF_ONE = 10  # connections with one token
MOST = 500
MESSAGES = 30  # of a client, within
MESSAGES_WITHIN_S = 60.0
RESTART, BAD, POLICY, BROKEN, AGAIN = 1012, 1003, 1008, 1011, 1013

TICKET_SCHEMA: dict[str, Any] = {
    "type": "object",
    "title": "Ticket",
    "required": ["ticket", "path", "expires_at"],
    "properties": {
        "ticket": {"type": "string", "description": "Works once."},
        "path": {"type": "string", "description": "Where to open the WebSocket, the ticket included."},
        "expires_at": {"type": "string", "format": "date-time", "description": "Until when."},
    },
}

Work = Callable[[], Awaitable[None]]
Topic = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z_]{0,39}$")]


class Wanted(BaseModel):
    """What a client sends. It takes the place of what it wanted before."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    subscribe: tuple[Topic, ...] = Field(max_length=20, description="Topics; none: all.")
    device: DeviceName | None = None
    after: int | None = Field(default=None, ge=0, lt=1 << 63, description="Go on after this; else from now.")


@dataclass
class _Open:
    """Connections of this process by token."""

    of: Counter[Any] = field(default_factory=Counter)

    @contextmanager
    def one(self, token: ApiToken) -> Any:
        if self.of[token.id] >= MOST_OF_ONE or self.of.total() >= MOST:
            raise LimitReached(
                f"{self.of[token.id]} connections of the token {token.name} and {self.of.total()} in all are open.",
                hint=f"Close one first; {MOST_OF_ONE} of one token is the most.",
            )
        self.of[token.id] += 1
        try:
            yield
        finally:
            self.of[token.id] -= 1
            if not self.of[token.id]:
                del self.of[token.id]


def add_routes(app: FastAPI, application: Application, token_of: TokenOf) -> None:
    """Register both."""
    connections = _Open()

    async def ticket(request: Request) -> Response:
        """Get a ticket for `/ws?ticket=…`: a WebSocket that tells events as they happen, to any role.

        It works once and for 30 seconds. Send `{"subscribe": ["containers"], "device": "nas", "after": 17}`; all but
        `subscribe` may be left out. You get `subscribed`, then an `event` for each, in the order of their `sequence`.
        Where `after` is older than what is kept, a `gap` comes first. `heartbeat` comes every 15 seconds.
        """
        secret, expires_at = await application.tokens.ticket(await token_of(request))
        return Response(
            to_json({"ticket": secret, "path": f"{PATH}?ticket={secret}", "expires_at": expires_at}),
            media_type="application/json",
        )

    async def live(websocket: WebSocket) -> None:
        try:
            token = await application.tokens.redeem(websocket.query_params.get("ticket"))
        except Unauthenticated as error:
            await application.service.refuse_authentication(Interface.REST, client_of(websocket), error)
            await websocket.send_denial_response(problem(error))
            return
        except DatabaseOperationError as error:
            await websocket.send_denial_response(problem(error))
            return
        caller = caller_of(token, websocket)
        try:
            with connections.one(token):
                await Connection(websocket, application, token, caller).serve()
        except LimitReached as error:
            await application.service.refuse(None, caller, error)
            await websocket.send_denial_response(problem(error))

    app.add_api_route(
        "/api/ws/ticket",
        ticket,
        methods=["POST"],
        operation_id="ws_ticket",
        tags=["server"],
        response_model=None,
        responses={"200": {"description": "A ticket.", "content": {"application/json": {"schema": TICKET_SCHEMA}}}},
    )
    app.add_api_websocket_route(PATH, live)


class Connection:
    """One WebSocket: a reader of messages, at most one follower of events, and a pulse."""

    def __init__(self, websocket: WebSocket, application: Application, token: ApiToken, caller: Caller) -> None:
        self._websocket = websocket
        self._application = application
        self._token = token
        self._caller = caller
        self._ended: asyncio.Future[tuple[int, str] | None] = asyncio.get_running_loop().create_future()
        self._following: asyncio.Task[None] | None = None
        self._position: int | None = None
        self._heard: deque[float] = deque(maxlen=MESSAGES)

    async def serve(self) -> None:
        """Accept, serve, and close with a reason."""
        await self._websocket.accept()
        tasks = [self._task(self._read), self._task(self._pulse)]
        try:
            ending = await self._ended
        finally:
            await _cancelled(*tasks)
            await _cancelled(self._following)
        if ending is not None:
            with suppress(WebSocketDisconnect, TimeoutError, RuntimeError):
                async with asyncio.timeout(SEND_S):
                    await self._websocket.close(ending[0], ending[1][:120])

    def _task(self, work: Work) -> "asyncio.Task[None]":
        return asyncio.create_task(self._to_its_end(work))

    async def _to_its_end(self, work: Work) -> None:
        """Whatever ends a part ends the connection; what, decides with which reason."""
        try:
            await work()
        except WebSocketDisconnect:
            self._end(None)
        except TimeoutError:
            self._end((AGAIN, f"Read too slowly.{self._where_to_go_on()}"))
        except SubscriberTooSlow:
            self._end((AGAIN, f"Events came faster than they were read.{self._where_to_go_on()}"))
        except DatabaseOperationError:
            self._end((AGAIN, f"The database is away.{self._where_to_go_on()}"))
        except Unauthenticated as error:
            self._end((POLICY, error.message))
        except Exception:  # a bug of ours: the client is told so instead of being left without a word
            logger.exception("A WebSocket broke")
            self._end((BROKEN, "The server broke; this is a bug."))

    def _end(self, ending: tuple[int, str] | None) -> None:
        if not self._ended.done():
            self._ended.set_result(ending)

    def _where_to_go_on(self) -> str:
        return "" if self._position is None else f" Go on after {self._position}."

    async def _read(self) -> None:
        while True:
            message = await self._websocket.receive()
            if message["type"] == "websocket.disconnect":
                return self._end(None)
            now = monotonic()
            if len(self._heard) == MESSAGES and now - self._heard[0] < MESSAGES_WITHIN_S:
                return self._end((POLICY, f"More than {MESSAGES} messages in {MESSAGES_WITHIN_S:g} s."))
            self._heard.append(now)
            if message.get("text") is None:
                return self._end((BAD, "Send JSON as text."))
            try:
                wanted = _parsed(message["text"])
                device = await self._device(wanted.device)
            except (ValidationFailed, DeviceNotFound) as error:
                await self._application.service.refuse(None, self._caller, error)
                await self._send("error", code=error.code, message=error.message, hint=error.hint)
                continue
            self._record(wanted, device)
            await _cancelled(self._following)
            self._following = self._task(partial(self._follow, wanted, device))

    async def _device(self, name: str | None) -> Device | None:
        device = None if name is None else await self._application.service.devices.find(name)
        if device is None and name is not None:
            raise DeviceNotFound(f"No device is named {name!r}.")
        return device

    async def _follow(self, wanted: Wanted, device: Device | None) -> None:
        bus = self._application.service.events
        oldest, newest = await bus.extent()
        after = newest if wanted.after is None else wanted.after
        self._position = min(after, newest)
        await self._send("subscribed", topics=wanted.subscribe, device=wanted.device, after=after)
        if not oldest - 1 <= after <= newest:
            await self._send("gap", after=after, oldest=oldest, newest=newest)
        device_id = None if device is None else device.id
        async with bus.subscribe(*wanted.subscribe, device_id=device_id, after=self._position) as events:
            async for event in events:
                await self._send("event", **_row(event))
                self._position = event.sequence
        self._end((RESTART, f"The server stops.{self._where_to_go_on()}"))

    async def _pulse(self) -> None:
        """Say that we live and how far we are; and end with the token."""
        while True:
            await asyncio.sleep(HEARTBEAT_S)
            with suppress(DatabaseOperationError):
                await self._application.tokens.still(self._token.id)
            await self._send("heartbeat", sequence=self._position)

    async def _send(self, kind: str, /, **said: Any) -> None:
        text = to_json({"type": kind, **said}).decode()
        async with asyncio.timeout(SEND_S):
            await self._websocket.send_text(text)

    def _record(self, wanted: Wanted, device: Device | None) -> None:
        self._application.service.audit.note(
            AuditRecord(
                operation_id=uuid7(),
                operation="event_subscribe",
                effect=Effect.READ,
                caller=self._caller,
                started_at=datetime.now(UTC),
                device_id=None if device is None else device.id,
                device=None if device is None else device.hostname,
                params={"topics": list(wanted.subscribe), "after": wanted.after},
                outcome="ok",
                duration_ms=0.0,
            )
        )


def _parsed(text: str) -> Wanted:
    try:
        return Wanted.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ValidationFailed(
            clean(f"{where}: {first['msg']}" if where else first["msg"], 300),
            hint='Send {"subscribe": ["containers"], "device": "nas", "after": 17}.',
        ) from error


def _row(event: Event) -> dict[str, Any]:
    """An event as `event_list` shows it, with its topic and when it was stored. What is remote is cleaned."""
    return {
        "sequence": event.sequence,
        "at": event.at,
        "recorded_at": event.recorded_at,
        "topic": event.topic,
        "kind": event.kind,
        "severity": event.severity,
        "device": event.device,
        "subject": None if event.subject is None else clean(event.subject),
        "data": clean_json(dict(event.data)),
    }


async def _cancelled(*tasks: "asyncio.Task[None] | None") -> None:
    """End tasks and wait until they have."""
    running = [task for task in tasks if task is not None]
    for task in running:
        task.cancel()
    if running:
        await asyncio.wait(running)
