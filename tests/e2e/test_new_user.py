"""What a new user does on the first day, through all three doors, with a real machine."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from fastmcp import Client
from fastmcp.client.auth import BearerAuth
from fastmcp.client.transports import StdioTransport

from tests.e2e.conftest import Installation
from tests.support.sshd import Sshd

pytestmark = [pytest.mark.xdist_group("e2e"), pytest.mark.timeout(180)]


def add(installation: Installation, sshd: Sshd, name: str, address: str) -> dict[str, Any]:
    return installation.ask(
        *("device", "add", name, "--address", address, "--ssh-port", str(sshd.port), "--ssh-username", "root"),
        *("--ssh-private-key-path", str(sshd.login_key)),
    )


@pytest.fixture(scope="module")
def machine(installation: Installation, sshd: Sshd) -> str:
    """A real SSH host, added and trusted as the README says."""
    added = add(installation, sshd, "web-1", "127.0.0.7")
    assert added["trusted"] is False
    fingerprint = sshd.host_keys()[0].fingerprint
    assert fingerprint in {key["fingerprint"] for key in added["offered_keys"]}
    assert installation.ask("device", "trust", "web-1", "--fingerprint", fingerprint)["trusted"] is True
    return "web-1"


def test_this_machine_is_registered_and_answers(installation: Installation) -> None:
    assert [row["hostname"] for row in installation.ask("device", "list", "--selector", "local")["devices"]] == [
        "local"
    ]
    assert installation.ask("system", "metrics", "local")["uptime_seconds"] > 0


def test_nothing_is_sent_to_a_device_whose_key_is_not_trusted(installation: Installation, sshd: Sshd) -> None:
    add(installation, sshd, "stranger", "127.0.0.8")
    accepted = sshd.logged("Accepted publickey")
    refused = installation.run("system", "metrics", "stranger", check=False)
    assert refused.returncode == 5
    assert "host_key_untrusted" in refused.stderr
    assert "device_trust" in refused.stderr
    assert sshd.logged("Accepted publickey") == accepted
    wrong = installation.run("device", "trust", "stranger", "--fingerprint", f"SHA256:{'A' * 43}", check=False)
    assert "conflict" in wrong.stderr


async def test_three_doors_give_the_same_metrics(installation: Installation, machine: str) -> None:
    by_cli = installation.ask("system", "metrics", machine)
    async with installation.rest() as rest:
        answer = await rest.get(f"/api/system/{machine}/metrics")
    async with Client(installation.mcp_url, auth=BearerAuth(installation.token)) as mcp:
        called = await mcp.call_tool("system_metrics", {"device": machine})
        resource = await mcp.read_resource(f"device://{machine}/metrics")
    assert answer.headers["x-cache"] == "hit"
    assert answer.json() == by_cli == called.structured_content == json.loads(resource[0].text)
    assert by_cli["memory"]["total_bytes"] > 0


async def test_stdio_serves_the_same_tools(installation: Installation, machine: str) -> None:
    transport = StdioTransport(
        str(Path(sys.executable).parent / "infrastructor"),
        ["mcp", "--role", "viewer"],
        env={name: value for name, value in installation.environment.items() if name.startswith(("INFRA", "PATH"))},
    )
    async with Client(transport) as mcp:
        names = {tool.name for tool in await mcp.list_tools()}
        answer = await mcp.call_tool("system_info", {"device": machine})
    assert "system_metrics" in names
    assert "device_remove" not in names
    assert answer.structured_content["device"] == machine


async def test_a_viewer_token_reads_and_changes_nothing(installation: Installation, machine: str) -> None:
    viewer = installation.run("token", "create", "--role", "viewer", "--name", "dash").stdout.strip()
    async with installation.rest(viewer) as rest:
        assert (await rest.get("/api/devices")).status_code == 200
        assert (await rest.patch(f"/api/devices/{machine}", json={"location": "attic"})).status_code == 403
    installation.run("token", "revoke", "dash")
    async with installation.rest(viewer) as rest, asyncio.timeout(10):  # other processes hear of it within 5 s
        while (await rest.get("/api/devices")).status_code != 401:
            await asyncio.sleep(0.1)


async def test_the_fleet_is_asked_in_one_call(installation: Installation, machine: str) -> None:
    async with installation.rest() as rest:
        body = {"operation": "system_info", "selector": f"local,{machine}"}
        answer = (await rest.post("/api/fleet/run", json=body)).json()
    assert (answer["ok"], answer["failed"]) == (2, 0)
    assert {row["device"] for row in answer["answers"]} == {"local", machine}


async def test_removing_a_device_needs_its_plan(installation: Installation, sshd: Sshd) -> None:
    add(installation, sshd, "old", "127.0.0.9")
    async with installation.rest() as rest:
        planned = (await rest.delete("/api/devices/old")).json()
        assert planned["status"] == "planned"
        assert (await rest.get("/api/devices/old")).status_code == 200
        token = planned["plan"]["plan_token"]
        assert (await rest.delete("/api/devices/old", params={"plan_token": token})).json()["status"] == "done"
        assert (await rest.get("/api/devices/old")).status_code == 404
        assert (await rest.delete("/api/devices/old", params={"plan_token": token})).status_code == 404


def test_doctor_finds_no_fault_that_it_cannot_name(installation: Installation) -> None:
    checks = json.loads(installation.run("doctor", "--json", check=False).stdout)["checks"]
    faults = {check["name"] for check in checks if not check["ok"]}
    assert faults <= {"ssh keys", "disk"}
    assert all(check["fix"] for check in checks if not check["ok"])


def test_a_second_start_says_that_it_is_running(installation: Installation) -> None:
    assert "running already" in installation.run("start").stderr


def test_a_taken_port_is_one_clear_line(installation: Installation, tmp_path: Path) -> None:
    other = Installation(tmp_path / "other", api_port=installation.api_port)
    failed = other.run("start", check=False)
    assert failed.returncode != 0
    assert f"127.0.0.1:{installation.api_port}" in failed.stderr
    assert "INFRASTRUCTOR_API_PORT" in failed.stderr
    assert "Traceback" not in failed.stderr


def test_after_stop_and_start_all_is_still_there(installation: Installation, machine: str) -> None:
    token, before = installation.token, installation.ask("device", "get", machine)
    installation.run("stop")
    assert _processes_of(installation) == []
    installation.run("start")
    assert installation.token == token
    after = installation.ask("device", "get", machine)
    assert {name: after[name] for name in ("id", "host_keys", "created_at")} == {
        name: before[name] for name in ("id", "host_keys", "created_at")
    }
    assert installation.ask("system", "metrics", machine)["device"] == machine


def test_a_server_killed_hard_is_started_again(installation: Installation, machine: str) -> None:
    pid = json.loads(installation.run("status", "--json", check=False).stdout)["pid"]
    os.kill(pid, signal.SIGKILL)
    installation.run("start")
    assert installation.ask("system", "metrics", machine)["device"] == machine


def test_no_secret_is_in_the_log(installation: Installation, machine: str) -> None:
    assert installation.token not in installation.log
    assert "PRIVATE KEY" not in installation.log


def _processes_of(installation: Installation) -> list[str]:
    """Command lines that name this installation's data directory; zombies have none."""
    listed = subprocess.run(["ps", "-eww", "-o", "args="], capture_output=True, text=True, check=True).stdout
    return [line for line in listed.splitlines() if str(installation.data_dir) in line]
