"""The generated pages: complete, stable, and known to be stale when they are. The sudoers file: exact."""

import re
from pathlib import Path

import pytest

from infrastructor.catalog import CATALOG
from infrastructor.cli.render import humane
from infrastructor.reference import command_line, pages, stale, sudoers_file, write
from infrastructor.settings import Settings
from infrastructor.signature import Kind, fields_of
from tests.doors.catalog import OPERATIONS, pool_list, scrub_start, thing_search


def test_a_page_shows_all_there_is_to_know_about_an_operation() -> None:
    page = pages(OPERATIONS)["zfs.md"]

    for line in (
        "## zfs_pool_list",
        "- Effect: read; role viewer or higher",
        "- REST: `GET /api/zfs/{device}/pools`",
        "- CLI: `infrastructor zfs pool-list DEVICE`",
        "- MCP resource: `zfs://{device}/pools`",
        "- Cached: 300 s",
        "- Confirmation: the first call returns a plan; `plan_token` carries it out",
        "| `pool` | text | required | The pool, e.g. tank. |",
        "| `pools[].size_bytes` | integer or null | Raw size. |",
        "zpool list -H -p -o name,health,size -- {pool}",
        "zpool scrub -- {pool}  # as root",
    ):
        assert line in page.splitlines()


def test_every_setting_is_explained() -> None:
    page = pages(OPERATIONS)["settings.md"]
    assert [name for name in Settings.model_fields if f"`INFRASTRUCTOR_{name.upper()}`" not in page] == []


def test_stale_missing_and_superfluous_pages_are_noticed(tmp_path: Path) -> None:
    wanted = pages(OPERATIONS)
    assert stale(tmp_path / "none", wanted) == sorted(wanted)

    write(tmp_path, wanted)
    assert stale(tmp_path, wanted) == []

    (tmp_path / "zfs.md").write_text("edited")
    (tmp_path / "old.md").write_text("gone")
    assert stale(tmp_path, wanted) == ["old.md", "zfs.md"]

    write(tmp_path, wanted)
    assert stale(tmp_path, wanted) == []
    assert not (tmp_path / "old.md").exists()


def test_the_sudoers_file_allows_exactly_the_root_commands() -> None:
    text = sudoers_file(OPERATIONS, "infra")

    assert "infra ALL=(root) NOPASSWD: /usr/sbin/zpool ^scrub -- [^[:space:]]+$" in text.splitlines()
    assert "zpool list" not in text


@pytest.mark.parametrize(
    ("arguments", "allowed"),
    [
        ("destroy -- tank/data@a", True),
        ("destroy -r -R -- tank/data@a%c,d", True),
        ("destroy -- tank/data", False),
        ("destroy -r -- tank", False),
        ("destroy -r -- @a", False),
        ("destroy -- tank tank/data@a", False),
    ],
)
def test_sudo_destroys_snapshots_and_no_dataset(arguments: str, allowed: bool) -> None:
    """`zfs destroy` takes either; the program allowed by single rules must not be able to take more than we do."""
    rules = [line for line in sudoers_file(CATALOG, "infra").splitlines() if "NOPASSWD: /usr/sbin/zfs ^destroy" in line]
    patterns = [re.compile(line.partition("/usr/sbin/zfs ")[2].replace("[:space:]", r"\s")) for line in rules]
    assert any(pattern.search(arguments) for pattern in patterns) is allowed


def test_the_command_line_shown_is_the_one_to_type() -> None:
    assert command_line(scrub_start) == "infrastructor zfs scrub-start DEVICE POOL"


def test_fields_tell_the_doors_how_values_are_written() -> None:
    kinds = {field.name: (field.kind, field.many, field.required) for field in fields_of(thing_search)}
    assert kinds == {
        "names": (Kind.TEXT, True, False),
        "where": (Kind.MAPPING, False, False),
        "kind": (Kind.TEXT, False, False),
        "wait_s": (Kind.NUMBER, False, False),
        "size": (Kind.INTEGER, False, False),
    }
    assert [field.kind for field in fields_of(pool_list)] == [Kind.TEXT, Kind.FLAG, Kind.TEXT]


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("size_bytes", 0, "0 B"),
        ("size_bytes", 4_000_000_000_000, "3.6 TiB"),
        ("received_bytes_per_second", 2048, "2.0 KiB/s"),
        ("usage_percent", 12.345, "12.3 %"),
        ("uptime_seconds", 59, "59 s"),
        ("uptime_seconds", 90_000, "1 d 1 h"),
        ("temperature_celsius", 41.6, "42 °C"),
        ("size_bytes", None, "–"),
        ("trusted", True, "yes"),
        ("tags", {"role": "db"}, "role db"),
        ("names", ["a", "b"], "a, b"),
        ("names", [], "–"),
    ],
)
def test_values_are_shown_as_people_read_them(name: str, value: object, shown: str) -> None:
    assert humane(name, value) == shown
