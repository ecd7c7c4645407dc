"""Hosts with next to nothing on them: dropbear, BusyBox, other shells as /bin/sh."""

import asyncio
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from infrastructor.errors import CommandNotAvailable, CommandTimeout
from infrastructor.ports.devices import Device, HostKey
from infrastructor.ports.ssh import Lane
from infrastructor.ssh import AsyncSSHClient, local
from tests.support.programs import need_root, program, running
from tests.support.sshd import device, free_port, keygen, line, local_device
from tests.support.wait import until

APPLETS = ["sh", "ash", "cat", "ls", "echo", "sleep", "head", "id", "uname", "readlink", "mkdir", "rm", "mv", "find"]
APPLETS += ["wc", "tr", "kill", "true", "false", "yes", "printf"]


class Dropbear:
    """A root of its own with dropbear, BusyBox and no other program."""

    def __init__(self, folder: Path, applets: list[str]) -> None:
        self.root = folder / "root"
        self.port = free_port()
        self.key = keygen(folder / "login")
        for name in ("bin", "etc/dropbear", "root/.ssh", "proc", "dev", "tmp", "var/tmp"):
            (self.root / name).mkdir(parents=True)
        self._copy(program("busybox"), "bin/busybox")
        for applet in applets:
            (self.root / "bin" / applet).symlink_to("busybox")
        self._copy(program("dropbear"), "bin/dropbear")
        (self.root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
        (self.root / "etc/group").write_text("root:x:0:\n")
        (self.root / "etc/shells").write_text("/bin/sh\n")
        (self.root / "root/.ssh").chmod(0o700)
        shutil.copy(f"{self.key}.pub", self.root / "root/.ssh/authorized_keys")
        host = self.root / "etc/dropbear/dropbear_ed25519_host_key"
        made = subprocess.run(
            ["dropbearkey", "-t", "ed25519", "-f", str(host)], check=True, capture_output=True, text=True
        ).stdout
        algorithm, public_key = next(row for row in made.splitlines() if row.startswith("ssh-")).split()[:2]
        fingerprint = next(row for row in made.splitlines() if "SHA256:" in row).split()[-1]
        fingerprint = fingerprint[fingerprint.index("SHA256:") :].rstrip("=")
        self.host_key = HostKey(algorithm=algorithm, public_key=public_key, fingerprint=fingerprint)

    def _copy(self, source: str, target: str) -> None:
        """A program and the libraries it is linked with."""
        shutil.copy(source, self.root / target)
        listed = subprocess.run(["ldd", source], capture_output=True, text=True, check=False).stdout
        for word in listed.split():
            if word.startswith("/") and Path(word).exists():
                place = self.root / word.lstrip("/")
                place.parent.mkdir(parents=True, exist_ok=True)
                if not place.exists():
                    shutil.copy(word, place)

    def start(self) -> None:
        inside = (
            f"mount -t proc proc {self.root}/proc; mknod -m 666 {self.root}/dev/null c 1 3;"
            f"mknod -m 666 {self.root}/dev/urandom c 1 9; mknod -m 666 {self.root}/dev/zero c 1 5;"
            f"exec chroot {self.root} /bin/dropbear -F -E -s -p 127.0.0.1:{self.port}"
            " -r /etc/dropbear/dropbear_ed25519_host_key"
        )
        # A mount and process namespace of its own: all of it goes with the process.
        self.process = subprocess.Popen(
            ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", inside],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def stop(self) -> None:
        self.process.kill()
        self.process.wait(10)

    def device(self) -> Device:
        return device(
            "router",
            address="127.0.0.1",
            ssh_port=self.port,
            ssh_username="root",
            ssh_private_key_path=str(self.key),
            host_keys=(self.host_key,),
        )


@pytest.fixture(params=["with setsid", "without setsid"])
def dropbear(request: pytest.FixtureRequest, ssh_folder: Path) -> Iterator[Dropbear]:
    need_root()
    folder = ssh_folder / f"dropbear-{request.param.replace(' ', '-')}"
    folder.mkdir()
    server = Dropbear(folder, APPLETS + (["setsid"] if request.param == "with setsid" else []))
    server.start()
    yield server
    server.stop()
    shutil.rmtree(folder, ignore_errors=True)


async def connected(client: AsyncSSHClient, server: Dropbear) -> Device:
    """The device, once dropbear listens."""

    async def listening() -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        except OSError:
            return False
        writer.close()
        await writer.wait_closed()
        return True

    for _ in range(600):
        if await listening():
            break
        await asyncio.sleep(0.05)
    host = server.device()
    assert await client.scan_host_keys(host) == (server.host_key,)
    return host


async def test_dropbear_with_busybox_works(client: AsyncSSHClient, dropbear: Dropbear) -> None:
    host = await connected(client, dropbear)
    texts = [f"echo {n}; echo e{n} >&2; exit {n}" for n in range(40)]
    for lane in (Lane.FAST, Lane.SLOW):
        outputs = await asyncio.gather(*(client.execute_command(host, line(text, lane)) for text in texts))
        assert [(o.exit_status, o.text, o.error_text) for o in outputs] == [(n, f"{n}\n", f"e{n}") for n in range(40)]

    known = await client.capabilities(host)
    assert (known.busybox, known.system, known.is_root, known.sudo) == (True, "Linux", True, "root")
    with pytest.raises(CommandNotAvailable, match="router has no lsblk"):
        await client.execute_command(host, line("lsblk -J", needs="lsblk"))


async def test_a_change_on_busybox_runs_or_says_what_is_missing(client: AsyncSSHClient, dropbear: Dropbear) -> None:
    host = await connected(client, dropbear)
    if "setsid" in (await client.capabilities(host)).tools:
        output = await client.execute_command(host, line("echo done; exit 2", Lane.CHANGE))
        assert (output.exit_status, output.stdout) == (2, b"done\n")
    else:
        with pytest.raises(CommandNotAvailable, match="no setsid"):
            await client.execute_command(host, line("echo done; exit 2", Lane.CHANGE))


@pytest.mark.parametrize("lane", [Lane.FAST, Lane.SLOW])
async def test_timeouts_stop_processes_on_dropbear_too(client: AsyncSSHClient, dropbear: Dropbear, lane: Lane) -> None:
    host, argument = await connected(client, dropbear), "1234567891"
    with pytest.raises(CommandTimeout):
        await client.execute_command(host, line(f"sleep {argument}; echo x", lane, timeout_s=0.3))
    await until(lambda: not running(argument))
    assert (await client.execute_command(host, line("echo on"))).stdout == b"on\n"


@pytest.mark.parametrize("shell", ["bash", "busybox", "zsh"])
async def test_other_shells_serve_as_posix_sh(
    client: AsyncSSHClient, ssh_folder: Path, shell: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As /bin/sh of other systems; the name makes each of them behave as sh."""
    sh = ssh_folder / f"as-{shell}" / "sh"
    sh.parent.mkdir()
    sh.symlink_to(program(shell))
    monkeypatch.setattr(local, "LANE_ARGV", tuple(word.replace("/bin/sh", str(sh)) for word in local.LANE_ARGV))
    host = local_device()
    hostile = ["echo 'x", "exit 3", "}", "cat <<X\nhi", "exec 1>&-", "kill -9 $$", "set -e; false", "cat"]
    texts = [text for n, bad in enumerate(hostile) for text in (f"printf %s {n}; echo e >&2", bad)]
    results = await asyncio.gather(
        *(client.execute_command(host, line(text)) for text in texts), return_exceptions=True
    )

    assert [getattr(result, "stdout", None) for result in results[::2]] == [b"%d" % n for n in range(len(hostile))]
    with pytest.raises(CommandTimeout):
        await client.execute_command(host, line("sleep 1234567892; echo x", timeout_s=0.3))
    await until(lambda: not running("1234567892"))
    changed = await client.execute_command(host, line("echo changed", Lane.CHANGE))
    assert changed.stdout == b"changed\n"
