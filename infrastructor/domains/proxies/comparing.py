"""A configuration beside the sample it came from, and the sample's later changes merged into it."""

from dataclasses import dataclass
from typing import Literal

from infrastructor.domains.proxies.history import sample_of_version
from infrastructor.domains.proxies.inventory import Entry
from infrastructor.domains.proxies.models import Comparison
from infrastructor.domains.proxies.place import Place
from infrastructor.domains.proxies.views import difference
from infrastructor.formats.merge import Merge, merge
from infrastructor.formats.nginx import read, shape
from infrastructor.operation import Context


@dataclass(frozen=True, slots=True)
class Offer:
    """What is known of taking a newer sample over. `merged` None: nothing to take over, or no base to merge on."""

    sample: Entry
    outdated: bool
    base_known: bool
    merged: Merge | None


async def offer(ctx: Context, place: Place, entry: Entry, sample: Entry) -> Offer:
    """Three-way: the sample of the configuration's own date, the configuration, and the sample of today."""
    outdated = bool(sample.version and entry.version and sample.version > entry.version)
    base = await sample_of_version(ctx, place, entry, sample)
    if not outdated or base is None:
        return Offer(sample, outdated, base is not None, None)
    return Offer(
        sample, outdated, True, merge(base, entry.text, sample.text, names=(entry.name.base, sample.file.path))
    )


def compare(entry: Entry, found: Offer) -> Comparison:
    """The offer as an answer."""
    merged, sample = found.merged, found.sample
    verdict: Literal["none", "clean", "conflicts", "no_base"]
    if not found.outdated:
        verdict = "none"
    elif merged is None:
        verdict = "no_base"
    else:
        verdict = "conflicts" if merged.conflicts else "clean"
    return Comparison(
        sample_version=sample.version,
        outdated=found.outdated,
        customised=shape(entry.document.directives) != shape(read(sample.text).directives),
        diff=difference(sample.text, entry.text, sample.name.full, entry.name.base),
        merge=verdict,
        merge_diff=None if merged is None else difference(entry.text, merged.text, entry.name.base, "merged"),
    )
