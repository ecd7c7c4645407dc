"""What an agent and this side say to each other: lines of words, paths and contents coded. Pure.

From the agent: I hello, U folder that cannot be read, T the whole tree in figures and its digest, S one file of it,
E how many, F content, H digest, K link, N nothing kept, D gone, O events lost, Q question answered, B alive.
To the agent: L limits, R a root, W watch, M list the tree, G tell of a file, Q say when all was told.
"""

import binascii
import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import quote_from_bytes, unquote_to_bytes

from infrastructor.domains.configs.roots import Root
from infrastructor.errors import ParseError
from infrastructor.snapshot_store import Signature

VERSION = 1
NAME = b"infrastructor-agent"
_SAFE = "/._-+=@,:~"
_FIELDS = 7
_MARK = re.compile(rb"(?:-?[0-9]{1,19},){6}-?[0-9]{1,19}")  # of numbers that no system exceeds
_NUMBER = re.compile(rb"-?[0-9]{1,20}")
_MOST = 1 << 64
_HASH = re.compile(rb"[0-9a-f]{64}")
_REASON = re.compile(rb"[A-Za-z0-9_]{1,40}")


@dataclass(frozen=True, slots=True)
class Hello:
    """The agent runs; the clock is that of the device."""

    language: str
    clock_ns: int


@dataclass(frozen=True, slots=True)
class Tree:
    """All there is. `digest` None: files were changing."""

    files: int
    folders: int
    polled: int  # folders for which there was no watch
    beyond: int  # files beyond the limit
    missing: int  # roots that are not there
    unreadable: int  # folders
    digest: str | None


@dataclass(frozen=True, slots=True)
class Listed:
    path: bytes
    mark: bytes


@dataclass(frozen=True, slots=True)
class ListEnd:
    count: int


@dataclass(frozen=True, slots=True)
class FileContent:
    path: bytes
    mark: bytes
    content: bytes


@dataclass(frozen=True, slots=True)
class FileDigest:
    path: bytes
    mark: bytes
    content_hash: str


@dataclass(frozen=True, slots=True)
class FileLink:
    path: bytes
    mark: bytes
    target: bytes


@dataclass(frozen=True, slots=True)
class FileUnread:
    """`mark` None: not even its attributes may be seen."""

    path: bytes
    mark: bytes | None
    reason: str


@dataclass(frozen=True, slots=True)
class FileGone:
    path: bytes


@dataclass(frozen=True, slots=True)
class FolderUnread:
    path: bytes
    reason: str


@dataclass(frozen=True, slots=True)
class EventsLost:
    reason: str


@dataclass(frozen=True, slots=True)
class Answered:
    number: int


@dataclass(frozen=True, slots=True)
class Beat:
    clock_ns: int


FileMessage = FileContent | FileDigest | FileLink | FileUnread | FileGone
Message = FileMessage | Hello | Tree | Listed | ListEnd | FolderUnread | EventsLost | Answered | Beat


def parse_line(line: bytes) -> Message:  # noqa: PLR0911, PLR0912 - one case per kind
    """One line of an agent. Raises `ParseError` for anything else."""
    try:
        match line.split(b" "):
            case [b"F", mark, content, path]:
                return FileContent(_path(path), _mark(mark), _content(content))
            case [b"S", mark, path]:
                return Listed(_path(path), _mark(mark))
            case [b"D", path]:
                return FileGone(_path(path))
            case [b"H", mark, digest, path] if _HASH.fullmatch(digest):
                return FileDigest(_path(path), _mark(mark), digest.decode())
            case [b"K", mark, target, path]:
                return FileLink(_path(path), _mark(mark), b"" if target == b"%" else unquote_to_bytes(target))
            case [b"N", mark, reason, path]:
                return FileUnread(_path(path), None if mark == b"-" else _mark(mark), _reason(reason))
            case [b"T", counts, digest] if digest == b"-" or _HASH.fullmatch(digest):
                files, folders, polled, beyond, missing, unreadable = map(_number, counts.split(b","))
                known = None if digest == b"-" else digest.decode()
                return Tree(files, folders, polled, beyond, missing, unreadable, known)
            case [b"E", count]:
                return ListEnd(_number(count))
            case [b"U", reason, path]:
                return FolderUnread(_path(path), _reason(reason))
            case [b"O", reason]:
                return EventsLost(_reason(reason))
            case [b"Q", number]:
                return Answered(_number(number))
            case [b"B", clock]:
                return Beat(_number(clock))
            case [b"I", name, version, language, clock] if name == NAME and _number(version) == VERSION:
                return Hello(_reason(language), _number(clock))
    except ValueError as error:
        raise ParseError("A line of the agent is malformed.", output=repr(line[:120])) from error
    raise ParseError("A line of the agent is not understood.", output=repr(line[:120]))


def _path(word: bytes) -> bytes:
    path = unquote_to_bytes(word)
    if not path.startswith(b"/") or b"\0" in path or len(path) > 65536:  # noqa: PLR2004
        raise ValueError(path)
    return path


def _number(word: bytes) -> int:
    if not _NUMBER.fullmatch(word) or not -_MOST < (number := int(word)) < _MOST:
        raise ValueError(word)
    return number


def _mark(word: bytes) -> bytes:
    if _MARK.fullmatch(word):
        return word
    if len([_number(part) for part in word.split(b",")]) != _FIELDS:
        raise ValueError(word)
    return word


def _reason(word: bytes) -> str:
    if not _REASON.fullmatch(word):
        raise ValueError(word)
    return word.decode()


def _content(word: bytes) -> bytes:
    return b"" if word == b"-" else binascii.a2b_base64(word, strict_mode=True)


# --- signatures -------------------------------------------------------------------------------------------


def mark_of(signature: Signature) -> bytes:
    """A signature as it stands on the wire."""
    s = signature
    return f"{s.inode},{s.size_bytes},{s.mtime_ns},{s.ctime_ns},{s.mode},{s.uid},{s.gid}".encode()


def signature_of(mark: bytes) -> Signature:
    inode, size, mtime, ctime, mode, uid, gid = map(int, mark.split(b","))
    return Signature(inode=inode, size_bytes=size, mtime_ns=mtime, ctime_ns=ctime, mode=mode, uid=uid, gid=gid)


def tree_digest(marks: Mapping[bytes, bytes]) -> str:
    """Of paths and signatures, the same on both sides."""
    return hashlib.sha256(b"".join(b"%b\0%b\n" % (path, marks[path]) for path in sorted(marks))).hexdigest()


# --- to the agent -----------------------------------------------------------------------------------------


def quote(path: bytes) -> str:
    return quote_from_bytes(path, _SAFE)


def begin(limits: Iterable[float], roots: Iterable[Root]) -> bytes:
    """What an agent needs before it watches."""
    lines = ["L " + " ".join(f"{value:g}" if value < 1e6 else f"{value:.0f}" for value in limits)]  # noqa: PLR2004
    for root in roots:
        patterns = [quote(text.encode()) if text is not None else "-" for text in (root.include, root.exclude)]
        lines.append(f"R {int(root.recursive)} {patterns[0]} {patterns[1]} {quote(root.path.encode())}")
    return "\n".join([*lines, "W", ""]).encode()


def ask(paths: Iterable[bytes], number: int) -> bytes:
    """Tell of these files, and say so when all are told."""
    return "".join([*(f"G {quote(path)}\n" for path in paths), f"Q {number}\n"]).encode()
