"""What the network operations read from a device's own files."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from infrastructor.command import Command
from infrastructor.domains.network import links
from infrastructor.domains.network.addresses import Route, big_endian, routes, routes6
from infrastructor.domains.network.links import LinkFacts
from infrastructor.domains.network.sockets import Sockets, parse_sockets
from infrastructor.domains.system.parsers import split_files
from infrastructor.errors import ParseError
from infrastructor.ports.ssh import CommandOutput, Lane
from infrastructor.sanitize import clean


@dataclass(frozen=True)
class ReadSockets(Command[Sockets]):
    """Sockets that take traffic and who owns them, from /proc alone: the same on every Linux, with or without `ss`.

    What a login that is not root may not see is absent. The sections that a process could imitate in its own name
    come first: of two sections of one name the later counts.
    """

    # Listening TCP sockets come first in the kernel's table (mixed with half-open ones before Linux 4.4), so a
    # server's thousands of connections are never read. Of the processes that share a socket the oldest is shown,
    # but not systemd, which only keeps it open for a service.
    script = r"""
command -v awk >/dev/null || exit 127
sockets=$(for kind in tcp tcp6 udp udp6; do
  [ -r /proc/net/$kind ] && awk -v kind=$kind '
    NR == 1 { next }
    kind ~ /^udp/ { if ($4 == "07") print kind, $2, $8, $10; next }
    $4 == "0A" { print kind, $2, $8, $10; next }
    $4 != "03" { exit }' /proc/net/$kind
done)
quote=; ls -lnq /proc/self/net >/dev/null 2>&1 && quote=q
owners=$({ printf '%s\n' "$sockets"; ls -ln$quote /proc/[0-9]*/fd 2>/dev/null; } | awk '
  /^(tcp|udp)6? / { wanted[$NF] = 1; next }
  /^\/proc\/[0-9]+\/fd:$/ { split($0, part, "/"); pid = part[3] + 0; next }
  / -> socket:\[[0-9]+\]$/ {
    inode = $NF; gsub(/[^0-9]/, "", inode)
    if (!(inode in wanted)) next
    if (!(inode in owner) || owner[inode] == 1 || (pid != 1 && pid < owner[inode])) owner[inode] = pid
  }
  END { for (inode in owner) print owner[inode] ":" inode }')
set --; seen=' '
for pair in $owners; do
  pid=${pair%%:*}
  case $seen in *" $pid "*) continue ;; esac
  seen="$seen$pid "
  set -- "$@" /proc/$pid/comm /proc/$pid/cgroup
done
[ $# -gt 0 ] && tail -n +1 "$@" 2>/dev/null
printf '\n==> /program/header <==\n'
dd bs=6 count=1 2>/dev/null </proc/self/exe
printf '\n==> /login/uid <==\n%s\n' "$(id -u)"
printf '\n==> /socket/list <==\n%s\n' "$sockets"
printf '\n==> /socket/owners <==\n%s\n' "$owners"
tail -n +1 /proc/sys/net/ipv4/ip_local_port_range /proc/sys/net/ipv4/ip_local_reserved_ports 2>/dev/null
true
"""
    needs = "awk"
    timeout = timedelta(seconds=30)
    max_output = 16 << 20
    lane = Lane.SLOW

    def parse(self, output: CommandOutput) -> Sockets:
        return parse_sockets(split_files(output.text))


@dataclass(frozen=True)
class ReadLinks(Command[LinkFacts]):
    """Interfaces, addresses, counters, routes and resolvers, from /sys and /proc.

    `ip` is needed only for IPv4 addresses; where it can tell the kind of a link (not BusyBox's), that is taken too.
    Leaves of /sys are read by the shell: some cannot be read while a link is down, and `tail` ends at the first.
    """

    script = r"""
printf '==> /program/header <==\n'
dd bs=6 count=1 2>/dev/null </proc/self/exe
printf '\n'
cd /sys/class/net || exit 1
tail -n +1 /proc/net/dev /proc/net/route /proc/net/ipv6_route /proc/net/if_inet6 /proc/net/vlan/config \
  /etc/resolv.conf /run/systemd/resolve/resolv.conf 2>/dev/null
printf '\n==> /link/facts <==\n'
for link in *; do
  [ -e "$link/ifindex" ] || continue
  for leaf in address mtu operstate speed duplex type iflink ifindex tun_flags; do
    value=; read -r value <"$link/$leaf"
    [ -n "$value" ] && printf '%s\t%s\t%s\n' "$link" $leaf "$value"
  done 2>/dev/null
  while read -r value; do
    case $value in DEVTYPE=*) printf '%s\tdevtype\t%s\n' "$link" "${value#*=}" ;; esac
  done <"$link/uevent" 2>/dev/null
done
printf '\n==> /link/lower <==\n'
for path in */lower_* */brif/*; do [ -e "$path" ] && printf '%s\n' "$path"; done
printf '\n==> /link/signs <==\n'
for path in */device */phy80211 */bonding */bridge; do [ -e "$path" ] && printf '%s\n' "$path"; done
if command -v ip >/dev/null; then
  printf '\n==> /ip/address <==\n'
  ip -o addr show 2>/dev/null || ip addr show 2>/dev/null
  printf '\n==> /ip/kinds <==\n'
  ip -j -d link show 2>/dev/null | grep -o '"ifname":"[^"]*"\|"info_kind":"[^"]*"'
fi
true
"""
    timeout = timedelta(seconds=20)
    max_output = 8 << 20
    lane = Lane.SLOW

    def parse(self, output: CommandOutput) -> LinkFacts:
        files = split_files(output.text)
        if "/proc/net/dev" not in files:
            raise ParseError(f"No /proc/net/dev in: {clean(output.text, 200)!r}")
        return links.parse_links(files)


@dataclass(frozen=True)
class ReadRoutes(Command[tuple[Route, ...]]):
    """The main routing tables."""

    script = r"""
printf '==> /program/header <==\n'
dd bs=6 count=1 2>/dev/null </proc/self/exe
printf '\n'
tail -n +1 /proc/net/route /proc/net/ipv6_route 2>/dev/null
true
"""
    max_output = 8 << 20

    def parse(self, output: CommandOutput) -> tuple[Route, ...]:
        return read_routes(split_files(output.text))


def read_routes(files: Mapping[str, str]) -> tuple[Route, ...]:
    """Both tables, of files by path."""
    big = big_endian(files.get("/program/header", ""))
    return routes(files.get("/proc/net/route", ""), big) + routes6(files.get("/proc/net/ipv6_route", ""))
