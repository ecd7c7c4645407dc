"""drive_baseline_accept: the counts of a drive as they are now are known, and only what comes on top is news."""

from collections.abc import Sequence
from datetime import timedelta

from pydantic import Field

from infrastructor.domains.drives.models import BaselineAccepted
from infrastructor.domains.drives.verdict import COUNTED
from infrastructor.errors import Conflict, NotFound
from infrastructor.operation import Context, DeviceParams, operation
from infrastructor.ports.callers import Effect
from infrastructor.ports.series import DriveBaseline, DriveSample, DriveStore

_SHOWN = 10


class BaselineAcceptParams(DeviceParams):
    """Input of drive_baseline_accept."""

    drive: str = Field(min_length=1, max_length=200, description="Serial number, from drive_health.")


@operation(
    name="drive_baseline_accept",
    effect=Effect.CHANGE,
    route="POST /api/system/{device}/drives/baseline",
    invalidates=("drives",),
    registration_only=True,
)
async def drive_baseline_accept(ctx: Context, params: BaselineAcceptParams) -> BaselineAccepted:
    """Accept a drive's error counts as they are: drive_health then alarms only on growth. Nothing reaches the device.

    What the maker calls failing stays failing. Accept again to move the baseline.
    """
    store = ctx.drives
    if store is None:
        raise Conflict("No history of drives is kept here.", hint="Ask a server with a database.")
    sample = _chosen(await _newest(ctx, store), params.drive, ctx.device.hostname)
    before = {row.drive: row for row in await store.baselines(ctx.device.id)}.get(sample.drive)
    counters = {name: value for name, value in sorted(sample.counters.items()) if name in COUNTED}
    baseline = DriveBaseline(
        device_id=ctx.device.id,
        drive=sample.drive,
        counters=counters,
        accepted_at=ctx.now,
        accepted_by=ctx.caller.principal,
    )
    await store.accept(baseline)
    return BaselineAccepted(
        device=ctx.device.hostname,
        drive=sample.drive,
        accepted={name: value for name, value in counters.items() if value},
        values_since=sample.sampled_at,
        accepted_at=baseline.accepted_at,
        accepted_by=baseline.accepted_by,
        replaced={} if before is None else {name: value for name, value in before.counters.items() if value},
    )


async def _newest(ctx: Context, store: DriveStore) -> list[DriveSample]:
    """What each drive said last; a sample is stored when something changed, so it holds until the next."""
    samples = await store.history(ctx.device.id, ctx.now - timedelta(days=1))
    return list({sample.drive: sample for sample in samples}.values())


def _chosen(samples: Sequence[DriveSample], name: str, device: str) -> DriveSample:
    wanted = name.strip()
    found = [sample for sample in samples if wanted in {sample.drive, sample.drive.rpartition(":")[2]}]
    if len(found) == 1:
        return found[0]
    known = ", ".join(sample.drive for sample in (found or samples)[:_SHOWN])
    if found:
        raise Conflict(f"{len(found)} drives of {device} go by {wanted!r}: {known}.", hint="Give model:serial.")
    raise NotFound(
        f"No drive {wanted!r} of {device} has been read yet.",
        hint=f"Known: {known}." if known else "Call drive_health first; it reads and keeps the counts.",
    )
