"""Which files are watched."""

from uuid import uuid4

import pytest

from infrastructor.domains.configs.roots import covered, roots_of
from infrastructor.snapshot_store import ConfigWatch


def watch(path: str = "/srv", **fields: object) -> ConfigWatch:
    return ConfigWatch(device_id=uuid4(), path=path, source="user", **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fields", "path", "expected"),
    [
        ({}, "/srv/a/b.conf", True),
        ({}, "/srvx/a", False),
        ({}, "/srv", True),
        ({}, "/srv/.b.conf.swp", False),
        ({}, "/srv/x/sedAbC123", False),
        ({}, "/srv/sedatives.conf", True),
        ({}, "/srv/.git/config", False),
        ({}, "/srv/a.tmp", False),
        ({}, "/srv/4913", False),
        ({}, "/srv/b~", False),
        ({"recursive": False}, "/srv/a/b", False),
        ({"recursive": False}, "/srv/b", True),
        ({"include": ("*.yml",)}, "/srv/a/b.yml", True),
        ({"include": ("*.yml",)}, "/srv/a/b.yml\n", False),
        ({"include": ("a/*.yml",)}, "/srv/a/b.yml", True),
        ({"include": ("a/*.yml",)}, "/srv/x/a/b.yml", False),
        ({"include": ("**/c.?ml",)}, "/srv/x/a/c.yml", True),
        ({"exclude": ("cache",)}, "/srv/a/cache/b", False),
        ({"exclude": ("[x].(y)+",)}, "/srv/[x].(y)+", False),
        ({"exclude": ("[x].(y)+",)}, "/srv/x.y", True),
        ({"path": "/"}, "/etc/x", True),
        ({"path": "//srv//a/"}, "/srv/a/b", True),
    ],
)
def test_coverage(fields: dict[str, object], path: str, expected: bool) -> None:
    assert covered(roots_of([watch(**fields)]), path) is expected  # type: ignore[arg-type]


def test_the_same_wish_of_two_sources_is_one_root() -> None:
    assert len(roots_of([watch(), watch("/srv/")])) == 1
