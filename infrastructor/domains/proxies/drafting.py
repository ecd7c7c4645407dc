"""Writing a proxy configuration: from a sample where there is one, else in our own words."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from infrastructor.domains.containers.rows import Row
from infrastructor.domains.proxies.inventory import Entry, Inventory
from infrastructor.domains.proxies.looking import LOOK, load, web_ports
from infrastructor.domains.proxies.models import AuthChoice, ProxyDraft
from infrastructor.domains.proxies.place import PLACE_QUERIES, Place, Swag
from infrastructor.domains.proxies.views import shown
from infrastructor.errors import NotFound, ValidationFailed
from infrastructor.formats.nginx import read
from infrastructor.formats.swag import Auth, FileName, Kind, State
from infrastructor.formats.swag_edit import (
    PROVIDERS,
    CannotEdit,
    new_text,
    set_auth,
    set_names,
    set_upstream,
)
from infrastructor.operation import PLAIN, Context, DeviceParams, operation
from infrastructor.ports.callers import Effect
from infrastructor.sanitize import clean

_ADVICE = 8

NewService = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"),
    Field(description="First part of its name, or its path.", json_schema_extra=PLAIN),
]
UpstreamHost = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?$"),
    Field(description="Container or host; default: the service."),
]


class DraftParams(DeviceParams):
    """What a new configuration should say."""

    service: NewService
    kind: Kind = Field(default=Kind.SUBDOMAIN, description="subdomain or subfolder.", json_schema_extra=PLAIN)
    upstream: UpstreamHost | None = None
    port: int | None = Field(default=None, ge=1, le=65535, description="Of the upstream.", json_schema_extra=PLAIN)
    proto: Literal["http", "https"] | None = Field(default=None, description="Default: http.", json_schema_extra=PLAIN)
    auth: AuthChoice = Field(default="none", description="Who asks for a login.", json_schema_extra=PLAIN)
    swag: Swag | None = None


class Draft:
    """A text that is about to be a file."""

    def __init__(self, name: FileName, text: str, source: str, notes: list[str]) -> None:
        self.name = name
        self.text = text
        self.source = source
        self.notes = notes


@operation(
    name="proxy_config_generate",
    effect=Effect.READ,
    route="GET /api/proxies/{device}/generate",
    commands=LOOK,
    queries=PLACE_QUERIES,
)
async def proxy_config_generate(ctx: Context, params: DraftParams) -> ProxyDraft:
    """Write a SWAG proxy for a container or host:port, from its sample if there is one. Nothing is saved.

    proxy_config_create saves it.
    """
    place, inventory = await load(ctx, params.swag)
    made = draft(params, place, inventory)
    return ProxyDraft(
        device=ctx.device.hostname,
        path=clean(place.path(f"proxy-confs/{made.name.base}"), 4000),
        source=made.source,
        text=shown(made.text, 24_000),
        notes=made.notes,
    )


def choice(auth: AuthChoice) -> Auth | None:
    return None if auth == "none" else Auth(auth)


def draft(params: DraftParams, place: Place, inventory: Inventory) -> Draft:
    """Raises `ValidationFailed` for what the sample has no place for, `NotFound` for an upstream that nobody knows."""
    name = FileName(params.service, params.kind, State.ENABLED)
    notes: list[str] = []
    row = _container(params.upstream or params.service, place)
    sample = _sample(inventory, name, row)
    try:
        text = _from_sample(params, sample, row) if sample else _own_words(params, place, row, notes)
        auth = choice(params.auth)
        text = set_auth(read(text), auth)
    except CannotEdit as error:
        source = sample.name.named(State.SAMPLE) if sample else "the template"
        raise ValidationFailed(
            f"{source} cannot be made into {name.base}: {error}",
            hint="Enable the sample as it is, or write the file by hand.",
        ) from error
    notes += _advice(sample) if sample else []
    if auth in PROVIDERS and params.kind is Kind.SUBFOLDER and auth not in (inventory.site_halves or ()):
        notes.append(f"The site configuration gets {auth}-server.conf too: both halves belong together.")
    if auth is None:
        notes.append("Nobody has to log in; say auth if this is not meant for everybody.")
    return Draft(name, text, sample.name.named(State.SAMPLE) if sample else "builtin", notes)


def _container(wanted: str, place: Place) -> Row | None:
    return next((row for row in place.rows or () if wanted in {row.name, row.service}), None)


def _sample(inventory: Inventory, name: FileName, row: Row | None) -> Entry | None:
    """The sample of this service; else that of the container's own name or of its image."""
    image = row.image.partition("@")[0].rpartition("/")[2].partition(":")[0] if row else None
    for service in (name.service, row.name if row else None, row.service if row else None, image):
        found = inventory.find(f"{service}.{name.kind.value}.conf", State.SAMPLE) if service else None
        if found is not None and found.file.content is not None:
            return found
    return None


def _from_sample(params: DraftParams, sample: Entry, row: Row | None) -> str:
    app = params.upstream or (row.name if row else None)
    text = sample.text
    first = next(iter(sample.proxy.upstreams), None)
    changes = app not in {None, first.host if first else None} or params.port is not None or params.proto is not None
    if changes:
        text = set_upstream(read(text), app=app, port=params.port, proto=params.proto)
    if sample.service != params.service:
        if params.kind is Kind.SUBFOLDER:
            raise CannotEdit(f"its paths are those of {sample.service}")
        text = set_names(read(text), sample.service, params.service)
    return text


def _own_words(params: DraftParams, place: Place, row: Row | None, notes: list[str]) -> str:
    app = params.upstream or (row.name if row else None)
    if app is None:
        raise NotFound(
            f"There is no sample and no container named {params.service}.", hint="Say upstream and port of the service."
        )
    port = params.port
    if port is None:
        ports = web_ports(row) if row else []
        if len(ports) != 1:
            told = f"it exposes {', '.join(map(str, ports))}" if ports else "it exposes none"
            raise ValidationFailed(f"Which port of {app}? {told}.".replace("? it", "? It"), hint="Say port.")
        port = ports[0]
        notes.append(f"{app} exposes only {port}.")
    if place.rows is not None and row is None and "." not in app:
        notes.append(f"No container is named {app}.")
    return new_text(params.kind, service=params.service, app=app, port=port, proto=params.proto or "http")


def _advice(sample: Entry) -> list[str]:
    """What the sample's own head says to do first."""
    lines = sample.text.split("\n")[1:]
    found = []
    for line in lines:
        if not line.startswith("#"):
            break
        found.append(clean(line.strip("# \r"), 300))
    return [line for line in found if line][:_ADVICE]
