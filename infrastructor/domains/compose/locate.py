"""Which stack is meant, where its files are and what is in them."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from infrastructor.domains.compose.commands import LookAtPaths
from infrastructor.domains.compose.stacks import Stack, stacks_of
from infrastructor.domains.configs.file_commands import RemoteFile
from infrastructor.domains.configs.files import read_file
from infrastructor.domains.containers.queries import QueryContainers
from infrastructor.domains.containers.reach import ask
from infrastructor.domains.containers.rows import Row
from infrastructor.errors import Conflict, NotFound, ValidationFailed
from infrastructor.operation import Context

NAMES = ("compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml")
_OVERRIDES = ("compose.override.yaml", "compose.override.yml", "docker-compose.override.yml",
              "docker-compose.override.yaml")  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A stack with its place. `more`: compose files after the first. `env_option`: an env file that must be named."""

    stack: str
    folder: str
    main: str
    more: tuple[str, ...]
    env_file: str
    env_option: str
    rows: tuple[Row, ...] = field(repr=False)
    others: tuple[Row, ...] = field(repr=False)

    @property
    def more_lines(self) -> str:
        """As the scripts take them: last first, for each is put before the ones it follows."""
        return "\n".join(reversed(self.more))


async def all_stacks(ctx: Context) -> tuple[dict[str, Stack], tuple[Row, ...]]:
    """The stacks there are, and all containers."""
    rows = (await ask(ctx, QueryContainers())).value
    return stacks_of(rows), rows


async def locate(ctx: Context, name: str, folder: str | None = None, *, must_exist: bool = False) -> Target:
    """By the labels of its containers; else by the folder given, or the one of its last deployment.

    Raises `NotFound` for a stack nobody knows, `Conflict` for one that is elsewhere than was said.
    """
    known, rows = await all_stacks(ctx)
    stack = known.get(name)
    place = folder.rstrip("/") if folder else None
    if stack is not None and stack.folder is not None and stack.main is not None:
        if place is not None and place != stack.folder:
            raise Conflict(
                f"The stack {name} of {ctx.device.hostname} is in {stack.folder}, not in {place}.",
                hint="Leave folder out; or take another name for the new stack.",
            )
        return _target(name, stack.folder, stack.files, stack.env_file, rows)
    if place is None:
        record = await ctx.deployments.last(ctx.device.id, name)
        place = record.folder if record is not None else None
    if place is None:
        if must_exist or stack is not None:
            names = ", ".join(list(known)[:20]) or "none"
            raise NotFound(
                f"{ctx.device.hostname} has no stack {name!r} whose folder is known.",
                hint=f"Stacks there: {names}. Give folder for one that has no containers.",
            )
        raise ValidationFailed(
            f"{ctx.device.hostname} has no stack {name!r}.", hint="Give folder, where its files are to be."
        )
    candidates = tuple(f"{place}/{file}" for file in (*NAMES, *_OVERRIDES))
    facts = await ctx.run(LookAtPaths(paths=candidates))
    there = [path for path in candidates if path in facts and facts[path].kind == "file"]
    mains = [path for path in there if path.rpartition("/")[2] in NAMES]
    overrides = [path for path in there if path not in mains][:1] if mains else []
    if must_exist and not mains:
        raise NotFound(f"There is no compose file in {place} on {ctx.device.hostname}.", hint="Give another folder.")
    main = mains[0] if mains else f"{place}/{NAMES[0]}"
    return _target(name, place, (main, *overrides), None, rows)


def _target(name: str, folder: str, files: Sequence[str], env_file: str | None, rows: Sequence[Row]) -> Target:
    usual = f"{folder}/.env"
    named = env_file if env_file is not None and env_file != usual else None
    return Target(
        stack=name,
        folder=folder,
        main=files[0],
        more=tuple(files[1:]),
        env_file=named or usual,
        env_option=named or "",
        rows=tuple(row for row in rows if row.stack == name),
        others=tuple(row for row in rows if row.stack != name),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """The compose file and the .env of a stack as they are now."""

    main: RemoteFile
    env: RemoteFile


async def read_files(ctx: Context, target: Target) -> Files:
    return Files(main=await read_file(ctx, target.main), env=await read_file(ctx, target.env_file))


def text_of(file: RemoteFile) -> str:
    """Its text; '' where there is none. Raises `ValidationFailed` for what is no text."""
    if not file.exists:
        return ""
    if file.content is None:
        raise ValidationFailed(f"{file.path} is longer than 1 MiB.", hint="Such files are not changed from here.")
    try:
        return file.content.decode()
    except UnicodeDecodeError as error:
        raise ValidationFailed(
            f"{file.path} is no UTF-8 text.", hint="Such files are not changed from here."
        ) from error
