"""Named SQL: `queries/devices.sql` holds `-- all --`, a comment line, and the statement."""

import re
from importlib.resources import files

_HEADING = re.compile(r"^-- (\w+) --$", re.MULTILINE)


def load(name: str) -> dict[str, str]:
    """The statements of `queries/{name}.sql` by name, comments included so that they show in pg_stat_activity."""
    text = files("infrastructor.storage").joinpath("queries", f"{name}.sql").read_text(encoding="utf-8")
    _, *parts = _HEADING.split(text)
    return {heading: body.strip() for heading, body in zip(parts[::2], parts[1::2], strict=True)}
