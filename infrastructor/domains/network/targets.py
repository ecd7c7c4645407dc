"""What a connectivity check may aim at. Pure.

The device asks from its own place in the network, private addresses included: that is the use of it. Refused are the
addresses that hand credentials of a cloud machine to whoever asks from it, in every spelling; names are looked up on
the device first and what they mean is checked the same way. No content of an answer is ever returned.
"""

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field, StringConstraints

from infrastructor.domains.network.addresses import Address
from infrastructor.errors import ValidationFailed

Target = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z0-9\[:][!-~]{0,999}$"),
    Field(description="host, host:port or http(s) URL."),
]

# Link-local of both kinds holds the metadata services of AWS, Azure, Google and OpenStack; the others are AWS's IPv6
# and Alibaba's.
_METADATA = tuple(
    map(ip_network, ("169.254.0.0/16", "fe80::/10", "fd00:ec2::/32", "100.100.100.200/32", "192.0.0.192/32"))
)
_NAT64 = ip_network("64:ff9b::/96")
_SIXTOFOUR = ip_network("2002::/16")
_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_NAME = re.compile(rf"(?=.{{1,253}}$){_LABEL}(?:\.{_LABEL})*\.?")
# What resolvers take for an IPv4 address in disguise: 2852039166, 0xa9.254.43518.
_NUMERIC_END = re.compile(r"(?:^|\.)(?:[0-9]+|0[xX][0-9A-Fa-f]*)\.?$")
_PATH = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=:@%/-]*")
_TOP_PORT = 65535
_PORTS = {"http": 80, "https": 443}
_HINT = "Give a host name or IP, host:port, or an http(s) URL without credentials, e.g. db.lan:5432 or [fd00::1]:443."


@dataclass(frozen=True, slots=True)
class Goal:
    """A target, taken apart. `scheme` None: no HTTP; `port` None: only the name is looked up."""

    host: str
    port: int | None
    scheme: str | None
    path: str

    @property
    def address(self) -> Address | None:
        """The host when it is an address already."""
        return _literal(self.host)

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}{self.path}"


def goal(target: str) -> Goal:
    """Raises `ValidationFailed` for what is no target, and for a metadata address."""
    scheme, path = None, ""
    authority = target
    if "://" in target:
        scheme, authority, path = _url(target)
    host, port = _host_and_port(authority)
    found = Goal(host=host, port=port if port is not None else _PORTS.get(scheme or ""), scheme=scheme, path=path)
    if (address := found.address) is not None:
        check_address(host, address)
    elif not _NAME.fullmatch(host) or _NUMERIC_END.search(host):
        raise ValidationFailed(f"{host!r} is neither a host name nor an IP address.", hint=_HINT)
    return found


def check_address(host: str, address: Address) -> None:
    """Raises `ValidationFailed` for an address that may not be tried."""
    for form in _forms(address):
        if any(form.version == network.version and form in network for network in _METADATA):
            raise ValidationFailed(
                f"{host} is the link-local or metadata address {address}, which is not tried.",
                hint="Such addresses give credentials to whoever asks from the machine; ask for another target.",
            )


def _forms(address: Address) -> list[Address]:
    """The address, and the IPv4 address it may stand for."""
    forms = [address]
    if isinstance(address, IPv6Address):
        packed = address.packed
        forms += [address.ipv4_mapped] if address.ipv4_mapped else []
        forms += [IPv4Address(packed[12:])] if address in _NAT64 or not any(packed[:12]) else []
        forms += [IPv4Address(packed[2:6])] if address in _SIXTOFOUR else []
    return forms


def _url(target: str) -> tuple[str, str, str]:
    try:
        parts = urlsplit(target)
    except ValueError as error:
        raise ValidationFailed("The URL cannot be read.", hint=_HINT) from error
    if parts.scheme not in _PORTS:
        raise ValidationFailed(f"Only http and https URLs are tried, not {parts.scheme[:40]!r}.", hint=_HINT)
    if "@" in parts.netloc:
        raise ValidationFailed("The URL carries credentials.", hint="Leave them out; only whether it answers is asked.")
    if parts.query or parts.fragment or not _PATH.fullmatch(parts.path):
        raise ValidationFailed("The URL may have a path, but no query and no fragment.", hint=_HINT)
    return parts.scheme, parts.netloc, parts.path or "/"


def _host_and_port(authority: str) -> tuple[str, int | None]:
    if _literal(authority) is not None:  # fd00::1 without brackets
        return authority, None
    match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\[\]:@/?#\s]+))(?::([0-9]{1,5}))?", authority)
    if match is None or (match[1] and _literal(match[1]) is None):
        raise ValidationFailed(f"{authority[:100]!r} is no target.", hint=_HINT)
    port = int(match[3]) if match[3] else None
    if port is not None and not 0 < port <= _TOP_PORT:
        raise ValidationFailed(f"{port} is no port.", hint="Ports are 1 to 65535.")
    return match[1] or match[2], port


def _literal(text: str) -> Address | None:
    try:
        return None if "%" in text else ip_address(text)
    except ValueError:
        return None
