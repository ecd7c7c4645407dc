"""Changing files that nginx reads, in one detached run on the device: nginx judges them there, and what it refuses is
put back there. So neither the end of the server nor that of the connection leaves what nobody judged.
"""

import hashlib
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal, get_args

from infrastructor.command import Command
from infrastructor.domains.configs.file_commands import ABSENT, MOVE, REMOVE, WRITE, as_words
from infrastructor.domains.containers.commands import needs_sudo
from infrastructor.errors import ParseError
from infrastructor.ports.ssh import Capabilities, CommandOutput, Lane
from infrastructor.sanitize import clean

Outcome = Literal["done", "failed", "refused", "not_loaded", "stopped"]

# Each step is eight words: put PATH EXPECT MODE OWNER SHA256 HOW TEXT; move PATH EXPECT TARGET; remove PATH EXPECT MODE
# OWNER. Answers are lines `word text`. A signal ends it after what is under way, with all put back.
_DRIVER = r"""
judge=$1 container=$2 reload=$3 strict=$4 known=$5
shift 5
stopped=
trap 'stopped=1' TERM INT HUP
ask() {
  case $judge in
    host) nginx "$@";;
    *) "$judge" exec -- "$container" nginx "$@";;
  esac 2>&1 </dev/null
}
pick() {
  number=$1; shift; shift $((8 * number))
  kind=$1 path=$2 expect=$3 mode=$4 owner=$5 wanted=$6 how=$7 text=$8
}
one_line() { printf %s "$1" | tr '\n' ' ' | tail -c 500; }
do_step() {
  case $kind in
    put) write "$path" "$expect" "$mode" "$owner" auto "$wanted" "$how" "$text";;
    move) move "$path" "$expect" "$mode";;
    remove) remove "$path" "$expect";;
  esac
}
undo_step() {
  case $kind in
    put)
      if [ "$expect" = absent ]; then remove "$path" "$wanted"
      else write "$path" "$wanted" "" "" auto "$expect" file "$kept/$number"; fi;;
    move) move "$mode" "$expect" "$path";;
    remove) write "$path" absent "$mode" "$owner" auto "$expect" file "$kept/$number";;
  esac
}
undo() {
  [ "$made" -gt 0 ] || { made=none; return; }
  while [ "$made" -gt 0 ]; do
    made=$((made - 1))
    pick "$made" "$@"
    said=$(undo_step) || printf 'left %s: %s\n' "$path" "$(one_line "$said")"
  done
}
tell() { printf '%s %s\n' "$1" "$2"; printf '%s\n' "$3" | head -n 200 | sed "s/^/$1: /"; }
finish() {
  outcome=$1
  shift
  undo "$@"
  if [ "$made" != none ]; then said=$(ask -t); status=$?; tell again $status "$said"; fi
  echo "outcome $outcome"
  exit 0
}

kept=$(mktemp -d) || { echo 'failed 0 77'; echo 'reason there is no room for a copy'; echo 'outcome failed'; exit 0; }
trap 'rm -rf -- "$kept"' EXIT
total=$(($# / 8)) made=0 next=0
while [ $next -lt $total ]; do
  pick $next "$@"
  case $kind/$expect in
    */absent | move/*) ;;
    *)
      if [ -e "$path" ] && [ ! -r "$path" ]; then code=77 said="it may not be read"
      elif ! cat -- "$path" 2>/dev/null >"$kept/$next"; then code=75 said=absent
      else said=$(sha256sum <"$kept/$next" | cut -d' ' -f1); code=75; [ "$said" != "$expect" ] || code=
      fi
      [ -z "$code" ] || { echo "failed $next $code"; echo "reason $said"; echo 'outcome failed'; exit 0; };;
  esac
  next=$((next + 1))
done
while [ $made -lt $total ] && [ -z "$stopped" ]; do
  pick $made "$@"
  said=$(do_step); code=$?
  if [ $code -ne 0 ]; then
    # Of what broke off nobody knows how far it came.
    [ $code = 75 ] || [ $code = 76 ] || [ $code = 77 ] || undo_step >/dev/null
    [ -z "$stopped" ] || finish stopped "$@"
    echo "failed $made $code"
    echo "reason $(one_line "$said")"
    finish failed "$@"
  fi
  echo "way $(one_line "$said")"
  made=$((made + 1))
done
[ -z "$stopped" ] || finish stopped "$@"
said=$(ask -t); status=$?
tell judged $status "$said"
[ -z "$stopped" ] || finish stopped "$@"
[ $status = 0 ] || finish refused "$@"
conflicts=
[ -z "$strict" ] || conflicts=$(printf '%s\n' "$said" | sed -n 's/.*conflicting server name "\([^"]*\)".*/\1/p')
IFS='
'
set -f
for name in $conflicts; do
  printf '%s\n' "$known" | grep -qxF -e "$name" || { unset IFS; finish refused "$@"; }
done
unset IFS
if [ -n "$reload" ]; then
  said=$(ask -s reload); status=$?
  tell loaded $status "$said"
  [ $status = 0 ] || finish not_loaded "$@"
fi
echo 'outcome done'
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What nginx ended with and said."""

    status: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """How it ended; unless `done`, all was put back but what `left` names.

    `failed` is the step that could not be done, with the status and the words of the command for one file.
    """

    outcome: Outcome
    ways: tuple[str, ...] = ()
    failed: tuple[int, int, str] | None = None
    judged: Said | None = None
    loaded: Said | None = None
    again: Said | None = None
    left: tuple[str, ...] = ()


@dataclass(frozen=True)
class JudgedChange(Command[Judged]):
    """Change files, let nginx judge them, have it load them; or put all of them back."""

    # In brackets each is a subshell, so that its exits are returns.
    script = f"write() ( {WRITE} )\nremove() ( {REMOVE} )\nmove() ( {MOVE} )\n{_DRIVER}"
    template = "{judge} {container} {reload} {strict} {known} {steps}"
    lane = Lane.CHANGE
    timeout = timedelta(seconds=150)
    may_sudo = True
    judge: str
    """docker, podman, or host for the device's own nginx."""
    steps: tuple[str, ...] = field(repr=False)
    container: str = ""
    reload: str = ""
    strict: str = "strict"
    """Whether a server name that two servers have, of which nginx only warns, is a reason to refuse it."""
    known: str = ""
    """Those that two have already, a line each."""

    def variant(self, capabilities: Capabilities) -> "Command[Judged]":
        if self.judge != "host":
            return self.as_root() if needs_sudo(capabilities) else self
        return self if capabilities.is_root or capabilities.sudo != "nopasswd" else self.as_root()

    def summary(self) -> str:
        """What it does to what; contents hold secrets, so only their hashes."""
        words = [self.judge, self.container, *(["reload"] if self.reload else [])]
        for at in range(0, len(self.steps), 8):
            kind, path, expect, target, _, sha256, *_ = self.steps[at : at + 8]
            words += [kind, path, f"was={expect[:16]}"]
            words += [f"sha256={sha256[:16]}"] if kind == "put" else [target] if kind == "move" else []
        line = " ".join(["JudgedChange", *(shlex.quote(word) for word in words if word)])
        return f"sudo {line}" if self.sudo else line

    def parse(self, output: CommandOutput) -> Judged:
        found: dict[str, list[str]] = {}
        for line in output.text.splitlines():
            word, _, rest = line.partition(" ")
            found.setdefault(word, []).append(rest)
        outcomes: list[Outcome] = [one for one in get_args(Outcome) if found.get("outcome") == [one]]
        if not outcomes:
            raise ParseError(f"Not the outcome of a change: {clean(output.text, 200)!r}")
        return Judged(
            outcome=outcomes[0],
            ways=tuple(rest.partition(" ")[0] for rest in found.get("way", [])),
            failed=_failed(found),
            judged=_said(found, "judged"),
            loaded=_said(found, "loaded"),
            again=_said(found, "again"),
            left=tuple(clean(rest, 500) for rest in found.get("left", [])),
        )


def _failed(found: dict[str, list[str]]) -> tuple[int, int, str] | None:
    if "failed" not in found:
        return None
    words = found["failed"][0].split()
    if len(words) != 2 or not all(word.isascii() and word.isdigit() and len(word) < 6 for word in words):  # noqa: PLR2004
        raise ParseError(f"Not a step of a change: {clean(found['failed'][0], 200)!r}")
    return int(words[0]), int(words[1]), clean(" ".join(found.get("reason", [])), 500)


def _said(found: dict[str, list[str]], word: str) -> Said | None:
    if word not in found:
        return None
    status = found[word][0].strip()
    if not (status.isascii() and status.isdigit() and len(status) < 6):  # noqa: PLR2004
        raise ParseError(f"Not a status of nginx: {clean(status, 200)!r}")
    return Said(status=int(status), text="\n".join(found.get(f"{word}:", [])))


# --- steps ---------------------------------------------------------------------------------------------


def put(path: str, before: bytes | None, after: bytes, *, mode: int | None = None, owner: str = "") -> tuple[str, ...]:
    """Write a file; `before` None: it must not be there, and gets mode and owner (`uid:gid`)."""
    new = before is None
    how, text = as_words(after)
    octal = f"{mode:o}" if new and mode is not None else ""
    return ("put", path, _hash(before), octal, owner if new else "", _hash(after), how, text)


def move(path: str, target: str, content: bytes) -> tuple[str, ...]:
    """Give a file another name."""
    return ("move", path, _hash(content), target, "", "", "", "")


def remove(path: str, before: bytes, *, mode: int, owner: str) -> tuple[str, ...]:
    """Remove a file; mode and owner are what it would be put back with."""
    return ("remove", path, _hash(before), f"{mode:o}", owner, "", "", "")


def joined(steps: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(word for step in steps for word in step)


def _hash(content: bytes | None) -> str:
    return ABSENT if content is None else hashlib.sha256(content).hexdigest()
