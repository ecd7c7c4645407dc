"""Deployments that go well."""

import pytest

from tests.integration.compose.conftest import HEALTHY, Stacks

pytestmark = pytest.mark.xdist_group("docker")


async def test_a_new_stack_is_planned_then_deployed(stacks: Stacks) -> None:
    plan = await stacks.ask("compose_deploy", stack="shop", folder=str(stacks.folder), content=HEALTHY, dry_run=True)
    assert (plan.outcome, plan.blocked, plan.files) == ("planned", [], [f"{stacks.folder}/compose.yaml"])
    assert not stacks.folder.exists()
    assert "hunter2" not in plan.diff

    done = await stacks.ask("compose_deploy", stack="shop", folder=str(stacks.folder), content=HEALTHY)
    assert done.outcome == "deployed", done
    assert (stacks.folder / "compose.yaml").read_text() == HEALTHY
    assert stacks.health_of("shop-web") == "healthy"
    print(done.model_dump_json(indent=1))
    print(stacks.commands)
