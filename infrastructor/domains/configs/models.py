"""Names and results of the config operations."""

import re
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AfterValidator, Field, StringConstraints

from infrastructor.operation import PLAIN, Result

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def _absolute(path: str) -> str:
    """The path with its slash in front (a URI leaves it out) and none at its end."""
    absolute = "/" + path.strip("/")
    if _CONTROL.search(path) or not {".", "..", ""}.isdisjoint(absolute[1:].split("/") if absolute != "/" else ()):
        raise ValueError("a path has no control characters, no '.', no '..' and no empty parts")
    return absolute


ConfigPath = Annotated[
    str,
    StringConstraints(min_length=1, max_length=4000),
    AfterValidator(_absolute),
    Field(description="Path on the device.", json_schema_extra=PLAIN),
]
VersionRef = Annotated[
    str,
    StringConstraints(min_length=1, max_length=40),
    Field(description="latest, previous, live, baseline, a version's id, or a time."),
]


def left_out(description: str) -> Any:
    """A field that is left out where it has nothing to say."""
    return Field(default=None, exclude_if=lambda value: value is None, description=description)


class WatchRow(Result):
    """Something that is watched."""

    device: str = Field(description="Device name.")
    path: str = Field(description="Folder or file.")
    source: str = Field(description="Who wants it: user, or what discovery found.")
    recursive: bool = Field(default=True, exclude_if=bool, description="Absent: with all folders below.")
    include: list[str] | None = left_out("Only names like these.")
    exclude: list[str] | None = left_out("No names like these.")


class WatchList(Result):
    """What is watched."""

    watches: list[WatchRow] = Field(description="By device and path.")
    next_cursor: str | None = Field(description="Pass as cursor for the rest.")


class WatchChange(Result):
    """What came of adding or removing a watch."""

    device: str = Field(description="Device name.")
    path: str = Field(description="Folder or file.")
    changed: bool = Field(description="False: it was so already.")
    message: str = Field(description="What is true now.")


class Discovery(Result):
    """What of a device is worth watching, and is watched."""

    device: str = Field(description="Device name.")
    found: dict[str, list[str]] = Field(description="Folders by what they belong to: swag, compose, appdata, …")
    added: list[str] = Field(description="Of them, those that were not watched before.")
    refused: list[str] = Field(description="Left alone because config_watch_remove said so.")
    omitted: int = Field(
        default=0, exclude_if=lambda value: value == 0, description="Left out for size; config_watch_list has all."
    )
    problem: str | None = Field(description="Why containers could not be asked, where there are any.")


class FileRow(Result):
    """A file at a time."""

    path: str = Field(description="Path on the device.")
    config_type: str = Field(description="swag, compose, nginx, traefik, apache, yaml, json, ini, env, text, …")
    size_bytes: int | None = left_out("Size.")
    changed_at: datetime = Field(description="When this version was noticed (UTC).")
    holding: str | None = left_out("Absent: content is kept. digest: too big; link; none: see reason.")
    target: str | None = left_out("Where a link leads.")
    reason: str | None = left_out("Why there is no content.")


class FileList(Result):
    """Files of a device at a time."""

    device: str = Field(description="Device name.")
    at: datetime = Field(description="The time (UTC).")
    counts: dict[str, int] = Field(description="Files by type, on all pages.")
    files: list[FileRow] = Field(description="By path.")
    next_cursor: str | None = Field(description="Pass as cursor for the rest.")


class ConfigFile(Result):
    """A file, secrets masked: each mask has a fingerprint that changes with the secret."""

    device: str = Field(description="Device name.")
    path: str = Field(description="Path on the device.")
    source: Literal["device", "history"] = Field(description="device: read just now.")
    exists: bool = Field(description="False: it is, or was then, not there.")
    config_type: str | None = left_out("Type of configuration.")
    version: UUID | None = left_out("Id of the version in the history; absent: not kept yet.")
    changed_at: datetime | None = left_out("When that version was noticed (UTC).")
    size_bytes: int | None = left_out("Size.")
    sha256: str | None = left_out("Hash of the content.")
    mode: str | None = left_out("Permissions, octal.")
    owner: str | None = left_out("uid:gid.")
    target: str | None = left_out("Where a link leads.")
    text: str | None = left_out("Content from first_line on.")
    first_line: int = Field(default=1, exclude_if=lambda value: value == 1, description="Absent: 1.")
    lines: int | None = left_out("Lines of the whole file.")
    next_line: int | None = left_out("Pass as line for the rest.")
    secrets_masked: int = Field(default=0, exclude_if=lambda value: not value, description="Values that are masked.")
    parsed: Any = left_out("Content as data, secrets masked.")
    problem: str | None = left_out("What is missing here, and why.")


class VersionRow(Result):
    """A version of a file."""

    id: UUID = Field(description="Names this version.")
    at: datetime = Field(description="When it was noticed (UTC).")
    device: str | None = left_out("Device name.")
    path: str | None = left_out("Path on the device.")
    change: str = Field(description="CREATE, MODIFY or DELETE.")
    about: list[str] = Field(description="cosmetic, image, env, ports, volumes, networks, health, auth, upstream, …")
    what: list[str] = Field(description="Differences from the version before; the first ones.")
    size_bytes: int | None = left_out("Size.")
    operation_id: UUID | None = left_out("The operation of ours that wrote it.")


class BlindRow(Result):
    """A span in which nobody watched: what was overwritten within it is not known."""

    begin: datetime = Field(description="UTC.")
    end: datetime = Field(description="UTC.")
    reason: str = Field(description="Why.")


class ConfigHistory(Result):
    """Versions of a file, newest first."""

    device: str = Field(description="Device name.")
    path: str = Field(description="Path on the device.")
    versions: list[VersionRow] = Field(description="The rows of this page.")
    blind: list[BlindRow] = Field(description="When nobody watched, in the time that these rows span.")
    next_cursor: str | None = Field(description="Pass as cursor for the rest.")


class ChangeList(Result):
    """Changes of files, newest first."""

    since: datetime = Field(description="Begin (UTC).")
    counts: dict[str, int] = Field(description="Changes of this page by what they are about.")
    changes: list[VersionRow] = Field(description="The rows of this page.")
    next_cursor: str | None = Field(description="Pass as cursor for the rest.")


class DiffSide(Result):
    """One side of a comparison."""

    device: str = Field(description="Device name.")
    path: str = Field(description="Path on the device.")
    version: UUID | None = left_out("Id of the version; absent: read from the device now.")
    at: datetime | None = left_out("When that version was noticed (UTC).")
    exists: bool = Field(default=True, exclude_if=bool, description="Absent: true.")


class ConfigDiff(Result):
    """What is different, secrets masked: a mask with another fingerprint is another secret."""

    old: DiffSide = Field(description="From.")
    new: DiffSide = Field(description="To.")
    same: bool = Field(description="Not one byte differs.")
    about: list[str] = Field(description="cosmetic, image, env, ports, volumes, networks, health, auth, upstream, …")
    differences: list[str] = Field(description="In words.")
    differences_omitted: int = Field(default=0, exclude_if=lambda value: not value, description="Left out.")
    diff: str = Field(description="Unified.")
    lines_added: int = Field(description="In the whole diff.")
    lines_removed: int = Field(description="In the whole diff.")
    lines_omitted: int = Field(default=0, exclude_if=lambda value: not value, description="Of the diff, at its end.")
    problem: str | None = left_out("Why it was not compared by meaning, or not at all.")


class SearchRow(Result):
    """A line that was found."""

    device: str = Field(description="Device name.")
    path: str = Field(description="Path on the device.")
    line_number: int = Field(description="From 1.")
    line: str = Field(description="Secrets masked.")
    version: UUID | None = left_out("With ever: the newest version with this line.")
    at: datetime | None = left_out("With ever: when that version was noticed (UTC).")


class ConfigSearch(Result):
    """Lines that were found."""

    hits: list[SearchRow] = Field(description="By device, path and line.")
    complete: bool = Field(description="False: there are more; search for less, or under a path.")


class DriftRow(Result):
    """A file that is not as it should be."""

    path: str = Field(description="Path on the device.")
    state: Literal["changed", "missing", "extra"] = Field(description="extra: it should not be there.")
    about: list[str] = Field(description="cosmetic, image, env, ports, …")
    what: list[str] = Field(description="Differences from what it should be; the first ones.")
    at: datetime | None = left_out("When the file became as it is now (UTC).")


class ConfigDrift(Result):
    """Files that differ from what they should be."""

    device: str = Field(description="Device name.")
    path: str = Field(description="What was compared.")
    against: str = Field(description="The baseline, or the other device.")
    same: int = Field(description="Files that are as they should be.")
    by_operations: int = Field(description="Files changed since by operations of ours: no drift.")
    drifted: int = Field(description="Files that differ, on all pages.")
    files: list[DriftRow] = Field(description="The rows of this page.")
    next_cursor: str | None = Field(description="Pass as cursor for the rest.")


class BaselineRow(Result):
    """How something should be: as it was at a time."""

    device: str = Field(description="Device name.")
    path: str = Field(description="Path with all below it; / is the whole device.")
    time: datetime = Field(description="It should be as it was then (UTC).")
    pinned_by: str = Field(description="Who declared it.")
    pinned_at: datetime = Field(description="When (UTC).")
    note: str | None = left_out("Why.")


class BaselineList(Result):
    """What was declared to be right."""

    baselines: list[BaselineRow] = Field(description="By device and path.")
    next_cursor: str | None = Field(description="Pass as cursor for the rest.")


class BaselineChange(Result):
    """What came of pinning or unpinning."""

    device: str = Field(description="Device name.")
    path: str = Field(description="What it is about.")
    files: int = Field(description="Files that the baseline holds.")
    message: str = Field(description="What is true now.")


class Restored(Result):
    """What came, or would come, of a restore."""

    device: str = Field(description="Device name.")
    path: str = Field(description="Path on the device.")
    dry_run: bool = Field(description="True: nothing was changed.")
    changed: bool = Field(description="Whether the file was, or would be, written.")
    version: UUID = Field(description="The version whose content it has, or would have.")
    before_sha256: str = Field(description="Hash before; absent where there was no file. Pass as expect.")
    before_version: UUID | None = left_out("The state before, as a version.")
    after_version: UUID | None = left_out("The new version.")
    about: list[str] = Field(description="What changes: image, env, ports, …")
    differences: list[str] = Field(description="In words.")
    diff: str = Field(description="Unified, secrets masked.")
    validated_by: str = Field(description="What judged the content, or would.")
    message: str = Field(description="What is true now.")


class FactRow(Result):
    """Something that happened around a change."""

    at: datetime = Field(description="When (UTC).")
    seconds_after: float = Field(description="After the change; negative: before it.")
    kind: Literal["container", "operation", "package", "config", "metric", "watcher"] = Field(
        description="What kind of fact."
    )
    what: str = Field(description="In words.")
    why: str = Field(description="What ties it to the change.")
    score: float = Field(description="0 to 1: how likely it belongs to the change.")
    evidence: dict[str, Any] = Field(description="Ids and figures to look it up with.")


class ChangeExplanation(Result):
    """A change, and what happened around it, the likeliest first."""

    change: VersionRow = Field(description="The change.")
    window_seconds: int = Field(description="How long before and after was looked.")
    facts: list[FactRow] = Field(description="Ranked.")
    facts_omitted: int = Field(description="Of lower rank, left out.")
    blind: list[BlindRow] = Field(description="When nobody watched in that time.")
    problems: list[str] = Field(description="What could not be looked at.")
