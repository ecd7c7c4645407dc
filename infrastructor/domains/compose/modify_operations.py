"""Operations that fit a compose file to a device, and deploy it."""

import hashlib
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from infrastructor.domains.compose.commands import LookAtPaths
from infrastructor.domains.compose.deploy_operations import (
    CARRY_OUT,
    DEADLINE,
    LOOK,
    LOOK_QUERIES,
    PLAN_QUERIES,
)
from infrastructor.domains.compose.fitting import Change, Fitted, Surroundings, common_root, fit, paths_in
from infrastructor.domains.compose.locate import locate, read_files, text_of
from infrastructor.domains.compose.models import (
    ComposeText,
    Deployment,
    EnvText,
    Folder,
    Modified,
    Reason,
    Sha256,
    StackParams,
    Wait,
)
from infrastructor.domains.compose.planning import Wanted, check_text, taken_ports
from infrastructor.domains.compose.transaction import deploy
from infrastructor.domains.compose.views import masked_lines, shown_diff
from infrastructor.domains.containers.change_operations import CHANGED
from infrastructor.domains.containers.queries import QueryContainers
from infrastructor.domains.containers.reach import ask
from infrastructor.domains.network.commands import ReadSockets
from infrastructor.domains.network.queries import (
    ContainerDependencies,
    DescribeContainers,
    DescribeNetworks,
    EngineNetworks,
    PublishingContainers,
)
from infrastructor.errors import ValidationFailed
from infrastructor.formats.yaml_text import CannotEdit, NotYaml
from infrastructor.masking import mask_secrets
from infrastructor.operation import PLAIN, Context, operation
from infrastructor.ports.callers import Effect
from infrastructor.sanitize import clean

_SHOWN = 12_000
_LOOK = (*LOOK, ReadSockets, DescribeContainers, DescribeNetworks)
_LOOK_QUERIES = (*LOOK_QUERIES, PublishingContainers, ContainerDependencies, EngineNetworks)
_Where = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]{1,1000}$")]


class ModifyParams(StackParams):
    """Input of compose_modify."""

    content: ComposeText | None = Field(default=None, description="Compose file text; none: the stack's.")
    appdata: Folder | None = Field(default=None, description="Root of application data; found if not given.")
    puid: int | None = Field(default=None, ge=0, le=2**31, description="PUID; found.", json_schema_extra=PLAIN)
    pgid: int | None = Field(default=None, ge=0, le=2**31, description="PGID; found.", json_schema_extra=PLAIN)
    tz: str | None = Field(default=None, pattern=r"^[A-Za-z0-9_+/-]{1,64}$", description="TZ; found.")
    network: str | None = Field(
        default=None, pattern=r"^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,63}$", description="Existing network to join."
    )
    paths: dict[_Where, _Where] = Field(default_factory=dict, max_length=50, description="Prefix to new prefix.")


@operation(
    name="compose_modify",
    effect=Effect.READ,
    route="POST /api/compose/{device}/{stack}/modify",
    commands=_LOOK,
    queries=_LOOK_QUERIES,
)
async def compose_modify(ctx: Context, params: ModifyParams) -> Modified:
    """Fit a compose file to a device: paths, PUID, PGID, TZ, free ports, network. Shows text, diff and reasons.

    Writes nothing; use compose_deploy with the text, or compose_modify_and_deploy.
    """
    old, fitted = await _fit(ctx, params)
    return _answer(ctx, old, fitted, hide=params.content is None)


async def _fit(ctx: Context, params: ModifyParams) -> tuple[str, Fitted]:
    if params.content is not None:
        check_text("content", params.content)
        old = params.content
    else:
        old = text_of((await read_files(ctx, await locate(ctx, params.stack, must_exist=True))).main)
    try:
        device = await _surroundings(ctx, params, old)
        return old, fit(old, device)
    except NotYaml as error:
        where = f" (line {error.line})" if error.line else ""
        raise ValidationFailed(f"The text is no YAML that compose takes: {error}{where}.", hint="Mend it.") from error
    except CannotEdit as error:
        raise ValidationFailed(f"The text cannot be changed safely: {error}", hint="Change it by hand.") from error


async def _surroundings(ctx: Context, params: ModifyParams, text: str) -> Surroundings:
    """What the device has: found out, unless it was given."""
    taken = await taken_ports(ctx)
    rows = (await ask(ctx, QueryContainers())).value
    containers = (await ctx.ask(PublishingContainers())).value
    networks = (await ctx.ask(EngineNetworks())).value
    sources = [mount.source for one in containers for mount in one.mounts if not mount.is_volume]
    names = {word for one in containers for word in (one.name, one.service, one.stack) if word}
    appdata = params.appdata or common_root(sources, names)
    half = Surroundings(stack=params.stack, appdata=appdata, prefixes=params.paths)
    own = paths_in(text, half)[:300]
    near = [f"{appdata}/{params.stack}", appdata] if appdata else []
    facts = await ctx.run(LookAtPaths(paths=(*own, *near)))
    owner = next((facts[path] for path in near if path in facts and facts[path].uid is not None), None)
    zone = facts["TZ"].kind if "TZ" in facts else ""
    return Surroundings(
        stack=params.stack,
        appdata=appdata,
        uid=params.puid if params.puid is not None else owner.uid if owner else None,
        gid=params.pgid if params.pgid is not None else owner.gid if owner else None,
        zone=params.tz or zone or None,
        network=params.network,
        prefixes=params.paths,
        taken=taken,
        names={row.name: row.stack for row in rows},
        networks=frozenset(network.name for network in networks),
        missing=frozenset(path for path in own if path in facts and facts[path].kind == "missing"),
    )


def _answer(ctx: Context, old: str, fitted: Fitted, *, hide: bool) -> Modified:
    diff = shown_diff("compose.yaml", old, fitted.text)
    # Of a text that was sent here nothing is hidden from its sender; of a file of the device, its secrets are.
    text: str | None = fitted.text
    if hide and "\n".join(masked_lines(fitted.text)) != "\n".join(fitted.text.splitlines()):
        text = None
    problems = [clean(problem, 400) for problem in fitted.problems[:40]]
    if text is None:
        problems.append("The file holds secrets, so its text is not handed out; compose_modify_and_deploy keeps them.")
    elif len(text) > _SHOWN:
        problems.append("The text is too long to hand out; compose_modify_and_deploy deploys it.")
        text = None
    return Modified(
        device=ctx.device.hostname,
        text=text,
        sha256=hashlib.sha256(fitted.text.encode()).hexdigest(),
        diff=diff if len(diff) <= _SHOWN else f"{diff[:_SHOWN]}\n… {len(diff) - _SHOWN} characters more",
        reasons=[_reason(change) for change in fitted.changes[:60]],
        problems=problems,
    )


def _reason(change: Change) -> Reason:
    before = None if change.before is None else clean(mask_secrets(change.before), 200)
    return Reason(
        where=clean(change.where, 200), before=before, after=clean(change.after, 200), why=clean(change.why, 200)
    )


class ModifyAndDeployParams(ModifyParams):
    """Input of compose_modify_and_deploy."""

    env: EnvText | None = Field(default=None, description="Text of .env; none: as it is.")
    folder: Folder | None = None
    expect: Sha256 | None = Field(default=None, description="sha256 of the file it replaces.")
    pull: Literal["missing", "always"] = Field(default="missing", description="Images.", json_schema_extra=PLAIN)
    wait_seconds: Wait = 120
    dry_run: bool = Field(default=False, description="Only plan.", json_schema_extra=PLAIN)


@operation(
    name="compose_modify_and_deploy",
    effect=Effect.CHANGE,
    route="POST /api/compose/{device}/{stack}/modify-and-deploy",
    invalidates=CHANGED,
    commands=tuple(dict.fromkeys((*_LOOK, *CARRY_OUT))),
    queries=tuple(dict.fromkeys((*_LOOK_QUERIES, *PLAN_QUERIES))),
    deadline=DEADLINE,
)
async def compose_modify_and_deploy(ctx: Context, params: ModifyAndDeployParams) -> Deployment:
    """Fit a compose file to a device as compose_modify does, then deploy it. Use dry_run first."""
    _, fitted = await _fit(ctx, params)
    folder = params.folder or (f"{params.appdata}/{params.stack}" if params.appdata else None)
    done = await deploy(
        ctx,
        Wanted(
            stack=params.stack,
            folder=folder,
            main=fitted.text,
            env=params.env,
            expect=params.expect,
            pull=params.pull,
            wait_seconds=params.wait_seconds,
            dry_run=params.dry_run,
        ),
    )
    changes = [
        clean(mask_secrets(f"{one.where}: {one.before} → {one.after}: {one.why}."), 300) for one in fitted.changes
    ]
    return done.model_copy(update={"notes": [*changes[:40], *fitted.problems[:20], *done.notes][:80]})
