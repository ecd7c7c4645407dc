"""What is wrong with a SWAG's proxy configurations. Pure."""

import re
from collections.abc import Iterator
from posixpath import basename

from infrastructor.domains.proxies.inventory import Entry, Inventory
from infrastructor.domains.proxies.models import Problem, Severity
from infrastructor.domains.proxies.parsers import NginxTest
from infrastructor.domains.proxies.place import CONFIG
from infrastructor.domains.proxies.upstreams import Runtime, judge
from infrastructor.formats.nginx import walk
from infrastructor.formats.swag import Kind, Server
from infrastructor.sanitize import clean

_PLACEHOLDER = re.compile(r"<[a-z][a-z_ ]*>")
_TEXT = 300


def check(inventory: Inventory, runtime: Runtime) -> list[Problem]:
    """Every problem of what is enabled: errors first, then by service."""
    found: list[Problem] = []
    for entry in inventory.enabled:
        found += _of_text(entry, inventory)
        found += _of_auth(entry, inventory)
        found += _of_upstreams(entry, runtime)
        found += _of_version(entry, inventory)
    found += _of_duplicates(inventory)
    for name in inventory.strays:
        message = "SWAG loads only names that end in .subdomain.conf or .subfolder.conf."
        found.append(_problem(Severity.WARNING, "not_loaded", clean(name, _TEXT), message))
    return sorted(found, key=lambda one: (list(Severity).index(one.severity), one.config, one.code, one.message))


def of_nginx(test: NginxTest, inventory: Inventory) -> list[Problem]:
    """What nginx itself said, under the configuration it names."""
    found = []
    for message in test.messages:
        if message.level == "engine":
            continue
        relative = (message.path or "").removeprefix(f"{CONFIG}/nginx/")
        entry = next((one for one in inventory.entries if one.file.path == relative), None)
        config = entry.label if entry else basename(relative) or "nginx"
        code = "conflicting_name" if message.conflicting_name else "nginx_refuses"
        severity = Severity.ERROR if message.conflicting_name or message in test.errors else Severity.WARNING
        code = code if severity is Severity.ERROR else "nginx_warns"
        found.append(_problem(severity, code, clean(config, _TEXT), f"nginx: {message.text}", message.line))
    return found


def _problem(severity: Severity, code: str, config: str, message: str, line: int | None = None) -> Problem:
    return Problem(severity=severity, code=code, config=config, message=clean(message, _TEXT), line=line)


def _of_text(entry: Entry, inventory: Inventory) -> Iterator[Problem]:
    if entry.file.content is None:
        message = f"It has {entry.file.size_bytes} bytes, and was not read."
        yield _problem(Severity.WARNING, "too_large", entry.label, message)
        return
    for fault in entry.document.faults[:5]:
        yield _problem(Severity.ERROR, "nginx_refuses", entry.label, fault.message, fault.line)
    for one in walk(entry.document.directives):
        left = next((arg for arg in one.args if _PLACEHOLDER.search(arg)), None)
        if left is not None:
            message = f"{one.name} {left}: a placeholder of the template was left in."
            yield _problem(Severity.ERROR, "placeholder", entry.label, message, one.line)
        if one.name in {"include", "auth_basic_user_file"} and one.args and _is_missing(one.args[0], inventory):
            code = "nginx_refuses" if one.name == "include" else "auth_half"
            message = f"{one.args[0]} does not exist."
            yield _problem(Severity.ERROR, code, entry.label, message, one.line)
    if entry.name.kind not in inventory.loads and inventory.sites:
        message = f"The site configuration does not include proxy-confs/*.{entry.name.kind.value}.conf."
        yield _problem(Severity.ERROR, "not_loaded", entry.label, message)
    for server in entry.proxy.servers:
        tls = next((listen for listen in server.listens if "ssl" in listen.split()), None)
        if tls and not server.certificate and not inventory.certificate_for_all:
            message = f"listen {tls} without a certificate: ssl.conf is not included."
            yield _problem(Severity.ERROR, "nginx_refuses", entry.label, message, server.line)


def _is_missing(path: str, inventory: Inventory) -> bool:
    """Of files right in the nginx folder, whose names are known; patterns may match nothing."""
    folder, _, name = path.rpartition("/")
    return folder == f"{CONFIG}/nginx" and not re.search(r"[*?\[$]", name) and name not in inventory.files.beside


def _of_auth(entry: Entry, inventory: Inventory) -> Iterator[Problem]:
    for server in entry.proxy.servers:
        in_site = entry.name.kind is Kind.SUBFOLDER and not server.names
        held = inventory.site_halves if in_site else frozenset(server.halves)
        asked = {half for location in server.locations for half in location.halves}
        where = "the server of the site configuration" if in_site else "its server"
        for half in sorted(asked - held if held is not None else ()):
            message = f"A location includes {half}-location.conf, but {where} does not include {half}-server.conf."
            yield _problem(Severity.ERROR, "auth_half", entry.label, message, server.line)
        for half in sorted(set(server.halves) - asked):
            message = f"{half}-server.conf is included, but no location asks for it: nobody has to log in."
            yield _problem(Severity.WARNING, "auth_half", entry.label, message, server.line)
        for location in server.locations:
            if location.broken_basic:
                message = f"location {location.match}: auth_basic without auth_basic_user_file asks for no password."
                yield _problem(Severity.ERROR, "auth_half", entry.label, message, location.line)
            if len(location.halves) > 1:
                message = f"location {location.match} has {' and '.join(location.halves)}; only one can ask."
                yield _problem(Severity.ERROR, "nginx_refuses", entry.label, message, location.line)


def _of_upstreams(entry: Entry, runtime: Runtime) -> Iterator[Problem]:
    for upstream in entry.proxy.upstreams:
        verdict = judge(upstream, runtime)
        if verdict is not None:
            message = f"{upstream.text}: {verdict.message}"
            yield _problem(Severity.ERROR, verdict.code, entry.label, message, upstream.line)


def _of_version(entry: Entry, inventory: Inventory) -> Iterator[Problem]:
    sample = inventory.sample_of(entry)
    if sample is not None and sample.version and entry.version and sample.version > entry.version:
        message = f"It is of {entry.version}, the sample of {sample.version}; proxy_config_get shows a merge."
        yield _problem(Severity.INFO, "outdated", entry.label, message)


def _of_duplicates(inventory: Inventory) -> Iterator[Problem]:
    names: dict[tuple[str, str], tuple[Entry, Server]] = {}
    paths: dict[str, str] = {
        " ".join(one.args): site.path for site, server in inventory.site_servers for one in server.all("location")
    }
    for entry in inventory.enabled:
        said: set[str] = set()
        for server in entry.proxy.servers:
            for key in ((listen.split()[0], name) for listen in server.listens for name in server.names):
                first = names.setdefault(key, (entry, server))
                if first[1] is not server and key[1] not in said:
                    said.add(key[1])
                    other = "another server of this file" if first[0] is entry else first[0].label
                    message = f"The name {key[1]} is that of {other} too; only one of the two gets requests."
                    yield _problem(Severity.ERROR, "conflicting_name", entry.label, message, server.line)
            for location in server.locations if entry.name.kind is Kind.SUBFOLDER and not server.names else ():
                other_file = paths.setdefault(location.match, entry.label)
                if other_file != entry.label:
                    message = f"location {location.match} is in {other_file} too."
                    yield _problem(Severity.ERROR, "nginx_refuses", entry.label, message, location.line)
