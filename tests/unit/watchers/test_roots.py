"""Which files are watched, and what kind they are."""

from uuid import uuid4

import pytest

from infrastructor.formats.kinds import config_type
from infrastructor.snapshot_store import ConfigWatch
from infrastructor.watchers.roots import covered, roots_of


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


@pytest.mark.parametrize(
    ("path", "content", "expected"),
    [
        ("/x/docker-compose.yml", b"", "compose"),
        ("/x/compose.override.yaml", b"", "compose"),
        ("/x/stack.yml", b"services:\n  web:\n    image: nginx\n", "compose"),
        ("/x/list.yml", b"a: 1\n", "yaml"),
        ("/config/nginx/proxy-confs/app.subdomain.conf", b"server {", "swag"),
        ("/etc/nginx/nginx.conf", b"events {}", "nginx"),
        ("/x/site", b"server {\n  listen 80;\n}", "nginx"),
        ("/etc/traefik/dynamic.yml", b"http:\n  routers:\n", "traefik"),
        ("/x/any.yml", b"http:\n  routers:\n    a: {}\n", "traefik"),
        ("/etc/apache2/sites-enabled/a.conf", b"", "apache"),
        ("/x/site.conf", b"<VirtualHost *:80>", "apache"),
        ("/x/a.json", b"{}", "json"),
        ("/x/state", b'{"a": 1}', "json"),
        ("/x/smb.conf", b"[global]\n  a = b\n", "ini"),
        ("/x/.env", b"", "env"),
        ("/x/defaults", b"A=1\n# c\nexport B=2\n", "env"),
        ("/x/motd", b"hello", "text"),
        ("/x/motd", "hé".encode("latin-1"), "binary"),
        ("/x/a.json", b"\0", "binary"),
        ("/x/umlaut", b"x" * 8191 + "é".encode(), "text"),
        ("/x/empty", b"", "text"),
    ],
)
def test_config_types(path: str, content: bytes, expected: str) -> None:
    assert config_type(path, content) == expected
