"""Operations that look at the proxies of a SWAG."""

from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Literal

from pydantic import Field

from infrastructor.domains.containers.rows import Row
from infrastructor.domains.proxies.commands import CheckNginx, PodmanCheckNginx, ReadListeners
from infrastructor.domains.proxies.comparing import compare, offer
from infrastructor.domains.proxies.findings import check, of_nginx
from infrastructor.domains.proxies.inventory import Entry, Inventory, sort_files
from infrastructor.domains.proxies.models import (
    Problem,
    ProxyConfig,
    ProxyConfigList,
    ProxySampleList,
    ProxySummary,
    ProxyTemplateList,
    SampleRow,
    ServiceName,
    Severity,
    Template,
    Unproxied,
)
from infrastructor.domains.proxies.place import (
    PLACE_COMMANDS,
    PLACE_QUERIES,
    Place,
    Swag,
    find_place,
    read_configs,
)
from infrastructor.domains.proxies.runtime import gather
from infrastructor.domains.proxies.upstreams import Runtime
from infrastructor.domains.proxies.views import LONGEST_TEXT, moment, row, servers, shown, words
from infrastructor.errors import Conflict, NotFound
from infrastructor.formats.swag import Kind, State
from infrastructor.formats.swag_edit import new_text
from infrastructor.operation import PLAIN, Cache, CachedParams, Context, operation
from infrastructor.paging import Cursor, Limit, page_within
from infrastructor.ports.callers import Effect
from infrastructor.sanitize import clean

LOOK = (*PLACE_COMMANDS, ReadListeners)
TESTS = (CheckNginx, PodmanCheckNginx)
_TTL = timedelta(minutes=15)
_SUMMARY_TTL = timedelta(minutes=1)
_PROBLEMS = 60
_NAMES = 60
_UNPROXIED = 30
_NEVER_PROXIED = frozenset({53, 3306, 5432, 5672, 6379, 11211, 27017, 1883, 22, 25, 587, 993})


async def load(ctx: Context, swag: str | None) -> tuple[Place, Inventory]:
    """The SWAG of a device and its files."""
    place = await find_place(ctx, swag)
    return place, sort_files(await read_configs(ctx, place))


async def problems_of(
    ctx: Context, place: Place, inventory: Inventory, unknown: list[str]
) -> tuple[list[Problem], Runtime]:
    """Everything that can be found without asking nginx."""
    runtime = await gather(ctx, place, [entry.proxy for entry in inventory.enabled], unknown)
    if inventory.files.denied:
        unknown.append(f"{len(inventory.files.denied)} files may not be read: {words(inventory.files.denied, 5)}.")
    return check(inventory, runtime), runtime


def find_entry(inventory: Inventory, wanted: str, device: str, states: Sequence[State] = tuple(State)) -> Entry:
    """The configuration that a name means: `sonarr`, `sonarr.subfolder`. What is enabled goes before the others."""
    named = [entry for entry in inventory.entries if wanted in {entry.service, entry.label, entry.name.full}]
    for state in states:
        found = [entry for entry in named if entry.name.state is state]
        if len(found) == 1:
            return found[0]
        if found:
            labels = ", ".join(entry.label for entry in found)
            raise Conflict(f"{wanted!r} is {state.value} more than once: {labels}.", hint="Name one of them in full.")
    text = wanted.partition(".")[0].lower()
    near = sorted({entry.label for entry in inventory.entries if text in entry.service.lower()})
    names = " or ".join(state.value for state in states)
    raise NotFound(
        f"{device} has no proxy configuration {wanted!r} that is {names}.",
        hint=f"Near it: {', '.join(near[:10])}." if near else "proxy_config_list and proxy_sample_list tell the names.",
    )


def counts_of(inventory: Inventory) -> dict[str, int]:
    found = Counter({"enabled": len(inventory.enabled), "disabled": len(inventory.disabled)})
    found["samples"] = len(inventory.samples)
    return dict(found)


class ProxyListParams(CachedParams):
    """Input of proxy_config_list."""

    match: str | None = Field(default=None, max_length=200, description="Text in service, name, upstream or problem.")
    swag: Swag | None = None
    limit: Limit = 100
    cursor: Cursor | None = None


@operation(
    name="proxy_config_list",
    effect=Effect.READ,
    route="GET /api/proxies/{device}/configs",
    resource_uri="swag://{device}",
    cache=Cache("proxies", _TTL),
    commands=LOOK,
    queries=PLACE_QUERIES,
)
async def proxy_config_list(ctx: Context, params: ProxyListParams) -> ProxyConfigList:
    """List enabled and disabled SWAG proxies: names, upstreams, login, what is wrong. Problems come first."""
    unknown: list[str] = []
    place, inventory = await load(ctx, params.swag)
    problems, _ = await problems_of(ctx, place, inventory, unknown)
    rows = [row(entry, inventory, problems) for entry in (*inventory.enabled, *inventory.disabled)]
    text = (params.match or "").lower()
    matching = [one for one in rows if text in one.model_dump_json(exclude={"state"}).lower()]
    matching.sort(key=lambda one: (not one.problems, one.service, one.kind))
    shown_rows, next_cursor = page_within(matching, params.limit, params.cursor)
    return ProxyConfigList(
        device=ctx.device.hostname,
        swag=place.name,
        folder=place.folder,
        counts=counts_of(inventory) | {"with_problems": sum(1 for one in rows if one.problems)},
        configs=shown_rows,
        total=len(matching),
        unknown=unknown,
        next_cursor=next_cursor,
    )


class ProxyGetParams(CachedParams):
    """Input of proxy_config_get."""

    service: ServiceName
    swag: Swag | None = None


@operation(
    name="proxy_config_get",
    effect=Effect.READ,
    route="GET /api/proxies/{device}/configs/{service}",
    resource_uri="swag://{device}/{service}",
    cache=Cache("proxy_config", _TTL),
    commands=LOOK,
    queries=PLACE_QUERIES,
)
async def proxy_config_get(ctx: Context, params: ProxyGetParams) -> ProxyConfig:
    """Show one SWAG proxy in full, beside its sample: what differs, and a merge when the sample moved on.

    Without a configuration the sample is shown.
    """
    place, inventory = await load(ctx, params.swag)
    entry = find_entry(inventory, params.service, ctx.device.hostname)
    unknown: list[str] = []
    problems, _ = await problems_of(ctx, place, inventory, unknown)
    sample = inventory.sample_of(entry) if entry.name.state is not State.SAMPLE else None
    file = entry.file
    found = servers(entry.proxy)
    return ProxyConfig(
        device=ctx.device.hostname,
        service=clean(entry.service, 200),
        kind=entry.name.kind,
        state=entry.name.state,
        path=clean(place.path(file.path), 4000),
        sha256=file.sha256,
        mode=f"{file.permissions:o}",
        owner=f"{file.uid}:{file.gid}",
        modified_at=moment(file.modified_s),
        version=entry.version,
        servers=found if len(str(found)) < LONGEST_TEXT else [],
        includes=words(entry.proxy.includes, 30),
        problems=[one for one in problems if one.config == entry.label and entry.name.state is State.ENABLED][:20],
        sample=compare(entry, await offer(ctx, place, entry, sample)) if sample else None,
        text=shown(entry.text),
        truncated=len(entry.text) > LONGEST_TEXT or len(str(found)) >= LONGEST_TEXT,
    )


class TemplateParams(CachedParams):
    """Input of proxy_template_list."""

    swag: Swag | None = None


@operation(
    name="proxy_template_list",
    effect=Effect.READ,
    route="GET /api/proxies/{device}/templates",
    cache=Cache("proxy_templates", _TTL),
    commands=LOOK,
    queries=PLACE_QUERIES,
)
async def proxy_template_list(ctx: Context, params: TemplateParams) -> ProxyTemplateList:
    """Show the templates for services without a sample. proxy_config_generate fills one in."""
    _, inventory = await load(ctx, params.swag)
    own = [
        Template(kind=one.name.kind, source="swag", version=one.version, text=shown(one.text, 6000))
        for one in inventory.templates
    ]
    builtin = [
        Template(
            kind=kind,
            source="builtin",
            version=None,
            text=new_text(kind, service="<service>", app="<container>", port="<port>", proto="<http or https>"),
        )
        for kind in Kind
    ]
    return ProxyTemplateList(device=ctx.device.hostname, templates=[*own, *builtin])


class SampleListParams(CachedParams):
    """Input of proxy_sample_list."""

    match: str | None = Field(default=None, max_length=200, description="Text in the service.", json_schema_extra=PLAIN)
    kind: Kind | None = Field(default=None, description="Only these.", json_schema_extra=PLAIN)
    only: Literal["all", "running"] = Field(default="all", description="running: services with a running container.")
    swag: Swag | None = None
    limit: Limit = 100
    cursor: Cursor | None = None


@operation(
    name="proxy_sample_list",
    effect=Effect.READ,
    route="GET /api/proxies/{device}/samples",
    cache=Cache("proxy_samples", _TTL),
    commands=LOOK,
    queries=PLACE_QUERIES,
)
async def proxy_sample_list(ctx: Context, params: SampleListParams) -> ProxySampleList:
    """List the samples that SWAG brings, and which are in use. proxy_config_enable puts one to use."""
    place, inventory = await load(ctx, params.swag)
    running = {one.name for one in place.rows or () if one.state == "running"}
    text = (params.match or "").lower()
    matching = [
        one
        for one in inventory.samples
        if text in one.service.lower()
        and params.kind in {None, one.name.kind}
        and (params.only == "all" or one.service in running)
    ]
    start = int(params.cursor or 0)
    # Only what may be shown is read: there are hundreds.
    read = {one.file.path for one in matching[start : start + params.limit]}
    rows = [_sample_row(one, inventory, running, full=one.file.path in read) for one in matching]
    shown_rows, next_cursor = page_within(rows, params.limit, params.cursor)
    return ProxySampleList(
        device=ctx.device.hostname, swag=place.name, samples=shown_rows, total=len(matching), next_cursor=next_cursor
    )


def _sample_row(one: Entry, inventory: Inventory, running: set[str], *, full: bool) -> SampleRow:
    used = [state for state in (State.ENABLED, State.DISABLED) if inventory.find(one.name.base, state)]
    upstreams = one.proxy.upstreams if full else ()
    return SampleRow(
        service=clean(one.service, 200),
        kind=one.name.kind,
        version=one.version,
        state=used[0] if used else None,
        upstream=clean(upstreams[0].text, 200) if upstreams else None,
        container=one.service if one.service in running else None,
    )


class SummaryParams(CachedParams):
    """Input of proxy_summary."""

    swag: Swag | None = None


@operation(
    name="proxy_summary",
    effect=Effect.READ,
    route="GET /api/proxies/{device}/summary",
    resource_uri="proxies://{device}/summary",
    cache=Cache("proxy_summary", _SUMMARY_TTL),
    commands=(*LOOK, *TESTS),
    queries=PLACE_QUERIES,
)
async def proxy_summary(ctx: Context, params: SummaryParams) -> ProxySummary:
    """Judge all SWAG proxies of a device: dead upstreams, conflicts, missing logins, what nginx -t says.

    Start here when a site does not answer.
    """
    unknown: list[str] = []
    place, inventory = await load(ctx, params.swag)
    problems, runtime = await problems_of(ctx, place, inventory, unknown)
    accepts = None
    if place.container is not None and place.container.state.status == "running":
        test = await ctx.run(CheckNginx(container=place.container.id))
        accepts = test.passed
        if test.passed is None:
            unknown.append(f"What nginx says: {'; '.join(one.text for one in test.messages) or 'nothing'}.")
        problems = _without_twice(of_nginx(test, inventory), problems)
    issues = [one for one in problems if one.severity is not Severity.INFO]
    return ProxySummary(
        device=ctx.device.hostname,
        swag=place.name,
        folder=place.folder,
        running=place.container.state.status == "running" if place.container else None,
        counts=counts_of(inventory) | _by_login(inventory),
        nginx_accepts=accepts,
        problems=issues[:_PROBLEMS],
        problems_total=len(issues),
        without_login=words([one.label for one in inventory.enabled if one.proxy.open_locations], _NAMES),
        outdated=words([one.config for one in problems if one.code == "outdated"], _NAMES),
        unproxied=_unproxied(inventory, runtime)[:_UNPROXIED],
        unknown=unknown,
    )


def _without_twice(first: list[Problem], others: list[Problem]) -> list[Problem]:
    """What nginx says goes first; what was found without it says the same of a conflicting name in other words."""
    conflicts = any(one.code == "conflicting_name" for one in others)
    told = [one for one in first if not (conflicts and one.code == "conflicting_name")]
    return [*told, *others]


def _by_login(inventory: Inventory) -> dict[str, int]:
    found: Counter[str] = Counter()
    for entry in inventory.enabled:
        found[entry.name.kind.value] += 1
        for auth in entry.proxy.auth or ("no_login",):
            found[str(auth)] += 1
    return dict(sorted(found.items()))


def _unproxied(inventory: Inventory, runtime: Runtime) -> list[Unproxied]:
    """Running containers on SWAG's networks with a port that may be a web page, and no enabled configuration."""
    hosts = {upstream.host for entry in inventory.enabled for upstream in entry.proxy.upstreams if upstream.host}
    samples = {one.service for one in inventory.samples}
    found = []
    for one in runtime.rows or ():
        ports = web_ports(one)
        near = runtime.networks.intersection(one.networks)
        known = {one.name, one.service, one.id[:12]} & hosts
        if one.state == "running" and near and ports and not known and one.id != (runtime.swag and runtime.swag.id):
            sample = next((name for name in (one.name, one.service) if name in samples), None)
            found.append(Unproxied(container=clean(one.name, 200), ports=ports, sample=sample))
    return found


def web_ports(one: Row) -> list[int]:
    """The TCP ports of a container that may serve pages."""
    return sorted({port.container for port in one.ports if port.kind == "tcp"} - _NEVER_PROXIED)


READING: tuple[Any, ...] = (proxy_config_list, proxy_config_get, proxy_template_list, proxy_sample_list, proxy_summary)
