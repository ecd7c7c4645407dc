"""Operations that look at stacks, and start, stop, restart and pull what is in them."""

import asyncio
from datetime import UTC, datetime, timedelta

from pydantic import Field

from infrastructor.domains.compose.commands import CheckStack, ReadStackVersions, RunCompose, Version
from infrastructor.domains.compose.deploy_operations import (
    CARRY_OUT,
    DEADLINE,
    LOOK,
    LOOK_QUERIES,
    PLAN_QUERIES,
)
from infrastructor.domains.compose.locate import Target, all_stacks, locate
from infrastructor.domains.compose.models import (
    Deployment,
    FileState,
    Folder,
    ServiceState,
    StackChange,
    StackDetail,
    StackDown,
    StackList,
    StackLogLine,
    StackLogs,
    StackName,
    StackParams,
    VersionRow,
    Wait,
)
from infrastructor.domains.compose.planning import Wanted
from infrastructor.domains.compose.preflight import image_id
from infrastructor.domains.compose.stacks import stack_row
from infrastructor.domains.compose.transaction import deploy
from infrastructor.domains.compose.views import masked_lines
from infrastructor.domains.configs.file_commands import RemoteFile
from infrastructor.domains.configs.files import read_file
from infrastructor.domains.containers import log_lines
from infrastructor.domains.containers.change_operations import CHANGED
from infrastructor.domains.containers.commands import PodmanReadLogs, ReadLogs
from infrastructor.domains.containers.listing import problem
from infrastructor.domains.containers.queries import QueryContainers, QueryLogs
from infrastructor.domains.containers.reach import ask
from infrastructor.domains.containers.rows import Row, short_ports
from infrastructor.errors import CommandFailed, CommandNotAvailable, NotFound, ParseError, Protected
from infrastructor.masking import mask_secrets
from infrastructor.operation import PLAIN, Cache, CachedParams, Context, DestroyParams, PlanDraft, operation
from infrastructor.paging import Cursor, Limit, page_within
from infrastructor.ports.callers import Effect
from infrastructor.protection import PROTECTED, is_set
from infrastructor.sanitize import clean
from infrastructor.times import moment

_TTL = timedelta(seconds=30)
_SHOWN_TEXT = 14_000
_LOG_BUDGET = 32_000
_HASH = "com.docker.compose.config-hash"
_IDENTITY_STARTS = "sha256:"


class StackListParams(CachedParams):
    """Input of stack_list."""

    limit: Limit = 100
    cursor: Cursor | None = None


@operation(
    name="stack_list",
    effect=Effect.READ,
    route="GET /api/compose/{device}",
    resource_uri="docker://{device}/stacks",
    cache=Cache("stacks", _TTL),
    commands=LOOK[:2],
    queries=LOOK_QUERIES,
)
async def stack_list(ctx: Context, params: StackListParams) -> StackList:
    """List compose stacks of a device, problems first: folder, files, states. Start here for any stack."""
    known, rows = await all_stacks(ctx)
    found = sorted((stack_row(stack) for stack in known.values()), key=lambda row: (not row.problems, row.name))
    shown, next_cursor = page_within(found, params.limit, params.cursor)
    return StackList(
        device=ctx.device.hostname,
        stacks=shown,
        total=len(found),
        loose_containers=sum(1 for row in rows if not row.stack),
        next_cursor=next_cursor,
    )


class StackGetParams(CachedParams):
    """Input of stack_get."""

    stack: StackName


@operation(
    name="stack_get",
    effect=Effect.READ,
    route="GET /api/compose/{device}/{stack}",
    resource_uri="docker://{device}/{stack}",
    cache=Cache("stack_detail", _TTL),
    commands=(*LOOK, CheckStack, ReadStackVersions),
    queries=LOOK_QUERIES,
)
async def stack_get(ctx: Context, params: StackGetParams) -> StackDetail:
    """Show a stack: containers against its file, drift, problems, versions to roll back to, masked text."""
    target = await locate(ctx, params.stack, must_exist=True)
    home = target.main.rpartition("/")[0]
    main, env, *more = await asyncio.gather(*(read_file(ctx, p) for p in (target.main, target.env_file, *target.more)))
    problems = [text for row in target.rows if (text := problem(row)) is not None]
    versions: tuple[Version, ...] = ()
    hashes, images, version = {}, {}, None
    if not main.exists:
        problems.append(f"{target.main} is not there; the containers run on without it.")
    else:
        checked, versions = await asyncio.gather(ctx.run(_check_line(target)), ctx.run(ReadStackVersions(folder=home)))
        hashes, images, version = dict(checked.hashes), dict(checked.images), checked.version
        if checked.status != 0:
            problems.append(f"compose does not take the file: {mask_secrets(checked.said)[-500:]}")
        if checked.unset:
            problems.append(f"Variables without a value: {', '.join(checked.unset)}.")
        running = {row.service for row in target.rows}
        problems += [f"The service {name} has no container." for name in sorted(hashes.keys() - running)]
    return StackDetail(
        device=ctx.device.hostname,
        stack=target.stack,
        folder=target.folder,
        compose_version=version,
        files=[_file(file) for file in (main, env, *more) if file.exists or file is main],
        services=[_service(row, hashes, images) for row in target.rows[:200]],
        problems=[clean(text, 600) for text in problems[:50]],
        versions=[_version(one) for one in versions if one.report.outcome == "deployed" and one.has_main][:10],
        text=_shown(main),
    )


def _check_line(target: Target) -> CheckStack:
    return CheckStack(
        folder=target.folder,
        project=target.stack,
        main=target.main,
        more=target.more_lines,
        env_file=target.env_file,
        env_option=target.env_option,
    )


def _file(file: RemoteFile) -> FileState:
    return FileState(path=file.path, sha256=file.sha256, size_bytes=file.size_bytes)


def _shown(file: RemoteFile) -> str | None:
    if file.content is None:
        return None
    text = "\n".join(masked_lines(file.content.decode("utf-8", "replace")))
    return text if len(text) <= _SHOWN_TEXT else f"{text[:_SHOWN_TEXT]}\n# … {len(text) - _SHOWN_TEXT} characters more"


def _service(row: Row, hashes: dict[str, str], images: dict[str, str]) -> ServiceState:
    have, want = (row.labels or {}).get(_HASH), hashes.get(row.service or "")
    drift = None
    if want is None and hashes:
        drift = "not in the file"
    elif want is not None and have != want:
        drift = "made from another version of the file"
    elif row.image.startswith(_IDENTITY_STARTS) and images:
        drift = "its image has lost its name: a newer one was pulled"
    return ServiceState(
        service=row.service or "-",
        container=row.name,
        image=row.image,
        image_id=image_id(row.image, images),
        state=row.condition,
        ports=short_ports(row.ports),
        drift=drift,
    )


def _version(one: Version) -> VersionRow:
    seconds = int(one.id.replace("-", "")[:12], 16) / 1000
    return VersionRow(
        id=one.id,
        replaced_at=datetime.fromtimestamp(seconds, UTC),
        images=sorted({instance.image for instance in one.report.before})[:20],
    )


class UpParams(StackParams):
    """Input of stack_up."""

    folder: Folder | None = None
    wait_seconds: Wait = 120
    dry_run: bool = Field(default=False, description="Only plan.", json_schema_extra=PLAIN)


@operation(
    name="stack_up",
    effect=Effect.CHANGE,
    route="POST /api/compose/{device}/{stack}/up",
    invalidates=CHANGED,
    commands=CARRY_OUT,
    queries=PLAN_QUERIES,
    deadline=DEADLINE,
)
async def stack_up(ctx: Context, params: UpParams) -> Deployment:
    """Bring a stack up as its files say, and wait until it is healthy; else what ran before is put back."""
    wanted = Wanted(stack=params.stack, folder=params.folder, wait_seconds=params.wait_seconds, dry_run=params.dry_run)
    return await deploy(ctx, wanted)


async def _compose(ctx: Context, target: Target, *words: str) -> str:
    """Run a word of compose. Raises `CommandFailed` with what it said last."""
    output = await ctx.run(
        RunCompose(
            folder=target.folder,
            project=target.stack,
            main=target.main,
            words=words,
            more=target.more_lines,
            env_option=target.env_option,
        )
    )
    said = mask_secrets(clean(f"{output.text}\n{output.error_text}", 20_000)).strip()
    if output.exit_status != 0:
        raise CommandFailed(
            f"compose {words[0]} of {target.stack} on {ctx.device.hostname} failed: {said[-600:]}",
            hint="stack_get shows how the stack is now.",
        )
    return said


async def _change(ctx: Context, target: Target, message: str, newer: list[str] | None = None) -> StackChange:
    rows = (await ask(ctx, QueryContainers())).value
    mine = [row for row in rows if row.stack == target.stack]
    return StackChange(
        device=ctx.device.hostname,
        stack=target.stack,
        services=[_service(row, {}, {}) for row in mine[:200]],
        newer=newer or [],
        message=message,
    )


@operation(
    name="stack_restart",
    effect=Effect.CHANGE,
    route="POST /api/compose/{device}/{stack}/restart",
    invalidates=CHANGED,
    commands=(*LOOK, RunCompose),
    queries=LOOK_QUERIES,
    deadline=timedelta(minutes=25),
)
async def stack_restart(ctx: Context, params: StackParams) -> StackChange:
    """Restart all containers of a stack as they are. Use stack_up to apply a changed file."""
    target = await locate(ctx, params.stack, must_exist=True)
    _check_protection(ctx, target, "restarted")
    await _compose(ctx, target, "restart")
    return await _change(ctx, target, f"{target.stack} was restarted.")


@operation(
    name="stack_pull",
    effect=Effect.CHANGE,
    route="POST /api/compose/{device}/{stack}/pull",
    invalidates=CHANGED,
    commands=(*LOOK, CheckStack, RunCompose),
    queries=LOOK_QUERIES,
    deadline=timedelta(minutes=25),
)
async def stack_pull(ctx: Context, params: StackParams) -> StackChange:
    """Fetch the images of a stack; nothing restarts. Then stack_up moves to those that are newer."""
    target = await locate(ctx, params.stack, must_exist=True)
    line = _check_line(target)
    before = (await ctx.run(line)).images
    await _compose(ctx, target, "pull", "-q")
    after = (await ctx.run(line)).images
    newer = sorted(
        {
            row.service or row.name
            for row in target.rows
            if (now := image_id(row.image, after)) is not None and now != image_id(row.image, before)
        }
    )
    return await _change(ctx, target, f"Newer images: {', '.join(newer) or 'none'}.", newer)


# --- down --------------------------------------------------------------------------------------------


class DownParams(DestroyParams):
    """Input of stack_down."""

    stack: StackName
    volumes: bool = Field(default=False, description="Its volumes and their data too.")


def _check_protection(ctx: Context, target: Target, what: str) -> None:
    for row in target.rows:
        if is_set(row.labels or {}, PROTECTED):
            raise Protected(
                f"{row.name} of {target.stack} on {ctx.device.hostname} is labelled {PROTECTED} and may not be {what}.",
                hint="Take the label off where it is declared, and deploy, first.",
            )


async def _plan_down(ctx: Context, params: DownParams) -> PlanDraft:
    target = await locate(ctx, params.stack, must_exist=True)
    _check_protection(ctx, target, "removed")
    if not target.rows:
        raise NotFound(f"The stack {params.stack} of {ctx.device.hostname} has no containers.", hint="It is down.")
    words = ("down", "--volumes") if params.volumes else ("down",)
    command = RunCompose(
        folder=target.folder, project=target.stack, main=target.main, words=words, more=target.more_lines,
        env_option=target.env_option,
    ).variant(await ctx.links.capabilities(ctx.device))  # fmt: skip
    networks = sorted({name for row in target.rows for name in row.networks if name.startswith(f"{target.stack}_")})
    data = (
        "Its volumes are deleted WITH THEIR DATA: those its file declares, and anonymous ones."
        if params.volumes
        else "Its volumes are kept."
    )
    return PlanDraft(
        summary=f"Take the stack {target.stack} of {ctx.device.hostname} down.",
        effects=(
            *(f"Container {row.name} ({row.image}, {row.condition}) is stopped and deleted." for row in target.rows),
            *(f"Network {name} is deleted." for name in networks),
            data,
            f"Its files in {target.folder} are kept; stack_up with folder brings it back.",
        ),
        fingerprint=" ".join(f"{row.id}:{row.state}" for row in target.rows),
        reversible=not params.volumes,
        commands=(command.summary(),),
        found=target,
    )


@operation(
    name="stack_down",
    effect=Effect.DESTROY,
    route="DELETE /api/compose/{device}/{stack}",
    invalidates=CHANGED,
    commands=(*LOOK, RunCompose),
    queries=LOOK_QUERIES,
    plan=_plan_down,
    deadline=timedelta(minutes=25),
)
async def stack_down(ctx: Context, params: DownParams) -> StackDown:
    """Remove containers and networks of a stack. Without plan_token it only plans; files are kept."""
    target = ctx.planned(Target)
    await _compose(ctx, target, "down", *(("--volumes",) if params.volumes else ()))
    left = {row.id for row in (await ask(ctx, QueryContainers())).value}
    return StackDown(status="done", removed=[row.name for row in target.rows if row.id not in left])


# --- logs --------------------------------------------------------------------------------------------


class StackLogsParams(StackParams):
    """Input of stack_logs."""

    tail: int = Field(default=100, ge=1, le=1000, description="Lines in all.", json_schema_extra=PLAIN)
    since: str | None = Field(default=None, pattern=r"^[0-9A-Za-z:.+-]{1,40}$", description="15m, 2h, 1d, or ISO.")
    service: str | None = Field(default=None, max_length=128, description="Only its.", json_schema_extra=PLAIN)
    grep: str | None = Field(default=None, min_length=1, max_length=200, description="Only lines with it.")


@operation(
    name="stack_logs",
    effect=Effect.READ,
    route="GET /api/compose/{device}/{stack}/logs",
    commands=(*LOOK[:2], ReadLogs, PodmanReadLogs),
    queries=(*LOOK_QUERIES, QueryLogs),
)
async def stack_logs(ctx: Context, params: StackLogsParams) -> StackLogs:
    """Read the newest log lines of all containers of a stack, by time. Use container_logs for older ones."""
    since = None if params.since is None else moment(params.since, ctx.now)
    matches = log_lines.matcher(params.grep, regex=False)
    known, _ = await all_stacks(ctx)
    if params.stack not in known:
        raise NotFound(f"{ctx.device.hostname} has no stack {params.stack!r}.", hint="stack_list names them.")
    rows = [row for row in known[params.stack].rows if params.service in {None, row.service}]
    window = params.tail if params.grep is None else 2000
    whole_s = None if since is None else str(int(since.timestamp()))
    slots = asyncio.Semaphore(8)

    async def read(row: Row) -> list[tuple[int, str, str]]:
        async with slots:
            try:
                batch = (await ask(ctx, QueryLogs(container=row.id, tail=str(window), since=whole_s))).value
            except (NotFound, CommandFailed, CommandNotAvailable, ParseError):
                return []  # it went meanwhile, or its driver keeps nothing to read
        return [(line.ns, row.service or row.name, line.text) for line in batch.lines if matches(line.text)]

    lines = sorted(line for found in await asyncio.gather(*map(read, rows)) for line in found)[-params.tail :]
    shown: list[StackLogLine] = []
    size = 0
    for ns, service, text in reversed(lines):
        line = StackLogLine(
            time=datetime.fromtimestamp(ns / 1e9, UTC) if ns else None,
            service=service,
            text=clean(mask_secrets(text[:4000]), 2000),
        )
        size += len(line.model_dump_json())
        if size > _LOG_BUDGET:
            break
        shown.append(line)
    return StackLogs(device=ctx.device.hostname, stack=params.stack, lines=shown[::-1], omitted=len(lines) - len(shown))
