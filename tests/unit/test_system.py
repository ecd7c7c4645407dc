"""System metrics from samples: rates, mounts that hang, and what must not be shown."""

import dataclasses
import re
from pathlib import Path

from infrastructor.domains.system import metrics, parsers
from infrastructor.domains.system.commands import ReadSample
from infrastructor.domains.system.samples import Memory, Sample, Usage
from infrastructor.ports.ssh import CommandOutput

FIXTURES = Path(__file__).parents[1] / "fixtures" / "system" / "ReadSample"


def sample(name: str = "nas-composed") -> Sample:
    return ReadSample().parse(CommandOutput(exit_status=0, stdout=(FIXTURES / f"{name}.out").read_bytes()))


def later(earlier: Sample, seconds: float = 10.0, busy: int = 300, idle: int = 700) -> Sample:
    cpu = earlier.cpu
    disk = earlier.disks["vda"]
    return dataclasses.replace(
        earlier,
        uptime_s=earlier.uptime_s + seconds,
        cpu=dataclasses.replace(cpu, total=cpu.total + busy + idle, idle=cpu.idle + idle),
        disks={"vda": dataclasses.replace(disk, read_bytes=disk.read_bytes + 5_000_000, busy_ms=disk.busy_ms + 2500)},
    )


def test_rates_are_the_difference_over_the_interval() -> None:
    first = sample()
    result = metrics.compare("nas", Memory(first, 100.0), Memory(later(first), 110.0), {})
    assert result.cpu.usage_percent == 30.0
    assert result.cpu.sampled_over_seconds == 10.0
    assert result.disks[0].read_bytes_per_second == 500_000.0
    assert result.disks[0].busy_percent == 25.0


def test_after_a_reboot_rates_are_unknown_not_negative() -> None:
    first = sample()
    rebooted = dataclasses.replace(first, uptime_s=3.0, cpu=dataclasses.replace(first.cpu, total=10, idle=5))
    result = metrics.compare("nas", Memory(first, 100.0), Memory(rebooted, 160.0), {})
    assert result.cpu.usage_percent is None
    assert result.disks[0].read_bytes_per_second is None
    assert result.uptime_seconds == 3


def test_a_hung_mount_is_said_and_its_size_unknown() -> None:
    first = sample()
    now = Memory(later(first), 110.0, hung_until={"/mnt/backup": 400.0})
    result = metrics.compare("nas", Memory(first, 100.0), now, {"/mnt/backup": None})
    backup = next(mount for mount in result.mounts if mount.path == "/mnt/backup")
    assert (backup.state, backup.usage_percent, backup.total_bytes) == ("hung", None, None)
    assert next(mount for mount in result.mounts if mount.path == "/").state == "ok"


def test_only_mounts_that_can_hang_are_asked_apart() -> None:
    assert metrics.remote_paths(sample()) == ["/mnt/backup", "/mnt/public", "/mnt/sshfs"]


def test_use_of_a_mount_is_that_of_df() -> None:
    first = sample()
    answered = {"/mnt/backup": Usage(1000, 600, 200, 0, 0)}
    result = metrics.compare("nas", Memory(first, 100.0), Memory(later(first), 110.0), answered)
    backup = next(mount for mount in result.mounts if mount.path == "/mnt/backup")
    assert backup.usage_percent == 75.0
    assert backup.inodes_usage_percent is None


def test_a_mount_path_with_a_space_is_found_again() -> None:
    assert "/tank/my media" in {entry.path for entry in sample().mounts}
    assert "/tank/my media" in sample().usage


def test_container_layers_and_automounts_are_no_mounts() -> None:
    paths = {entry.path for entry in sample().mounts}
    assert not any("overlay2" in path or "binfmt" in path or "/snap/" in path or "lxcfs" in path for path in paths)


def test_the_script_asks_the_same_types_as_the_parser_shows() -> None:
    script = ReadSample.script or ""
    ordinary = re.search(r"^    (ext\S+)\) ;;$", script, re.MULTILINE)
    rooted = re.search(r"^    (overlay\S+)\) case \$path in (\S+)\)", script, re.MULTILINE)
    assert ordinary
    assert rooted
    types = set(ordinary[1].replace("ext[234]", "ext2|ext3|ext4").split("|"))
    assert types == parsers.ORDINARY_TYPES
    assert set(rooted[1].split("|")) == parsers.ROOT_TYPES
    assert set(rooted[2].split("|")) == parsers.ROOT_PATHS


def test_temperatures_carry_their_chip_and_label() -> None:
    assert dict(sample().temperatures)["coretemp Package id 0"] == 51.0
