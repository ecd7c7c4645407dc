"""`zfs list` and `zfs get`, as rows.

Lists are asked for as lines with tabs on every version: JSON says the same seven times as long, and 50,000 snapshots
of it would cost more memory than all else. Properties of one dataset come as JSON where there is JSON, since the values
of user properties may hold tabs and line breaks.
"""

from collections.abc import Iterator
from typing import NamedTuple

from infrastructor.domains.zfs import printed
from infrastructor.domains.zfs.dataset_models import Dataset, Property, Snapshot
from infrastructor.domains.zfs.pools import number, ratio
from infrastructor.domains.zfs.status_json import members
from infrastructor.errors import ParseError
from infrastructor.sanitize import clean

COLUMNS = (
    "name", "type", "used", "available", "referenced", "usedbysnapshots", "usedbychildren", "usedbyrefreservation",
    "written", "compressratio", "quota", "refquota", "volsize", "mounted", "encryption", "keystatus", "origin",
    "creation", "mountpoint",
)  # fmt: skip
SNAPSHOT_COLUMNS = ("name", "creation", "used", "referenced", "written", "userrefs", "guid", "clones")
_SOURCES = frozenset({"local", "default", "inherited", "received", "temporary", "none"})
_YES = {"yes": True, "no": False}


def datasets(text: str) -> tuple[Dataset, ...]:
    """The lines of `zfs list -H -p -o …` with these columns. Raises `ParseError` for any other."""
    return tuple(_dataset(row) for row in _rows(text, len(COLUMNS)))


def _rows(text: str, columns: int) -> Iterator[list[str]]:
    for line in text.split("\n"):
        if not line:
            continue
        row = line.split("\t", columns - 1)
        if len(row) != columns:
            raise ParseError(f"zfs list printed {len(row)} columns, not {columns}: {clean(line, 200)!r}")
        yield row


def _dataset(row: list[str]) -> Dataset:
    one = dict(zip(COLUMNS, row, strict=True))
    return Dataset(
        name=clean(one["name"]),
        type=clean(one["type"]),
        used_bytes=number(one["used"]),
        available_bytes=number(one["available"]),
        referenced_bytes=number(one["referenced"]),
        used_by_snapshots_bytes=number(one["usedbysnapshots"]) or None,
        used_by_children_bytes=number(one["usedbychildren"]) or None,
        used_by_reservation_bytes=number(one["usedbyrefreservation"]) or None,
        written_bytes=number(one["written"]),
        compress_ratio=ratio(one["compressratio"]),
        quota_bytes=number(one["quota"]) or None,
        refquota_bytes=number(one["refquota"]) or None,
        volume_bytes=number(one["volsize"]),
        mounted=_YES.get(one["mounted"]),
        mountpoint=_word(one["mountpoint"]),
        encryption=None if one["encryption"] == "off" else _word(one["encryption"]),
        key_status=_word(one["keystatus"]),
        origin=_word(one["origin"]),
        created_at=printed.moment(number(one["creation"])),
    )


def _word(text: str) -> str | None:
    return None if text in {"-", ""} else clean(text)


class SnapshotRow(NamedTuple):
    """A snapshot as light as can be: there may be very many. Times are seconds since 1970; -1 is unknown."""

    name: str
    created: int
    used: int
    referenced: int
    written: int
    holds: int
    guid: str
    clones: str

    @property
    def dataset(self) -> str:
        return self.name.partition("@")[0]

    @property
    def label(self) -> str:
        return self.name.partition("@")[2]

    def shown(self) -> Snapshot:
        return Snapshot(
            name=clean(self.name),
            created_at=printed.moment(self.created),
            used_bytes=_known(self.used),
            referenced_bytes=_known(self.referenced),
            written_bytes=_known(self.written),
            holds=max(self.holds, 0),
            clones=[clean(name) for name in self.clones.split(",") if name],
            guid=self.guid,
        )


def _known(value: int) -> int | None:
    return None if value < 0 else value


def snapshots(text: str) -> tuple[SnapshotRow, ...]:
    """The lines of `zfs list -H -p -t snapshot -o …` with these columns. Raises `ParseError` for any other."""
    found: list[SnapshotRow] = []
    add, columns = found.append, len(SNAPSHOT_COLUMNS)
    for line in text.split("\n"):
        if not line:
            continue
        row = line.split("\t")
        if len(row) != columns or "@" not in row[0]:
            raise ParseError(f"zfs list printed something that is no snapshot: {clean(line, 200)!r}")
        created, used, referenced, written, holds = map(_int, row[1:6])
        guid, clones = row[6:]
        add(SnapshotRow(row[0], created, used, referenced, written, holds, guid, "" if clones == "-" else clones))
    return tuple(found)


def _int(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 20 else -1  # noqa: PLR2004


def properties_from_text(text: str) -> tuple[Property, ...]:
    """The lines of `zfs get -H -p -o property,value,source`. A line break in a value begins no property."""
    found: list[Property] = []
    pending = ""
    for line in text.split("\n"):
        entry = f"{pending}\n{line}" if pending else line
        name, _, rest = entry.partition("\t")
        value, tab, source = rest.rpartition("\t")
        word, _, origin = source.partition(" from ")
        if not tab or (word not in _SOURCES and word != "-"):
            pending = entry  # the value goes on in the next line
            continue
        pending = ""
        found.append(
            Property(
                name=clean(name),
                value=clean(value),
                source="none" if word == "-" else word,
                inherited_from=clean(origin) or None,
            )
        )
    if pending.strip():
        raise ParseError(f"zfs get printed something that is no property: {clean(pending, 200)!r}")
    return tuple(found)


def properties_from_json(text: str) -> tuple[Property, ...]:
    """The properties of the one dataset in the JSON of `zfs get`. Raises `ParseError` for anything else."""
    found: list[Property] = []
    for dataset in members(text, "datasets"):
        named = dataset.get("properties")
        for name, one in (named if isinstance(named, dict) else {}).items():
            source = one.get("source") if isinstance(one, dict) else None
            if not isinstance(source, dict) or "value" not in one:
                raise ParseError(f"zfs get told a property without value or source: {clean(str(name), 80)!r}")
            word = str(source.get("type", "")).lower()
            origin = source.get("data") if word == "inherited" else None
            found.append(
                Property(
                    name=clean(name),
                    value=clean(str(one["value"])),
                    source=word if word in _SOURCES else "none",
                    inherited_from=clean(str(origin)) if origin else None,
                )
            )
    return tuple(found)
