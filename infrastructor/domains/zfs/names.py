"""Names of snapshots to be made, and sets of snapshots as zfs destroy takes them."""

import re
from datetime import datetime
from typing import Annotated

from pydantic import Field, StringConstraints

from infrastructor.domains.zfs.models import PART, POOL
from infrastructor.errors import ValidationFailed
from infrastructor.operation import PLAIN, completes

_PART = re.compile(PART)
_PLACE = re.compile(r"%(.)")
_CODES = "%YmdHMSjV"

SnapshotTemplate = Annotated[
    str,
    StringConstraints(max_length=120, min_length=1),
    Field(description="%Y %m %d %H %M %S: time in UTC.", json_schema_extra=PLAIN),
]
SnapshotSet = Annotated[
    str,
    StringConstraints(
        pattern=rf"^{POOL}(/{PART})*@({PART}|(?:{PART})?%(?:{PART})?)"
        rf"(,({PART}|(?:{PART})?%(?:{PART})?))*$",
        max_length=8000,
    ),
    Field(description="tank/data@a, tank/data@a,b or @a%c (range).", json_schema_extra=completes("zfs_snapshot")),
]


def filled(template: str, now: datetime) -> str:
    """The template with the time in it. Raises `ValidationFailed` for what makes no name of a snapshot."""
    for code in _PLACE.findall(template):
        if code not in _CODES:
            raise ValidationFailed(
                f"%{code} is not known in a name.", hint=f"Known: {' '.join('%' + c for c in _CODES)}."
            )
    if template.endswith("%") and not template.endswith("%%"):
        raise ValidationFailed("A name cannot end with a single %.")
    name = _PLACE.sub(lambda match: "%" if match[1] == "%" else now.strftime(match[0]), template)
    if not _PART.fullmatch(name):
        raise ValidationFailed(
            f"{name!r} is no name of a snapshot.", hint="Letters, digits, blanks and _ . : - are allowed."
        )
    return name


def members(spec: str) -> tuple[str, list[str], bool]:
    """Dataset, the single names, and whether there are ranges too."""
    dataset, _, rest = spec.partition("@")
    parts = rest.split(",")
    return dataset, [part for part in parts if "%" not in part], any("%" in part for part in parts)
