"""SWAG's configurations: what they say, logins switched on and off, secrets kept back."""

import re

import pytest

from infrastructor.formats.nginx import read, shape
from infrastructor.formats.nginx_secrets import masked
from infrastructor.formats.swag import Auth, Kind, State, describe, file_name, version_of
from infrastructor.formats.swag_edit import (
    PROVIDERS,
    CannotEdit,
    new_text,
    set_auth,
    set_names,
    set_upstream,
)
from tests.support.swag import subdomain, subfolder

SITE = """\
server {
    listen 443 ssl default_server;
    include /config/nginx/ssl.conf;
    include /config/nginx/proxy-confs/*.subfolder.conf;
    #include /config/nginx/ldap-server.conf;
    location / { try_files $uri =404; }
}
"""
SHAPES = {
    "subdomain": subdomain("sonarr", 8989),
    "subfolder": subfolder("sonarr", 8989),
    "crlf": subdomain("sonarr", 8989).replace("\n", "\r\n"),
    "marked": "\ufeff" + subdomain("sonarr", 8989),
    "no lines for logins": new_text(Kind.SUBDOMAIN, service="docs", app="wiki", port=80, proto="http"),
    "no lines, a folder": new_text(Kind.SUBFOLDER, service="docs", app="wiki", port=80, proto="http"),
    "on one line": (
        "server { server_name a.*; location / { proxy_pass http://a:1; auth_basic x; auth_basic_user_file y; } }"
    ),
    "a login on": subdomain("sonarr", 8989).replace("#include /config/nginx/ldap", "include /config/nginx/ldap"),
    "two servers": subdomain("sonarr", 8989) + subdomain("radarr", 7878).partition("\n")[2],
}


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("sonarr.subdomain.conf", ("sonarr", "subdomain", "enabled")),
        ("calibre-web.subfolder.conf.sample", ("calibre-web", "subfolder", "sample")),
        ("a.b.subdomain.conf.disabled", ("a.b", "subdomain", "disabled")),
        ("sonarr.conf", None),
        ("sonarr.subdomain.conf.bak", None),
        ("README", None),
    ],
)
def test_a_files_name_tells_service_kind_and_state(name: str, parts: tuple[str, str, str] | None) -> None:
    found = file_name(name)
    assert (found and (found.service, found.kind.value, found.state.value)) == parts
    assert found is None or found.named(State.ENABLED) == found.base


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("## Version 2025/07/18\n", "2025/07/18"),
        ("\ufeff## Version 2023/02/05 - Changelog\n", "2023/02/05"),
        ("# x\n", None),
    ],
)
def test_a_version_is_in_the_first_line(text: str, version: str | None) -> None:
    assert version_of(text) == version


@pytest.mark.parametrize(
    ("inside", "upstreams"),
    [
        ("proxy_pass http://app;", ["http://app:80"]),
        ("proxy_pass https://app/path;", ["https://app:443"]),
        ("proxy_pass http://[fd00::1]:81;", ["http://[fd00::1]:81"]),
        ("proxy_pass http://unix:/run/x.sock;", ["http://?:?"]),
        ("grpc_pass grpcs://app:443;", ["grpcs://app:443"]),
        ("fastcgi_pass 127.0.0.1:9000;", ["fastcgi://127.0.0.1:9000"]),
        ("set $app a; proxy_pass http://${app}:$upstream_port;", ["http://a:?"]),
        ("proxy_pass http://pool;", ["http://one:81", "http://two:80"]),
        ("if ($x) { proxy_pass http://a:1; }", ["http://a:1"]),
        ("proxy_pass http://a:99999;", ["http://a:?"]),
        ("return 200;", []),
    ],
)
def test_upstreams_however_they_are_written(inside: str, upstreams: list[str]) -> None:
    text = f"upstream pool {{ server one:81; server two; }}\nserver {{ location / {{ {inside} }} }}"
    assert [one.text for one in describe(read(text)).upstreams] == upstreams


def test_variables_of_the_server_count_in_its_locations() -> None:
    text = (
        "server { set $a x; location / { proxy_pass http://$a:1; } location /b { set $a y; proxy_pass http://$a:1; } }"
    )
    assert [one.text for one in describe(read(text)).upstreams] == ["http://x:1", "http://y:1"]


@pytest.mark.parametrize(
    ("inside", "auth"),
    [
        ("auth_basic x; auth_basic_user_file y;", ["basic"]),
        ("auth_basic x;", []),
        ("auth_basic off; auth_basic_user_file y;", []),
        ("auth_request /mine;", ["custom"]),
        ("include /config/nginx/authelia-location.conf;", ["authelia"]),
        ("include authentik-location.conf; auth_basic x; auth_basic_user_file y;", ["authentik", "basic"]),
        ("#include /config/nginx/ldap-location.conf;", []),
    ],
)
def test_who_asks_for_a_login(inside: str, auth: list[str]) -> None:
    for text in (
        f"server {{ location / {{ {inside}\nproxy_pass http://a:1; }} }}",
        f"server {{ {inside}\nlocation / {{ proxy_pass http://a:1; }} }}",
    ):
        assert [str(one) for one in describe(read(text)).auth] == auth


def test_a_location_may_stand_outside_of_its_servers_login() -> None:
    text = "server { auth_basic x; auth_basic_user_file y; location / { proxy_pass http://a:1; }" + (
        " location /api { auth_basic off; proxy_pass http://a:1; } }"
    )
    assert [one.match for one in describe(read(text)).open_locations] == ["/api"]


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("auth", [*PROVIDERS, Auth.BASIC])
def test_a_login_is_turned_on_changed_and_off(name: str, auth: Auth) -> None:
    text = SHAPES[name]
    on = set_auth(read(text), auth)
    assert set(describe(read(on)).auth) == {auth}
    assert set_auth(read(on), auth) == on
    for other in PROVIDERS:
        assert set(describe(read(set_auth(read(on), other))).auth) == {other}
    off = set_auth(read(on), None)
    assert describe(read(off)).auth == ()
    assert shape(read(off).directives) == shape(read(set_auth(read(text), None)).directives)
    if name in {"subdomain", "crlf", "marked", "two servers"}:
        assert off == text


@pytest.mark.parametrize("auth", PROVIDERS)
def test_both_halves_are_toggled_together(auth: Auth) -> None:
    found = describe(read(set_auth(read(SHAPES["two servers"]), auth)))
    assert [server.halves for server in found.servers] == [(auth,), (auth,)]
    assert [location.halves for location in found.locations] == [(auth,), (auth,)]


def test_a_subfolder_keeps_its_open_location_open() -> None:
    found = describe(read(set_auth(read(SHAPES["subfolder"]), Auth.AUTHELIA)))
    assert [(one.match, one.auth) for one in found.locations] == [
        ("^~ /sonarr", (Auth.AUTHELIA,)),
        ("^~ /sonarr/api", ()),
    ]


@pytest.mark.parametrize("auth", PROVIDERS)
def test_the_server_half_of_the_site_is_turned_on_beside_others(auth: Auth) -> None:
    with_other = SITE.replace("#include /config/nginx/ldap-server", "include /config/nginx/ldap-server")
    for site in (SITE, with_other):
        (server,) = describe(read(set_auth(read(site), auth, site=True))).servers
        assert auth in server.halves
        assert (Auth.LDAP in server.halves) is (site is with_other or auth is Auth.LDAP)
    with pytest.raises(CannotEdit, match="No server"):
        set_auth(read("server { }"), auth, site=True)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("server { location / { auth_request /mine; proxy_pass http://a:1; } }", "auth_request of its own"),
        ("server { location / { return 200; } }", "no location that hands requests on"),
        ("server { location / {", "not closed"),
    ],
)
def test_what_has_no_place_for_a_login_is_left_alone(text: str, said: str) -> None:
    with pytest.raises(CannotEdit, match=said):
        set_auth(read(text), Auth.LDAP)


def test_a_login_put_into_a_comment_takes_nothing_else_with_it() -> None:
    off = set_auth(read(SHAPES["on one line"]), None)
    assert [one.text for one in describe(read(off)).upstreams] == ["http://a:1"]
    assert read(off).faults == ()


def test_the_upstream_is_moved_wherever_it_is_named() -> None:
    moved = set_upstream(read(SHAPES["subfolder"]), app="tv", port=80, proto="https")
    assert [one.text for one in describe(read(moved)).upstreams] == ["https://tv:80"]
    assert len(moved.splitlines()) == len(SHAPES["subfolder"].splitlines())
    with pytest.raises(CannotEdit, match="upstream_app"):
        set_upstream(read("server { location / { proxy_pass http://a:1; } }"), app="tv")


def test_another_upstream_in_the_same_file_stays() -> None:
    text = SHAPES["subdomain"] + subdomain("other", 1)
    moved = describe(read(set_upstream(read(text), app="tv", port=80)))
    assert [one.text for one in moved.upstreams] == ["http://tv:80", "http://other:1"]


def test_server_names_are_changed_in_their_first_label() -> None:
    text = "server { server_name sonarr.* www.sonarr.org sonarr.example.org; }"
    assert set_names(read(text), "sonarr", "tv") == "server { server_name tv.* www.sonarr.org tv.example.org; }"


SECRETS = [
    'proxy_set_header Authorization "Basic {}";',
    "proxy_set_header X-Api-Key {};",
    'add_header Set-Cookie "session={}; Path=/";',
    "set $api_token {};",
    "fastcgi_param DB_PASSWORD {};",
    "#proxy_set_header X-Ldap-BindPass {};",
    'if ($http_x_token = "{}") {{ return 200; }}',
    "# password: {}",
    "proxy_pass http://user:{}@app:80;",
]


@pytest.mark.parametrize("line", SECRETS)
def test_secrets_go_and_lines_stay(line: str) -> None:
    secret = "Zx9kQ2mB7vLr4TtY"
    text = f"server {{\n    {line.format(secret)}\n    listen 80;\n}}\n"
    shown = masked(text)
    assert secret not in shown
    assert shown.count("\n") == text.count("\n")
    assert re.search(r"‹masked›", shown)


def test_what_a_request_brings_is_no_secret() -> None:
    text = 'proxy_set_header Authorization $http_authorization;\nproxy_set_header X-Token "Bearer $token";\n'
    assert masked(text) == text
    assert masked(subdomain("sonarr", 1)) == subdomain("sonarr", 1)
