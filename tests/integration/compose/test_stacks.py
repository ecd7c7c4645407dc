"""Looking at stacks, and what changes them without their files."""

import json
from pathlib import Path

import pytest

from infrastructor.errors import Conflict, NotFound, Protected
from tests.integration.compose.conftest import HEALTHY, PORT, Stacks

pytestmark = [pytest.mark.xdist_group("docker"), pytest.mark.timeout(240)]
SIDE = """\
  side:
    image: busybox:latest
    command: [sh, -c, 'echo token=abcdef123456; sleep 3600']
    stop_grace_period: 1s
"""
TWO = HEALTHY + SIDE


async def started(stacks: Stacks, content: str = HEALTHY) -> Stacks:
    await stacks.ask("compose_deploy", stack="shop", folder=str(stacks.folder), content=content, wait_seconds=30)
    return stacks


async def test_a_stack_is_listed_shown_read_and_restarted(stacks: Stacks) -> None:
    await started(stacks, TWO)
    stacks.run("loose")
    found = await stacks.ask("stack_list")
    assert (found.total, found.loose_containers) == (1, 1)
    row = found.stacks[0]
    assert (row.name, row.folder, row.files, row.services) == ("shop", str(stacks.folder), ["compose.yaml"], 2)
    assert row.states == {"healthy": 1, "running": 1}

    detail = await stacks.ask("stack_get", stack="shop")
    assert (detail.problems, [one.drift for one in detail.services]) == ([], [None, None])
    assert detail.files[0].path == f"{stacks.folder}/compose.yaml"
    assert "hunter2" not in detail.model_dump_json()
    assert "TZ: Europe/Berlin" in (detail.text or "")

    logs = await stacks.ask("stack_logs", stack="shop")
    assert [(line.service, "abcdef" in line.text) for line in logs.lines if "token" in line.text] == [("side", False)]

    before = stacks.state("shop-web")["StartedAt"]
    change = await stacks.ask("stack_restart", stack="shop")
    assert {one.service for one in change.services} == {"web", "side"}
    assert stacks.state("shop-web")["StartedAt"] > before

    (stacks.folder / "compose.yaml").write_text(TWO.replace("sleep 3600", "sleep 3601"))
    drifted = await stacks.ask("stack_get", stack="shop")
    assert {one.service: one.drift for one in drifted.services} == {
        "web": None,
        "side": "made from another version of the file",
    }
    done = await stacks.ask("stack_up", stack="shop", wait_seconds=60)
    assert done.outcome == "deployed"
    assert [one.drift for one in (await stacks.ask("stack_get", stack="shop")).services] == [None, None]


async def test_down_is_planned_and_up_brings_it_back(stacks: Stacks) -> None:
    await started(stacks)
    plan = (await stacks.ask("stack_down", stack="shop")).plan
    assert "Container shop-web (app:1, healthy) is stopped and deleted." in plan.effects
    assert "Its volumes are kept." in plan.effects
    assert stacks.health_of("shop-web") == "healthy"
    done = await stacks.ask("stack_down", stack="shop", plan_token=plan.plan_token)
    assert (done.status, done.removed) == ("done", ["shop-web"])
    assert "shop_default" not in stacks.engine.docker("network", "ls", "--format", "{{.Name}}")
    assert (await stacks.ask("stack_list")).stacks == []
    # Its folder is known from the journal.
    assert (await stacks.ask("stack_up", stack="shop", wait_seconds=30)).outcome == "deployed"
    assert stacks.health_of("shop-web") == "healthy"


async def test_the_version_before_comes_back_with_its_very_image(stacks: Stacks, images: dict[str, str]) -> None:
    await started(stacks, HEALTHY.replace("app:1", "app:${VERSION:-1}"))
    with pytest.raises(Conflict, match="No earlier version"):
        await stacks.ask("stack_rollback", stack="shop")
    newer = HEALTHY.replace("app:1", "app:${VERSION:-1}").replace("TZ: Europe/Berlin", "TZ: UTC")
    await stacks.ask("compose_deploy", stack="shop", content=newer, env="VERSION=2\n", wait_seconds=30)
    assert stacks.image_of("shop-web") == images["app:2"]
    stacks.engine.docker("tag", images["app:2"], "app:1")  # meanwhile the tag moved
    (version,) = (await stacks.ask("stack_get", stack="shop")).versions
    plan = await stacks.ask("stack_rollback", stack="shop", dry_run=True)
    assert ("-      TZ: UTC" in plan.diff, "-VERSION" in plan.diff) == (True, True)

    done = await stacks.ask("stack_rollback", stack="shop", version=version.id, wait_seconds=30)
    assert done.outcome == "deployed"
    assert stacks.image_of("shop-web") == images["app:1"]
    assert (stacks.folder / "compose.yaml").read_text() == HEALTHY.replace("app:1", "app:${VERSION:-1}")
    assert not (stacks.folder / ".env").exists()
    # And that can be undone in the same way.
    await stacks.ask("stack_rollback", stack="shop", wait_seconds=30)
    assert stacks.image_of("shop-web") == images["app:2"]
    assert (stacks.folder / ".env").read_text() == "VERSION=2\n"


async def test_only_a_few_versions_are_kept(stacks: Stacks) -> None:
    await started(stacks)
    for number in range(7):
        content = HEALTHY.replace("TZ: Europe/Berlin", f"TZ: Etc/GMT+{number}")
        await stacks.ask("compose_deploy", stack="shop", content=content, wait_seconds=30)
    kept = [path for path in (stacks.folder / ".infrastructor").iterdir() if path.is_dir()]
    assert len(kept) == 5
    assert all(path.stat().st_mode & 0o777 == 0o700 for path in (*kept, stacks.folder / ".infrastructor"))


async def test_what_is_protected_or_unknown_is_left_alone(stacks: Stacks) -> None:
    await started(stacks, HEALTHY + "    labels: {infrastructor.protected: 'true'}\n")
    for name in ("stack_down", "stack_restart"):
        with pytest.raises(Protected):
            await stacks.ask(name, stack="shop")
    for name in ("stack_get", "stack_down", "stack_restart", "stack_logs"):
        with pytest.raises(NotFound):
            await stacks.ask(name, stack="nowhere")


async def test_no_secret_is_in_any_record(stacks: Stacks) -> None:
    await started(stacks)
    await stacks.ask("compose_deploy", stack="shop", env="KEY=hush-hush-hush\n", content=HEALTHY, wait_seconds=30)
    for record in (*stacks.audit.begun, *stacks.audit.finished):
        text = json.dumps([record.params, record.commands, record.error_message, record.details], default=str)
        assert "hunter2" not in text
        assert "hush" not in text
    for row in stacks.deployments.rows.values():
        assert "hunter2" not in str(row)
        assert "hush" not in str(row)


async def test_a_file_is_fitted_to_the_device_and_deployed(stacks: Stacks, tmp_path: Path) -> None:
    stacks.run("holder", options=("-p", f"{PORT}:80"))
    appdata = tmp_path / "apps"
    appdata.mkdir()
    stacks.engine.docker("network", "create", "proxy")
    content = HEALTHY.replace(
        "    environment:\n",
        "    volumes:\n      - /path/to/shop/data:/data   # what it keeps\n    environment:\n      PUID: 1000\n",
    )
    arguments = {"stack": "shop", "content": content, "appdata": str(appdata), "network": "proxy", "tz": "UTC"}
    fitted = await stacks.ask("compose_modify", **arguments, puid=1234)
    assert (
        fitted.problems == [f"web: {appdata}/shop/data is not on the device; it would be made, empty."]
        or not fitted.problems
    )
    lines = {
        f'      - "{PORT + 1}:80"',
        f"      - {appdata}/shop/data:/data   # what it keeps",
        "      PUID: 1234",
        "      TZ: UTC",
        "  web:   # what is served",
    }
    assert lines <= set((fitted.text or "").splitlines())
    assert {reason.where for reason in fitted.reasons} >= {f"web.ports.{PORT}", "web.environment.PUID", "web.networks"}
    done = await stacks.ask("compose_modify_and_deploy", **arguments, wait_seconds=30)
    assert done.outcome == "deployed"
    assert done.folder == f"{appdata}/shop"
    assert (appdata / "shop" / "data").stat().st_uid == 0
    assert stacks.health_of("shop-web") == "healthy"
