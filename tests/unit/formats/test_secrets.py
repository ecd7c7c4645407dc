"""No secret survives in what is shown, and everything else does."""

import contextlib
import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infrastructor.formats.kinds import KINDS
from infrastructor.formats.names import is_secret
from infrastructor.formats.secrets import MARK, Masker
from infrastructor.formats.semantic import compare
from infrastructor.formats.text_diff import unified
from infrastructor.formats.trees import NotUnderstood, parse
from tests.unit.formats.planting import NAMES, planted

MASKER = Masker(b"a key of this test")


@pytest.mark.parametrize("seed", range(8))
def test_no_planted_secret_survives(seed: int) -> None:
    files = list(planted(seed))
    survived = [(one.kind, one.how, one.text) for one in files if one.secret in MASKER.mask(one.kind, one.text).text]
    assert survived == []
    assert len(files) >= 90


@pytest.mark.parametrize("seed", range(8))
def test_no_planted_secret_survives_in_a_difference(seed: int) -> None:
    """Neither unified nor in words; and that a secret changed is seen in both."""
    shown = unseen = 0
    for before, after in zip(planted(seed), planted(seed + 100), strict=True):
        # The same file with another secret: the name may not change.
        changed = before.text.replace(before.secret, after.secret)
        old, new = (MASKER.mask(before.kind, text).text for text in (before.text, changed))
        diff = unified(old, new, old="a", new="b").text
        lines = "\n".join(line.line for line in compare(before.kind, old, new).differences)
        for secret in (before.secret, after.secret):
            assert secret not in diff + lines, (before.kind, before.how)
        shown += 1
        unseen += not (diff and lines)
    assert shown >= 90
    assert unseen == 0


@pytest.mark.parametrize("seed", range(4))
def test_masked_text_keeps_its_lines_and_stays_readable(seed: int) -> None:
    for one in planted(seed):
        masked = MASKER.mask(one.kind, one.text).text
        assert len(masked.split("\n")) == len(one.text.split("\n"))
        with contextlib.suppress(NotUnderstood):
            before = parse(one.kind, one.text)
            try:
                after = parse(one.kind, masked)
            except NotUnderstood as error:
                raise AssertionError((one.kind, one.how, masked)) from error
            assert type(after) is type(before)
            if isinstance(before, dict):
                assert list(after) == list(before), (one.kind, one.how, masked)


def test_what_is_no_secret_is_left_alone() -> None:
    compose = """\
services:
  db:
    image: postgres:15@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
    environment:
      POSTGRES_PASSWORD_FILE: /run/secrets/db
      POSTGRES_PASSWORD: ${DB_PASSWORD:?missing}
      TOKEN_TTL: 3600
      PUBLIC_KEY: abc
      KEYBOARD: de
      BYPASS: 10.0.0.0/8
      TZ: Europe/Berlin
      URL: http://user@host/path
    volumes: ["/srv/secrets:/secrets:ro"]
    secrets: [db]
secrets:
  db: {file: ./db.txt}
"""
    nginx = """\
server {
    ssl_certificate_key /config/keys/cert.key;
    auth_basic_user_file /config/nginx/.htpasswd;
    proxy_set_header Authorization $http_authorization;
    location / { proxy_pass http://$upstream_app:80; fastcgi_pass php:9000; auth_request /auth; }
}
"""
    apache = "ProxyPass / http://127.0.0.1:8080/\nProxyPassReverse / http://127.0.0.1:8080/\nSSLCertificateKeyFile /etc/x.key\n"  # noqa: E501
    ini = "[a]\nsecret_name = db\npassword_policy = strict\npublickey = x\npassword =\n"
    for kind, text in {"compose": compose, "nginx": nginx, "apache": apache, "ini": ini}.items():
        assert MASKER.mask(kind, text).text == text


def test_a_fingerprint_tells_same_from_changed_and_nothing_else() -> None:
    one, again, other = (MASKER.mask("env", f"PASSWORD={value}\n").text for value in ("a1", "a1", "b2"))
    assert one == again != other
    assert MARK.search(one)
    assert Masker(b"another server").mask("env", "PASSWORD=a1\n").text != one
    assert Masker().mask("env", "PASSWORD=a1\n").text == Masker().mask("env", "PASSWORD=b2\n").text


def test_files_that_hold_only_secrets_are_masked_whatever_their_keys_are_called() -> None:
    assert "hunter2" not in MASKER.mask("yaml", "wifi: hunter2\n", "/srv/ha/secrets.yaml").text


def test_all_lines_of_a_private_key_are_masked() -> None:
    rng = random.Random(7)
    body = "\n".join("".join(rng.choice("abcDEF012+/") for _ in range(64)) for _ in range(5))
    key = f"-----BEGIN OPENSSH PRIVATE KEY-----\n{body}\n-----END OPENSSH PRIVATE KEY-----\n"
    indented = key.replace("\n", "\n    ")
    for kind, text in {"text": key, "yaml": f"a: |\n    {indented}\n", "env": f'K="{key}"\n'}.items():
        masked = MASKER.mask(kind, text).text
        assert not any(line in masked for line in body.splitlines())


@pytest.mark.parametrize("name", NAMES)
def test_names_of_secrets(name: str) -> None:
    assert is_secret(name)


@settings(max_examples=300, deadline=None)
@given(kind=st.sampled_from(KINDS), text=st.text(max_size=300))
def test_masking_takes_any_text(kind: str, text: str) -> None:
    masked = MASKER.mask(kind, text)
    assert masked.text.count("\n") == text.count("\n")
    assert (masked.text == text) is (masked.secrets == 0)


@pytest.mark.parametrize(
    "text", ["a=", "\n", '"', "a://b:", "password ", " ", "${a:-", "'a=\"", "-----BEGIN PRIVATE KEY-----"]
)
def test_masking_takes_no_longer_than_the_text(text: str) -> None:
    began = time.perf_counter()
    for kind in ("text", "yaml", "json"):
        MASKER.mask(kind, text * (60_000 // len(text)))
    assert time.perf_counter() - began < 8
