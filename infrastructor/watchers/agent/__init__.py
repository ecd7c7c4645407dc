"""The programs that watch on a device. They live in its memory only, as an argument of the interpreter it has."""

import re
import shlex
from functools import cache
from importlib.resources import files

from infrastructor.ports.ssh import CommandLine

PROGRAMS = {"python3": ("agent_tree.py", "agent.py"), "perl": ("agent.pl",)}
"""Files that, one behind the other, are the program for an interpreter."""
_CALLS = {"python3": "python3 -I -S -c", "perl": "perl -e"}


@cache
def _source(interpreter: str) -> str:
    """Without comments and docstrings, which nobody reads there."""
    text = "\n".join(files(__package__).joinpath(name).read_text("utf-8") for name in PROGRAMS[interpreter])
    text = re.sub(r'^\s*""".*?"""\n', "", text, flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE)
    return re.sub(r"\n{2,}", "\n", re.sub(r"  # .*$", "", text, flags=re.MULTILINE))


def agent_line(interpreter: str, *, sudo: bool = False) -> CommandLine:
    """How to start one. It ends when its stdin does."""
    return CommandLine(
        text=f"exec {_CALLS[interpreter]} {shlex.quote(_source(interpreter))}", needs=interpreter, sudo=sudo
    )
