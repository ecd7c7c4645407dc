"""Rules for recommendations on datasets: what to set, where what was measured speaks for it.

Settings take effect on what is written from then on, so each says what it does not change. What the module counted of
a dataset counts from the moment it was mounted.
"""

from collections.abc import Iterator

from infrastructor.domains.zfs.dataset_models import Dataset
from infrastructor.domains.zfs.fact_commands import DatasetIo
from infrastructor.domains.zfs.facts import Facts
from infrastructor.domains.zfs.health_models import Recommendation
from infrastructor.domains.zfs.models import Pool
from infrastructor.domains.zfs.pools import number
from infrastructor.domains.zfs.rules import GIB, groups, line, size

KIB = 1024
_ENOUGH_CALLS = 100_000  # before an average says something
_SMALL = 32 * KIB
_LARGE = 512 * KIB
_MUCH = 10 * GIB
_WORTH_IT = 1.1
_PADDED = 1.05
_DEDUP_WORTH_IT = 1.2
_XATTR_IN_INODE_SINCE = (2, 3)  # from where `on` means `sa`
_NO_IO = DatasetIo()


def dataset_advice(facts: Facts, pool: Pool) -> Iterator[Recommendation]:
    """Everything on one pool's datasets."""
    ratio = _ratio(facts, pool)
    for one in facts.datasets_of(pool.name):
        if one.type == "filesystem":
            yield from _recordsize(facts, pool, one)
            yield from _atime(facts, pool, one)
            yield from _xattr(facts, pool, one)
        else:
            yield from _volblocksize(facts, pool, one)
        yield from _compression(facts, pool, one, ratio)
        yield from _sync(facts, pool, one)
        yield from _logbias(facts, pool, one)
        yield from _dedup(facts, pool, one)


def _io(facts: Facts, dataset: str) -> DatasetIo:
    return facts.counters.datasets.get(dataset, _NO_IO) if facts.counters else _NO_IO


def _recordsize(facts: Facts, pool: Pool, one: Dataset) -> Iterator[Recommendation]:
    record = number(facts.setting(one.name, "recordsize").value)
    io = _io(facts, one.name)
    if not record or io.writes < _ENOUGH_CALLS or io.reads < _ENOUGH_CALLS:
        return
    wrote, read = io.written_bytes / io.writes, io.read_bytes / io.reads
    measured = (
        f"recordsize is {size(record)}; since it was mounted programs wrote {size(wrote)} and read {size(read)} at a "
        f"time on average, in {io.writes} writes and {io.reads} reads."
    )
    if max(wrote, read) <= min(_SMALL, record / 4):
        wanted = max(16 * KIB, 1 << (int(max(wrote, read)) - 1).bit_length())
        if wanted < record:
            yield Recommendation(
                priority="medium",
                code="recordsize",
                pool=pool.name,
                subject=one.name,
                measured=measured,
                effect=f"A change of {size(wrote)} reads and writes {size(wanted)} instead of {size(record)}.",
                risk="Compresses less and takes more metadata. Files written before keep their records until copied.",
                command=line("zfs", "set", f"recordsize={wanted // KIB}K", one.name),
            )
    elif min(wrote, read) >= _LARGE and record <= 128 * KIB and io.written_bytes + io.read_bytes >= _MUCH:
        yield Recommendation(
            priority="low",
            code="recordsize",
            pool=pool.name,
            subject=one.name,
            measured=measured,
            effect="Fewer, larger blocks: less metadata, better compression, fewer seeks of disks that turn.",
            risk="Small changes within large files get slower. Files written before keep their records until copied.",
            command=line("zfs", "set", "recordsize=1M", one.name),
        )


def _volblocksize(facts: Facts, pool: Pool, one: Dataset) -> Iterator[Recommendation]:
    block = number(facts.setting(one.name, "volblocksize").value)
    stored = number(facts.setting(one.name, "referenced").value) or 0
    logical = number(facts.setting(one.name, "logicalreferenced").value) or 0
    raidz = [group.top for group in groups(facts.vdevs(pool.name)) if group.top.kind.startswith("raidz")]
    if not block or block >= 16 * KIB or not raidz or stored < GIB or stored <= logical * _PADDED:
        return
    more = f"{100 * stored // logical - 100} % more" if logical else "more than nothing"
    yield Recommendation(
        priority="medium",
        code="volblocksize",
        pool=pool.name,
        subject=one.name,
        measured=f"The volume's blocks are {size(block)} on {raidz[0].kind}; it stores {size(logical)} of contents in "
        f"{size(stored)}, {more}, for parity and padding of small blocks.",
        effect="Larger blocks need less parity and padding.",
        risk="It is fixed when a volume is made: make a new one and copy. Writes below 16 KiB read the rest first.",
        command=line(
            "zfs", "create", "-V", str(one.volume_bytes or stored), "-o", "volblocksize=16K", f"{one.name}-16k"
        ),
    )


def _ratio(facts: Facts, pool: Pool) -> float | None:
    """What compression makes of this pool's contents, where it is on; None for less than a GiB of those."""
    stored = logical = 0
    for one in facts.datasets_of(pool.name):
        if facts.setting(one.name, "compression").value not in {"", "off"}:
            stored += number(facts.setting(one.name, "referenced").value) or 0
            logical += number(facts.setting(one.name, "logicalreferenced").value) or 0
    return logical / stored if stored >= GIB else None


def _compression(facts: Facts, pool: Pool, one: Dataset, ratio: float | None) -> Iterator[Recommendation]:
    stored = number(facts.setting(one.name, "referenced").value) or 0
    if facts.setting(one.name, "compression").value != "off" or stored < GIB or ratio is None or ratio < _WORTH_IT:
        return
    yield Recommendation(
        priority="medium",
        code="compression",
        pool=pool.name,
        subject=one.name,
        measured=f"compression is off for {size(stored)} of contents; where it is on in this pool, contents take "
        f"{ratio:.2f} times less.",
        effect=f"If they are alike, up to {size(stored - stored / ratio)} less once written anew, and less I/O.",
        risk="Little CPU time. Contents that are compressed already (film, archives) stay as they are. What is there "
        "stays as it is until written anew.",
        command=line("zfs", "set", "compression=on", one.name),
    )


def _atime(facts: Facts, pool: Pool, one: Dataset) -> Iterator[Recommendation]:
    io = _io(facts, one.name)
    if (
        facts.setting(one.name, "atime").value != "on"
        or facts.setting(one.name, "relatime").value != "off"
        or io.reads < _ENOUGH_CALLS
    ):
        return
    yield Recommendation(
        priority="low",
        code="atime",
        pool=pool.name,
        subject=one.name,
        measured=f"atime is on and relatime off; {io.reads} reads since it was mounted made times of access due.",
        effect="Reads cause no writes, and snapshots do not grow by being read.",
        risk="Programs that need the exact time of last access (some mail and backup programs) see one a day old.",
        command=line("zfs", "set", "relatime=on", one.name),
    )


def _xattr(facts: Facts, pool: Pool, one: Dataset) -> Iterator[Recommendation]:
    value, acls = facts.setting(one.name, "xattr").value, facts.setting(one.name, "acltype").value
    in_directories = value == "dir" or (value == "on" and (0, 0) < facts.version < _XATTR_IN_INODE_SINCE)
    if not in_directories or acls not in {"posix", "posixacl"} or (one.referenced_bytes or 0) < GIB:
        return
    yield Recommendation(
        priority="low",
        code="xattr",
        pool=pool.name,
        subject=one.name,
        measured=f"acltype is {acls} and xattr is {value}: each ACL lies in a hidden directory of its file, in "
        f"{size(one.referenced_bytes or 0)} of contents.",
        effect="An ACL is read with its file instead of by three more reads.",
        risk="Only Linux and newer software reads them there. Those of files that are there stay where they are.",
        command=line("zfs", "set", "xattr=sa", one.name),
    )


def _sync(facts: Facts, pool: Pool, one: Dataset) -> Iterator[Recommendation]:
    setting, io = facts.setting(one.name, "sync"), _io(facts, one.name)
    if setting.value != "disabled" or setting.source not in {"local", "received"}:
        return
    yield Recommendation(
        priority="high",
        code="sync",
        pool=pool.name,
        subject=one.name,
        measured=f"sync is disabled; {io.writes} writes since it was mounted." if io.writes else "sync is disabled.",
        effect="What a program was told is on disk is on disk: after a crash no database or virtual machine is broken.",
        risk="Synchronous writes take as long as the disks need; a log vdev on fast disks with power-loss protection "
        "shortens that.",
        command=line("zfs", "set", "sync=standard", one.name),
    )


def _logbias(facts: Facts, pool: Pool, one: Dataset) -> Iterator[Recommendation]:
    setting = facts.setting(one.name, "logbias")
    logs = [vdev.name for vdev in facts.vdevs(pool.name) if vdev.role == "log" and vdev.depth == 1]
    if setting.value != "throughput" or setting.source not in {"local", "received"} or not logs:
        return
    yield Recommendation(
        priority="low",
        code="logbias",
        pool=pool.name,
        subject=one.name,
        measured=f"logbias is throughput, so its synchronous writes pass by the log {logs[0]}.",
        effect="Synchronous writes end as soon as the log has them.",
        risk="More is written to the log; large streams may be faster without it, so measure with zpool iostat.",
        command=line("zfs", "set", "logbias=latency", one.name),
    )


def _dedup(facts: Facts, pool: Pool, one: Dataset) -> Iterator[Recommendation]:
    setting, ratio = facts.setting(one.name, "dedup"), pool.dedup_ratio
    if setting.value in {"", "off"} or setting.source not in {"local", "received"} or ratio is None:
        return
    if ratio < _DEDUP_WORTH_IT and (pool.allocated_bytes or 0) >= GIB:
        yield Recommendation(
            priority="high",
            code="dedup",
            pool=pool.name,
            subject=one.name,
            measured=f"dedup is {setting.value}, and the pool's contents take only {ratio:.2f} times less by it.",
            effect="No table of all blocks to be kept in memory and written to for new contents.",
            risk="What was deduplicated stays so, and its table too, until it is written anew.",
            command=line("zfs", "set", "dedup=off", one.name),
        )
