"""What every package manager is asked for, and how its answer is put together."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from infrastructor.domains.packages.models import PackageUpdate

_SECONDS = re.compile(r"[0-9]{1,12}")
_HEADER = re.compile(r"^==> /([a-z]+) <==\n", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Pending:
    """What a package manager knows. `lists_at`: when its lists were fetched, by the device's clock at `now`."""

    manager: str
    updates: tuple[PackageUpdate, ...]
    held: tuple[str, ...] = ()
    lists_at: int | None = None
    now: int | None = None


def sections(text: str) -> Mapping[str, str]:
    """`==> /name <==` and what follows, by name."""
    pieces = _HEADER.split(text)
    return dict(zip(pieces[1::2], pieces[2::2], strict=True))


def newest(text: str) -> int | None:
    """The greatest of the times in seconds, one a line."""
    return max((int(word) for word in text.split() if _SECONDS.fullmatch(word)), default=None)
