"""A replay of what a real machine with OpenZFS 2.3.2 printed, for tests where there is no ZFS.

No ZFS and no imitation of it: each line gets the recorded output of that line. What ZFS itself does is tested on a real
machine, by `./dev.sh lab zfs`.
"""

from infrastructor.ports.ssh import CommandOutput
from tests.test_fixtures import FIXTURES

SOURCE, TARGET = "tank/data", "backup/nas/data"
WANTED = f"{SOURCE}@s3"


def recorded(command: str, case: str = "") -> CommandOutput:
    """What the command of this class printed on the machine."""
    stem = FIXTURES / "zfs" / command / ("zfs-2.3.2" + (f"-{case}" if case else ""))
    return CommandOutput(exit_status=0, stdout=stem.with_name(stem.name + ".out").read_bytes())


def edited(output: CommandOutput, *edits: tuple[str, str]) -> CommandOutput:
    """The same with parts of it replaced, each of which must be there."""
    text = output.text
    for old, new in edits:
        assert old in text, old
        text = text.replace(old, new)
    return CommandOutput(exit_status=0, stdout=text.encode())


SOURCE_REPLICA = recorded("ReadReplica")
NO_REPLICA = recorded("ReadReplica", "new")
RECEIVED = recorded("ReadReplica", "received")
INTERRUPTED = recorded("ReadReplica", "interrupted")


def _with_wanted() -> CommandOutput:
    """The target once it has the wanted snapshot too: its line, as the source printed it, under the target's name."""
    line = next(line for line in SOURCE_REPLICA.text.splitlines() if line.endswith(WANTED))
    moved = line.replace(WANTED, f"{TARGET}@s3").split("\t")
    moved[3] = "90000"  # its transaction there is later
    joined = "\t".join(moved)
    return CommandOutput(exit_status=0, stdout=f"{RECEIVED.text}{joined}\n".encode())


COMPLETE = _with_wanted()
WANTED_GUID = next(line.split("\t")[2] for line in COMPLETE.text.splitlines() if line.endswith("@s3"))
TOKEN = next(line.split("\t")[2] for line in INTERRUPTED.text.splitlines() if "resume_token" in line)
SECOND_GUID = next(line.split("\t")[2] for line in SOURCE_REPLICA.text.splitlines() if line.endswith("@s2"))


def at(dataset: str) -> str:
    """How the line begins that looks at a dataset."""
    return f"set -- {dataset}"
