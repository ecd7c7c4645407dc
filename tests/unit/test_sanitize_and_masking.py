"""What leaves us cannot act on a reader, and shows no secret."""

import json
import shlex
import unicodedata
from time import perf_counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infrastructor.masking import MASK, mask_secrets
from infrastructor.sanitize import clean, clean_json, suspicious
from infrastructor.secret_words import mask_line, mask_value, mask_words


@given(st.text())
def test_clean_text_has_no_control_or_format_characters(text: str) -> None:
    left = {character for character in clean(text) if unicodedata.category(character) in {"Cc", "Cs"}}
    assert left <= {"\n", "\t", "\r"}


@pytest.mark.parametrize("hidden", ["\x1b[31m", "\u202e", "\u200b", "\U000e0041", "\ufeff", "\x00", "\x9b"])
def test_terminal_bidi_and_tag_characters_are_taken_out(hidden: str) -> None:
    assert hidden[0] not in clean(f"a{hidden}b")


@given(
    st.recursive(
        st.text() | st.none() | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_the_quick_look_never_misses_what_cleaning_would_change(value: object) -> None:
    for ascii_only in (True, False):
        body = json.dumps(value, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
        if clean_json(value) != value:
            assert suspicious(body)


def test_ordinary_json_passes_the_quick_look() -> None:
    assert not suspicious(
        json.dumps({"path": "/srv/daten", "größe": 3, "text": "a\nb\tc"}, ensure_ascii=False).encode()
    )


def test_cutting_says_how_much_is_gone() -> None:
    assert clean("abcdef", 4) == "abcd… (2 more characters)"


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("mysqld --password=hunter2 --port 3306", "hunter2"),
        ("borg --token s3cr3t-value create", "s3cr3t-value"),
        ("docker run -e MYSQL_ROOT_PASSWORD=hunter2 mysql", "hunter2"),
        ("curl https://admin:hunter2@nas.example/api", "hunter2"),
        ("curl -H 'Authorization: Bearer abcdefgh12345678'", "abcdefgh12345678"),
        ('{"api_key": "hunter2hunter2"}', "hunter2hunter2"),
        ('{\\"password\\": \\"hunter2\\"}', "hunter2"),
        ("generated root password is hunter2", "hunter2"),
        ("clone https://abcdefghij0123456789abcd@git.example/x.git", "abcdefghij0123456789abcd"),
        ("Set-Cookie: session=0123456789abcdef; Path=/", "0123456789abcdef"),
        ("got eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl back", "c2lnbmF0dXJl"),
        ("using glpat-0123456789abcdefghij", "0123456789abcdefghij"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIEow\n-----END RSA PRIVATE KEY-----", "MIIEow"),
        ("MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj", "ADANBgkqhkiG9w0BAQEFAAS"),
        ("config: db_secret => 'hunter2'", "hunter2"),
        ("infrastructor --bearer inf_0123456789abcdefghijklmnop", "inf_0123456789abcdefghijklmnop"),
    ],
)
def test_secrets_in_text_are_masked(text: str, secret: str) -> None:
    masked = mask_secrets(text)
    assert secret not in masked
    assert MASK in masked


@pytest.mark.parametrize(
    "text",
    [
        "/usr/sbin/sshd -D",
        "nginx: worker process",
        "postgres: walwriter",
        "sh -c 'sleep 1'",
        "Accepted publickey for root from 10.77.0.1 port 58584 ssh2: ED25519 SHA256:3zIJzPqMFtxznhvVjdvj29PVCcNWq0v7d",
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "GET https://nas.example/api/v1/devices?limit=3 200",
    ],
)
def test_ordinary_commands_are_left_alone(text: str) -> None:
    assert mask_secrets(text) == text


@pytest.mark.parametrize("unit", ["pass", "a", "token:", "eyJ.", "a://", "--pass "])
def test_masking_takes_no_time_over_long_text(unit: str) -> None:
    started = perf_counter()
    mask_secrets(unit * (8000 // len(unit)))
    assert perf_counter() - started < 0.5


SECRET = "hunter2-with a 'quote', and \"another\"; 50%"
WORDS = [
    ["mysql", "-u", "root", f"-p{SECRET}", "db"],
    ["/usr/bin/mysqldump", f"--password={SECRET}"],
    ["borg", "--passphrase", SECRET, "create"],
    ["docker", "run", "-e", f"FOO_TOKEN={SECRET}", "image"],
    ["docker", "login", "-u", "anna", "-p", SECRET],
    ["sshpass", f"-p{SECRET}", "ssh", "host"],
    ["redis-cli", "-a", SECRET, "PING"],
    ["curl", "-u", f"anna:{SECRET}", "https://nas.example"],
    ["curl", f"-uanna:{SECRET}", "https://nas.example"],
    ["ldapsearch", "-w", SECRET],
    ["env", f"MYSQL_ROOT_PASSWORD={SECRET}", "sh"],
]


@pytest.mark.parametrize("words", WORDS, ids=lambda words: " ".join(words)[:20])
def test_secrets_among_the_words_of_a_command_are_masked(words: list[str]) -> None:
    line = shlex.join(words)
    inner = shlex.join(["sh", "-c", f"cd /srv && {line} | gzip >out"])
    shown = [" ".join(mask_words(words)), mask_line(line), mask_line(inner), " ".join(mask_words(shlex.split(inner)))]
    shown.append(mask_line(f"ExecInContainer 30 -- web {inner}"))
    shown.append(mask_line(line[: line.index("hunter2") + 15]))  # where it was cut, no quote is closed
    shown.append(json.dumps(mask_value({"argv": words, "deep": [{"line": line}]})))
    for text in shown:
        assert "hunter2" not in text
        assert "quote" not in text
        assert MASK.strip("‹›") in text


@pytest.mark.parametrize(
    "words",
    [
        ["docker", "run", "-p", "80:80", "-p8080:80", "nginx"],
        ["mysql", "-p", "database"],
        ["mkdir", "-p/srv/a b", "-p", "it's"],
        ["ssh", "-p2222", "host", "ls", "-a", "x"],
        ["x", "--password", "--prompt"],
        ["curl", "-u", "anna", "https://nas.example"],
        ["sh", "-c", "mysql -e 'select 1'; nc -p80 host; redis-server -a"],
    ],
)
def test_ordinary_words_are_left_alone(words: list[str]) -> None:
    assert mask_words(words) == words
    assert mask_line(shlex.join(words)) == shlex.join(words)


@pytest.mark.parametrize(
    ("value", "masked"),
    [
        (
            {"password": "x", "ssh_private_key_path": "/root/.ssh/id"},
            {"password": MASK, "ssh_private_key_path": "/root/.ssh/id"},
        ),
        ({"api_keys": ["a", "b"]}, {"api_keys": [MASK, MASK]}),
        ({"env": {"DB_PASSWORD": "x", "TZ": "UTC"}}, {"env": {"DB_PASSWORD": MASK, "TZ": "UTC"}}),
        ({"limit": 3, "token": None, "names": ["a", "b"]}, {"limit": 3, "token": None, "names": ["a", "b"]}),
    ],
)
def test_values_under_a_secret_name_are_masked(value: object, masked: object) -> None:
    assert mask_value(value) == masked


words_of_commands = st.sampled_from(
    ["mysql", "curl", "-p", "-u", "--password", "a:b", "'", '"', "\\", ";", "|", " ", "=", "token"]
)


@given(st.lists(words_of_commands | st.text(max_size=4), max_size=12).map("".join))
def test_masking_a_line_ends_and_does_not_change_what_it_masked(text: str) -> None:
    once = mask_line(text)
    assert MASK in once or once == text
    assert mask_line(once).count(MASK) >= once.count(MASK)


@pytest.mark.parametrize("unit", ["mysql -p ", "-p ", "' ", '"', "\\'", "curl -u", '"--pass",', "mysql "])
def test_masking_a_line_takes_no_time_over_long_text(unit: str) -> None:
    started = perf_counter()
    mask_line(unit * (16_000 // len(unit)))
    assert perf_counter() - started < 0.5
