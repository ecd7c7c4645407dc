"""The text of `zpool status -P -p -s -t [-v]`, said in UTC, as pools with their trees.

    pool: tank
   state: ONLINE
  status: … over several lines that begin with a tab
    scan: scrub repaired 36.2M in 00:00:05 with 0 errors on Fri Nov 20 15:07:04 2026
  config:

        NAME          STATE     READ WRITE CKSUM
        tank          ONLINE       0     0     0
          mirror-0    ONLINE       0     0     0

  errors: No known data errors

The rows of the tree begin with a tab and two blanks for each level. Names may hold blanks, so the state is looked for
where its heading stands. The list of damaged files is what a stranger may have named: it is read last, and only of
the one pool that was asked for.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from infrastructor.domains.zfs import printed
from infrastructor.domains.zfs.models import PoolState, Vdev
from infrastructor.domains.zfs.scan_text import activity, checkpoint
from infrastructor.domains.zfs.vdevs import ROLES, Row, tree
from infrastructor.errors import ParseError
from infrastructor.sanitize import clean

_KEY = re.compile(r" *([a-z]+): ?(.*)")
_KNOWN = frozenset({"state", "status", "action", "see", "scan", "scrub", "remove", "checkpoint", "expand", "config",
                    "errors", "comment", "dedup", "condense"})  # fmt: skip
_NOTE = re.compile(r"  \(([^()]*)\)")
_BLOCKS = re.compile(r"block size: ([0-9]+)B configured, ([0-9]+)B native")
_TRIM = re.compile(r"([0-9]+)% trimmed, (started at|suspended, started at|completed at) (.*)")
_TRIMS = {"started at": "running", "suspended, started at": "suspended", "completed at": "complete"}
_COUNTERS = {
    b"READ": "read_errors", b"WRITE": "write_errors", b"CKSUM": "checksum_errors", b"SLOW": "slow_ios",
}  # fmt: skip
_DATA_ERRORS = re.compile(r"([0-9]+) data errors?\b.*")
_NO_ERRORS = "No known data errors"


@dataclass
class _Lines:
    """The lines of one pool by their heading; `scan` may come twice."""

    name: str
    sections: list[tuple[str, list[bytes]]] = field(default_factory=list)

    def words(self, key: str) -> str | None:
        """What stands under a heading, as one line."""
        for name, lines in self.sections:
            if name == key:
                return clean(" ".join(b" ".join(lines).decode("utf-8", "replace").split())) or None
        return None

    def texts(self, *keys: str) -> Iterator[tuple[str, list[str]]]:
        for name, lines in self.sections:
            if name in keys:
                yield name, [line.decode("utf-8", "replace").strip() for line in lines]

    def config(self) -> list[bytes]:
        return next((lines for name, lines in self.sections if name == "config"), [])

    def errors(self) -> list[bytes]:
        return next((lines for name, lines in self.sections if name == "errors"), [])


def pools(stdout: bytes, only: str | None = None) -> tuple[PoolState, ...]:
    """Every pool in the text, or only that one. Raises `ParseError` for text that is none of `zpool status`."""
    found = [_pool(lines) for lines in _split(stdout, only)]
    if not found and stdout.strip() and b"no pools available" not in stdout:
        raise ParseError(f"No pool in what zpool status printed: {clean(stdout[:200].decode('utf-8', 'replace'))!r}")
    return tuple(found)


def _split(stdout: bytes, only: str | None) -> Iterator[_Lines]:
    """Cut the text at its headings. With `only`, all that follows the pool's `errors:` belongs to it."""
    current: _Lines | None = None
    for raw in stdout.split(b"\n"):
        line = raw.rstrip(b"\r")
        if line.startswith(b"  pool: ") and not (current and current.name == only and current.errors()):
            if current is not None:
                yield current
            current = _Lines(line[8:].decode("utf-8", "replace"))
            continue
        if current is None:
            continue
        match = None if line.startswith(b"\t") else _KEY.fullmatch(line.decode("utf-8", "replace"))
        in_files = bool(current.sections) and current.sections[-1][0] == "errors" and current.name == only
        if match is not None and match[1] in _KNOWN and not in_files:
            current.sections.append((match[1], [line.split(b":", 1)[1].strip()]))
        elif current.sections:
            current.sections[-1][1].append(line)
    if current is not None:
        yield current


def _pool(lines: _Lines) -> PoolState:
    state = lines.words("state")
    if state is None:
        raise ParseError(f"zpool status told no state of the pool {clean(lines.name, 80)!r}.")
    see = lines.words("see")
    rebuilding = False
    going_on = []
    for key, texts in lines.texts("scan", "scrub", "remove", "expand"):
        one = activity(key, texts)
        if one is not None:
            going_on.append(one)
            rebuilding |= one.vdev is not None and one.kind == "resilver"
    created, space = checkpoint(lines.words("checkpoint"))
    count, files = _errors(lines.errors())
    return PoolState(
        name=clean(lines.name),
        state=state,
        status=lines.words("status"),
        action=lines.words("action"),
        message=see.rsplit("/", 1)[-1] if see else None,
        see=see,
        activities=going_on,
        checkpoint_at=created,
        checkpoint_bytes=space,
        data_errors=count,
        error_files=files,
        vdevs=_tree(lines.config(), rebuilding=rebuilding),
    )


def _errors(lines: list[bytes]) -> tuple[int | None, list[str]]:
    """How many damaged files and objects there are, and those that are named."""
    said = lines[0].decode("utf-8", "replace") if lines else ""
    if said == _NO_ERRORS:
        return 0, []
    if match := _DATA_ERRORS.fullmatch(said):
        return printed.size(match[1]), []
    files = [clean(line[8:].decode("utf-8", "replace")) for line in lines[1:] if line.startswith(b"        ")]
    return (len(files), files) if files else (None, [])


def _tree(lines: list[bytes], *, rebuilding: bool) -> list[Vdev]:
    head: bytes | None = None
    role = "normal"
    above: list[Row] = []
    rows: list[Row] = []
    for line in lines:
        row = line.removeprefix(b"\t")
        if head is None:
            head = row if line.startswith(b"\tNAME ") else None
            continue
        if not line.startswith(b"\t") or not row.strip():
            continue
        depth = (len(row) - len(row.lstrip(b" "))) // 2
        word = row.strip().decode("ascii", "replace")
        if depth == 0 and word in ROLES:
            role, above = ROLES[word], []
            continue
        while above and above[-1].depth >= depth:
            above.pop()
        rows.append(_row(row, head, depth, role, above[-1] if above else None, rebuilding=rebuilding))
        above.append(rows[-1])
    return tree(rows)


def _row(text: bytes, head: bytes, depth: int, role: str, parent: Row | None, *, rebuilding: bool) -> Row:
    start = head.find(b"STATE")
    name, line = text[:start].decode("utf-8", "replace").strip(), text[start:].decode("utf-8", "replace")
    state, _, rest = line.partition(" ")
    rest = rest.lstrip(" ") if role != "spare" else f" {rest}"
    values: dict[str, object] = {}
    for column in head[start:].split()[1:] if role != "spare" else ():
        count, _, rest = rest.partition(" ")
        if column in _COUNTERS:
            values[_COUNTERS[column]] = printed.size(count)
        # What follows the last column begins with two blanks, and no column is empty.
        rest = rest if column == head.split()[-1] else rest.lstrip(" ")
    return Row(name, depth, role, state or None, parent, values | _notes(rest.strip(" "), rebuilding=rebuilding))


def _notes(text: str, *, rebuilding: bool) -> dict[str, object]:
    """What stands after the numbers: where a lost disk was, what is wrong, and what is going on in parentheses."""
    notes = _NOTE.findall(f"  {text}")
    plain = clean(_NOTE.sub("", f"  {text}").strip(" "))
    found: dict[str, object] = {}
    if plain.startswith("was /"):
        found["was"] = plain.removeprefix("was ")
    elif match := _BLOCKS.fullmatch(plain):
        found |= {"configured_block_bytes": printed.size(match[1]), "native_block_bytes": printed.size(match[2])}
    elif plain:
        found["problem"] = plain
    doing: list[str] = []
    for note in notes:
        if note in {"untrimmed", "trim unsupported"}:
            found["trim"] = "never" if note == "untrimmed" else "unsupported"
        elif match := _TRIM.fullmatch(note):
            found |= {"trim": _TRIMS[match[2]], "trimmed_at": printed.time(match[3])}
        elif not (rebuilding and note == "resilvering"):  # JSON does not tell which disks a rebuild writes
            doing.append(clean(note, 80))
    return found | {"doing": doing}
