"""Resource subscriptions in both eras of the protocol, which FastMCP does not serve: the SDK's server does.

2025-11-25: `resources/subscribe` and `resources/unsubscribe`; updates go to the session until it ends.
2026-07-28: `subscriptions/listen`; updates are the response of that request until it or the server ends.
Either way the caller must be allowed to read the resource, the service records who subscribed to what, and an update
names the URI as the client wrote it.
"""

import asyncio
import contextvars
import logging
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any
from uuid import UUID

from fastmcp import FastMCP
from fastmcp.server.dependencies import get_access_token, get_context
from mcp import MCPError
from mcp.server.connection import Connection
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel.server import NotificationOptions
from mcp.shared.subscriptions import SUBSCRIPTION_ID_META_KEY
from mcp_types import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    EmptyResult,
    ResourceUpdatedNotification,
    ResourceUpdatedNotificationParams,
    ServerCapabilities,
    SubscribeRequestParams,
    SubscriptionFilter,
    SubscriptionsAcknowledgedNotification,
    SubscriptionsAcknowledgedNotificationParams,
    SubscriptionsListenRequestParams,
    SubscriptionsListenResult,
    UnsubscribeRequestParams,
)

from infrastructor.errors import (
    DatabaseOperationError,
    InfrastructorError,
    NotFound,
    Unauthenticated,
    ValidationFailed,
)
from infrastructor.operation import Operation
from infrastructor.sanitize import clean
from mcp_server.door import Door, failure, in_words
from mcp_server.resources import Locator
from mcp_server.watches import MOST_RESOURCES, Client, Watched, Watches

logger = logging.getLogger(__name__)

_MOST_URI = 2000
_STATE = "infrastructor.subscriptions"


def add_subscriptions(server: FastMCP, door: Door, locator: Locator, stopping: asyncio.Event | None) -> None:
    """Serve the three methods. Once `stopping` is set, listen streams are ended in good order."""
    subscriptions = Subscriptions(door, locator, stopping)
    sdk = server._mcp_server
    sdk.add_request_handler("resources/subscribe", SubscribeRequestParams, subscriptions.subscribe)
    sdk.add_request_handler("resources/unsubscribe", UnsubscribeRequestParams, subscriptions.unsubscribe)
    sdk.add_request_handler("subscriptions/listen", SubscriptionsListenRequestParams, subscriptions.listen)
    _advertise_truly(sdk)


class Subscriptions:
    """The handlers."""

    def __init__(self, door: Door, locator: Locator, stopping: asyncio.Event | None) -> None:
        self._door = door
        self._locator = locator
        self._stopping = stopping
        self._ending: asyncio.Task[None] | None = None
        self._watches = Watches(door.service.events)

    # --- 2025-11-25 -----------------------------------------------------------------------------------

    async def subscribe(self, ctx: ServerRequestContext[Any, Any], params: SubscribeRequestParams) -> EmptyResult:
        watched = (await self._admitted([params.uri]))[params.uri]
        connection = _connection(ctx)
        try:
            client = connection.state.get(_STATE) or self._begin(connection)
            await self._watches.add(client, params.uri, watched)
        except InfrastructorError as error:
            raise _as_protocol_error(error) from None
        return EmptyResult()

    async def unsubscribe(self, ctx: ServerRequestContext[Any, Any], params: UnsubscribeRequestParams) -> EmptyResult:
        client = _connection(ctx).state.get(_STATE)
        if client is not None:
            self._watches.remove(client, params.uri)
        return EmptyResult()

    def _begin(self, connection: Connection) -> Client:
        """The client of a session, told of changes by a task that ends with the session."""
        stack = ExitStack()
        client: Client = stack.enter_context(self._client())
        telling = asyncio.create_task(
            self._tell(client, connection), name="resource-updates", context=contextvars.Context()
        )
        stack.callback(telling.cancel)
        connection.exit_stack.callback(stack.close)
        connection.state[_STATE] = client
        return client

    async def _tell(self, client: Client, connection: Connection) -> None:
        async for uri in client.changes():
            if not await self._may_still(client):
                return
            await connection.notify("notifications/resources/updated", {"uri": uri})

    # --- 2026-07-28 -----------------------------------------------------------------------------------

    async def listen(
        self, ctx: ServerRequestContext[Any, Any], params: SubscriptionsListenRequestParams
    ) -> SubscriptionsListenResult:
        """Acknowledge what will be told, then tell. Lists never change while we run, so nobody is told of those."""
        uris = list(dict.fromkeys(params.notifications.resource_subscriptions or ()))
        admitted = await self._admitted(uris)
        meta: dict[str, Any] = {SUBSCRIPTION_ID_META_KEY: ctx.request_id}
        honored = SubscriptionFilter(resource_subscriptions=uris or None)
        try:
            with self._client() as client:
                for uri, watched in admitted.items():
                    await self._watches.add(client, uri, watched)
                acknowledged = SubscriptionsAcknowledgedNotificationParams(notifications=honored, _meta=meta)
                await ctx.session.send_notification(
                    SubscriptionsAcknowledgedNotification(params=acknowledged), related_request_id=ctx.request_id
                )
                async for uri in client.changes():
                    if not await self._may_still(client):
                        break
                    updated = ResourceUpdatedNotificationParams(uri=uri, _meta=meta)
                    await ctx.session.send_notification(
                        ResourceUpdatedNotification(params=updated), related_request_id=ctx.request_id
                    )
        except InfrastructorError as error:
            raise _as_protocol_error(error) from None
        return SubscriptionsListenResult(_meta=meta)

    # --- both -----------------------------------------------------------------------------------------

    def _client(self) -> Any:
        if self._stopping is not None and self._ending is None:
            self._ending = asyncio.create_task(self._end_when(self._stopping), context=contextvars.Context())
        token = get_access_token()
        principal = self._door.caller(get_context()).principal
        return self._watches.client(principal, UUID(token.subject) if token is not None and token.subject else None)

    async def _end_when(self, stopping: asyncio.Event) -> None:
        await stopping.wait()
        self._watches.close()

    async def _admitted(self, uris: Sequence[str]) -> dict[str, Watched]:
        """What the URIs name, if the caller may read all of it and something tells when it changes. Audited."""
        caller = self._door.caller(get_context())
        service = self._door.service
        found: dict[str, Watched] = {}
        try:
            if len(uris) > MOST_RESOURCES:
                raise ValidationFailed(f"{len(uris)} resources are too many; {MOST_RESOURCES} is the most.")
            for uri in uris:
                try:
                    operation, arguments = self._located(uri)
                except InfrastructorError as error:
                    await service.refuse(None, caller, error)
                    raise
                params = await service.watch(operation, arguments, caller, uri)
                found[uri] = Watched(operation, params)
        except InfrastructorError as error:
            raise _as_protocol_error(error) from None
        return found

    def _located(self, uri: str) -> tuple[Operation[Any, Any], dict[str, Any]]:
        located = None if len(uri) > _MOST_URI else self._locator.find(uri)
        subscribable = f"These can be subscribed to: {', '.join(self._locator.subscribable())}."
        if located is None:
            raise NotFound(f"There is no resource {clean(uri, 200)}.", hint=subscribable)
        if not located[0].changed_by:
            raise ValidationFailed(f"Nothing tells when {clean(uri, 200)} changes.", hint=f"Read it. {subscribable}")
        return located

    async def _may_still(self, client: Client) -> bool:
        """Whether the token it came in with is still good."""
        if client.token_id is None:
            return True
        try:
            await self._door.application.tokens.still(client.token_id)
        except Unauthenticated:
            logger.info("A subscription ended with its token", extra={"principal": client.principal})
            return False
        except DatabaseOperationError:
            return True  # it was good when it subscribed, and an update holds nothing but a name
        return True


def _connection(ctx: ServerRequestContext[Any, Any]) -> Connection:
    """The connection of a session: `ServerSession` is made anew for each request and gives no other way to it."""
    return ctx.session._connection


def _advertise_truly(sdk: Any) -> None:
    """FastMCP and the SDK say that lists change; ours are the same as long as the server runs."""
    sdk.notification_options = NotificationOptions()
    derive = sdk.get_capabilities

    def capabilities(*args: Any, **kwargs: Any) -> ServerCapabilities:
        found: ServerCapabilities = derive(*args, **kwargs)
        for part in (found.tools, found.resources, found.prompts):
            if part is not None:
                part.list_changed = False
        return found

    sdk.get_capabilities = capabilities


def _as_protocol_error(error: InfrastructorError) -> MCPError:
    """As for reading a resource: -32602 where the request is at fault, else -32603; the parts are in `data`."""
    code = INVALID_PARAMS if isinstance(error, NotFound | ValidationFailed) else INTERNAL_ERROR
    return MCPError(code=code, message=in_words(error), data=failure(error))
