"""A value is always exactly one shell word, whatever it holds."""

import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infrastructor.command import Command
from infrastructor.errors import ValidationFailed
from infrastructor.ports.ssh import CommandOutput

ANY_TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))


class Raw(Command[bytes]):
    def parse(self, output: CommandOutput) -> bytes:
        return output.stdout


@dataclass(frozen=True)
class Whole(Raw):
    template = "printf %s -- {value}"
    value: str = ""


@dataclass(frozen=True)
class Embedded(Raw):
    template = "journalctl --since={since} --unit={unit}"
    since: str | None = None
    unit: str | None = None


@dataclass(frozen=True)
class Several(Raw):
    template = "stat {follow} -- {paths}"
    flags: ClassVar[dict[str, str]] = {"follow": "-L"}
    follow: bool = False
    paths: tuple[str, ...] = ()


@dataclass(frozen=True)
class Script(Raw):
    script = 'printf "%s|" "$1" "$2"'
    template = "{first} {second}"
    first: str = ""
    second: str = ""


@dataclass(frozen=True)
class Unguarded(Raw):
    template = "zpool status {pool}"
    pool: str = ""


@given(ANY_TEXT)
def test_a_value_is_one_word(value: str) -> None:
    assert shlex.split(Whole(value=value).render().text) == ["printf", "%s", "--", value]


@given(ANY_TEXT, ANY_TEXT)
def test_a_value_inside_a_word_leaves_it_one_word(since: str, unit: str) -> None:
    words = shlex.split(Embedded(since=since, unit=unit).render().text)
    assert words == ["journalctl", f"--since={since}", f"--unit={unit}"]


@given(st.lists(ANY_TEXT))
def test_a_tuple_gives_one_word_an_item(paths: list[str]) -> None:
    assert shlex.split(Several(paths=tuple(paths)).render().text) == ["stat", "--", *paths]


@pytest.mark.parametrize("shell", ["sh", "bash"])
@pytest.mark.parametrize("value", ["", "a b", "'; touch x; '", "$(id)", "`id`", "\n", "-rf", "é", "\\", "!!", "*"])
def test_a_script_gets_its_arguments_unchanged(shell: str, value: str) -> None:
    line = Script(first=value, second="end").render().text
    done = subprocess.run([shell, "-c", line], capture_output=True, check=True)
    assert done.stdout.decode() == f"{value}|end|"


def test_none_drops_the_word() -> None:
    assert Embedded(unit="ssh").render().text == "journalctl --unit=ssh"


def test_a_bool_gives_its_flag_or_nothing() -> None:
    assert Several(follow=True, paths=("/a",)).render().text == "stat -L -- /a"
    assert Several(paths=("/a",)).render().text == "stat -- /a"


def test_a_value_that_looks_like_an_option_is_refused_where_it_could_be_one() -> None:
    with pytest.raises(ValidationFailed, match="must not start with '-'"):
        Unguarded(pool="-rf").render()


@pytest.mark.parametrize("value", ["a\0b", "\ud800"])
def test_text_no_shell_can_carry_is_refused(value: str) -> None:
    with pytest.raises(ValidationFailed):
        Whole(value=value).render()


def test_only_plain_scalars_become_words() -> None:
    with pytest.raises(TypeError):
        Whole(value={"a": 1}).render()  # type: ignore[arg-type]
    assert Whole(value=Path("/etc/hosts")).render().text.endswith("/etc/hosts")  # type: ignore[arg-type]


def test_slots_are_the_fields() -> None:
    assert Embedded.slots() == ("since", "unit")


def test_an_audit_record_names_a_script_by_class_and_arguments() -> None:
    assert Script(first="a b", second="c").summary() == "Script 'a b' c"
