"""The few texts that go over the wire: how a lane is started and how a request is framed.

A login shell (bash, fish, tcsh, whatever the user has) sees exactly one constant line (`LANE`, `SINK`, or the same
under sudo): single-quoted, without quote, backslash, exclamation mark or newline, so that every shell reads it the
same way. Everything else goes through stdin to a POSIX `sh` that this line starts.
"""

import re
import shlex

# `cat` relays our bytes to the shell that runs the requests. When the channel ends for whatever reason (we close it,
# our process dies, the connection is lost) cat sees EOF and the whole process group goes. The same happens when the
# shell itself ends, so that a dead lane is noticed at once.
_GUARDED_SHELL = "{ cat; kill -9 0; } | { /bin/sh; kill -9 0; }"

# The same for a command whose stdin is a stream that ends: EOF is then no sign that nobody is there any more, but a
# stdout that takes no bytes is. Whoever reads the stream sees EOF when the connection is lost, and has five seconds to
# end by itself.
_WATCHED_SHELL = (
    '{ trap "" PIPE; while sleep 2; do printf . || { sleep 5; kill -9 0; }; done; } 2>/dev/null & /bin/sh; kill -9 0'
)

# OpenSSH makes each session the leader of its own group; where that is not so (dropbear, sudo) setsid does it,
# since `kill 0` must never reach the server's own processes. Without setsid the shell runs unguarded.
_START = (
    "PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin; export PATH LC_ALL=C; "
    "unset ENV BASH_ENV; "
    "read -r a b c d g h </proc/$$/stat; "
    'if [ "${g:-$$}" = $$ ]; then eval "$0"; fi; '
    'if command -v setsid >/dev/null 2>&1; then exec setsid /bin/sh -c "$0"; fi; '
    "exec /bin/sh"
)

LANE_ARGV = ("/bin/sh", "-c", _START, _GUARDED_SHELL)
SUDO_ARGV = ("sudo", "-n", *LANE_ARGV)
SINK_ARGV = ("/bin/sh", "-c", _START, _WATCHED_SHELL)
SUDO_SINK_ARGV = ("sudo", "-n", *SINK_ARGV)


def login_line(argv: tuple[str, ...]) -> str:
    """The one constant line that a login shell sees."""
    return "exec " + " ".join(shlex.quote(word) for word in argv)


LANE = login_line(LANE_ARGV)
SUDO_LANE = login_line(SUDO_ARGV)
SINK = login_line(SINK_ARGV)
SUDO_SINK = login_line(SUDO_SINK_ARGV)


def hello(nonce: str) -> bytes:
    """The first frame, number 0: what precedes its markers is the noise of login scripts, and is dropped."""
    return f"printf '\\n{nonce} 0 0\\n';printf '\\n{nonce} 0\\n' >&2\n".encode()


def body(text: str) -> str:
    """The text of a command as it stands in its subshell.

    A simple command of plain and single-quoted words stands as it is, which saves the device a fork; anything else
    goes through eval, which keeps its syntax errors to itself.
    """
    simple = _SIMPLE.fullmatch(text)
    if simple is not None and simple[1] not in _RESERVED:
        return text
    return f"eval {shlex.quote(text)}"


# Words of characters that no shell reads specially, or in single quotes; the first is no assignment.
_SIMPLE = re.compile(r"([A-Za-z0-9_./-]+)(?: (?:[A-Za-z0-9_./:@%+,=-]+|'[^'\n\r]*'))*")
_RESERVED = frozenset(
    {"if", "then", "elif", "else", "fi", "for", "while", "until", "do", "done", "case", "esac", "in"}
    | {"function", "select", "time", "coproc"}  # bash and zsh
)


def frame(nonce: str, number: int, body: str, *, ends_group: bool = True, listens: bool = False) -> str:
    """One request. A subshell, and eval where needed, keep syntax errors, exit, exec and set inside the request.

    Stdout gets an end marker with the exit status; stderr too, unless a later request of its group ends that. The
    nonce is never in a variable or an argv, so that no request can print it. One that `listens` shares the shell's
    stdin: what is written after the shell has read this line is its own.
    """
    end = f";printf '\\n{nonce} {number}\\n' >&2" if ends_group else ""
    source = "" if listens else " </dev/null"
    return f"({body}){source};printf '\\n{nonce} {number} %d\\n' $?{end}\n"
