"""How configurations are shown: masked, cleaned and cut. Pure."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from difflib import unified_diff

from infrastructor.domains.proxies.inventory import Entry, Inventory
from infrastructor.domains.proxies.models import LocationView, Problem, ProxyRow, ServerView, Severity
from infrastructor.formats.merge import lines_of
from infrastructor.formats.nginx_secrets import masked
from infrastructor.formats.swag import Kind, Proxy
from infrastructor.sanitize import clean

LONGEST_TEXT = 12_000
LONGEST_DIFF = 6_000
_MANY = 12
_WORD = 200


def shown(text: str, limit: int = LONGEST_TEXT) -> str:
    """A text as it may leave us."""
    return clean(masked(text), limit)


def difference(old: str, new: str, old_name: str, new_name: str, limit: int = LONGEST_DIFF) -> str:
    """Unified, of the masked texts. A secret that changed does not show; `Entry.sha256` tells that something did."""
    lines = unified_diff(lines_of(masked(old)), lines_of(masked(new)), old_name, new_name, n=2)
    return clean("".join(line if line.endswith("\n") else f"{line}\n" for line in lines), limit)


def row(entry: Entry, inventory: Inventory, problems: Iterable[Problem]) -> ProxyRow:
    proxy = entry.proxy
    sample = inventory.sample_of(entry)
    newer = sample is not None and sample.version and entry.version and sample.version > entry.version
    paths = [location.match for location in proxy.locations] if entry.name.kind is Kind.SUBFOLDER else []
    return ProxyRow(
        service=clean(entry.service, _WORD),
        kind=entry.name.kind,
        state=entry.name.state,
        names=words(proxy.names),
        paths=words(paths),
        upstreams=words(upstream.text for upstream in proxy.upstreams),
        auth=list(proxy.auth),
        version=entry.version,
        sample_version=sample.version if sample and newer else None,
        problems=[one.message for one in problems if one.config == entry.label and one.severity is not Severity.INFO][
            :_MANY
        ],
    )


def servers(proxy: Proxy, most_locations: int = 40) -> list[ServerView]:
    return [
        ServerView(
            names=words(server.names),
            listens=words(server.listens),
            certificate=server.certificate,
            auth_server_halves=list(server.halves),
            locations=[
                LocationView(
                    match=clean(location.match, _WORD),
                    line=location.line,
                    upstreams=words(upstream.text for upstream in location.upstreams),
                    auth=list(location.auth),
                    websockets=location.websockets,
                    headers=[
                        clean(masked(f"{kind} {name} {_quoted(value)};").removesuffix(";"), _WORD)
                        for kind, name, value in location.headers[:_MANY]
                    ],
                )
                for location in server.locations[:most_locations]
            ],
        )
        for server in proxy.servers[:most_locations]
    ]


def moment(seconds: int) -> datetime:
    """A time of a file; one that no calendar has becomes the first."""
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError):
        return datetime.fromtimestamp(0, UTC)


def words(values: Iterable[str], limit: int = _MANY) -> list[str]:
    found: Sequence[str] = list(dict.fromkeys(values))
    rest = [f"… {len(found) - limit} more"] if len(found) > limit else []
    return [*(clean(value, _WORD) for value in found[:limit]), *rest]


def _quoted(value: str) -> str:
    text = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"' if not value or any(sign in value for sign in " ;{}\"'") else value
