"""connectivity_check: name, connection, page, one after the other, from the device itself."""

from datetime import timedelta

from infrastructor.domains.network.addresses import Address
from infrastructor.domains.network.models import Connectivity, Outcome, Step
from infrastructor.domains.network.probes import Attempt, HeadPage, OpenConnection, Page, ResolveName
from infrastructor.domains.network.targets import Goal, Target, check_address, goal
from infrastructor.operation import Context, DeviceParams, operation
from infrastructor.ports.callers import Effect

_TRIED = 3  # of the addresses of one name


class ConnectivityParams(DeviceParams):
    """Input of connectivity_check."""

    target: Target


@operation(
    name="connectivity_check",
    effect=Effect.READ,
    route="GET /api/network/{device}/connectivity",
    commands=(ResolveName, OpenConnection, HeadPage),
    deadline=timedelta(seconds=100),
)
async def connectivity_check(ctx: Context, params: ConnectivityParams) -> Connectivity:
    """Try from a device whether a name resolves, a port accepts, a page answers. Use it when A cannot reach B.

    Sends packets from the device, changes nothing, returns no content; refuses metadata addresses.
    """
    aim = goal(params.target)
    steps: list[Step] = []
    addresses = [aim.address] if aim.address is not None else await _look_up(ctx, aim, steps)
    page: Page | None = None
    if aim.port is not None and addresses:
        answering = await _connect(ctx, aim.port, addresses, steps)
        if answering is not None and aim.scheme is not None:
            page = await ctx.run(
                HeadPage(
                    scheme="https" if aim.scheme == "https" else "http",
                    host=aim.host,
                    address=str(answering),
                    port=aim.port,
                    path=aim.path,
                )
            )
            steps.append(_page_step(page))
    left = None if page is None or page.certificate_ends is None else page.certificate_ends - ctx.now
    return Connectivity(
        device=ctx.device.hostname,
        target=params.target,
        outcome=page.attempt.outcome if page else _first_failure(steps),
        addresses=[str(address) for address in addresses],
        steps=steps,
        http_status=page.status if page else None,
        redirects_to=page.redirects_to if page else None,
        certificate_days_left=None if left is None else left.days,
        certificate_issuer=page.certificate_issuer if page else None,
    )


def _first_failure(steps: list[Step]) -> Outcome:
    return next((step.outcome for step in steps if step.outcome is not Outcome.OK), Outcome.OK)


async def _look_up(ctx: Context, aim: Goal, steps: list[Step]) -> list[Address]:
    found = await ctx.run(ResolveName(name=aim.host))
    for address in found.addresses:
        check_address(aim.host, address)
    steps.append(_step("dns", found.attempt))
    return list(found.addresses)


async def _connect(ctx: Context, port: int, addresses: list[Address], steps: list[Step]) -> Address | None:
    """The first address that accepts; a step for the last that was tried."""
    for place, address in enumerate(addresses[:_TRIED], 1):
        attempt = await ctx.run(OpenConnection(address=str(address), port=port))
        # Without a program for the connection alone, the page may still be asked for.
        going_on = attempt.outcome in (Outcome.OK, Outcome.NO_TOOL)
        if going_on or place == len(addresses[:_TRIED]):
            steps.append(_step("tcp", attempt, f"{address}: "))
        if going_on:
            return address
    return None


def _page_step(page: Page) -> Step:
    return _step("tls" if page.attempt.outcome is Outcome.TLS_ERROR else "http", page.attempt)


def _step(name: str, attempt: Attempt, before: str = "") -> Step:
    return Step.model_validate(
        {
            "step": name,
            "outcome": attempt.outcome,
            "detail": before + attempt.detail,
            "tool": attempt.tool,
            "latency_ms": attempt.latency_ms,
        }
    )
