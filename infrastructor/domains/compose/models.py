"""Names, parameters and results of the compose operations."""

import hashlib
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AfterValidator, Field, PlainSerializer, StringConstraints

from infrastructor.operation import PLAIN, DestroyResult, DeviceParams, Result, completes

LONGEST_TEXT = 1 << 20


def _digest(text: str | None) -> str | None:
    return None if text is None else f"sha256:{hashlib.sha256(text.encode('utf-8', 'replace')).hexdigest()}"


StackName = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$"),
    Field(description="Compose project.", json_schema_extra=completes("stack")),
]
# Records of a run, and what tells two runs apart, hold its hash: such texts hold secrets.
_HASHED = PlainSerializer(_digest, return_type=str | None, when_used="json")
ComposeText = Annotated[
    str, StringConstraints(min_length=1, max_length=LONGEST_TEXT), _HASHED, Field(description="Compose file text.")
]
EnvText = Annotated[str, StringConstraints(max_length=LONGEST_TEXT), _HASHED, Field(description="Text of .env.")]
Sha256 = Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{64}|absent)$")]


def _no_climbing(path: str) -> str:
    if any(part in {".", ".."} for part in path.split("/")):
        raise ValueError("must not hold '.' or '..' segments")
    return path.rstrip("/") or "/"


Folder = Annotated[
    str,
    StringConstraints(pattern=r"^/[^\x00-\x1f\x7f]{1,1000}$"),
    AfterValidator(_no_climbing),
    Field(description="Of a new stack.", json_schema_extra=PLAIN),
]
Wait = Annotated[int, Field(ge=5, le=900, description="Seconds to become healthy.", json_schema_extra=PLAIN)]


def _absent(value: Any) -> bool:
    return value is None or value in ([], {}, "")


class StackParams(DeviceParams):
    """One stack of a device."""

    stack: StackName


class StackRow(Result):
    """A stack in a list."""

    name: str = Field(description="Compose project.")
    folder: str | None = Field(description="Its folder on the device.")
    files: list[str] = Field(description="Compose files; names within the folder, else paths.")
    services: int = Field(description="Services with containers.")
    states: dict[str, int] = Field(description="Containers in each state.")
    problems: list[str] = Field(default_factory=list, exclude_if=_absent, description="What is wrong.")


class StackList(Result):
    """The stacks of a device, those with problems first."""

    device: str = Field(description="Device name.")
    stacks: list[StackRow] = Field(description="The rows of this page.")
    total: int = Field(description="How many there are.")
    loose_containers: int = Field(description="Containers of no stack.")
    next_cursor: str | None = Field(description="Pass as cursor for the rest.")


class ServiceState(Result):
    """A container of a stack."""

    service: str = Field(description="Compose service.")
    container: str = Field(description="Name of the container.")
    image: str = Field(description="Image as asked for.")
    image_id: str | None = Field(default=None, exclude_if=_absent, description="Digest of the image it runs.")
    state: str = Field(description="running, healthy, unhealthy, starting, exited, created, restarting.")
    ports: list[str] = Field(default_factory=list, exclude_if=_absent, description="Published.")
    drift: str | None = Field(default=None, exclude_if=_absent, description="How it differs from its file.")


class FileState(Result):
    """A file of a stack."""

    path: str = Field(description="On the device.")
    sha256: str = Field(description="Of its content; absent: there is none.")
    size_bytes: int = Field(description="Its size.")


class VersionRow(Result):
    """An earlier version that stack_rollback can bring back."""

    id: str = Field(description="Pass as version.")
    replaced_at: datetime | None = Field(description="When it was replaced (UTC).")
    images: list[str] = Field(description="Images it ran.")


class StackDetail(Result):
    """One stack: its containers against its files."""

    device: str = Field(description="Device name.")
    stack: str = Field(description="Compose project.")
    folder: str | None = Field(description="Its folder.")
    compose_version: str | None = Field(description="Of the compose program there.")
    files: list[FileState] = Field(description="Compose files and .env.")
    services: list[ServiceState] = Field(description="Containers; services without one are among the problems.")
    problems: list[str] = Field(description="What is wrong, and what compose says of the files.")
    versions: list[VersionRow] = Field(description="What stack_rollback can bring back, newest first.")
    text: str | None = Field(description="The compose file, secrets masked.")


class DeploymentStep(Result):
    """What a service was and what it became."""

    service: str = Field(description="Compose service.")
    state: str = Field(description="State now.")
    image: str = Field(description="Image as asked for.")
    image_id: str = Field(description="Digest of the image now.")
    image_id_before: str | None = Field(default=None, exclude_if=_absent, description="Before; absent: the same.")


class Deployment(Result):
    """What a deployment came to, or with dry_run would do."""

    device: str = Field(description="Device name.")
    stack: str = Field(description="Compose project.")
    outcome: Literal["planned", "deployed"] = Field(description="planned: nothing was touched.")
    operation_id: UUID | None = Field(description="Names this version.")
    folder: str = Field(description="Folder of the stack.")
    files: list[str] = Field(description="Files that change.")
    sha256: str = Field(description="Of the compose file that is there now; pass as expect to act on no other.")
    diff: str = Field(description="Unified, secrets masked.")
    blocked: list[str] = Field(description="Why it would be refused; empty: it would go ahead.")
    notes: list[str] = Field(description="What is worth knowing.")
    pulls: list[str] = Field(description="Images pulled, or to be.")
    folders: list[str] = Field(description="Folders made, or to be.")
    services: list[DeploymentStep] = Field(description="After a deployment.")
    message: str = Field(description="In words.")


class Reason(Result):
    """Why a line was changed."""

    where: str = Field(description="Service and key.")
    before: str | None = Field(description="Value before; masked where secret.")
    after: str | None = Field(description="Value after.")
    why: str = Field(description="In words.")


class Modified(Result):
    """A compose file fitted to a device. Nothing was written."""

    device: str = Field(description="Device name.")
    text: str | None = Field(description="The new text; null: too long to hand out, or masked values are in it.")
    sha256: str = Field(description="Of the new text.")
    diff: str = Field(description="Unified, secrets masked.")
    reasons: list[Reason] = Field(description="Each change.")
    problems: list[str] = Field(description="What was left as it is and needs a decision.")


class StackChange(Result):
    """A stack before and after."""

    device: str = Field(description="Device name.")
    stack: str = Field(description="Compose project.")
    services: list[ServiceState] = Field(description="Containers now.")
    newer: list[str] = Field(default_factory=list, exclude_if=_absent, description="Services whose image is newer.")
    message: str = Field(description="What happened, in words.")


class StackDown(DestroyResult):
    """Outcome of taking a stack down."""

    removed: list[str] = Field(default_factory=list, description="Containers, networks and volumes removed.")


class StackLogLine(Result):
    """A line of a stack's logs."""

    time: datetime | None = Field(description="When (UTC).")
    service: str = Field(description="Compose service.")
    text: str = Field(description="The line; secrets masked.")


class StackLogs(Result):
    """Newest lines of all containers of a stack, oldest first."""

    device: str = Field(description="Device name.")
    stack: str = Field(description="Compose project.")
    lines: list[StackLogLine] = Field(description="By time.")
    omitted: int = Field(description="Lines left out for size.")


class RecoveredRow(Result):
    """An interrupted deployment and what came of it."""

    operation_id: UUID = Field(description="Of the deployment.")
    stack: str = Field(description="Compose project.")
    outcome: str = Field(description="deployed, refused, rolled_back, rollback_failed, nothing or running.")
    message: str = Field(description="In words.")


class Recovered(Result):
    """Interrupted deployments of a device that were finished or undone."""

    device: str = Field(description="Device name.")
    deployments: list[RecoveredRow] = Field(description="Oldest first.")
