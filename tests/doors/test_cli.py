"""The command line: output for people and programs, exit codes, confirmation, tokens, client configuration."""

import json
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest

from infrastructor import errors
from infrastructor.errors import InfrastructorError
from infrastructor.ports.callers import Role
from tests.doors.clients import CommandLine
from tests.doors.world import World


@pytest.fixture
def run(world: World) -> CommandLine:
    return CommandLine(world)


def test_a_person_gets_a_table_with_readable_units(run: CommandLine) -> None:
    ran = run("zfs", "pool-list", "nas")

    assert ran.exit_code == 0
    lines = [line.split() for line in ran.stdout.splitlines()]
    assert lines == [["pools"], ["name", "health", "size"], ["tank", "ONLINE", "3.6", "TiB"]]


def test_a_program_gets_the_exact_result(run: CommandLine) -> None:
    ran = run("thing", "search", "--names", "a", "--names", "b", "--where", "role=db", "--size", "2", "--json")

    assert ran.json == {"names": ["a", "b"], "where": {"role": "db"}, "padding": "xx"}


FAILURES: list[tuple[InfrastructorError, int]] = [
    (errors.ValidationFailed("Wrong."), 2),
    (errors.NotFound("Gone."), 3),
    (errors.PermissionDenied("No."), 4),
    (errors.PlanRejected("Stale."), 4),
    (errors.SSHTimeout("No answer."), 5),
    (errors.HostKeyMismatch("Who are you?"), 5),
    (errors.CommandFailed("Status 1."), 6),
    (errors.OutcomeUnknown("Lost."), 6),
    (errors.DatabaseOperationError("Down."), 7),
    (errors.Conflict("Exists."), 1),
]


@pytest.mark.parametrize(("error", "code"), FAILURES, ids=lambda value: getattr(value, "code", ""))
def test_an_error_ends_with_its_exit_code_and_hint(
    world: World, run: CommandLine, error: InfrastructorError, code: int
) -> None:
    error.hint = "Do this."
    world.ssh.outputs["zpool"] = error

    ran = run("zfs", "pool-list", "nas")

    assert (ran.exit_code, ran.stdout) == (code, "")
    assert ran.stderr == f"{error.code}: {error.message}\nHint: Do this.\n"


def test_a_usage_error_is_2(run: CommandLine) -> None:
    assert run("zfs", "pool-list").exit_code == 2
    assert run("zfs", "pool-list", "nas", "--colour", "blue").exit_code == 2


def test_a_mapping_must_be_key_and_value(world: World, run: CommandLine) -> None:
    ran = run("thing", "search", "--where", "db")

    assert ran.exit_code == 2
    assert "KEY=VALUE" in ran.stderr
    assert world.outcomes == [("thing_search", "refused", "validation_failed")]


def test_without_a_person_destruction_stops_at_the_plan(world: World, run: CommandLine) -> None:
    planned = run("zfs", "pool-destroy", "nas", "tank", "--json")
    token = planned.json["plan"]["plan_token"]
    scrubbed = any("scrub" in line for _, line in world.ssh.sent)
    done = run("zfs", "pool-destroy", "nas", "tank", "--plan-token", token, "--json")

    assert planned.exit_code == 4
    assert "--plan-token" in planned.stderr
    assert not scrubbed
    assert (done.exit_code, done.json["status"]) == (0, "done")


def test_a_person_is_shown_the_plan_and_asked(world: World) -> None:
    asked = CommandLine(world, interactive=True)

    declined = asked("zfs", "pool-destroy", "nas", "tank", typed="n\n")
    closed = asked("zfs", "pool-destroy", "nas", "tank", typed="")
    scrubbed = any("scrub" in line for _, line in world.ssh.sent)
    confirmed = asked("zfs", "pool-destroy", "nas", "tank", "--json", typed="y\n")

    assert (declined.exit_code, closed.exit_code) == (4, 4)
    assert not scrubbed
    assert world.outcomes[:4] == [("zfs_pool_destroy", "ok", None), ("zfs_pool_destroy", "refused", "declined")] * 2
    assert "All data in it is lost." in declined.stderr
    assert "cannot be undone" in declined.stderr
    assert confirmed.exit_code == 0
    assert json.loads(confirmed.stdout.splitlines()[-1])["status"] == "done"


def test_yes_needs_the_token_of_a_plan_that_was_shown(world: World, run: CommandLine) -> None:
    alone = run("zfs", "pool-destroy", "nas", "tank", "--yes")
    planned = run("zfs", "pool-destroy", "nas", "tank", "--json")
    token = planned.json["plan"]["plan_token"]
    asked = CommandLine(world, interactive=True)
    declined = asked("zfs", "pool-destroy", "nas", "tank", "--plan-token", token, typed="n\n")
    used_up = asked("zfs", "pool-destroy", "nas", "tank", "--plan-token", token, "--yes")
    scrubbed = any("scrub" in line for _, line in world.ssh.sent)
    fresh = run("zfs", "pool-destroy", "nas", "tank", "--json").json["plan"]["plan_token"]
    done = asked("zfs", "pool-destroy", "nas", "tank", "--plan-token", fresh, "--yes", "--json")

    assert alone.exit_code == 2
    assert "--plan-token" in alone.stderr
    assert (declined.exit_code, used_up.exit_code) == (4, 4)
    assert declined.stderr.splitlines()[-2].startswith("declined: ") or "declined: " in declined.stderr
    assert not scrubbed
    assert done.json["status"] == "done"


def test_a_read_only_command_line_lists_only_what_reads(world: World) -> None:
    import typer
    from typer.testing import CliRunner

    from infrastructor.cli import build

    app: typer.Typer = build(world.operations, lambda settings: pytest.fail("opened"), read_only=True)
    listed = CliRunner().invoke(app, ["zfs", "--help"]).stdout

    assert "pool-list" in listed
    assert "pool-destroy" not in listed


def test_a_read_only_process_refuses_changes(world: World) -> None:
    ran = CommandLine(world, settings={"read_only": True})("zfs", "scrub-start", "nas", "tank")

    assert ran.exit_code == 4
    assert ran.stderr.startswith("read_only: ")


def test_tokens_are_made_listed_and_revoked(world: World, run: CommandLine) -> None:
    secret = run("token", "create", "--name", "grafana", "--role", "viewer", "--expires", "30d").stdout.strip()
    listed = run("token", "list", "--json").json["tokens"]
    revoked = run("token", "revoke", "grafana")
    again = run("token", "revoke", "grafana")

    token = next(iter(world.token_store.rows.values()))
    assert secret.startswith("inf_")
    assert [(row["name"], row["role"]) for row in listed] == [("grafana", "viewer")]
    assert secret not in json.dumps(listed)
    assert token.role is Role.VIEWER
    assert token.expires_at is not None
    assert timedelta(days=29) < token.expires_at - token.created_at < timedelta(days=31)
    assert (revoked.exit_code, again.exit_code) == (0, 3)


@pytest.mark.parametrize("lifetime", ["30", "d", "-1d", "0d", "1y", "30 d", ""])
def test_a_lifetime_is_a_number_and_a_unit(run: CommandLine, lifetime: str) -> None:
    ran = run("token", "create", "--name", "x", "--role", "viewer", f"--expires={lifetime}")

    assert ran.exit_code == 2
    assert "30d" in ran.stderr


def test_the_admin_token_is_printed_alone(run: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INFRASTRUCTOR_DATA_DIR", str(tmp_path))
    missing = run("token")
    (tmp_path / "admin.token").write_text("inf_secret\n")

    assert missing.exit_code == 3
    assert "Start the server once" in missing.stderr
    assert run("token").stdout == "inf_secret\n"


def test_the_client_configuration_is_ready_to_paste(
    run: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INFRASTRUCTOR_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("INFRASTRUCTOR_MCP_PORT", "9999")
    (tmp_path / "admin.token").write_text("inf_secret\n")

    http = run("mcp-config").json["mcpServers"]["infrastructor"]
    stdio = run("mcp-config", "--transport", "stdio", "--client", "claude").json["mcpServers"]["infrastructor"]

    assert http == {
        "type": "http",
        "url": "http://127.0.0.1:9999/mcp",
        "headers": {"Authorization": "Bearer inf_secret"},
    }
    assert (stdio["type"], stdio["args"][-1]) == ("stdio", "mcp")


def test_a_wrong_setting_is_named(run: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INFRASTRUCTOR_API_PORT", "many")

    ran = run("zfs", "pool-list", "nas")

    assert ran.exit_code == 2
    assert "INFRASTRUCTOR_API_PORT" in ran.stderr
    assert len(ran.stderr.splitlines()) == 2


def test_nothing_heavy_is_imported_before_it_is_needed() -> None:
    code = (
        "import sys; from infrastructor.cli import build; from tests.doors.catalog import OPERATIONS;"
        "build(OPERATIONS, None);"
        "print([name for name in ('fastapi', 'fastmcp', 'uvicorn', 'asyncssh', 'asyncpg') if name in sys.modules])"
    )
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)

    assert done.stdout.strip() == "[]"
    assert time.perf_counter() - started < 5
