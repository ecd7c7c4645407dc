"""The snapshots of one name, of a dataset and of those below it."""

from dataclasses import dataclass

from infrastructor.command import Command
from infrastructor.domains.zfs.change_models import TakenSnapshot
from infrastructor.domains.zfs.fields import number, when
from infrastructor.errors import ParseError
from infrastructor.ports.ssh import CommandOutput, Lane
from infrastructor.sanitize import clean

_FIELDS = 3


@dataclass(frozen=True)
class ReadTaken(Command[tuple[TakenSnapshot, ...]]):
    """The snapshots of this name that a dataset has, and with -r those below it have."""

    script = r"""
dataset=$1 name=$2 deep=${3-}
names=$(zfs list -H -o name -t filesystem,volume $deep -- "$dataset") || exit
set --
while IFS= read -r one; do set -- "$@" "$one@$name"; done <<END
$names
END
zfs list -H -p -t snapshot -o guid,creation,name -- "$@" 2>/dev/null
:
"""
    template = "{dataset} {name} {recursive}"
    flags = {"recursive": "-r"}  # noqa: RUF012
    needs = "zfs"
    lane = Lane.SLOW
    max_output = 16 << 20
    may_sudo = True
    dataset: str
    name: str
    recursive: bool = False

    def parse(self, output: CommandOutput) -> tuple[TakenSnapshot, ...]:
        return tuple(_taken(line) for line in output.text.splitlines())


def _taken(line: str) -> TakenSnapshot:
    values = line.split("\t")
    if len(values) != _FIELDS or number(values[0]) is None:
        raise ParseError(f"No ZFS snapshot: {clean(line, 120)!r}")
    guid, creation, name = values
    return TakenSnapshot(name=name, guid=guid, created_at=when(creation))
