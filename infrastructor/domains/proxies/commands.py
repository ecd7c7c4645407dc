"""What the proxy operations run on a device."""

from dataclasses import dataclass
from datetime import timedelta

from infrastructor.command import Command
from infrastructor.domains.containers.commands import EngineCommand
from infrastructor.domains.proxies.parsers import (
    ConfigFiles,
    Listener,
    NginxTest,
    parse_files,
    parse_folder,
    parse_listeners,
    parse_test,
)
from infrastructor.ports.ssh import CommandOutput, Lane

LARGEST_FILE = 256 << 10
_ANSWERED = frozenset({0, 1, 126, 127})  # 126 and 127: the engine found no such program in the container
_TESTING = timedelta(seconds=60)


@dataclass(frozen=True)
class FindSwagFolders(Command[tuple[str, ...]]):
    """Folders that look like the configuration of a SWAG, for devices whose engine does not tell."""

    script = r"""
for d in /swag /config /*/swag /*/*/swag /*/*/*/swag /home/*/*/swag /home/*/*/*/swag; do
  [ -d "$d/nginx/proxy-confs" ] && printf '%s\n' "$d"
done
true
"""
    lane = Lane.SLOW

    def parse(self, output: CommandOutput) -> tuple[str, ...]:
        return tuple(dict.fromkeys(line for line in output.text.splitlines() if line.startswith("/")))


@dataclass(frozen=True)
class PodmanConfigFolder(Command[str | None]):
    """Where /config of a container is on the device, by Podman."""

    template = "podman container inspect --format '{{json .Mounts}}' -- {container}"
    needs = "podman"
    lane = Lane.SLOW
    may_sudo = True
    container: str

    def parse(self, output: CommandOutput) -> str | None:
        return parse_folder(output.stdout)


@dataclass(frozen=True)
class ConfigFolder(EngineCommand[str | None]):
    """Where /config of a container is on the device; also of a volume, which a list only names."""

    template = "docker container inspect --format '{{json .Mounts}}' -- {container}"
    lane = Lane.SLOW
    podman = PodmanConfigFolder
    container: str

    def parse(self, output: CommandOutput) -> str | None:
        return parse_folder(output.stdout)


@dataclass(frozen=True)
class ReadProxyConfigs(Command[ConfigFiles]):
    """Every configuration and sample of a SWAG folder with its stat, by three processes however many there are.

    The contents come one behind the other; the list before them says how long each is, and the one behind them that
    none has changed meanwhile.
    """

    script = r"""
cd "$1/nginx" 2>/dev/null || exit 3
nl='
'
found=
for f in proxy-confs/*.conf proxy-confs/*.disabled proxy-confs/*.sample site-confs/*.conf nginx.conf; do
  case $f in *"$nl"*) continue ;; esac
  if [ -f "$f" ] && [ -r "$f" ]; then found=$found$nl$f; elif [ -f "$f" ]; then printf 'denied %s\n' "$f"; fi
  [ -L "$f" ] && printf 'link %s\n' "$f"
done
[ -r proxy-confs ] || echo 'denied proxy-confs'
for f in *.conf .htpasswd; do
  case $f in *"$nl"*) continue ;; esac
  [ -e "$f" ] && printf 'beside %s\n' "$f"
done
[ -z "$found" ] && { printf 'files 0\n\nend\n'; exit 0; }
set -f
IFS=$nl
list() { stat -L -c '%s %Y %Z %i %f %u %g %n' -- "$@"; }
set -- $found
before=$(list "$@") || exit 4
small=
for line in $before; do
  if [ "${line%% *}" -le 262144 ]; then
    printf 'file %s\n' "$line"
    small=$small$nl${line#* * * * * * * }
  else
    printf 'large %s\n' "$line"
  fi
done
set -- $small
printf 'files %s\n' $#
[ $# -gt 0 ] && cat -- "$@"
printf '\n'
[ $# -gt 0 ] && list "$@"
echo end
"""
    template = "{folder}"
    timeout = timedelta(seconds=30)
    max_output = 16 << 20
    lane = Lane.SLOW
    ok_statuses = frozenset({0, 3})
    may_sudo = True
    folder: str

    def parse(self, output: CommandOutput) -> ConfigFiles:
        return parse_files(output.stdout, missing=output.exit_status == 3)  # noqa: PLR2004 - the script's own


@dataclass(frozen=True)
class PodmanCheckNginx(Command[NginxTest]):
    """Let the nginx of a container judge its configuration, by Podman."""

    template = "podman exec -- {container} nginx -t"
    needs = "podman"
    lane = Lane.SLOW
    timeout = _TESTING
    ok_statuses = _ANSWERED
    may_sudo = True
    container: str

    def parse(self, output: CommandOutput) -> NginxTest:
        return parse_test(output)


@dataclass(frozen=True)
class CheckNginx(EngineCommand[NginxTest]):
    """Let the nginx of a container judge its configuration; nothing is loaded."""

    template = "docker exec -- {container} nginx -t"
    lane = Lane.SLOW
    timeout = _TESTING
    ok_statuses = _ANSWERED
    podman = PodmanCheckNginx
    container: str

    def parse(self, output: CommandOutput) -> NginxTest:
        return parse_test(output)


@dataclass(frozen=True)
class ReadListeners(Command[tuple[Listener, ...]]):
    """TCP ports that listen in the networks of some processes; 0 stands for the device's own network."""

    script = r"""
command -v awk >/dev/null || exit 127
printf 'order '
dd bs=6 count=1 2>/dev/null </proc/self/exe
printf '\n'
for pid do
  dir=/proc/$pid/net; [ "$pid" = 0 ] && dir=/proc/net
  [ -r "$dir/tcp" ] || { echo "$pid ? ?"; continue; }
  echo "$pid - -"
  for kind in tcp tcp6; do
    [ -r "$dir/$kind" ] && awk -v pid="$pid" '
      NR == 1 { next }
      $4 == "0A" { split($2, part, ":"); print pid, part[1], part[2]; next }
      $4 != "03" { exit }' "$dir/$kind"
  done
done
true
"""
    template = "{pids}"
    needs = "awk"
    lane = Lane.SLOW
    max_output = 4 << 20
    pids: tuple[int, ...]

    def parse(self, output: CommandOutput) -> tuple[Listener, ...]:
        return parse_listeners(output.text)
