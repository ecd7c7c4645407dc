"""Names and results of the proxy operations."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from infrastructor.formats.swag import Auth, Kind, State
from infrastructor.operation import PLAIN, DestroyResult, Result, completes

ServiceName = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_-]*(?:\.[A-Za-z0-9_-]+)*$", max_length=120),
    Field(description="e.g. sonarr, or sonarr.subfolder.", json_schema_extra=PLAIN | completes("proxy")),
]
AuthChoice = Literal["none", "ldap", "authelia", "authentik", "tinyauth", "basic"]


def _absent(value: Any) -> bool:
    return value is None or value in ([], False)


class Severity(StrEnum):
    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


class Problem(Result):
    """Something wrong with a proxy configuration."""

    severity: Severity = Field(description="error: it does not work; warning: not as meant; info: worth knowing.")
    code: str = Field(
        description="upstream_missing, _stopped, _unshared (no network in common), _not_listening, _loopback; "
        "auth_half, conflicting_name, nginx_refuses, nginx_warns, not_loaded, placeholder, outdated, too_large, unread."
    )
    config: str = Field(description="Which configuration, e.g. sonarr.subdomain.")
    message: str = Field(description="What is wrong, in words.")
    line: int | None = Field(default=None, exclude_if=_absent, description="Line of the file.")


class ProxyRow(Result):
    """A proxy configuration in a list; what it does not have is left out."""

    service: str = Field(description="Name of the file's service.")
    kind: Kind = Field(description="subdomain or subfolder.")
    state: State = Field(description="enabled, disabled or sample.")
    names: list[str] = Field(default_factory=list, exclude_if=_absent, description="Server names.")
    paths: list[str] = Field(default_factory=list, exclude_if=_absent, description="Locations of a subfolder.")
    upstreams: list[str] = Field(default_factory=list, exclude_if=_absent, description="Where requests go.")
    auth: list[Auth] = Field(default_factory=list, exclude_if=_absent, description="Absent: nobody has to log in.")
    version: str | None = Field(default=None, exclude_if=_absent, description="Date of the sample it came from.")
    sample_version: str | None = Field(default=None, exclude_if=_absent, description="Of a newer sample.")
    problems: list[str] = Field(default_factory=list, exclude_if=_absent, description="What is wrong, in words.")


class ProxyConfigList(Result):
    """Proxy configurations of a SWAG: those with problems first, then by service."""

    device: str = Field(description="Device name.")
    swag: str = Field(description="SWAG's container, or its folder.")
    folder: str = Field(description="Its config folder on the device.")
    counts: dict[str, int] = Field(description="Files enabled, disabled, samples; enabled ones with problems.")
    configs: list[ProxyRow] = Field(description="The rows of this page.")
    total: int = Field(description="How many match.")
    unknown: list[str] = Field(description="What could not be found out.")
    next_cursor: str | None = Field(default=None, description="Pass as cursor for the rest.")


class LocationView(Result):
    """One location."""

    match: str = Field(description="As written, e.g. '^~ /sonarr'.")
    line: int = Field(description="Line of the file.")
    upstreams: list[str] = Field(default_factory=list, exclude_if=_absent, description="Where requests go.")
    auth: list[Auth] = Field(default_factory=list, exclude_if=_absent, description="Who asks for a login.")
    websockets: bool = Field(default=False, exclude_if=_absent, description="Upgrades are passed on.")
    headers: list[str] = Field(default_factory=list, exclude_if=_absent, description="Set or added here.")


class ServerView(Result):
    """One server; of a subfolder the one that its locations are put into."""

    names: list[str] = Field(description="Server names.")
    listens: list[str] = Field(description="As written.")
    certificate: bool = Field(description="It has one, by ssl.conf or its own.")
    auth_server_halves: list[Auth] = Field(description="Providers whose server half is included.")
    locations: list[LocationView] = Field(description="In the order of the file.")


class Comparison(Result):
    """A configuration beside its sample."""

    sample_version: str | None = Field(description="Date of the sample on the device.")
    outdated: bool = Field(description="The sample is newer than the configuration.")
    customised: bool = Field(description="It says something else than the sample, comments aside.")
    diff: str = Field(description="Unified, from the sample to the configuration; secrets masked.")
    merge: Literal["none", "clean", "conflicts", "no_base"] = Field(
        description="clean: proxy_config_enable with merge=true takes the sample's changes over; conflicts: by hand; "
        "no_base: the sample it came from is not known; none: nothing to take over."
    )
    merge_diff: str | None = Field(default=None, description="What a merge would change, or its conflicts.")


class ProxyConfig(Result):
    """One proxy configuration in full."""

    device: str = Field(description="Device name.")
    service: str = Field(description="Service.")
    kind: Kind = Field(description="subdomain or subfolder.")
    state: State = Field(description="enabled, disabled or sample.")
    path: str = Field(description="File on the device.")
    sha256: str = Field(description="Hash of its content.")
    mode: str = Field(description="Permissions, octal.")
    owner: str = Field(description="uid:gid.")
    modified_at: datetime = Field(description="Last change (UTC).")
    version: str | None = Field(description="Date in its first line.")
    servers: list[ServerView] = Field(description="What it says.")
    includes: list[str] = Field(description="Files it includes.")
    problems: list[Problem] = Field(description="What is wrong with it.")
    sample: Comparison | None = Field(description="Beside its sample; None without one.")
    text: str = Field(description="The file; secrets masked.")
    truncated: bool = Field(default=False, description="Something was cut for length.")


class SampleRow(Result):
    """A sample that SWAG offers."""

    service: str = Field(description="Service.")
    kind: Kind = Field(description="subdomain or subfolder.")
    version: str | None = Field(description="Date in its first line.")
    state: State | None = Field(default=None, exclude_if=_absent, description="Of the configuration made from it.")
    upstream: str | None = Field(default=None, exclude_if=_absent, description="Where it would send requests.")
    container: str | None = Field(default=None, exclude_if=_absent, description="A container of that name runs.")


class ProxySampleList(Result):
    """Samples that SWAG brings."""

    device: str = Field(description="Device name.")
    swag: str = Field(description="SWAG's container, or its folder.")
    samples: list[SampleRow] = Field(description="The rows of this page, by service.")
    total: int = Field(description="How many match.")
    next_cursor: str | None = Field(default=None, description="Pass as cursor for the rest.")


class Template(Result):
    """A text to start from."""

    kind: Kind = Field(description="subdomain or subfolder.")
    source: Literal["swag", "builtin"] = Field(description="swag: its own template; builtin: what generate uses.")
    version: str | None = Field(description="Date in its first line.")
    text: str = Field(description="With <placeholders>.")


class ProxyTemplateList(Result):
    """Templates for services without a sample."""

    device: str = Field(description="Device name.")
    templates: list[Template] = Field(description="SWAG's own first.")


class Unproxied(Result):
    """A container that SWAG could reach and does not."""

    container: str = Field(description="Name.")
    ports: list[int] = Field(description="TCP ports it exposes.")
    sample: str | None = Field(default=None, exclude_if=_absent, description="A sample of its name.")


class ProxySummary(Result):
    """State of a SWAG's proxies."""

    device: str = Field(description="Device name.")
    swag: str = Field(description="SWAG's container, or its folder.")
    folder: str = Field(description="Its config folder on the device.")
    running: bool | None = Field(description="Whether its container runs; None without a container.")
    counts: dict[str, int] = Field(description="Files by state, enabled ones by kind and by login.")
    nginx_accepts: bool | None = Field(description="What nginx -t says of all of it; None: not asked.")
    problems: list[Problem] = Field(description="Errors first.")
    problems_total: int = Field(description="More than shown when cut.")
    without_login: list[str] = Field(description="Enabled, and something in it asks for no login.")
    outdated: list[str] = Field(description="Enabled, and older than their sample.")
    unproxied: list[Unproxied] = Field(description="Containers on SWAG's networks with a port and no proxy.")
    unknown: list[str] = Field(description="What could not be found out.")


class ProxyDraft(Result):
    """A configuration that was only written down here."""

    device: str = Field(description="Device name.")
    path: str = Field(description="Where it would be.")
    source: str = Field(description="The sample it was made from, or builtin.")
    text: str = Field(description="The configuration.")
    notes: list[str] = Field(description="What to know before it is used.")


class ProxyChange(Result):
    """What was done to proxy configurations."""

    device: str = Field(description="Device name.")
    config: str = Field(description="e.g. sonarr.subdomain.")
    state: State = Field(description="Its state now, or what it would be.")
    changed: bool = Field(description="False: it was so already, or dry_run.")
    files: list[str] = Field(description="Files written, moved or removed.")
    diff: str = Field(description="Unified, over all files; secrets masked.")
    nginx: list[str] = Field(description="Warnings of nginx -t.")
    reloaded: bool = Field(description="nginx has loaded it.")
    problems: list[Problem] = Field(description="What is wrong with it nevertheless, e.g. its upstream.")
    message: str = Field(description="What happened, in words.")


class ProxyRemoved(DestroyResult):
    """Outcome of removing a proxy configuration."""

    config: str | None = Field(default=None, description="What was removed.")
    files: list[str] = Field(default_factory=list, description="Files removed.")
    reloaded: bool = Field(default=False, description="nginx has loaded the rest.")


class ProxySync(Result):
    """What a fresh reading found."""

    device: str = Field(description="Device name.")
    swag: str = Field(description="SWAG's container, or its folder.")
    files: int = Field(description="Configurations and samples read.")
    added: list[str] = Field(description="Not there at the last sync of this server.")
    changed: list[str] = Field(description="Another content.")
    removed: list[str] = Field(description="Gone.")
    first: bool = Field(description="There was no last sync to compare with.")
    versions_kept: int | None = Field(description="New versions put into the history; None: this server keeps none.")
    counts: dict[str, int] = Field(description="Files by state.")
