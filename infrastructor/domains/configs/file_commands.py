"""Reading and changing one file of a device. Changes compare before they swap, so nobody's edit is overwritten."""

import base64
import hashlib
import shlex
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Annotated

from pydantic import Field, StringConstraints

from infrastructor.command import Command
from infrastructor.errors import ParseError, ValidationFailed
from infrastructor.operation import PLAIN
from infrastructor.ports.ssh import CommandOutput, Lane

FilePath = Annotated[
    str,
    StringConstraints(pattern=r"^/(?!(?:.*/)?\.{1,2}(?:/|$))[^\x00-\x1f\x7f]{1,4000}$"),
    Field(description="Absolute path on the device.", json_schema_extra=PLAIN),
]

ABSENT = "absent"
LONGEST = 1 << 20  # bytes of content
TEMPORARY = ".infrastructor"  # what a file is called while it is written; watchers pass over it
CLASH, NO_FILE, DENIED = 75, 76, 77
_STATUSES = frozenset({0, CLASH, NO_FILE, DENIED})
_TIMEOUT = timedelta(seconds=60)

# `real` is the file itself where the path is a symbolic link; `now` its hash. A file that cannot be read is no
# reason to take it for absent.
_LOOK = rf"""
real=$path
if [ -L "$path" ]; then
  real=$(readlink -f -- "$path") && [ -n "$real" ] || {{ echo "a link that leads nowhere"; exit {NO_FILE}; }}
fi
hash() {{ sha256sum 2>/dev/null <"$1" | cut -d' ' -f1; }}
look() {{
  now={ABSENT}
  if [ -e "$real" ]; then
    [ -f "$real" ] || {{ echo "no regular file"; exit {NO_FILE}; }}
    [ -r "$real" ] || {{ echo "it may not be read"; exit {DENIED}; }}
    now=$(hash "$real")
    [ -n "$now" ] || {{ echo "it cannot be read, or sha256sum is missing"; exit {DENIED}; }}
  else
    up=${{real%/*}}
    while [ -n "$up" ] && [ ! -e "$up" ]; do up=${{up%/*}}; done
    [ -x "$up/" ] || {{ echo "$up may not be entered"; exit {DENIED}; }}
  fi
}}
check() {{ look; [ "$now" = "$expect" ] || {{ echo "$now"; exit {CLASH}; }}; }}
flush() {{ sync -- "$1" 2>/dev/null || sync; }}
"""

# A single file that is bind-mounted somewhere (into a container, mostly) and a file of several names keep their
# inode: a new one would not be seen there. Mounts of others show only to root; where they do not show, `keep` is for
# the caller who knows better.
WRITE = rf"""
path=$1 expect=$2 mode=$3 owner=$4 keep=$5 wanted=$6 how=$7
{_LOOK}
check
folder=${{real%/*}}/
temporary=$folder.${{real##*/}}.$$"{TEMPORARY}"
trap 'rm -f -- "$temporary"' EXIT
content() {{
  case $how in base64) printf %s "$1" | base64 -d;; file) cat -- "$1";; *) printf %s "$1";; esac
}}
if ! {{ umask 077; content "$8" >"$temporary"; }} 2>/dev/null; then
  [ "$now" != {ABSENT} ] && [ -w "$real" ] && [ ! -w "$folder" ] && [ "$keep" != never ] ||
    {{ echo "$folder cannot be written to, or is full"; exit {DENIED}; }}
  temporary=$(mktemp) && content "$8" >"$temporary" || {{ echo "there is no room for a copy"; exit {DENIED}; }}
  keep=inode
fi
[ "$(hash "$temporary")" = "$wanted" ] || {{ echo "the file system did not take it: full?"; exit {DENIED}; }}
flush "$temporary"
if [ "$now" = {ABSENT} ]; then
  chmod "${{mode:-644}}" "$temporary" || exit {DENIED}
  [ -z "$owner" ] || chown "$owner" "$temporary" || {{ echo "it cannot be given to $owner"; exit {DENIED}; }}
  if ln -- "$temporary" "$real" 2>/dev/null; then way=new
  elif [ -e "$real" ]; then check
  else mv -- "$temporary" "$real" || exit {DENIED}; way=new
  fi
else
  if [ "$keep" = auto ]; then
    keep=
    [ "$(stat -c %h -- "$real")" = 1 ] || keep=inode
    if cat /proc/[0-9]*/mountinfo 2>/dev/null | REAL=$real awk '
        BEGIN {{ real = ENVIRON["REAL"]; gsub(/ /, "\\040", real) }}
        $4 != "/" && (t = length(real) - length($4)) >= 0 && substr(real, t + 1) == $4 {{ found = 1; exit }}
        END {{ exit !found }}'; then keep=inode; fi
  fi
  was=$(stat -c '%a %u:%g' -- "$real")
  if [ "$keep" != inode ]; then
    cp --attributes-only --preserve=all -- "$real" "$temporary" 2>/dev/null ||
      {{ chown "${{was#* }}" "$temporary"; chmod "${{was%% *}}" "$temporary"; }} 2>/dev/null
    [ "$(stat -c '%a %u:%g' -- "$temporary")" = "$was" ] || keep=inode
  fi
  check
  if [ "$keep" = inode ]; then
    [ -w "$real" ] || {{ echo "it may not be written to"; exit {DENIED}; }}
    cat -- "$temporary" >"$real" || {{ echo "writing broke off; what should be there is lost"; exit 1; }}
    way=in_place
  else
    mv -f -- "$temporary" "$real" || exit {DENIED}
    way=renamed
  fi
  [ -z "$mode" ] || chmod "$mode" "$real"
  [ -z "$owner" ] || chown "$owner" "$real"
fi
flush "$real"
[ "$(hash "$real")" = "$wanted" ] || {{ echo "it was written over at once"; exit {CLASH}; }}
echo "$way $(stat -c '%a %u %g %i' -- "$real")"
"""

REMOVE = f"""
path=$1 expect=$2
{_LOOK}
if [ -L "$path" ]; then real=$path; now=$(hash "$path"); [ "$now" = "$expect" ] || {{ echo "$now"; exit {CLASH}; }}
else check
fi
[ "$now" = {ABSENT} ] || rm -f -- "$real" 2>/dev/null || {{ echo "its folder may not be written to"; exit {DENIED}; }}
"""

MOVE = rf"""
path=$1 expect=$2 target=$3
{_LOOK}
check
[ "$now" != {ABSENT} ] || {{ echo {ABSENT}; exit {CLASH}; }}
[ ! -e "$target" ] && [ ! -L "$target" ] || {{ echo "$target is there already"; exit {NO_FILE}; }}
mv -- "$path" "$target" 2>/dev/null || {{ echo "its folder may not be written to"; exit {DENIED}; }}
flush "$target"
"""

# Only folders that were not there get mode and owner.
_FOLDER = rf"""
path=$1 mode=$2 owner=$3
made=
while [ ! -d "$path" ]; do
  [ ! -e "$path" ] || {{ echo "$path is no folder"; exit {NO_FILE}; }}
  made="$path
$made"; path=${{path%/*}}; path=${{path:-/}}
done
IFS='
'
set -f
for folder in $made; do
  mkdir -- "$folder" 2>/dev/null || [ -d "$folder" ] || {{ echo "$folder cannot be made"; exit {DENIED}; }}
  [ -z "$mode" ] || chmod "$mode" "$folder"
  [ -z "$owner" ] || chown "$owner" "$folder" || {{ echo "$folder cannot be given to $owner"; exit {DENIED}; }}
  echo "$folder"
done
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteFile:
    """A file as it is on the device. `content` None: longer than `LONGEST`. `path` follows a symbolic link."""

    path: str
    exists: bool
    content: bytes | None = field(default=None, repr=False)
    sha256: str = ABSENT
    size_bytes: int = 0
    mode: int = 0  # permission bits
    uid: int = 0
    gid: int = 0
    modified_s: int = 0
    inode: int = 0
    links: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """A file was written, moved or removed. `way`: new, renamed (a new inode) or in_place (the same one)."""

    way: str = ""
    folders: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Unlike:
    """Nothing was changed: the file is another than expected. `sha256` is `ABSENT` where there is none."""

    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """Nothing was changed: the path is no file, or the login may not. `denied`: root might."""

    reason: str
    denied: bool


@dataclass(frozen=True)
class ReadFile(Command[RemoteFile | Refused]):
    """A file with what stat says of it; of more than a MiB only its hash.

    `within` is the folder, or the file, by which it may be read: where a folder below that is a symbolic link, the
    answer's path is where it leads, as for a file that is one.
    """

    # The content comes last and whole; what is longer than a MiB is only hashed.
    script = rf"""
path=$1 within=$2
{_LOOK}
if [ -n "$within" ] && [ ! -L "$path" ]; then
  folder=$(readlink -f -- "${{path%/*}}/") top=$(readlink -f -- "$within")
  if [ -n "$folder" ] && [ "${{folder%/}}/${{path##*/}}" != "${{top%/}}${{path#"${{within%/}}"}}" ]; then
    real=${{folder%/}}/${{path##*/}}
  fi
fi
look
if [ "$now" = {ABSENT} ]; then printf '%s\n%s\n' {ABSENT} "$real"; exit 0; fi
set -- $(stat -c '%s %a %u %g %Y %i %h' -- "$real")
printf '%s\n%s\n' "$now $*" "$real"
if [ "$1" -le {LONGEST} ]; then cat -- "$real"; fi
"""
    template = "{path} {within}"
    ok_statuses = _STATUSES
    max_output = LONGEST + 8192
    accepts_truncated = True
    may_sudo = True
    path: str
    within: str = ""

    def parse(self, output: CommandOutput) -> RemoteFile | Refused:
        if output.exit_status in {NO_FILE, DENIED}:
            return _refused(output)
        head, _, rest = output.stdout.partition(b"\n")
        real, newline, content = rest.partition(b"\n")
        path = real.decode("utf-8", "replace")
        if not newline:
            raise ParseError(f"Not what reading a file prints: {output.text[:200]!r}")
        if head == ABSENT.encode():
            return RemoteFile(path=path, exists=False)
        try:
            sha256, size_text, mode_text, *numbers = head.decode().split()
            size, mode = int(size_text), int(mode_text, 8)
            uid, gid, modified, inode, links = map(int, numbers)
        except ValueError as error:
            raise ParseError(f"Not what stat prints of a file: {head[:200]!r}") from error
        whole = size <= LONGEST
        if whole:
            # It may have been written to between the two; its content is what counts.
            sha256, size = hashlib.sha256(content).hexdigest(), len(content)
        return RemoteFile(
            path=path,
            exists=True,
            content=content if whole and not output.truncated else None,
            sha256=sha256,
            size_bytes=size,
            mode=mode,
            uid=uid,
            gid=gid,
            modified_s=modified,
            inode=inode,
            links=links,
        )


@dataclass(frozen=True)
class WriteFile(Command[Done | Unlike | Refused]):
    """Swap a file's content, if it is what it should be. Mode, owner and attributes stay, unless given.

    `keep`: auto, inode (write in place) or never. `expect` is a SHA-256 or `ABSENT`. Symbolic links are followed.
    """

    template = "{path} {expect} {mode_word} {owner} {keep} {sha256} {how} {text}"
    script = WRITE
    ok_statuses = _STATUSES
    lane = Lane.CHANGE
    timeout = _TIMEOUT
    may_sudo = True
    path: str
    expect: str
    content: bytes = field(repr=False)
    mode: int | None = None
    owner: str = ""  # uid:gid
    keep: str = "auto"

    def __post_init__(self) -> None:
        if len(self.content) > LONGEST:
            raise ValidationFailed(
                f"{self.path} would have {len(self.content)} bytes; at most {LONGEST} can be written.",
                hint="Copy large files by other means.",
            )

    @property
    def mode_word(self) -> str:
        return "" if self.mode is None else f"{self.mode:o}"

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    @property
    def how(self) -> str:
        return as_words(self.content)[0]

    @property
    def text(self) -> str:
        return as_words(self.content)[1]

    def summary(self) -> str:
        """Contents hold secrets; the hash says which one it was."""
        words = [self.path, f"expect={self.expect[:16]}", f"sha256={self.sha256}", f"bytes={len(self.content)}"]
        line = " ".join(["WriteFile", *(shlex.quote(word) for word in words)])
        return f"sudo {line}" if self.sudo else line

    def parse(self, output: CommandOutput) -> Done | Unlike | Refused:
        if output.exit_status != 0:
            return _not_done(output)
        return Done(way=output.text.partition(" ")[0])


@dataclass(frozen=True)
class RemoveFile(Command[Done | Unlike | Refused]):
    """Remove a file, if it is what it should be; of a symbolic link only the link."""

    template = "{path} {expect}"
    script = REMOVE
    ok_statuses = _STATUSES
    lane = Lane.CHANGE
    may_sudo = True
    path: str
    expect: str

    def parse(self, output: CommandOutput) -> Done | Unlike | Refused:
        return Done() if output.exit_status == 0 else _not_done(output)


@dataclass(frozen=True)
class MoveFile(Command[Done | Unlike | Refused]):
    """Give a file another name within its file system, if it is what it should be and the name is free."""

    template = "{path} {expect} {target}"
    script = MOVE
    ok_statuses = _STATUSES
    lane = Lane.CHANGE
    may_sudo = True
    path: str
    expect: str
    target: str

    def parse(self, output: CommandOutput) -> Done | Unlike | Refused:
        return Done() if output.exit_status == 0 else _not_done(output)


@dataclass(frozen=True)
class MakeFolder(Command[Done | Unlike | Refused]):
    """Make a folder and those above it; the answer has those that were made."""

    template = "{path} {mode_word} {owner}"
    script = _FOLDER
    ok_statuses = _STATUSES
    lane = Lane.CHANGE
    may_sudo = True
    path: str
    mode: int | None = None
    owner: str = ""

    @property
    def mode_word(self) -> str:
        return "" if self.mode is None else f"{self.mode:o}"

    def parse(self, output: CommandOutput) -> Done | Unlike | Refused:
        if output.exit_status != 0:
            return _not_done(output)
        return Done(folders=tuple(output.text.splitlines()))


def as_words(content: bytes) -> tuple[str, str]:
    """The content as words of a command: how it is written, and it."""
    try:
        text = content.decode()
    except UnicodeDecodeError:
        text = "\0"
    return ("base64", base64.b64encode(content).decode()) if "\0" in text else ("text", text)


def _refused(output: CommandOutput) -> Refused:
    return Refused(reason=output.text.strip() or "it may not be read", denied=output.exit_status == DENIED)


def _not_done(output: CommandOutput) -> Unlike | Refused:
    return Unlike(sha256=output.text.strip()) if output.exit_status == CLASH else _refused(output)
