"""What a device can do, found out by one request: a script of builtins with a handful of forks."""

from infrastructor.errors import ParseError
from infrastructor.ports.ssh import Capabilities, CommandLine, CommandOutput, Lane

_NAMES = """
    apk apt-get apt awk base64 bash btrfs busybox cat crontab curl df dmesg dnf docker docker-compose doas du find
    findmnt free getent git grep gzip head id inotifyd inotifywait ip iptables journalctl jq last logread lsblk lsof
    mdadm mount netstat nft nginx nvidia-smi nvme openssl pacman perl podman podman-compose ps python3 qm rc-service
    readlink rpm rsync sed sensors setsid sh sha256sum smartctl ss stat stdbuf sudo sysctl systemctl tail tar timeout
    udevadm uptime virsh wget xargs yum zfs zpool zstd zypper
"""
TOOLS = frozenset(_NAMES.split())

_SOCKETS = (
    "/var/run/docker.sock /run/docker.sock /run/podman/podman.sock "
    '"/run/user/$u/docker.sock" "/run/user/$u/podman/podman.sock"'
)

# Every line is `key value`; what cannot be found is left out. Nothing here needs more than a POSIX shell.
SCRIPT = f"""
u=$(id -u 2>/dev/null)
echo "uid $u"
echo "user $(id -un 2>/dev/null)"
echo "uname $(uname -s 2>/dev/null) $(uname -r 2>/dev/null) $(uname -m 2>/dev/null)"
for f in /etc/os-release /usr/lib/os-release; do
  if [ -r $f ]; then
    while IFS= read -r l; do case $l in ID=*|VERSION_ID=*|PRETTY_NAME=*) echo "os $l";; esac; done <$f
    break
  fi
done
for t in {" ".join(sorted(TOOLS))}; do p=$(command -v $t 2>/dev/null) && echo "tool $t $p"; done
[ -d /run/systemd/system ] && echo "systemd yes"
for s in {_SOCKETS}; do [ -S "$s" ] && [ -r "$s" ] && [ -w "$s" ] && echo "socket $s"; done
if command -v ls >/dev/null 2>&1; then echo "ls $(readlink -f "$(command -v ls)" 2>/dev/null)"; fi
if command -v zfs >/dev/null 2>&1; then echo "zfs $(zfs version 2>/dev/null | head -n 1)"; fi
if [ "$u" != 0 ] && command -v sudo >/dev/null 2>&1; then
  if m=$(sudo -n true 2>&1); then echo "sudo nopasswd"
  else
    case $(sudo -n -l 2>/dev/null) in
      *NOPASSWD*) m=limited;;
    esac
    case $m in
      limited) echo "sudo limited";;
      *"not allowed"*|*"not in the sudoers"*|*"may not run"*) echo "sudo none";;
      *) echo "sudo password";;
    esac
  fi
fi
exit 0
"""

LINE = CommandLine(text=SCRIPT, timeout_s=20.0, max_output_bytes=1 << 16, lane=Lane.FAST)


def parse(output: CommandOutput) -> Capabilities:
    """The script's lines as a record. Raises `ParseError` when there is nothing of it in the output."""
    values: dict[str, str] = {}
    release: dict[str, str] = {}
    tools: dict[str, str] = {}
    sockets: list[str] = []
    for line in output.text.splitlines():
        key, _, value = line.partition(" ")
        if key == "tool":
            name, _, path = value.partition(" ")
            tools[name] = path
        elif key == "os":
            name, _, quoted = value.partition("=")
            release[name] = quoted.strip("\"'")
        elif key == "socket":
            sockets.append(value)
        else:
            values[key] = value.strip()
    if "uid" not in values:
        raise ParseError("The capability probe came back empty.", output=output.text[:200])
    is_root = values["uid"] == "0"
    uname: list[str | None] = [*values.get("uname", "").split(), None, None, None]
    return Capabilities(
        system=uname[0],
        kernel=uname[1],
        machine=uname[2],
        os_id=release.get("ID"),
        os_version=release.get("VERSION_ID"),
        os_name=release.get("PRETTY_NAME"),
        user=values.get("user") or None,
        is_root=is_root,
        sudo="root" if is_root else values.get("sudo", "none"),
        busybox=_is_busybox(values.get("ls", ""), tools),
        tools=frozenset(tools),
        docker_socket=sockets[0] if sockets else None,
        zfs_version=values.get("zfs", "").removeprefix("zfs-") or None,
        systemd="systemd" in values,
    )


def _is_busybox(ls: str, tools: dict[str, str]) -> bool:
    """ls is a link to busybox; or a bare name, as BusyBox's shell prints for its applets."""
    return "busybox" in ls or tools.get("ls", tools.get("cat", "")) in {"cat", "ls"}
