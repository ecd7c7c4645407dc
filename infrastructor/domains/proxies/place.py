"""Where the SWAG of a device is: its container, and the folder that is its /config."""

from dataclasses import dataclass
from posixpath import basename, normpath
from typing import Annotated

from pydantic import Field, StringConstraints

from infrastructor.domains.containers.commands import (
    InspectContainers,
    ListContainers,
    PodmanInspectContainers,
    PodmanListContainers,
)
from infrastructor.domains.containers.inspection import Inspection
from infrastructor.domains.containers.queries import QueryContainer, QueryContainers
from infrastructor.domains.containers.reach import ask, inspect, run
from infrastructor.domains.containers.rows import Row
from infrastructor.domains.proxies.commands import ConfigFolder, FindSwagFolders, PodmanConfigFolder, ReadProxyConfigs
from infrastructor.domains.proxies.parsers import ConfigFiles
from infrastructor.errors import Conflict, DataCollectionError, NotFound, ParseError, PermissionDenied, ValidationFailed
from infrastructor.operation import PLAIN, Context

Swag = Annotated[
    str,
    StringConstraints(pattern=r"^(?:[a-zA-Z0-9][a-zA-Z0-9_.-]*|/[^\x00-\x1f\x7f]+)$", max_length=1000),
    Field(description="SWAG's container or config folder, if there are several.", json_schema_extra=PLAIN),
]

PLACE_COMMANDS = (
    *(ListContainers, PodmanListContainers, InspectContainers, PodmanInspectContainers),
    *(ConfigFolder, PodmanConfigFolder, FindSwagFolders, ReadProxyConfigs),
)
PLACE_QUERIES = (QueryContainers, QueryContainer)
CONFIG = "/config"
_READINGS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A SWAG. `folder` is what its container calls /config; `rows` are all containers, None where no engine tells."""

    folder: str
    container: Inspection | None
    rows: tuple[Row, ...] | None
    unknown: str | None = None

    @property
    def name(self) -> str:
        return self.container.name if self.container else self.folder

    def path(self, relative: str) -> str:
        """The path on the device of a file in the nginx folder."""
        return f"{self.folder}/nginx/{relative}"

    def relative(self, inside: str) -> str | None:
        """The path in the nginx folder of a path inside the container, where it is one."""
        prefix = f"{CONFIG}/nginx/"
        return inside.removeprefix(prefix) if inside.startswith(prefix) else None


async def find_place(ctx: Context, wanted: str | None) -> Place:
    """Raises `NotFound` where there is no SWAG, `Conflict` where there are several and none is named."""
    rows, unknown = await _containers(ctx)
    if wanted is not None and wanted.startswith("/"):
        if ".." in wanted.split("/"):
            raise ValidationFailed(f"{wanted!r} climbs.", hint="Name the folder itself.")
        return Place(folder=normpath(wanted), container=None, rows=rows, unknown=unknown)
    if wanted is not None:
        return await place_of_container(ctx, wanted, rows)
    found = [row for row in rows or () if is_swag(row.image)]
    running = [row for row in found if row.state == "running"]
    chosen = running if len(running) == 1 else found
    if len(chosen) == 1:
        return await place_of_container(ctx, chosen[0].id, rows)
    if chosen:
        names = ", ".join(sorted(row.name for row in chosen))
        raise Conflict(f"{ctx.device.hostname} has several SWAGs: {names}.", hint="Name one with swag.")
    folders = await ctx.run(FindSwagFolders())
    if len(folders) == 1:
        return Place(folder=folders[0], container=None, rows=rows, unknown=unknown)
    if folders:
        raise Conflict(
            f"{ctx.device.hostname} has several folders of a SWAG: {', '.join(folders[:10])}.",
            hint="Name one with swag.",
        )
    raise NotFound(
        f"{ctx.device.hostname} has no SWAG: no container of an image named swag, and no folder nginx/proxy-confs "
        f"where they usually are{f' (containers are unknown: {unknown})' if unknown else ''}.",
        hint="Name its container or its config folder with swag, or ask another device.",
    )


def is_swag(image: str) -> bool:
    """Whether it is an image of SWAG: `lscr.io/linuxserver/swag:latest`, `swag@sha256:…`."""
    return basename(image.partition("@")[0]).partition(":")[0] == "swag"


async def read_configs(ctx: Context, place: Place) -> ConfigFiles:
    """Its files, as root where the login may not read them. Raises `NotFound`, `PermissionDenied`, `ParseError`."""
    command = ReadProxyConfigs(place.folder)
    for _ in range(_READINGS):
        files = await ctx.run(command)
        if (files.missing or files.denied) and not command.sudo:
            capabilities = await ctx.links.capabilities(ctx.device)
            if not capabilities.is_root and capabilities.sudo == "nopasswd":
                command = command.as_root()
                files = await ctx.run(command)
        if files.missing:
            raise NotFound(
                f"{ctx.device.hostname} has no folder {place.folder}/nginx, or the login may not enter it.",
                hint="Name the folder that SWAG's container has as /config with swag.",
            )
        if files.denied and not files.files:
            raise PermissionDenied(
                f"The login may not read {place.folder}/nginx/{files.denied[0]} on {ctx.device.hostname}.",
                hint="Give it the right, or sudo without a password.",
            )
        if files.stable:
            return files
    raise ParseError(
        f"The proxy configurations of {ctx.device.hostname} changed each time while they were read.",
        hint="Something writes to them all the time; try again later.",
    )


async def _containers(ctx: Context) -> tuple[tuple[Row, ...] | None, str | None]:
    try:
        return (await ask(ctx, QueryContainers())).value, None
    except DataCollectionError as error:  # no engine, or none that this login may ask, or it does not answer
        return None, error.message


async def place_of_container(ctx: Context, ref: str, rows: tuple[Row, ...] | None = None) -> Place:
    """The SWAG in one container. Raises `NotFound` where nothing of the device is its /config."""
    container = (await inspect(ctx, ref)).value
    mount = next((mount for mount in container.mounts if mount.destination == CONFIG), None)
    source = mount.source if mount and mount.type == "bind" else None
    if source is None and mount is not None:
        source = await run(ctx, ConfigFolder(container=container.id))
    if source is None:
        raise NotFound(
            f"{container.name} on {ctx.device.hostname} has no folder of the device as {CONFIG}.",
            hint="Its configuration would be lost with the container; mount a folder or a volume there.",
        )
    return Place(folder=normpath(source), container=container, rows=rows)
