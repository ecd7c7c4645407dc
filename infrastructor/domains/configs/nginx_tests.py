"""Finding the nginx that reads a file: in a container that has it mounted, or on the device itself."""

import re
from dataclasses import dataclass

from infrastructor.domains.configs.validating import PodmanTestNginx, TestNginxInContainer, TestNginxOnHost, Verdict
from infrastructor.domains.containers.commands import (
    InspectContainers,
    ListContainers,
    PodmanInspectContainers,
    PodmanListContainers,
)
from infrastructor.domains.containers.inspection import Inspection
from infrastructor.domains.containers.queries import QueryContainer, QueryContainers
from infrastructor.domains.containers.reach import ask, inspect
from infrastructor.errors import CommandFailed, CommandNotAvailable, NotFound
from infrastructor.operation import Context

NGINX_COMMANDS = (
    ListContainers,
    PodmanListContainers,
    InspectContainers,
    PodmanInspectContainers,
    TestNginxInContainer,
    PodmanTestNginx,
    TestNginxOnHost,
)
NGINX_QUERIES = (QueryContainers, QueryContainer)
_SERVES = re.compile(r"nginx|swag|openresty|letsencrypt|proxy", re.IGNORECASE)
_HOST = ("/etc/nginx/", "/usr/local/etc/nginx/", "/usr/local/nginx/", "/opt/nginx/")
_MOST = 12  # containers looked into


@dataclass(frozen=True, slots=True)
class NginxTester:
    """Who tests; `container` None: the device's own nginx."""

    container: str | None

    @property
    def name(self) -> str:
        return "nginx -t" if self.container is None else f"nginx -t in {self.container}"

    async def test(self, ctx: Context) -> Verdict:
        if self.container is not None:
            return await ctx.run(TestNginxInContainer(container=self.container))
        command = TestNginxOnHost()
        capabilities = await ctx.links.capabilities(ctx.device)
        if not capabilities.is_root and capabilities.sudo == "nopasswd":
            command = command.as_root()  # it reads certificates' keys
        return await ctx.run(command)


async def find_tester(ctx: Context, path: str) -> NginxTester | None:
    """The nginx that has this file; None where there is none that runs."""
    capabilities = await ctx.links.capabilities(ctx.device)
    if capabilities.has_engine:
        try:
            rows = (await ask(ctx, QueryContainers())).value
        except CommandNotAvailable:
            rows = ()
        running = [row for row in rows if row.state == "running" and _SERVES.search(f"{row.name} {row.image}")]
        for row in running[:_MOST]:
            try:
                found = (await inspect(ctx, row.id)).value
            except NotFound:
                continue
            if _mounts(found, path) and await _answers(ctx, NginxTester(found.name)):
                return NginxTester(found.name)
    if path.startswith(_HOST) and "nginx" in capabilities.tools:
        return NginxTester(None)
    return None


async def _answers(ctx: Context, tester: NginxTester) -> bool:
    """Whether there is an nginx in that container at all; better known before anything is written."""
    try:
        await tester.test(ctx)
    except (CommandNotAvailable, CommandFailed):
        return False
    return True


def _mounts(found: Inspection, path: str) -> bool:
    sources = [mount.source for mount in found.mounts if mount.source and mount.source.startswith("/")]
    return any(path == source or path.startswith(f"{source.rstrip('/')}/") for source in sources)
