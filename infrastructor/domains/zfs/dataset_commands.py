"""What the ZFS operations may run on a device to look at datasets and snapshots."""

from dataclasses import dataclass
from datetime import timedelta
from typing import ClassVar

from infrastructor.command import Command
from infrastructor.domains.zfs import datasets, diff
from infrastructor.domains.zfs.commands import InTwoForms, alike, prints_json
from infrastructor.domains.zfs.dataset_models import Dataset, Property
from infrastructor.domains.zfs.datasets import SnapshotRow
from infrastructor.ports.ssh import Capabilities, CommandOutput, Lane

DATASET_COLUMNS = ",".join(datasets.COLUMNS)
SNAPSHOT_COLUMNS = ",".join(datasets.SNAPSHOT_COLUMNS)
_MUCH = timedelta(seconds=110)


@dataclass(frozen=True)
class ListDatasets(Command[tuple[Dataset, ...]]):
    """File systems and volumes with their figures: all, or a dataset and what is below it."""

    template = f"zfs list -H -p -r -t filesystem,volume -o {DATASET_COLUMNS} -- {{dataset}}"
    needs = "zfs"
    lane = Lane.SLOW
    timeout = _MUCH
    max_output = 64 << 20
    may_sudo = True
    dataset: str | None = None

    def parse(self, output: CommandOutput) -> tuple[Dataset, ...]:
        return datasets.datasets(output.text)


@dataclass(frozen=True)
class ListSnapshots(Command[tuple[SnapshotRow, ...]]):
    """Snapshots with their figures: all, those of a dataset and what is below it, or of the dataset alone."""

    template = f"zfs list -H -p -r {{alone}} -t snapshot -o {SNAPSHOT_COLUMNS} -- {{dataset}}"
    flags: ClassVar = {"alone": "-d1"}
    needs = "zfs"
    lane = Lane.SLOW
    timeout = _MUCH
    max_output = 256 << 20
    may_sudo = True
    dataset: str | None = None
    alone: bool = False

    def parse(self, output: CommandOutput) -> tuple[SnapshotRow, ...]:
        return datasets.snapshots(output.text)


@dataclass(frozen=True)
class GetPropertiesJson(Command[tuple[Property, ...]]):
    """All properties of one dataset or snapshot, as JSON."""

    # Not --json-int: it cuts guids at 2^63 and makes a number of a user property 007. With -p all figures are exact.
    template = "zfs get -j -p all -- {name}"
    needs = "zfs"
    may_sudo = True
    name: str

    def parse(self, output: CommandOutput) -> tuple[Property, ...]:
        return datasets.properties_from_json(output.text)


@dataclass(frozen=True)
class GetProperties(InTwoForms[tuple[Property, ...]]):
    """All properties of one dataset or snapshot, a line each."""

    template = "zfs get -H -p -o property,value,source all -- {name}"
    needs = "zfs"
    may_sudo = True
    name: str

    def variant(self, capabilities: Capabilities) -> Command[tuple[Property, ...]]:
        return alike(self, GetPropertiesJson(self.name)) if prints_json(capabilities) and not self.text else self

    def parse(self, output: CommandOutput) -> tuple[Property, ...]:
        return datasets.properties_from_text(output.text)


@dataclass(frozen=True)
class DiffSnapshots(Command[diff.Differences]):
    """What changed between two snapshots, or between one and now."""

    template = "zfs diff -F -H -t -- {older} {newer}"
    needs = "zfs"
    lane = Lane.SLOW
    timeout = timedelta(seconds=280)
    max_output = 64 << 20
    accepts_truncated = True
    may_sudo = True
    older: str
    newer: str

    def parse(self, output: CommandOutput) -> diff.Differences:
        return diff.parse(output.text, complete=not output.truncated)
