"""drive_stats: what two readings of /proc/diskstats tell."""

from pathlib import Path

import pytest

from infrastructor.domains.drives.commands import SampleDisks
from infrastructor.domains.drives.diskstats import DiskSample, compare, reading
from infrastructor.domains.drives.models import DriveIo
from infrastructor.errors import ParseError
from infrastructor.ports.ssh import CommandOutput

FIXTURES = Path(__file__).parents[1] / "fixtures" / "drives" / "SampleDisks"


def nas() -> DiskSample:
    return SampleDisks().parse(CommandOutput(exit_status=0, stdout=(FIXTURES / "nas-composed.out").read_bytes()))


def rows() -> dict[str, DriveIo]:
    return {row.name: row for row in compare("nas", *nas().readings, nas()).drives}


def test_rates_latency_and_queue_are_differences_over_the_interval() -> None:
    assert rows()["sda"] == DriveIo(
        name="sda",
        kind="disk",
        label="WDC WD80EFZX-68U",
        built_on=[],
        reads_per_second=50.0,
        writes_per_second=0.0,
        read_bytes_per_second=20480 * 512 / 2,
        written_bytes_per_second=0.0,
        busy_percent=95.0,
        read_latency_ms=20.0,
        write_latency_ms=None,
        queue_depth=1.0,
    )


def test_a_drive_that_was_replaced_has_unknown_rates_not_negative_ones() -> None:
    replaced = rows()["sdb"]
    assert (replaced.reads_per_second, replaced.busy_percent, replaced.read_latency_ms) == (None, None, None)


def test_partitions_loops_and_multipath_members_are_folded_away() -> None:
    result = compare("nas", *nas().readings, nas())
    assert [row.name for row in result.drives] == ["sda", "dm-0", "dm-1", "nvme0n1", "md0", "sdb"]
    assert result.idle == ["zd0"]


def test_mapped_devices_carry_their_name_and_members() -> None:
    named = {name: (row.kind, row.label, row.built_on) for name, row in rows().items()}
    assert named["dm-1"] == ("mapped", "vg-root", ["dm-0"])
    assert named["md0"] == ("raid", "raid1", ["sda1", "sdb1"])
    assert nas().labels["zd0"] == "tank/vm/disk 0"


def test_readings_of_two_boots_are_not_compared() -> None:
    first, second = nas().readings
    with pytest.raises(ParseError):
        compare("nas", second, first, nas())


def test_what_is_no_diskstats_is_a_parse_error() -> None:
    with pytest.raises(ParseError):
        reading("soon\n 8 0 sda one two")
