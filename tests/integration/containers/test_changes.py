"""Starting, stopping, restarting, removing containers, and running programs inside them: for real, and at most once."""

import json
from typing import Any
from uuid import UUID

import pytest

from infrastructor.errors import (
    Conflict,
    InfrastructorError,
    NotFound,
    PermissionDenied,
    PlanRejected,
    Protected,
    ValidationFailed,
)
from infrastructor.plans import Plans
from infrastructor.ports.cache import CacheState
from infrastructor.ports.callers import Caller, Interface, Role
from tests.support.containers import ADMIN, Host
from tests.support.docker import IMAGE
from tests.support.wait import until

pytestmark = pytest.mark.xdist_group("docker")

MCP = Caller(principal="claude", role=Role.ADMIN, interface=Interface.MCP)
PROTECTED = ("--label", "infrastructor.protected=true")
TRAP = "trap 'exit 0' TERM; while :; do sleep 0.05; done"


async def test_stop_start_and_restart_tell_the_state_before_and_after(every_way: Host) -> None:
    identity = every_way.run("web", "sh", "-c", TRAP)
    stopped = await every_way.ask("container_stop", container="web")
    assert (stopped.id, stopped.changed, stopped.before.status, stopped.after.status) == (
        *(identity, True, "running", "exited"),
    )
    assert (stopped.after.exit_code, stopped.message) == (0, "web ended with exit code 0.")
    assert every_way.state("web")["Status"] == "exited"

    again = await every_way.ask("container_stop", container="web")
    assert (again.changed, again.message) == (False, "web does not run (exited).")

    started = await every_way.ask("container_start", container=identity[:12])
    assert (started.changed, started.before.status, started.after.status) == (True, "exited", "running")
    assert (await every_way.ask("container_start", container="web")).changed is False

    pid = every_way.state("web")["Pid"]
    restarted = await every_way.ask("container_restart", container="web", wait_seconds=5)
    assert (restarted.after.status, restarted.after.pid != pid) == ("running", True)
    assert restarted.after.started_at > restarted.before.started_at


async def test_what_does_not_end_is_killed_after_the_wait(host: Host) -> None:
    host.run("stubborn", "sh", "-c", "trap '' TERM; while :; do sleep 1; done")
    result = await host.ask("container_stop", container="stubborn", wait_seconds=1)
    assert result.message == "stubborn ended with exit code 137: it did not end in time and was killed."


async def test_one_that_ends_at_once_is_not_called_running(host: Host) -> None:
    host.engine.docker("create", "--name", "brief", IMAGE, "sh", "-c", "exit 4")
    result = await host.ask("container_start", container="brief")
    if result.after.status == "exited":
        assert result.message == "brief was started, but is exited already with exit code 4; container_logs tells why."
    else:
        assert result.after.status == "running"
    await until(lambda: host.state("brief")["ExitCode"] == 4)


async def test_a_failed_start_says_what_the_engine_says(host: Host) -> None:
    host.engine.docker("create", "--name", "nothing", IMAGE, "/no/such/program")
    with pytest.raises(InfrastructorError, match="no such file") as caught:
        await host.ask("container_start", container="nothing")
    assert caught.value.code == "command_failed"


async def test_one_run_with_rm_is_gone_after_its_stop(host: Host) -> None:
    host.run("brief", "sh", "-c", TRAP, options=("--rm",))
    result = await host.ask("container_stop", container="brief")
    assert result.after.status in {"removed", "removing"}
    assert "removes itself" in result.message


async def test_a_change_makes_cached_answers_old(host: Host) -> None:
    host.run("web", "sh", "-c", TRAP)
    await host.ask("container_list", force_refresh=False)
    await host.ask("container_stop", container="web")
    after = await host.answer("container_list", force_refresh=False)
    assert (after.cache, after.result.counts) == (CacheState.MISS, {"exited": 1})


async def test_a_protected_container_is_neither_stopped_nor_removed(every_way: Host) -> None:
    every_way.run("db", options=PROTECTED)
    for name, arguments in (("container_stop", {}), ("container_remove", {"force": True})):
        with pytest.raises(Protected, match=r"infrastructor\.protected=true"):
            await every_way.ask(name, container="db", **arguments)
    assert every_way.state("db")["Status"] == "running"


# --- removal -----------------------------------------------------------------------------------------


async def plan_of(host: Host, **arguments: Any) -> Any:
    result = await host.ask("container_remove", **arguments)
    assert result.status == "planned"
    return result.plan


async def test_removal_is_planned_shown_and_then_done_once(every_way: Host) -> None:
    options = ("-v", "named:/named", "-v", "/anonymous", "-v", "/srv:/bound", "--restart", "always")
    stack = ("--label", "com.docker.compose.project=media")
    identity = every_way.run("web", options=(*options, *stack))
    plan = await plan_of(every_way, container="web", force=True, remove_volumes=True)
    assert plan.summary == f"Remove the container web ({IMAGE}) from nas."
    assert plan.commands == [f"docker rm --force --volumes -- {identity}"]
    text = "\n".join(plan.effects)
    for words in (
        "It is running since",
        "It is killed first",
        "1 anonymous volumes are deleted with their data",
        "Named volumes are kept: named.",
        "Paths on the device are kept: /srv.",
        "leaves the networks bridge",
        "restart policy always",
        "belongs to the stack media",
    ):
        assert words in text
    assert every_way.state("web")["Status"] == "running"

    arguments = {"container": "web", "force": True, "remove_volumes": True}
    done = await every_way.ask("container_remove", **arguments, plan_token=plan.plan_token)
    assert (done.status, done.name, done.id) == ("done", "web", identity)
    assert every_way.engine.docker("ps", "-aq") == ""
    assert every_way.engine.docker("volume", "ls", "-q") == "named"
    every_way.engine.docker("volume", "rm", "named")
    with pytest.raises(NotFound):
        await every_way.ask("container_remove", **arguments, plan_token=plan.plan_token)


async def test_a_plan_is_worth_nothing_once_the_state_has_changed(host: Host) -> None:
    host.run("web")
    plan = await plan_of(host, container="web", force=True)
    host.engine.docker("restart", "-t", "0", "web")
    with pytest.raises(PlanRejected, match="state has changed"):
        await host.ask("container_remove", container="web", force=True, plan_token=plan.plan_token)
    plan = await plan_of(host, container="web", force=True)
    host.engine.docker("rm", "-f", "web")
    host.run("web")  # another one of the same name
    with pytest.raises(PlanRejected, match="state has changed"):
        await host.ask("container_remove", container="web", force=True, plan_token=plan.plan_token)
    with pytest.raises(PlanRejected):
        await host.ask("container_remove", container="web", plan_token="plan_x", force=True)
    assert host.state("web")["Status"] == "running"


async def test_another_container_of_that_name_is_not_removed_in_its_place(
    every_way: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name goes to another container after the plan was redeemed and before anything was removed."""
    identity = every_way.run("web")
    plan = await plan_of(every_way, container="web", force=True)
    redeem = Plans.redeem

    async def redeem_and_swap(*arguments: Any) -> UUID:
        plan_id = await redeem(*arguments)
        every_way.engine.docker("rename", "web", "old")
        every_way.run("web")
        return plan_id

    monkeypatch.setattr(Plans, "redeem", redeem_and_swap)
    done = await every_way.ask("container_remove", container="web", force=True, plan_token=plan.plan_token)
    assert (done.status, done.id) == ("done", identity)
    assert every_way.engine.docker("ps", "-a", "--format", "{{.Names}}") == "web"
    assert every_way.state("web")["Status"] == "running"


async def test_a_running_container_is_not_removed_without_force(host: Host) -> None:
    host.run("web")
    with pytest.raises(Conflict, match="is running"):
        await host.ask("container_remove", container="web")


# --- running programs inside -------------------------------------------------------------------------

HOSTILE = ["$(touch /tmp/pwned)", "; exit 3", "a b", "'\"`\\", "-n", "--help", "", "ü\u202e", "*", "x\ny", "${IFS}"]


async def test_arguments_arrive_as_they_were_given(every_way: Host) -> None:
    every_way.run("web")
    result = await every_way.ask(
        "container_exec", container="web", argv=["sh", "-c", 'for a; do printf "%s|" "$a"; done', "x", *HOSTILE]
    )
    assert (result.exit_code, result.timed_out, result.truncated) == (0, False, False)
    assert result.stdout == "".join(f"{word}|" for word in HOSTILE).replace("\u202e", "")


async def test_no_shell_reads_the_arguments(host: Host) -> None:
    host.run("web")
    result = await host.ask("container_exec", container="web", argv=["echo", "$HOME;", "id"])
    assert result.stdout == "$HOME; id\n"
    dashed = await host.ask("container_exec", container="web", argv=["--privileged", "x"])
    assert dashed.exit_code in {126, 127}
    assert "--privileged" in dashed.stderr + dashed.stdout


async def test_the_exit_code_both_outputs_user_and_folder_come_back(every_way: Host) -> None:
    every_way.run("web")
    script = "id -u 2>/dev/null || busybox id -u; busybox pwd; echo bad >&2; exit 7"
    result = await every_way.ask("container_exec", container="web", argv=["sh", "-c", script], user="7", workdir="/bin")
    assert (result.exit_code, result.stdout, result.stderr) == (7, "7\n/bin\n", "bad\n")
    missing = await every_way.ask("container_exec", container="web", argv=["no-such-program"])
    assert missing.exit_code in {126, 127}
    assert "no-such-program" in missing.stderr + missing.stdout


async def test_what_takes_too_long_is_given_up_and_what_is_long_is_cut(host: Host) -> None:
    host.run("web")
    slow = await host.ask(
        "container_exec", container="web", argv=["sh", "-c", "echo begun; sleep 60"], timeout_seconds=1
    )
    assert (slow.timed_out, slow.exit_code, slow.stdout) == (True, None, "begun\n")
    long = await host.answer("container_exec", container="web", argv=["sh", "-c", "yes | busybox head -c 1000000"])
    assert (long.result.truncated, len(long.body) <= 40_000, long.result.stdout[:4]) == (True, True, "y\ny\n")


async def test_nothing_runs_in_what_does_not_run(host: Host) -> None:
    host.engine.docker("create", "--name", "never", IMAGE, "true")
    with pytest.raises(Conflict, match="is created"):
        await host.ask("container_exec", container="never", argv=["id"])


@pytest.mark.parametrize(
    "arguments",
    [
        {"argv": "ls -la"},
        {"argv": []},
        {"argv": ["a\0b"]},
        {"argv": ["ls"], "user": "-u"},
        {"argv": ["ls"], "user": "root --privileged"},
        {"argv": ["ls"], "workdir": "relative"},
        {"argv": ["ls"], "env": {"A": "b"}},
    ],
)
async def test_bad_requests_run_nothing(host: Host, arguments: dict[str, Any]) -> None:
    host.run("web")
    with pytest.raises(ValidationFailed):
        await host.ask("container_exec", container="web", **arguments)
    assert not [line for line in host.commands if "Exec" in line]


async def test_over_mcp_it_needs_the_operators_leave(host: Host) -> None:
    host.run("web")
    with pytest.raises(PermissionDenied, match="not offered over mcp") as caught:
        await host.ask("container_exec", MCP, container="web", argv=["id"])
    assert "INFRASTRUCTOR_MCP_EXEC" in caught.value.hint
    assert (host.audit.finished[-1].outcome, host.audit.finished[-1].commands) == ("refused", [])
    allowed = Host(host.client, host.device, host.engine, opted_in=(Interface.MCP,))
    assert (await allowed.ask("container_exec", MCP, container="web", argv=["echo", "hi"])).stdout == "hi\n"
    assert (await host.ask("container_exec", ADMIN, container="web", argv=["echo", "hi"])).stdout == "hi\n"


async def test_the_audit_says_what_ran(host: Host) -> None:
    identity = host.run("web")
    await host.ask("container_exec", container="web", argv=["echo", "a b"])
    assert host.commands[-1] == f"ExecInContainer 30 -- {identity} echo 'a b'"
    assert json.dumps(host.audit.finished[-1].params)
