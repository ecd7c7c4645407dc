"""Texts as trees, and what their differences mean."""

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infrastructor.formats.kinds import KINDS, config_type
from infrastructor.formats.semantic import compare
from infrastructor.formats.text_diff import unified
from infrastructor.formats.trees import NotUnderstood, parse

COMPOSE = """\
services:
  web:
    image: nginx:1.2
    environment: [A=1, B=2]
    ports: ["80:80"]
    volumes: ["./html:/usr/share/nginx/html:ro"]
    labels: ["traefik.http.routers.web.rule=Host(`a`)"]
    networks: [proxy]
"""


def lines(kind: str, before: str, after: str) -> list[tuple[str, str]]:
    return [(one.about.value, one.line) for one in compare(kind, before, after).differences]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("nginx:1.2", "nginx:1.3", ("image", "service web: image nginx 1.2 → 1.3")),
        ('["80:80"]', '["80:80", "8080:80"]', ("ports", "service web: port 8080:80 added")),
        ("[A=1, B=2]", "{A: 1, B: 3}", ("env", "service web: B: 2 → 3")),
        ("[proxy]", "{proxy: null, db: null}", ("networks", "service web: network db added")),
        (
            "    networks",
            "    healthcheck: {test: x}\n    networks",
            ("health", "service web: healthcheck: {test: x} added"),
        ),
        (
            "Host(`a`)",
            "Host(`b`)",
            ("upstream", "service web: labels.traefik.http.routers.web.rule: Host(`a`) → Host(`b`)"),
        ),
        ("services:\n", "services:\n  db: {image: pg:1}\n", ("service_added", "service db: added (pg:1)")),
        ("  web:", "  www:", ("other", "service web: renamed to www")),
        (":ro", "", ("volumes", "service web: volume ./html:/usr/share/nginx/html:ro removed")),
    ],
)
def test_a_change_of_compose_is_said_in_its_terms(old: str, new: str, expected: tuple[str, str]) -> None:
    assert expected in lines("compose", COMPOSE, COMPOSE.replace(old, new, 1))


def test_two_ways_of_writing_one_thing_are_no_difference() -> None:
    other = COMPOSE.replace("[A=1, B=2]", '{B: "2", A: 1}').replace('["80:80"]', "[{target: 80, published: 80}]")
    assert lines("compose", COMPOSE, f"# a comment\n{other}") == [("cosmetic", "only comments, order or spacing")]


@pytest.mark.parametrize(
    ("kind", "before", "after", "expected"),
    [
        ("env", "A=1\nB=2\n", "B=2\nA='1'\nC=3\n", [("env", "C: 3 added")]),
        ("json", '{"a": [1, {"b": 2}]}', '{"a": [1, {"b": 3}]}', [("other", "a.[1].b: 2 → 3")]),
        ("ini", "[a]\nx=1\n", "[a]\nx = 2\n", [("other", "a.x: 1 → 2")]),
        ("toml", "a = 1", "a = 2", [("other", "a: 1 → 2")]),
        ("traefik", "http: {services: {a: 1}}", "http: {services: {a: 2}}", [("upstream", "http.services.a: 1 → 2")]),
        (
            "apache",
            "ProxyPass / http://a/\n",
            "ProxyPass / http://b/\n",
            [("upstream", "ProxyPass / http://a/ → http://b/")],
        ),
        ("yaml", "a: [", "a: 1", [("other", "1 line added, 1 line removed")]),
        ("text", "a\nb", "a\nb\nc", [("other", "1 line added")]),
    ],
)
def test_other_types(kind: str, before: str, after: str, expected: list[tuple[str, str]]) -> None:
    assert lines(kind, before, after) == expected


def test_a_proxy_gains_authentication_and_another_upstream() -> None:
    before = (
        "server {\n server_name a.*;\n location / {\n set $upstream_app x;\n proxy_pass http://$upstream_app;\n }\n}\n"
    )
    after = before.replace(" location", " include /config/nginx/authelia-server.conf;\n location").replace(
        "app x", "app y"
    )
    assert lines("swag", before, after) == [
        ("upstream", "server a.* location /: set $upstream_app x → y"),
        ("auth", "server a.*: include /config/nginx/authelia-server.conf added"),
    ]


@pytest.mark.parametrize("text", ["[" * 100_000, "- " * 100_000 + "a", "{a: " * 50_000, "? " * 100_000])
def test_what_would_kill_the_parser_is_refused(text: str) -> None:
    with pytest.raises(NotUnderstood):
        parse("yaml", text)


def test_an_explosion_of_aliases_is_refused() -> None:
    bomb = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 10))
    with pytest.raises(NotUnderstood):
        parse("yaml", bomb)


def test_yaml_keeps_what_was_written() -> None:
    assert parse("yaml", "a: 22:22\nb: on\nc: 2026-01-01\nd: 1.10\ne: true\nf: 3\n") == {
        "a": "22:22", "b": "on", "c": "2026-01-01", "d": "1.10", "e": True, "f": 3,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("path", "content", "kind"),
    [
        ("/srv/web/docker-compose.yml", b"", "compose"),
        ("/srv/web/compose.override.yaml", None, "compose"),
        ("/srv/web/stack.yml", b"services:\n  a:\n    image: x\n", "compose"),
        ("/srv/web/.env", b"", "env"),
        ("/srv/swag/nginx/proxy-confs/a.subdomain.conf", b"", "swag"),
        ("/etc/nginx/nginx.conf", b"", "nginx"),
        ("/etc/apache2/sites-enabled/x", b"", "apache"),
        ("/etc/x.conf", b"<VirtualHost *:80>\n", "apache"),
        ("/etc/traefik/dynamic/a.yml", b"", "traefik"),
        ("/etc/systemd/system/a.service", b"", "ini"),
        ("/etc/a", b"[x]\ny=1\n", "ini"),
        ("/etc/a", b'{"a": 1}', "json"),
        ("/etc/a", b"\0\1", "binary"),
        ("/etc/a", b"\xff\xfe", "binary"),
        ("/etc/a", "ä".encode() * 5000, "text"),
        ("/x/list.yml", b"a: 1\n", "yaml"),
        ("/x/site", b"server {\n  listen 80;\n}", "nginx"),
        ("/etc/traefik/dynamic.yml", b"http:\n  routers:\n", "traefik"),
        ("/x/any.yml", b"http:\n  routers:\n    a: {}\n", "traefik"),
        ("/etc/traefik/traefik.toml", b"[http]\n", "toml"),
        ("/x/a.json", b"{}", "json"),
        ("/x/a.json", b"\0", "binary"),
        ("/x/smb.conf", b"[global]\n  a = b\n", "ini"),
        ("/x/defaults", b"A=1\n# c\nexport B=2\n", "env"),
        ("/x/motd", "hé".encode("latin-1"), "binary"),
        ("/x/umlaut", b"x" * 8191 + "é".encode(), "text"),
        ("/x/empty", b"", "text"),
        ("/x/gone", None, "text"),
    ],
)
def test_types(path: str, content: bytes | None, kind: str) -> None:
    assert config_type(path, content) == kind


@pytest.mark.parametrize(
    ("kind", "before", "after", "classes"),
    [
        ("nginx", "a 1;\nb 2;\n", "# new\nb   2;\na '1';\n", ("other",)),  # order counts
        ("nginx", "a 1;\nb 2;\n", "# new\na   '1' ;\n\nb 2;\n", ("cosmetic",)),
        ("nginx", "location ~ a {}\nlocation ~ b {}\n", "location ~ b {}\nlocation ~ a {}\n", ("other",)),
        ("swag", "proxy_buffering off;\n", "proxy_buffering off;\nfoo\n", ("other",)),  # nginx would refuse it
        ("swag", "foo\n", "foo # the same\n", ("cosmetic",)),
        ("nginx", "a_by_lua_block { x = 1 }\n", "a_by_lua_block { x = 2 }\n", ("other",)),
        ("apache", "RewriteRule a b\nProxyPass / c\n", "ProxyPass / c\nRewriteRule a b\n", ("other",)),
        ("apache", "RewriteRule a b\n", "# x\n  RewriteRule   a b\n", ("cosmetic",)),
    ],
)
def test_what_a_program_reads_otherwise_is_not_cosmetic(
    kind: str, before: str, after: str, classes: tuple[str, ...]
) -> None:
    assert compare(kind, before, after).classes == classes


@settings(max_examples=300, deadline=None)
@given(kind=st.sampled_from(KINDS), before=st.text(max_size=200), after=st.text(max_size=200))
def test_reading_and_comparing_take_any_text(kind: str, before: str, after: str) -> None:
    with contextlib.suppress(NotUnderstood):
        parse(kind, before)
    found = compare(kind, before, after)
    assert bool(found.differences) is (before != after)


@settings(max_examples=200, deadline=None)
@given(
    before=st.lists(st.sampled_from(["a", "b", "c", "", "x\r"]), max_size=30),
    after=st.lists(st.sampled_from(["a", "b", "c", "", "x\r"]), max_size=30),
)
def test_a_unified_difference_counts_its_lines(before: list[str], after: list[str]) -> None:
    found = unified("\n".join(before), "\n".join(after), old="a", new="b")
    assert (found.text == "") is ("\n".join(before) == "\n".join(after))
    shown = found.text.split("\n")[2:]
    assert found.added == sum(line.startswith("+") for line in shown)


def test_a_long_difference_is_cut_and_says_so() -> None:
    found = unified("a\n" * 20_000, "b\n" * 20_000, old="a", new="b", most=1000)
    assert (found.added, found.removed) == (20_000, 20_000)
    assert len(found.text) <= 1000
    assert found.omitted == 40_003 - len(found.text.split("\n"))
