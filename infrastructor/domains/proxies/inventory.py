"""The files of a SWAG, sorted: what is enabled, what is switched off, what is offered as a sample. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from posixpath import basename

from infrastructor.domains.proxies.parsers import ConfigFile, ConfigFiles
from infrastructor.formats.nginx import Directive, Document, decode, read, walk
from infrastructor.formats.swag import Auth, FileName, Kind, Proxy, State, describe, file_name, half_of, version_of
from infrastructor.formats.swag_edit import includes_subfolders
from infrastructor.sanitize import clean

FOLDER = "proxy-confs"
TEMPLATE = "_template"
_ORDER = tuple(State)


@dataclass(frozen=True)
class Entry:
    """One proxy configuration. Its text is read when somebody asks, and once."""

    file: ConfigFile
    name: FileName

    @property
    def service(self) -> str:
        return self.name.service

    @property
    def label(self) -> str:
        """`sonarr.subdomain`."""
        return f"{clean(self.service, 200)}.{self.name.kind.value}"

    @cached_property
    def text(self) -> str:
        return decode(self.file.content or b"")

    @cached_property
    def document(self) -> Document:
        return read(self.text)

    @cached_property
    def proxy(self) -> Proxy:
        return describe(self.document)

    @cached_property
    def version(self) -> str | None:
        return version_of(self.text[:200])


@dataclass(frozen=True)
class Inventory:
    """Everything in a SWAG's nginx folder. `strays` are `.conf` files beside the others that SWAG does not load."""

    entries: tuple[Entry, ...]
    strays: tuple[str, ...]
    sites: tuple[ConfigFile, ...]
    files: ConfigFiles

    @cached_property
    def enabled(self) -> tuple[Entry, ...]:
        return self._in(State.ENABLED)

    @cached_property
    def disabled(self) -> tuple[Entry, ...]:
        """Switched off, and not there under their own name as well."""
        there = {entry.name.base for entry in self.enabled}
        return tuple(entry for entry in self._in(State.DISABLED) if entry.name.base not in there)

    @cached_property
    def samples(self) -> tuple[Entry, ...]:
        return tuple(entry for entry in self._in(State.SAMPLE) if entry.service != TEMPLATE)

    @cached_property
    def templates(self) -> tuple[Entry, ...]:
        return tuple(entry for entry in self._in(State.SAMPLE) if entry.service == TEMPLATE)

    @cached_property
    def _by_name(self) -> dict[tuple[str, State], Entry]:
        return {(entry.name.base, entry.name.state): entry for entry in self.entries}

    def find(self, base: str, state: State) -> Entry | None:
        """The file `sonarr.subdomain.conf` in that state."""
        return self._by_name.get((base, state))

    def sample_of(self, entry: Entry) -> Entry | None:
        return self.find(entry.name.base, State.SAMPLE)

    @cached_property
    def site_servers(self) -> tuple[tuple[ConfigFile, Directive], ...]:
        """The servers of the site configurations that include the subfolder configurations."""
        found = []
        for site in self.sites:
            for server in read(decode(site.content or b"")).directives:
                if server.name == "server" and any(map(includes_subfolders, server.all("include"))):
                    found.append((site, server))
        return tuple(found)

    @cached_property
    def site_halves(self) -> frozenset[Auth] | None:
        """The providers whose server half every such server has; None when there is no such server."""
        halves = [
            {half[0] for one in server.all("include") if (half := half_of(one)) is not None and half[1] == "server"}
            for _, server in self.site_servers
        ]
        return frozenset(set.intersection(*halves)) if halves else None

    @cached_property
    def loads(self) -> frozenset[Kind]:
        """Which kinds the configuration includes at all."""
        said = [one.args[0] for file in (*self.sites, *self._main) for one in _includes(file) if one.args]
        return frozenset(kind for kind in Kind if any(path.endswith(f"{FOLDER}/*.{kind.value}.conf") for path in said))

    @cached_property
    def _main(self) -> tuple[ConfigFile, ...]:
        return tuple(file for file in self.files.files if file.path == "nginx.conf")

    @cached_property
    def certificate_for_all(self) -> bool:
        """Whether a certificate is named outside of the servers, or by the site's own: its default one serves all."""
        found: list[Directive] = []
        for file in (*self.sites, *self._main):
            found += read(decode(file.content or b"")).directives
        outer = [*found, *(inner for one in found if one.name in {"http", "server"} for inner in one.block or ())]
        return any(one.name == "ssl_certificate" or _includes_ssl(one) for one in outer if not one.off)

    def _in(self, state: State) -> tuple[Entry, ...]:
        return tuple(entry for entry in self.entries if entry.name.state is state)


def _includes(file: ConfigFile) -> list[Directive]:
    return [one for one in walk(read(decode(file.content or b"")).directives) if one.name == "include"]


def _includes_ssl(one: Directive) -> bool:
    return one.name == "include" and any(basename(path) == "ssl.conf" for path in one.args)


def sort_files(files: ConfigFiles) -> Inventory:
    """The files by what they are to SWAG, ordered by service."""
    entries: list[Entry] = []
    strays: list[str] = []
    for file in _within(files.files, FOLDER):
        name = file_name(basename(file.path))
        if name is not None:
            entries.append(Entry(file, name))
        elif file.path.endswith(".conf"):
            strays.append(basename(file.path))
    entries.sort(key=lambda entry: (entry.service, entry.name.kind, _ORDER.index(entry.name.state)))
    return Inventory(tuple(entries), tuple(sorted(strays)), tuple(_within(files.files, "site-confs")), files)


def _within(files: Iterable[ConfigFile], folder: str) -> list[ConfigFile]:
    return [file for file in files if file.path.startswith(f"{folder}/")]
