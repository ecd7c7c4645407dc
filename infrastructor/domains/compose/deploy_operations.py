"""Operations that deploy a stack, bring an earlier version back, and end what was interrupted."""

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from infrastructor.domains.compose.commands import CheckStack, LookAtPaths, ReadProgress, ReadStackVersions, Version
from infrastructor.domains.compose.deploy_command import LONGEST_RUN, RunDeployment
from infrastructor.domains.compose.locate import locate, text_of
from infrastructor.domains.compose.models import (
    ComposeText,
    Deployment,
    EnvText,
    Folder,
    Recovered,
    Sha256,
    StackParams,
    Wait,
)
from infrastructor.domains.compose.planning import Wanted
from infrastructor.domains.compose.transaction import deploy, recover_all
from infrastructor.domains.configs.file_commands import ReadFile
from infrastructor.domains.configs.files import read_file
from infrastructor.domains.containers.change_operations import CHANGED
from infrastructor.domains.containers.commands import ListContainers, PodmanListContainers
from infrastructor.domains.containers.queries import QueryContainers
from infrastructor.domains.network.commands import ReadSockets
from infrastructor.domains.network.queries import ContainerDependencies, DescribeContainers, PublishingContainers
from infrastructor.errors import Conflict, NotFound
from infrastructor.operation import PLAIN, Context, DeviceParams, operation
from infrastructor.ports.callers import Effect

LOOK = (ListContainers, PodmanListContainers, LookAtPaths, ReadFile)
LOOK_QUERIES = (QueryContainers,)
PLAN = (*LOOK, CheckStack, ReadSockets, DescribeContainers)
PLAN_QUERIES = (*LOOK_QUERIES, PublishingContainers, ContainerDependencies)
CARRY_OUT = (*PLAN, RunDeployment, ReadProgress)
DEADLINE = LONGEST_RUN + timedelta(minutes=5)


class DeployParams(StackParams):
    """Input of compose_deploy."""

    content: ComposeText | None = Field(default=None, description="Compose file text; none: redeploy.")
    env: EnvText | None = Field(default=None, description="Text of .env; none: as it is.")
    folder: Folder | None = None
    expect: Sha256 | None = Field(default=None, description="sha256 of the file it replaces.")
    pull: Literal["missing", "always"] = Field(default="missing", description="Images.", json_schema_extra=PLAIN)
    wait_seconds: Wait = 120
    dry_run: bool = Field(default=False, description="Only plan.", json_schema_extra=PLAIN)


@operation(
    name="compose_deploy",
    effect=Effect.CHANGE,
    route="POST /api/compose/{device}/{stack}/deploy",
    invalidates=CHANGED,
    commands=CARRY_OUT,
    queries=PLAN_QUERIES,
    deadline=DEADLINE,
)
async def compose_deploy(ctx: Context, params: DeployParams) -> Deployment:
    """Deploy a stack and wait until it is healthy; else all is put back. Use dry_run first: it shows the plan."""
    return await deploy(
        ctx,
        Wanted(
            stack=params.stack,
            folder=params.folder,
            main=params.content,
            env=params.env,
            expect=params.expect,
            pull=params.pull,
            wait_seconds=params.wait_seconds,
            dry_run=params.dry_run,
        ),
    )


VersionId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")]


class RollbackParams(StackParams):
    """Input of stack_rollback."""

    version: VersionId | None = Field(default=None, description="From stack_get; none: the last one.")
    folder: Folder | None = None
    wait_seconds: Wait = 120
    dry_run: bool = Field(default=False, description="Only plan.", json_schema_extra=PLAIN)


@operation(
    name="stack_rollback",
    effect=Effect.CHANGE,
    route="POST /api/compose/{device}/{stack}/rollback",
    invalidates=CHANGED,
    commands=(*CARRY_OUT, ReadStackVersions),
    queries=PLAN_QUERIES,
    deadline=DEADLINE,
)
async def stack_rollback(ctx: Context, params: RollbackParams) -> Deployment:
    """Bring the version before the last deployment back: compose file, .env and the very images it ran.

    If that fails, what runs now is put back.
    """
    target = await locate(ctx, params.stack, params.folder)
    home = target.main.rpartition("/")[0]
    version = _choose(ctx, params, await ctx.run(ReadStackVersions(folder=home)))
    main = text_of(await read_file(ctx, f"{home}/.infrastructor/{version.id}/old/main"))
    env = text_of(await read_file(ctx, f"{home}/.infrastructor/{version.id}/old/env")) if version.has_env else None
    return await deploy(
        ctx,
        Wanted(
            stack=params.stack,
            folder=params.folder,
            main=main,
            env=env,
            drop_env=not version.has_env,
            wait_seconds=params.wait_seconds,
            retag={
                one.image: one.image_id
                for one in version.report.before
                if "@" not in one.image and not one.image.startswith("sha256:")
            },
            dry_run=params.dry_run,
        ),
    )


def _choose(ctx: Context, params: RollbackParams, versions: tuple[Version, ...]) -> Version:
    usable = [one for one in versions if one.report.outcome == "deployed" and one.has_main]
    if params.version is not None:
        usable = [one for one in usable if one.id == params.version]
    if usable:
        return usable[0]
    if params.version is not None:
        raise NotFound(
            f"No version {params.version} of {params.stack} is kept on {ctx.device.hostname}.",
            hint="stack_get lists those that are.",
        )
    raise Conflict(
        f"No earlier version of {params.stack} is kept on {ctx.device.hostname}.",
        hint="Only deployments made from here keep one; the first of a stack has none before it.",
    )


class RecoverParams(DeviceParams):
    """Input of stack_recover."""


@operation(
    name="stack_recover",
    effect=Effect.CHANGE,
    route="POST /api/compose/{device}/recover",
    invalidates=CHANGED,
    commands=(RunDeployment,),
    deadline=DEADLINE,
)
async def stack_recover(ctx: Context, params: RecoverParams) -> Recovered:
    """Finish or undo deployments that a crash interrupted. The collector does so by itself; use it to hurry."""
    del params
    return Recovered(device=ctx.device.hostname, deployments=await recover_all(ctx))
