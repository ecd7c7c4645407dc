"""The plan of a deployment: what would change, what stands against it, and the line that would carry it out."""

import asyncio
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from infrastructor.domains.compose import views
from infrastructor.domains.compose.commands import Checked, CheckStack, LookAtPaths
from infrastructor.domains.compose.deploy_command import ABSENT, RunDeployment
from infrastructor.domains.compose.locate import Files, Target, locate, read_files, text_of
from infrastructor.domains.compose.models import LONGEST_TEXT
from infrastructor.domains.compose.preflight import Holder, holders, missing_folders, obstacles, to_pull
from infrastructor.domains.compose.project import Project, parse_project
from infrastructor.domains.network.commands import ReadSockets
from infrastructor.domains.network.inventory import containers_if_any, with_details
from infrastructor.domains.network.ports import port_rows
from infrastructor.errors import Conflict, ParseError, ValidationFailed
from infrastructor.formats.yaml_text import NotYaml, read
from infrastructor.masking import mask_secrets
from infrastructor.operation import Context

_SHOWN_DIFF = 12_000
_MOST_PATHS = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What somebody wants of a stack. `main`, `env` None: as it is. `env` '' with `drop_env`: without one."""

    stack: str
    folder: str | None = None
    main: str | None = field(default=None, repr=False)
    env: str | None = field(default=None, repr=False)
    drop_env: bool = False
    expect: str | None = None
    pull: str = "missing"
    wait_seconds: int = 120
    retag: Mapping[str, str] = field(default_factory=dict)
    dry_run: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A plan. `line` carries it out once it has an operation id."""

    target: Target
    sha256: str
    changed: tuple[str, ...]
    diff: str
    blocked: tuple[str, ...]
    notes: tuple[str, ...]
    pulls: tuple[str, ...]
    folders: tuple[str, ...]
    as_root: bool
    line: RunDeployment = field(repr=False)


async def taken_ports(ctx: Context) -> tuple[Holder, ...]:
    """Ports that listen, or belong to a container, whether it runs or not."""
    problems: list[str] = []
    found, (containers, _) = await asyncio.gather(ctx.run(ReadSockets()), containers_if_any(ctx, problems))
    stopped = await with_details(ctx, [container for container in containers if not container.running])
    return holders(port_rows(found, containers), stopped)


async def draft(ctx: Context, wanted: Wanted) -> Draft:
    """Find out all that can be known. Raises `ValidationFailed` for what compose refuses, `Conflict` when stale."""
    target = await locate(ctx, wanted.stack, wanted.folder, must_exist=wanted.main is None)
    now = await read_files(ctx, target)
    if wanted.expect is not None and wanted.expect != now.main.sha256:
        raise Conflict(
            f"{target.main} on {ctx.device.hostname} is version {now.main.sha256[:12]}, not {wanted.expect[:12]}.",
            hint="Somebody changed it meanwhile: read it again with stack_get, and decide on what is there now.",
        )
    if not now.main.exists and wanted.main is None:
        raise ValidationFailed(f"{target.main} is not there.", hint="Give content, the text of the compose file.")
    old_main, old_env = text_of(now.main), text_of(now.env)
    new_main = old_main if wanted.main is None else wanted.main
    new_env = old_env if wanted.env is None else wanted.env
    for name, text in (("content", wanted.main), ("env", wanted.env)):
        check_text(name, text)
    _check_yaml(target.main, new_main)
    checked, as_root = await _check(ctx, target, wanted)
    if checked.status != 0:
        raise ValidationFailed(
            f"compose {checked.version} on {ctx.device.hostname} does not take it: {_last_lines(checked.said)}",
            hint="Nothing was touched. Mend the text, or what it refers to on the device.",
        )
    try:
        project = parse_project(checked.config)
    except ParseError as error:
        raise ValidationFailed(f"{error.message}", hint="A compose file needs services.") from error
    sources = sorted({bind.source for service in project.services.values() for bind in service.binds})[:_MOST_PATHS]
    paths = await ctx.run(LookAtPaths(paths=tuple(sources)))
    taken = await taken_ports(ctx)
    blocked = obstacles(
        stack=target.stack,
        project=project,
        checked=replace(checked, writable=True) if as_root else checked,
        rows=(*target.rows, *target.others),
        taken=taken,
        paths=paths,
        size_bytes=len(new_main.encode()) + len(new_env.encode()),
        main_folder=target.main.rpartition("/")[0],
    )
    folders = missing_folders(project, paths)
    pulls = to_pull(project, checked, wanted.pull)
    gone = sorted({row.service for row in target.rows if row.service} - project.services.keys()) if target.rows else []
    line = _line(
        target=target,
        now=now,
        wanted=wanted,
        project=project,
        pulls=[name for name, _ in pulls],
        gone=gone,
        folders=folders,
    )
    changed = [path for path, differs in ((target.main, line.main_sha != line.main_expect),
                                          (target.env_file, line.env_sha != line.env_expect)) if differs]  # fmt: skip
    return Draft(
        target=target,
        sha256=now.main.sha256,
        changed=tuple(changed),
        diff=shown_diff(target, old_main, new_main, old_env, "" if wanted.drop_env else new_env),
        blocked=tuple(blocked),
        notes=tuple(_notes(target, checked, project, gone)),
        pulls=tuple(image for _, image in pulls),
        folders=tuple(path for path, _ in folders),
        as_root=as_root,
        line=line,
    )


async def _check(ctx: Context, target: Target, wanted: Wanted) -> tuple[Checked, bool]:
    """As the login; where that may not write there but may become root, as root."""
    command = CheckStack(
        folder=target.folder,
        project=target.stack,
        main=target.main,
        more=target.more_lines,
        env_file=target.env_file,
        env_option=target.env_option,
        given=("m" if wanted.main is not None else "") + ("e" if wanted.env is not None else ""),
        main_text=wanted.main or "",
        env_text=wanted.env or "",
    )
    checked = await ctx.run(command)
    if not checked.writable:
        capabilities = await ctx.links.capabilities(ctx.device)
        if not capabilities.is_root and capabilities.sudo == "nopasswd":
            return await ctx.run(command.as_root()), True
    return checked, False


def _line(
    *,
    target: Target,
    now: Files,
    wanted: Wanted,
    project: Project,
    pulls: list[str],
    gone: list[str],
    folders: list[tuple[str, str]],
) -> RunDeployment:
    env_sha = now.env.sha256 if wanted.env is None else _hash(wanted.env)
    return RunDeployment(
        action="apply",
        folder=target.folder,
        operation="",
        project=target.stack,
        main=target.main,
        more=target.more_lines,
        env_file=target.env_file,
        env_option=target.env_option,
        patience=wanted.wait_seconds,
        services="\n".join(project.expected),
        pull="\n".join(pulls),
        removed="\n".join(gone),
        retag="\n".join(f"{image} {identity}" for image, identity in sorted(wanted.retag.items())),
        folders="\n".join(f"{owner} {path}" for path, owner in folders),
        main_expect=now.main.sha256,
        main_sha=now.main.sha256 if wanted.main is None else _hash(wanted.main),
        env_expect=now.env.sha256,
        env_sha=ABSENT if wanted.drop_env else env_sha,
        main_text=wanted.main or "",
        env_text=wanted.env or "",
    )


def shown_diff(target: Target, old: str, new: str, old_env: str, new_env: str) -> str:
    """Both files in one unified diff, masked and cut."""
    parts = (
        views.shown_diff(target.main.rpartition("/")[2], old, new),
        views.shown_diff(target.env_file.rpartition("/")[2], old_env, new_env, env=True),
    )
    text = "\n".join(part for part in parts if part)
    return text if len(text) <= _SHOWN_DIFF else f"{text[:_SHOWN_DIFF]}\n… {len(text) - _SHOWN_DIFF} characters more"


def check_text(name: str, text: str | None) -> None:
    if text is None:
        return
    if views.holds_mask(text):
        raise ValidationFailed(
            f"{name} holds {views.MASKED}, which stands for a secret that was not shown.",
            hint="Put the real value there, or a variable like ${PASSWORD} that is set in .env.",
        )
    if "\0" in text or len(text.encode("utf-8", "surrogatepass")) > LONGEST_TEXT:
        raise ValidationFailed(f"{name} holds a NUL, or is longer than 1 MiB.", hint="Compose files are text.")


def _check_yaml(path: str, text: str) -> None:
    try:
        read(text)
    except NotYaml as error:
        where = f" line {error.line}" if error.line else ""
        raise ValidationFailed(f"{path}{where}: {error}.", hint="Nothing was touched. Mend the YAML.") from error


def _notes(target: Target, checked: Checked, project: Project, gone: list[str]) -> list[str]:
    notes = []
    if checked.unset:
        known = [name for name in checked.unset if name in checked.unset_now]
        if known:
            notes.append(f"Variables that had no value before either: {', '.join(known)}.")
    if gone:
        notes.append(f"Services that are no longer in the file, whose containers go: {', '.join(gone)}.")
    for row in target.rows:
        have = (row.labels or {}).get("com.docker.compose.config-hash")
        if row.service in project.services and row.state == "running" and have is None:
            notes.append(f"{row.name} was made by a compose that left no hash of its configuration.")
    if checked.is_v1:
        notes.append(f"Only docker-compose {checked.version} is there, which is no longer maintained.")
    return notes


def _last_lines(said: str) -> str:
    lines = [line for line in said.splitlines() if line.strip() and "level=warning" not in line]
    return mask_secrets(" ".join(lines[-4:]))[:800] or "it does not say why"


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
