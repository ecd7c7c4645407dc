"""What is wrong with containers, made wrong for real."""

import json

import pytest

from infrastructor.domains.containers import health
from infrastructor.domains.containers.inspection import from_inspect
from tests.support.containers import Host
from tests.support.docker import IMAGE
from tests.support.wait import until

pytestmark = pytest.mark.xdist_group("docker")


async def test_problems_are_spelled_out_and_the_rest_is_counted(every_way: Host) -> None:
    host = every_way
    host.run("well", options=("--health-cmd", "true", "--health-interval", "1s", "--memory", "32m"))
    host.run("unchecked")
    host.run(
        "sick", options=("--health-cmd", "echo no database; false", "--health-interval", "1s", "--health-retries=1")
    )
    host.run("crashed", "sh", "-c", "exit 3")
    host.run("ended", "true")
    host.run("looping", "false", options=("--restart", "always"))
    host.run("hungry", "sh", "-c", "x=a; while :; do x=$x$x; done", options=("--memory", "8m"))
    host.run("paused")
    host.engine.docker("pause", "paused")
    host.engine.docker("create", "--name", "broken", IMAGE, "/no/such/program")
    host.engine.docker("start", "broken", check=False)
    await until(lambda: host.state("well").get("Health", {}).get("Status") == "healthy", 30)
    await until(lambda: host.state("sick").get("Health", {}).get("Status") == "unhealthy", 30)
    await until(lambda: host.state("hungry")["Status"] == "exited", 30)
    await until(lambda: int(str(host.engine.inspect("looping")["RestartCount"])) >= 3, 30)

    result = await host.ask("container_health")
    found = {problem.name: problem for problem in result.problems}
    assert {name: (problem.what, problem.severity) for name, problem in found.items()} == {
        "looping": ("restart_loop", "critical"),
        "hungry": ("oom_killed", "critical"),
        "sick": ("unhealthy", "critical"),
        "broken": ("failed_to_start", "critical"),
        "crashed": ("exited", "warning"),
        "paused": ("paused", "warning"),
    }
    assert [problem.severity for problem in result.problems] == ["critical"] * 4 + ["warning"] * 2
    assert found["sick"].output == "no database"
    assert "code 3" in found["crashed"].message
    assert "no such file" in found["broken"].message
    assert (result.verdict, result.total, result.healthy, result.ended_well) == ("red", 9, 1, 1)
    # The one that keeps restarting may run for a moment.
    assert result.unchecked in {1, 2}
    assert result.without_memory_limit in {2, 3}


async def test_a_process_killed_inside_a_container_that_goes_on_is_told(host: Host) -> None:
    eat = "(x=a; while :; do x=$x$x; done); sleep 3600"
    host.run("survivor", "sh", "-c", eat, options=("--memory", "16m"))
    await until(lambda: "sleep" in host.engine.docker("top", "survivor"), 30)
    result = await host.ask("container_health")
    assert [(problem.name, problem.what) for problem in result.problems] == [("survivor", "oom_killed")]
    assert (result.verdict, "limit of 16 MiB" in result.problems[0].message) == ("amber", True)
    assert (await host.ask("container_stats")).containers[0].oom_kills >= 1


async def test_the_whole_fleet_can_be_asked(host: Host) -> None:
    host.run("crashed", "sh", "-c", "exit 3")
    await until(lambda: host.state("crashed")["Status"] == "exited")
    run = host.service.operation("fleet_run")
    answer = await host.service.submit(run, {"operation": "container_health", "selector": "*"}, host.admin)
    assert answer.result.ok == 1
    assert answer.result.answers[0].result["problems"][0]["name"] == "crashed"


async def test_a_device_without_problems_is_green(host: Host) -> None:
    assert (await host.ask("container_health")).model_dump(exclude={"device", "via"}) == {
        "verdict": "green",
        "total": 0,
        "running": 0,
        "healthy": 0,
        "unchecked": 0,
        "ended_well": 0,
        "without_memory_limit": 0,
        "problems": [],
        "omitted": 0,
    }


async def test_one_that_was_restarted_long_ago_is_a_warning(host: Host) -> None:
    host.run("web")
    described = host.engine.inspect("web") | {"RestartCount": 5}
    [now] = from_inspect(json.dumps(described).encode())
    assert now.state.started_at is not None
    [young] = health.problems([now], {}, now.state.started_at)
    [old] = health.problems([now], {}, now.state.started_at.replace(year=now.state.started_at.year + 1))
    assert (young.what, old.what, old.severity) == ("restart_loop", "restarted", "warning")
