"""Looking at files by programs every device has: their attributes, a digest of those, their contents.

Scripts are constant; paths are arguments. GNU, BusyBox and toybox differ in `find -printf` and in the fractions of
seconds `stat` knows. Parsers are pure and raise only `ParseError`.
"""

import binascii
import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from infrastructor.errors import ParseError
from infrastructor.ports.ssh import CommandLine, CommandOutput, Lane
from infrastructor.watchers.agent_protocol import (
    FileContent,
    FileDigest,
    FileGone,
    FileLink,
    FileMessage,
    FileUnread,
)

_FORMAT = """
case $(stat -c %.9Y / 2>/dev/null) in
*.?????????) t='%i,%s,%.9Y,%.9Z,%f,%u,%g';;
*) t='%i,%s,%Y,%Z,%f,%u,%g';;
esac
"""
# Arguments: depth and path by turns; depth 0 goes all the way down. Folders are listed too, with a type of d.
_LOOK = (
    _FORMAT
    + r"""
look() {
  while [ $# -gt 1 ]; do
    depth=$1 path=$2
    shift 2
    if [ ! -e "$path" ] && [ ! -h "$path" ]; then printf 'missing %s\0' "$path"; continue; fi
    case $depth in 0) depth=1000;; esac
    skip='( -name .git -o -name .svn -o -name .hg -o -name node_modules -o -name __pycache__ ) -prune -o'
    if find / -maxdepth 0 -printf '' 2>/dev/null; then
      find -H "$path" -maxdepth $depth $skip -printf '%i,%s,%T@,%C@,%y/%m,%U,%G %p\0'
    else
      find -H "$path" -maxdepth $depth $skip -exec stat -c "$t %n" {} + | tr '\n' '\0'
    fi
  done
}
"""
)
LIST = _LOOK + 'look "$@"; exit 0'
DIGEST = _LOOK + 'look "$@" | { sort -z 2>/dev/null || cat; } | { sha256sum || cksum; }; exit 0'
# Arguments: the most bytes taken whole, then paths.
FETCH = (
    _FORMAT
    + r"""
most=$1
shift
n=0
for path; do
  n=$((n + 1))
  before=$(stat -c "$t" -- "$path" 2>&1) || {
    case $before in *ermission*) echo "$n - N EACCES";; *) echo "$n - D";; esac
    continue
  }
  if [ -h "$path" ]; then echo "$n $before K $(readlink -- "$path" | od -An -v -tx1 | tr -d ' \n')"; continue; fi
  if [ ! -f "$path" ]; then
    if [ -d "$path" ]; then echo "$n - D"; else echo "$n $before N special"; fi
    continue
  fi
  if [ ! -r "$path" ]; then echo "$n $before N EACCES"; continue; fi
  size=${before#*,}
  size=${size%%,*}
  if [ "$size" -gt "$most" ]; then
    if [ "$size" -gt 268435456 ]; then echo "$n $before N huge"; continue; fi
    hash=$(sha256sum <"$path") || hash=
    echo "$n $before H ${hash%% *} $(stat -c "$t" -- "$path" 2>/dev/null)"
  elif command -v base64 >/dev/null 2>&1; then
    printf '%s' "$n $before F "
    base64 <"$path" | tr -d '\n'
    echo " $(stat -c "$t" -- "$path" 2>/dev/null)"
  else
    printf '%s' "$n $before X "
    od -An -v -tx1 <"$path" | tr -d ' \n'
    echo " $(stat -c "$t" -- "$path" 2>/dev/null)"
  fi
done
exit 0
"""
)
_TYPES = {"f": 0o100000, "d": 0o040000, "l": 0o120000, "p": 0o010000, "s": 0o140000, "c": 0o020000, "b": 0o060000}
_DENIED = re.compile(r"find: ['‘]?(/.*?)['’]?: Permission denied")
_HASH = re.compile(r"[0-9a-f]{64}")
FOLDER = 0o040000
_TYPE_MASK = 0o170000


@dataclass(frozen=True)
class Listing:
    """Files and folders as they are listed; `coarse`: times have no fractions."""

    marks: dict[bytes, bytes]
    folders: frozenset[bytes]
    missing: tuple[bytes, ...]
    denied: tuple[str, ...]
    coarse: bool


def _line(script: str, arguments: Iterable[str], *, sudo: bool, most: int) -> CommandLine:
    words = " ".join(shlex.quote(word) for word in arguments)
    text = f"set -- {words}\n{script}"
    return CommandLine(
        text=text, needs="find", timeout_s=120.0, max_output_bytes=most, lane=Lane.SLOW, sudo=sudo, plain=False
    )


def list_line(scopes: Sequence[tuple[int, str]], *, sudo: bool) -> CommandLine:
    return _line(LIST, _words(scopes), sudo=sudo, most=32 << 20)


def digest_line(scopes: Sequence[tuple[int, str]], *, sudo: bool) -> CommandLine:
    return _line(DIGEST, _words(scopes), sudo=sudo, most=1 << 16)


def fetch_line(paths: Sequence[bytes], most: int, *, sudo: bool) -> CommandLine:
    words = [str(most), *(path.decode("utf-8", "strict") for path in paths)]
    return _line(FETCH, words, sudo=sudo, most=(most * 2 + 4096) * len(paths))


def _words(scopes: Sequence[tuple[int, str]]) -> list[str]:
    return [word for depth, path in scopes for word in (str(depth), path)]


def parse_listing(output: CommandOutput) -> Listing:
    """Raises `ParseError` when it was cut off or is no listing."""
    if output.truncated:
        raise ParseError("The list of watched files is too long.", hint="Watch fewer folders.")
    marks: dict[bytes, bytes] = {}
    folders: set[bytes] = set()
    missing: list[bytes] = []
    coarse = False
    for entry in output.stdout.split(b"\0"):
        word, blank, path = entry.partition(b" ")
        if word == b"missing":
            missing.append(path)
        elif blank and path.startswith(b"/"):
            try:
                mark, mode, whole = _mark(word.decode("ascii"))
            except (ValueError, UnicodeDecodeError):
                continue  # the second line of a name with a line break in it
            coarse = coarse or whole
            if mode & _TYPE_MASK == FOLDER:
                folders.add(path)
            else:
                marks[path] = mark
    denied = tuple(_DENIED.findall(output.error_text))
    return Listing(marks, frozenset(folders), tuple(missing), denied, coarse)


def parse_digest(output: CommandOutput) -> str:
    text = output.text.strip()
    if not text or len(text) > 200:  # noqa: PLR2004
        raise ParseError("No digest came.", output=text[:200])
    return text


def parse_contents(output: CommandOutput, paths: Sequence[bytes]) -> list[tuple[FileMessage, bool]]:
    """What became of each file, and whether it stayed the same while it was read."""
    found: list[tuple[FileMessage, bool]] = []
    for line in output.text.splitlines():
        try:
            number, before, kind, *rest = line.split(" ")
            path = paths[int(number) - 1]
            found.append(_content(path, before, kind, rest))
        except (ValueError, IndexError) as error:
            raise ParseError("The contents of files came malformed.", output=line[:200]) from error
    return found


def _content(path: bytes, before: str, kind: str, rest: Sequence[str]) -> tuple[FileMessage, bool]:
    if kind == "D":
        return FileGone(path), True
    mark = None if before == "-" else _mark(before)[0]
    if kind == "N":
        return FileUnread(path, mark, rest[0]), True
    if mark is None:
        raise ValueError(kind)
    if kind == "K":
        return FileLink(path, mark, bytes.fromhex(rest[0]).removesuffix(b"\n")), True
    same = rest[1:] == [before]
    if kind == "H" and _HASH.fullmatch(rest[0]):
        return FileDigest(path, mark, rest[0]), same
    if kind == "F":
        return FileContent(path, mark, binascii.a2b_base64(rest[0], strict_mode=True) if rest[0] else b""), same
    if kind == "X":
        return FileContent(path, mark, bytes.fromhex(rest[0])), same
    raise ValueError(kind)


def _mark(word: str) -> tuple[bytes, int, bool]:
    """inode,size,mtime,ctime,mode,uid,gid as `find` or `stat` print them: as agents do, the mode, whole seconds."""
    inode, size, mtime, ctime, kind, uid, gid = word.split(",")
    letter, slash, permissions = kind.partition("/")
    mode = _TYPES.get(letter, 0) | int(permissions, 8) if slash else int(kind, 16)
    numbers = (int(inode), int(size), _nanoseconds(mtime), _nanoseconds(ctime), mode, int(uid), int(gid))
    return ",".join(map(str, numbers)).encode(), mode, "." not in mtime


def _nanoseconds(text: str) -> int:
    seconds, _, fraction = text.partition(".")
    return int(seconds) * 10**9 + int((fraction + "0" * 9)[:9])
