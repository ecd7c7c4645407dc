"""What the device operations may run on a device."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from infrastructor.command import Command
from infrastructor.domains.devices.models import ConfigPath
from infrastructor.errors import ParseError
from infrastructor.ports.ssh import CommandOutput, Lane
from infrastructor.sanitize import clean


@dataclass(frozen=True)
class ReadClock(Command[int]):
    """The device's clock, in seconds since 1970."""

    template = "date +%s"
    needs = "date"
    timeout = timedelta(seconds=10)

    def parse(self, output: CommandOutput) -> int:
        text = output.text.strip()
        if not text.isdecimal() or len(text) > 15:  # noqa: PLR2004
            raise ParseError(f"Not a time in seconds: {clean(text, 80)!r}")
        return int(text)


@dataclass(frozen=True)
class FindConfigs(Command[tuple[ConfigPath, ...]]):
    """Look for configuration where people keep it. Globs only: no tree is walked."""

    script = r"""
found() { kind=$1; shift; for path do [ -e "$path" ] && printf '%s\t%s\n' "$kind" "$path"; done; }
found swag /*/swag/nginx/proxy-confs /*/*/swag/nginx/proxy-confs /*/*/*/swag/nginx/proxy-confs \
  /config/nginx/proxy-confs
for base in /opt /srv /root /home/* /mnt/* /mnt/user/appdata /docker /compose /data /opt/stacks /mnt/*/appdata; do
  found compose "$base"/docker-compose.yml "$base"/docker-compose.yaml "$base"/compose.yml "$base"/compose.yaml \
    "$base"/*/docker-compose.yml "$base"/*/docker-compose.yaml "$base"/*/compose.yml "$base"/*/compose.yaml
done
found appdata /appdata /*/appdata /*/*/appdata
found nginx /etc/nginx/nginx.conf
found apache /etc/apache2/apache2.conf /etc/httpd/conf/httpd.conf
found traefik /etc/traefik/traefik.yml /etc/traefik/traefik.yaml /etc/traefik/traefik.toml
true
"""
    timeout = timedelta(seconds=15)
    lane = Lane.SLOW

    def parse(self, output: CommandOutput) -> tuple[ConfigPath, ...]:
        found = {}
        for line in output.text.splitlines():
            kind, tab, path = line.partition("\t")
            if tab and path.startswith("/"):  # a path with a newline in it gives a line that is neither
                found[path] = ConfigPath(kind=kind, path=clean(path))
        return tuple(found.values())


@dataclass(frozen=True)
class ListGpus(Command[tuple[str, ...]]):
    """Graphics cards: NVIDIA by name, others by vendor."""

    script = r"""
command -v nvidia-smi >/dev/null && nvidia-smi --query-gpu=name,memory.total --format=csv,noheader 2>/dev/null
for vendor in /sys/class/drm/card[0-9]/device/vendor /sys/class/drm/card[0-9][0-9]/device/vendor; do
  [ -r "$vendor" ] && read -r v <"$vendor" && read -r d <"${vendor%vendor}device" && printf 'pci %s %s\n' "$v" "$d"
done
true
"""
    lane = Lane.SLOW

    def parse(self, output: CommandOutput) -> tuple[str, ...]:
        lines = [line.strip() for line in output.text.splitlines() if line.strip()]
        named = [f"NVIDIA {line.removeprefix('NVIDIA ')}" for line in lines if not line.startswith("pci ")]
        cards = list(named)
        for line in lines:
            if not line.startswith("pci "):
                continue
            vendor, _, device = line.removeprefix("pci ").partition(" ")
            if vendor == _NVIDIA and named:
                continue
            cards.append(f"{_VENDORS.get(vendor, vendor)} {device}".strip())
        return tuple(clean(card, 120) for card in cards)


_NVIDIA = "0x10de"
_VENDORS = {
    _NVIDIA: "NVIDIA",
    "0x1002": "AMD",
    "0x8086": "Intel",
    "0x1a03": "ASPEED",
    "0x1234": "QEMU",
    "0x15ad": "VMware",
    "0x1af4": "virtio",
}


@dataclass(frozen=True)
class ReadVersions(Command[Mapping[str, str]]):
    """The first line of what the main programs say of their version."""

    script = r"""
say() {
  name=$1; shift
  line=$("$@" 2>&1 </dev/null | head -n 1)
  [ -n "$line" ] && printf '%s\t%s\n' "$name" "$line"
}
has() { command -v "$1" >/dev/null 2>&1; }
has docker && say docker docker --version
has docker && docker compose version >/dev/null 2>&1 && say compose docker compose version --short
has docker-compose && say docker-compose docker-compose version --short
has podman && say podman podman --version
has zfs && say zfs zfs version
has smartctl && say smartctl smartctl --version
has nginx && say nginx nginx -v
has pveversion && say proxmox pveversion
true
"""
    timeout = timedelta(seconds=20)
    lane = Lane.SLOW

    def parse(self, output: CommandOutput) -> Mapping[str, str]:
        pairs = (line.partition("\t") for line in output.text.splitlines())
        return {name: clean(version, 120) for name, tab, version in pairs if tab}


@dataclass(frozen=True)
class ListComposeProjects(Command[Mapping[str, tuple[str, ...]]]):
    """Compose projects of the containers of a Docker engine: project → its files."""

    template = (
        'docker ps -a --format \'{{.Label "com.docker.compose.project"}}\t'
        '{{.Label "com.docker.compose.project.config_files"}}\''
    )
    needs = "docker"
    lane = Lane.SLOW

    def parse(self, output: CommandOutput) -> Mapping[str, tuple[str, ...]]:
        found: dict[str, tuple[str, ...]] = {}
        for line in output.text.splitlines():
            project, _, files = line.partition("\t")
            if project:
                found[clean(project, 200)] = tuple(dict.fromkeys(clean(file, 500) for file in files.split(",") if file))
        return found
