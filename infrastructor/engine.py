"""One question to the Docker Engine API of a device, and the pure parser of its answer.

The API is served by Docker and Podman alike. A query is a frozen dataclass like a command; its target is split
before values are put in, so a value is always exactly one path segment or one query value:

    @dataclass(frozen=True)
    class InspectContainer(EngineQuery[Container]):
        target = "/containers/{container}/json?size={size}"
        container: ContainerRef
        size: bool | None = None

        def parse(self, reply: EngineReply) -> Container: ...

In the query part None drops its pair, and a tuple or mapping becomes JSON, as the API's filters want it.
Queries only read; changes are commands, for they must leave their outcome on the device.
"""

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import ClassVar, Generic, TypeVar
from urllib.parse import quote

from infrastructor.command import Command
from infrastructor.errors import CommandFailed, Conflict, InfrastructorError, NotFound, ParseError, ValidationFailed
from infrastructor.ports.devices import Device
from infrastructor.ports.ssh import EngineCall, EngineReply, Via
from infrastructor.sanitize import clean

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

_SLOT = re.compile(r"\{([a-z_][a-z0-9_]*)\}")
_OK = 200
_NOT_FOUND = 404
_CONFLICT = 409


@dataclass(frozen=True)
class Reply(Generic[T]):
    """A parsed answer and the way it came."""

    value: T
    via: Via


@dataclass(frozen=True)
class EngineQuery(ABC, Generic[T_co]):
    """Base of all queries. Subclasses are frozen dataclasses whose fields are the target's slots."""

    target: ClassVar[str]
    timeout: ClassVar[timedelta] = timedelta(seconds=30)
    max_output: ClassVar[int] = 16 << 20
    """Bytes kept of the body."""
    accepts_truncated: ClassVar[bool] = False

    @abstractmethod
    def parse(self, reply: EngineReply) -> T_co:
        """Turn the body into the answer. Pure and total: raises nothing but `ParseError`."""

    def command(self) -> Command[T_co] | None:
        """The same question to the command line tool, for devices that let nobody near the API."""
        return None

    def render(self) -> EngineCall:
        """The call as sent. Raises `ValidationFailed` for a value that is no path segment."""
        path, _, query = self.target.partition("?")
        segments = [self._segment(segment) for segment in path.split("/")]
        pairs = [pair for pair in map(self._pair, query.split("&")) if pair] if query else []
        return EngineCall(
            target="/".join(segments) + ("?" + "&".join(pairs) if pairs else ""),
            timeout_s=self.timeout.total_seconds(),
            max_output_bytes=self.max_output,
        )

    def _segment(self, segment: str) -> str:
        slot = _SLOT.fullmatch(segment)
        if slot is None:
            return segment
        value = getattr(self, slot[1])
        if not isinstance(value, str) or value in {"", ".", ".."}:
            raise ValidationFailed(f"{slot[1]} is no name: {value!r}.")
        return _encoded(value)

    def _pair(self, pair: str) -> str | None:
        name, _, text = pair.partition("=")
        slot = _SLOT.fullmatch(text)
        if slot is None:
            return pair
        value = getattr(self, slot[1])
        if value is None:
            return None
        if isinstance(value, bool):
            value = "true" if value else "false"
        elif isinstance(value, tuple | Mapping):
            value = json.dumps(value, separators=(",", ":"))
        return f"{name}={_encoded(str(value))}"


def _encoded(text: str) -> str:
    try:
        return quote(text, safe="")
    except UnicodeEncodeError as error:
        raise ValidationFailed("A value is not valid Unicode text.") from error


def check_reply(query: EngineQuery[object], reply: EngineReply, device: Device) -> None:
    """Raise the error that fits a reply no parser should see."""
    if reply.truncated and not query.accepts_truncated:
        raise ParseError(
            f"The container engine of {device.hostname} sent more than {query.max_output} bytes.",
            hint="Ask for less, with a narrower filter.",
        )
    if reply.status == _OK:
        return
    said = _message(reply.body)
    kinds: dict[int, type[InfrastructorError]] = {_NOT_FOUND: NotFound, _CONFLICT: Conflict}
    raise kinds.get(reply.status, CommandFailed)(
        f"The container engine of {device.hostname} says: {said} (HTTP {reply.status}).",
        hint="container_list names the containers there are." if reply.status == _NOT_FOUND else None,
    )


def _message(body: bytes) -> str:
    try:
        answer = json.loads(body)
    except ValueError:
        answer = None
    text = answer.get("message") if isinstance(answer, dict) else None
    return clean(text if isinstance(text, str) else body.decode("utf-8", "replace"), 300).strip() or "nothing"
