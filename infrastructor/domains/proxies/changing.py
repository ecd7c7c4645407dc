"""Operations that make proxies, and switch them on and off."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from pydantic import Field

from infrastructor.domains.configs.file_commands import RemoveFile
from infrastructor.domains.configs.files import remove_file
from infrastructor.domains.configs.judged_change import JudgedChange
from infrastructor.domains.containers.commands import engine_of
from infrastructor.domains.proxies.applying import APPLYING, Move, Put, Remove, Step, carry_out, require_nginx
from infrastructor.domains.proxies.commands import CheckNginx
from infrastructor.domains.proxies.comparing import offer
from infrastructor.domains.proxies.drafting import DraftParams, choice, draft
from infrastructor.domains.proxies.history import hand_over
from infrastructor.domains.proxies.inventory import TEMPLATE, Entry, Inventory
from infrastructor.domains.proxies.looking import LOOK, counts_of, find_entry, load, problems_of
from infrastructor.domains.proxies.models import (
    AuthChoice,
    Problem,
    ProxyChange,
    ProxyRemoved,
    ProxySync,
    ServiceName,
    Severity,
)
from infrastructor.domains.proxies.parsers import NginxMessage
from infrastructor.domains.proxies.place import PLACE_QUERIES, Place, Swag
from infrastructor.domains.proxies.views import LONGEST_DIFF, difference, words
from infrastructor.errors import Conflict, DataCollectionError, ValidationFailed
from infrastructor.formats.nginx import decode, encode, read
from infrastructor.formats.swag import Auth, Kind, State
from infrastructor.formats.swag_edit import PROVIDERS, CannotEdit, set_auth
from infrastructor.operation import (
    PLAIN,
    Context,
    DestroyParams,
    DeviceParams,
    PlanDraft,
    operation,
)
from infrastructor.ports.callers import Effect
from infrastructor.sanitize import clean

PROXY_ANSWERS = ("proxies", "proxy_config", "proxy_templates", "proxy_samples", "proxy_summary", "dependencies")
_DEADLINE = timedelta(minutes=5)
_COMMANDS = (*LOOK, *APPLYING)
_NEW_MODE = 0o644
_NAMES = 100


class EnableParams(DeviceParams):
    """Input of proxy_config_enable."""

    service: ServiceName
    auth: AuthChoice | None = Field(default=None, description="Change the login; default: as it is.")
    merge: bool = Field(default=False, description="Take a newer sample's changes over.", json_schema_extra=PLAIN)
    dry_run: bool = Field(default=False, description="Only show.", json_schema_extra=PLAIN)
    swag: Swag | None = None


@operation(
    name="proxy_config_enable",
    effect=Effect.CHANGE,
    route="POST /api/proxies/{device}/configs/{service}/enable",
    invalidates=PROXY_ANSWERS,
    commands=_COMMANDS,
    queries=PLACE_QUERIES,
    deadline=_DEADLINE,
)
async def proxy_config_enable(ctx: Context, params: EnableParams) -> ProxyChange:
    """Enable a disabled SWAG proxy or a sample, or change the login of an enabled one.

    nginx tests and reloads; what it refuses is undone.
    """
    place, inventory = await load(ctx, params.swag)
    entry = find_entry(inventory, params.service, ctx.device.hostname)
    content = _content(entry)
    if entry.service == TEMPLATE:
        raise ValidationFailed(f"{entry.name.full} has places to fill in.", hint="proxy_config_create fills them in.")
    text = await _merged(ctx, place, inventory, entry) if params.merge else entry.text
    auth = entry.proxy.auth[0] if params.auth is None and entry.proxy.auth else choice(params.auth or "none")
    text = _with_auth(entry, text, choice(params.auth)) if params.auth is not None else text
    path, new = place.path(f"proxy-confs/{entry.name.base}"), encode(text)
    steps: list[Step] = list(_site_steps(place, inventory, entry.name.kind, auth))
    if entry.name.state is State.SAMPLE:
        owner = f"{entry.file.uid}:{entry.file.gid}"
        steps.append(Put(path=path, before=None, after=new, mode=entry.file.permissions or _NEW_MODE, owner=owner))
    elif entry.name.state is State.DISABLED:
        steps.append(Move(path=place.path(entry.file.path), target=path, content=content))
    if entry.name.state is not State.SAMPLE and new != content:
        steps.append(Put(path=path, before=content, after=new))
    return await _apply(ctx, params, place, steps, label=entry.label, state=State.ENABLED)


class CreateParams(DraftParams):
    """Input of proxy_config_create."""

    dry_run: bool = Field(default=False, description="Only show.", json_schema_extra=PLAIN)


@operation(
    name="proxy_config_create",
    effect=Effect.CHANGE,
    route="POST /api/proxies/{device}/configs",
    invalidates=PROXY_ANSWERS,
    commands=_COMMANDS,
    queries=PLACE_QUERIES,
    deadline=_DEADLINE,
)
async def proxy_config_create(ctx: Context, params: CreateParams) -> ProxyChange:
    """Make and enable a SWAG proxy as proxy_config_generate writes it. nginx tests and reloads; refused is undone."""
    place, inventory = await load(ctx, params.swag)
    made = draft(params, place, inventory)
    for state in (State.ENABLED, State.DISABLED):
        if inventory.find(made.name.base, state) is not None:
            raise Conflict(
                f"{made.name.named(state)} exists on {ctx.device.hostname} already.",
                hint="Change it with proxy_config_enable, or remove it first with proxy_config_remove.",
            )
    auth = choice(params.auth)
    steps: list[Step] = list(_site_steps(place, inventory, params.kind, auth))
    model = next(iter((*inventory.enabled, *inventory.samples)), None)
    owner = f"{model.file.uid}:{model.file.gid}" if model else ""
    path = place.path(f"proxy-confs/{made.name.base}")
    steps.append(Put(path=path, before=None, after=encode(made.text), mode=_NEW_MODE, owner=owner))
    label = f"{made.name.service}.{made.name.kind.value}"
    return await _apply(ctx, params, place, steps, label=label, state=State.ENABLED)


class DisableParams(DeviceParams):
    """Input of proxy_config_disable."""

    service: ServiceName
    dry_run: bool = Field(default=False, description="Only show.", json_schema_extra=PLAIN)
    swag: Swag | None = None


@operation(
    name="proxy_config_disable",
    effect=Effect.CHANGE,
    route="POST /api/proxies/{device}/configs/{service}/disable",
    invalidates=PROXY_ANSWERS,
    commands=_COMMANDS,
    queries=PLACE_QUERIES,
    deadline=_DEADLINE,
)
async def proxy_config_disable(ctx: Context, params: DisableParams) -> ProxyChange:
    """Disable a SWAG proxy: the file is kept as .conf.disabled, nginx reloads. proxy_config_enable brings it back."""
    place, inventory = await load(ctx, params.swag)
    entry = find_entry(inventory, params.service, ctx.device.hostname, (State.ENABLED, State.DISABLED))
    steps: list[Step] = []
    if entry.name.state is State.ENABLED:
        content = _content(entry)
        kept = inventory.find(entry.name.base, State.DISABLED)
        if kept is not None and kept.file.content != content:
            raise Conflict(
                f"{kept.name.named(State.DISABLED)} exists on {ctx.device.hostname} already, with another content.",
                hint=f"Remove it first: proxy_config_remove of {kept.name.named(State.DISABLED)}.",
            )
        path = place.path(entry.file.path)
        target = place.path(f"proxy-confs/{entry.name.named(State.DISABLED)}")
        steps.append(Move(path=path, target=target, content=content) if kept is None else _removal(place, entry))
    return await _apply(ctx, params, place, steps, label=entry.label, state=State.DISABLED)


class RemoveParams(DestroyParams):
    """Input of proxy_config_remove."""

    service: ServiceName
    swag: Swag | None = None


@dataclass(frozen=True)
class _Removal:
    """What is to go, as it was when the plan was made or redeemed."""

    place: Place
    entry: Entry


async def _plan_removal(ctx: Context, params: RemoveParams) -> PlanDraft:
    place, inventory = await load(ctx, params.swag)
    entry = find_entry(inventory, params.service, ctx.device.hostname, (State.ENABLED, State.DISABLED))
    path, sha256 = place.path(entry.file.path), entry.file.sha256
    _content(entry)
    effects = [f"{clean(path, 1000)} is deleted ({entry.file.size_bytes} bytes, last changed by hand or by us)."]
    commands = [RemoveFile(path, sha256).summary()]
    if entry.name.state is State.ENABLED:
        require_nginx(ctx, place)
        names = [*words(entry.proxy.names), *(words(one.match for one in entry.proxy.locations) or [])]
        targets = words(upstream.text for upstream in entry.proxy.upstreams)
        effects.append(f"{', '.join(names) or entry.label} no longer leads to {', '.join(targets) or 'anything'}.")
        engine = engine_of(await ctx.links.capabilities(ctx.device))
        change = JudgedChange(engine, _removal(place, entry).words, container=place.name, reload="reload")
        commands = [CheckNginx(container=place.name).summary(), change.summary()]
    sample = inventory.sample_of(entry)
    same = sample is not None and sample.file.content == entry.file.content
    effects.append(
        "SWAG's sample has the same content." if same else "Its content is in no sample; the history keeps it first."
    )
    return PlanDraft(
        summary=f"Remove the {entry.name.state.value} proxy configuration {entry.label} from {ctx.device.hostname}.",
        effects=tuple(effects),
        fingerprint=f"{path} {sha256} {entry.name.state.value}",
        reversible=same,
        commands=tuple(commands),
        found=_Removal(place, entry),
    )


@operation(
    name="proxy_config_remove",
    effect=Effect.DESTROY,
    route="DELETE /api/proxies/{device}/configs/{service}",
    invalidates=PROXY_ANSWERS,
    commands=_COMMANDS,
    queries=PLACE_QUERIES,
    plan=_plan_removal,
    deadline=_DEADLINE,
)
async def proxy_config_remove(ctx: Context, params: RemoveParams) -> ProxyRemoved:
    """Delete a SWAG proxy configuration, enabled or disabled, after a plan. proxy_config_disable keeps the file."""
    found = ctx.planned(_Removal)
    place, entry = found.place, found.entry
    step = _removal(place, entry)
    loaded = entry.name.state is State.ENABLED
    await hand_over(ctx, place, [entry.file])  # it may be watched by nobody, and would be gone for good
    if loaded:
        await carry_out(ctx, place, [step])
    else:
        await remove_file(ctx, step.path, expect=entry.file.sha256)
    return ProxyRemoved(status="done", config=entry.label, files=[clean(step.path, 4000)], reloaded=loaded)


class SyncParams(DeviceParams):
    """Input of proxy_config_sync."""

    swag: Swag | None = None


@operation(
    name="proxy_config_sync",
    effect=Effect.CHANGE,
    route="POST /api/proxies/{device}/sync",
    invalidates=PROXY_ANSWERS,
    commands=LOOK,
    queries=PLACE_QUERIES,
)
async def proxy_config_sync(ctx: Context, params: SyncParams) -> ProxySync:
    """Read all SWAG files of a device anew, keep their versions, and tell what changed since the last sync.

    Changes nothing on the device.
    """
    place, inventory = await load(ctx, params.swag)
    files = [file for file in inventory.files.files if file.path.startswith(("proxy-confs/", "site-confs/"))]
    now = {file.path: file.sha256 for file in files}
    known: dict[str, dict[str, str]] = ctx.recall() or {}
    before = known.get(place.folder)
    kept = await hand_over(ctx, place, files)
    ctx.remember({**known, place.folder: now})
    old = before if before is not None else now
    return ProxySync(
        device=ctx.device.hostname,
        swag=place.name,
        files=len(files),
        added=words(sorted(now.keys() - old.keys()), _NAMES),
        changed=words(sorted(path for path in now.keys() & old.keys() if now[path] != old[path]), _NAMES),
        removed=words(sorted(old.keys() - now.keys()), _NAMES),
        first=before is None,
        versions_kept=kept,
        counts=counts_of(inventory),
    )


# --- parts ---------------------------------------------------------------------------------------------


def _content(entry: Entry) -> bytes:
    if entry.file.content is None:
        raise ValidationFailed(
            f"{entry.name.base} has {entry.file.size_bytes} bytes; that is no proxy configuration.",
            hint="Look at it on the device.",
        )
    return entry.file.content


def _removal(place: Place, entry: Entry) -> Remove:
    file = entry.file
    return Remove(
        path=place.path(file.path), before=_content(entry), mode=file.permissions, owner=f"{file.uid}:{file.gid}"
    )


async def _merged(ctx: Context, place: Place, inventory: Inventory, entry: Entry) -> str:
    sample = inventory.sample_of(entry)
    if sample is None or entry.name.state is State.SAMPLE:
        raise ValidationFailed(f"{entry.label} has no sample beside it to merge.", hint="Call without merge.")
    found = await offer(ctx, place, entry, sample)
    if found.merged is None:
        why = "is not newer" if not found.outdated else "is newer, but the one it was made from is not known"
        raise Conflict(
            f"The sample of {entry.label} ({sample.version}) {why}.",
            hint="proxy_config_get shows the difference to the sample; take over by hand what is wanted.",
        )
    if found.merged.conflicts:
        raise Conflict(
            f"{entry.label} and its sample of {sample.version} changed the same {found.merged.conflicts} places.",
            hint="proxy_config_get shows both sides as merge_diff.",
        )
    return found.merged.text


def _with_auth(entry: Entry, text: str, auth: Auth | None) -> str:
    try:
        return set_auth(read(text), auth)
    except CannotEdit as error:
        raise ValidationFailed(
            f"The login of {entry.label} cannot be changed to {auth or 'none'}: {error}", hint="Edit it by hand."
        ) from error


def _site_steps(place: Place, inventory: Inventory, kind: Kind, auth: Auth | None) -> Sequence[Put]:
    """The other half of a subfolder's login is in the server of the site configuration."""
    if kind is not Kind.SUBFOLDER or auth not in PROVIDERS or auth in (inventory.site_halves or ()):
        return ()
    found: dict[str, Put] = {}
    for site, _ in inventory.site_servers:
        before = site.content or b""
        try:
            after = encode(set_auth(read(decode(before)), auth, site=True))
        except CannotEdit as error:
            raise ValidationFailed(f"{site.path} cannot be given {auth}: {error}", hint="Edit it by hand.") from error
        if after != before:
            found[site.path] = Put(path=place.path(site.path), before=before, after=after)
    if not inventory.site_servers:
        raise ValidationFailed(
            f"No server of the site configuration includes subfolders, so {auth} cannot be asked there.",
            hint="Include /config/nginx/proxy-confs/*.subfolder.conf in a server first.",
        )
    return tuple(found.values())


async def _apply(
    ctx: Context,
    params: EnableParams | CreateParams | DisableParams,
    place: Place,
    steps: Sequence[Step],
    *,
    label: str,
    state: State,
) -> ProxyChange:
    warnings: tuple[NginxMessage, ...] = ()
    act = bool(steps) and not params.dry_run
    if act:
        warnings = await carry_out(ctx, place, steps)
    problems = await _problems_now(ctx, params.swag, label) if act and state is State.ENABLED else []
    sides = [side for step in steps for side in step.sides]
    if act:
        message = f"{label} is {state.value}; nginx accepted it and has loaded it."
    elif steps:
        message = f"{label} would be {state.value}; nothing was changed, and nginx was not asked."
    else:
        message = f"{label} is {state.value} already, just so; nothing was done."
    return ProxyChange(
        device=ctx.device.hostname,
        config=label,
        state=state,
        changed=act,
        files=words(clean(path, 4000) for path, _, _ in sides),
        diff=_differences(sides),
        nginx=words(one.sentence for one in warnings),
        reloaded=act,
        problems=problems[:20],
        message=message,
    )


async def _problems_now(ctx: Context, swag: str | None, label: str) -> list[Problem]:
    """What is wrong with it as it is on the device now. The change is done, so this can no longer fail it."""
    try:
        place, inventory = await load(ctx, swag)
        found, _ = await problems_of(ctx, place, inventory, [])
    except DataCollectionError as error:
        message = f"It was changed, but could not be read back: {error.message}"
        return [Problem(severity=Severity.WARNING, code="unread", config=label, message=clean(message, 300))]
    return [one for one in found if one.config == label]


def _differences(sides: Sequence[tuple[str, bytes | None, bytes | None]]) -> str:
    """Of all files; one that only got another name shows as that."""
    gone = {before: path for path, before, after in sides if after is None and before is not None}
    parts = []
    for path, before, after in sides:
        if after is None:
            if not any(one == before for _, _, one in sides):
                parts.append(f"--- {path}\n+++ /dev/null (removed)\n")
        elif before is None and after in gone:
            parts.append(f"rename from {gone[after]}\nrename to {path}\n")
        else:
            parts.append(difference(decode(before or b""), decode(after), path if before else "/dev/null", path))
    return clean("".join(parts), LONGEST_DIFF)


CHANGING: tuple[Any, ...] = (
    proxy_config_sync,
    proxy_config_create,
    proxy_config_enable,
    proxy_config_disable,
    proxy_config_remove,
)
