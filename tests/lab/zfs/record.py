"""Record what the changing commands of ZFS print on the lab machine: `python -m tests.lab.zfs.record FOLDER MACHINE`.

Writes `tests/fixtures/zfs/<Command>/<MACHINE>.out` and what belongs to it.
"""

import asyncio
import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

from infrastructor.command import Command
from infrastructor.domains.zfs.change_commands import (
    AbortReceive,
    CloneSnapshot,
    DestroySnapshots,
    HoldSnapshots,
    RollBack,
    Scrub,
    TakeSnapshots,
)
from infrastructor.domains.zfs.direct_commands import Login, StreamDirectly, StreamLocally, TryLogin
from infrastructor.domains.zfs.losses import LookAtDestruction, LookAtTrees
from infrastructor.domains.zfs.replica import ReadReplica
from infrastructor.domains.zfs.stream_commands import (
    EstimateStream,
    ListInterrupted,
    ReadToken,
    ReceiveStream,
    ResumeStream,
    SendStream,
)
from infrastructor.domains.zfs.taken import ReadTaken
from infrastructor.domains.zfs.transfer import known_hosts
from infrastructor.ports.ssh import Lane
from tests.lab.zfs.lab import Lab, opened
from tests.support.sshd import line

FIXTURES = Path(__file__).parents[2] / "fixtures" / "zfs"


class Recorder:
    def __init__(self, lab: Lab, machine: str) -> None:
        self.lab = lab
        self.machine = machine

    async def keep(self, command: Command[Any], case: str = "", *, stdin: str | None = None) -> None:
        """Run it, and keep what it printed. `case` tells several recordings of one machine apart."""
        text = command.render().text + (f" <{stdin}" if stdin else "")
        got = await self.lab.client.execute_command(
            self.lab.nas, line(text, Lane.SLOW, timeout_s=120.0, max_output_bytes=8 << 20)
        )
        assert got.exit_status in command.ok_statuses, (type(command).__name__, got)
        folder = FIXTURES / type(command).__name__
        folder.mkdir(parents=True, exist_ok=True)
        stem = folder / (f"{self.machine}-{case}" if case else self.machine)
        stem.with_name(stem.name + ".out").write_bytes(got.stdout)
        if got.stderr:
            stem.with_name(stem.name + ".err").write_bytes(got.stderr)
        if got.exit_status:
            stem.with_name(stem.name + ".rc").write_text(str(got.exit_status))
        fields = {field.name: getattr(command, field.name) for field in dataclasses.fields(command)}
        plain = {name: value for name, value in fields.items() if not dataclasses.is_dataclass(value)}
        if plain:
            stem.with_name(stem.name + ".params.json").write_text(json.dumps(plain, default=list) + "\n")


async def record(lab: Lab, machine: str) -> None:
    keep = Recorder(lab, machine).keep
    sh = lab.sh
    await sh(
        "zfs create tank/data && zfs create tank/data/below && zfs create 'tank/with space' && "
        "head -c 300000 /dev/urandom >/tank/data/file && zfs create -o mountpoint=none backup/nas"
    )
    await keep(TakeSnapshots(snapshot="tank/data@s1", recursive=True))
    await keep(ReadTaken(dataset="tank/data", name="s1", recursive=True))
    await keep(ReadTaken(dataset="tank/data", name="none"), "none")
    await keep(HoldSnapshots(tag="keep", snapshot="tank/data@s1"))
    await sh(
        "zfs hold 'two words' tank/data@s1; head -c 300000 /dev/urandom >/tank/data/two; zfs snapshot tank/data@s2"
    )
    await sh("zfs bookmark tank/data@s2 tank/data#b2; echo x >/tank/data/three; zfs snapshot tank/data@s3")
    await keep(CloneSnapshot(snapshot="tank/data@s2", target="tank/a clone"))
    await sh(
        "zfs create 'tank/a clone/in it'; zfs snapshot 'tank/a clone/in it@x'; zfs hold keep 'tank/a clone/in it@x'"
    )
    await keep(LookAtDestruction(spec="tank/data@s1%s3"), "blocked")
    await keep(LookAtDestruction(spec="tank/data@s1,s3", recursion="-r"))
    await keep(LookAtDestruction(spec="tank/data@s3"), "one")
    await keep(LookAtDestruction(spec="tank/data@none"), "none")
    await keep(LookAtTrees(datasets=("tank/a clone",)))
    await keep(ReadReplica(dataset="tank/data"))
    await keep(ReadReplica(dataset="backup/nas/data"), "new")

    full = SendStream(snapshot="tank/data@s1", large=True, compressed=True, embedded=True)
    await keep(EstimateStream.of(full))
    await keep(EstimateStream(snapshot="tank/data@s3", first="tank/data@s1"), "between")
    await keep(SendStream(snapshot="tank/data@s3", base="tank/data@s2"))
    here = ReceiveStream(dataset="backup/nas/data", readonly="on", canmount="noauto")
    await keep(StreamLocally(send=dataclasses.replace(full, tell=True), receive=here))
    await sh("zfs send tank/data@s1 >/tmp/stream")
    await keep(ReceiveStream(dataset="backup/nas/two"), stdin="/tmp/stream")
    await keep(ReadReplica(dataset="backup/nas/data"), "received")

    await sh("zfs send -i @s1 tank/data@s2 | head -c 150000 | zfs receive -s -u backup/nas/data", fails=True)
    await sh("zfs send tank/data@s1 | head -c 150000 | zfs receive -s -u 'backup/nas/new one'", fails=True)
    token = (await sh("zfs get -H -o value receive_resume_token backup/nas/data")).strip()
    await keep(ListInterrupted())
    await keep(ReadToken(token=token))
    await sh("zfs rename tank/data tank/moved")
    await keep(ReadToken(token=token), "renamed")
    await sh("zfs rename tank/moved tank/data; zfs create tank/brief; zfs snapshot tank/brief@s1")
    await sh("zfs send tank/brief@s1 | head -c 20000 | zfs receive -s -u backup/nas/brief", fails=True)
    gone = (await sh("zfs get -H -o value receive_resume_token backup/nas/brief")).strip()
    await sh("zfs destroy -r tank/brief")
    await keep(ReadToken(token=gone), "gone")
    await sh("zfs receive -A backup/nas/brief")
    await keep(ReadReplica(dataset="backup/nas/data"), "interrupted")
    await keep(ResumeStream(token=token))
    await keep(AbortReceive(dataset="backup/nas/new one"))
    name = "infrastructor-lab"
    key = " ".join((await sh("cat /etc/ssh/ssh_host_ed25519_key.pub")).split()[:2])
    login = Login(keys=known_hosts(name, [key]), name=name, port=2223, user="root", address="127.0.0.1")
    await keep(TryLogin(login=login))
    other = dataclasses.replace(login, user="nobody")
    await keep(TryLogin(login=other), "refused")
    direct = ReceiveStream(dataset="backup/nas/direct", readonly="on")
    await keep(StreamDirectly(login=login, send=dataclasses.replace(full, tell=True), receive=direct))
    await keep(StreamDirectly(login=other, send=dataclasses.replace(full, tell=True), receive=direct), "refused")

    await keep(Scrub(pool="tank"))
    await sh(
        "zpool wait -t scrub tank; zfs destroy -r 'tank/a clone@x'; zfs release keep 'tank/a clone/in it@x'", fails=True
    )
    await keep(DestroySnapshots(snapshots="tank/data@s2", clones=True))
    await keep(RollBack(snapshot="tank/data@s1", newer=True))


async def main(folder: Path, machine: str) -> None:
    async with opened(folder) as lab:
        await record(lab, machine)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
