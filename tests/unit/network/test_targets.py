"""What a connectivity check may aim at."""

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infrastructor.domains.network.probes import outcome_of
from infrastructor.domains.network.targets import check_address, goal
from infrastructor.errors import ValidationFailed


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("db.lan", ("db.lan", None, None, "")),
        ("db.lan:5432", ("db.lan", 5432, None, "")),
        ("10.0.0.1:22", ("10.0.0.1", 22, None, "")),
        ("fd00::1", ("fd00::1", None, None, "")),
        ("[fd00::1]:443", ("fd00::1", 443, None, "")),
        ("http://nas", ("nas", 80, "http", "/")),
        ("https://nas.lan/health", ("nas.lan", 443, "https", "/health")),
        ("https://[fd00::1]:8443/x", ("fd00::1", 8443, "https", "/x")),
        ("localhost:80", ("localhost", 80, None, "")),
    ],
)
def test_a_target_is_taken_apart(target: str, expected: tuple[object, ...]) -> None:
    found = goal(target)
    assert (found.host, found.port, found.scheme, found.path) == expected


@pytest.mark.parametrize(
    "target",
    [
        "169.254.169.254", "http://169.254.169.254/latest/meta-data", "[fd00:ec2::254]:80",
        "[::ffff:169.254.169.254]:80",
        "[64:ff9b::a9fe:a9fe]:80", "[2002:a9fe:a9fe::1]:80", "[fe80::1]:80", "100.100.100.200:80",
        "2852039166", "0xa9fea9fe:80", "169.254.43518", "0251.0376.0251.0376", "http://2852039166/", "127.1",
        "ftp://nas/", "file:///etc/passwd", "http://user:secret@nas/", "http://nas/?token=x", "http://nas/#x",
        "nas:0", "nas:70000", "nas:http", "-x", "a b", "nas/path", "nas;id", "$(id)", "http://", "[nas]:80", "a..b",
        "http://nas/`id`", "fe80::1%eth0", "①②⑦.⓪.⓪.①",
    ],
)  # fmt: skip
def test_what_may_not_be_tried_is_refused(target: str) -> None:
    with pytest.raises(ValidationFailed) as refusal:
        goal(target)
    assert "secret" not in str(refusal.value)


@given(st.integers(0, 2**16 - 1))
def test_no_link_local_address_passes_in_any_form(low: int) -> None:
    for form in (0xA9FE0000 + low, (0xFFFF << 32) + 0xA9FE0000 + low, (0x64FF9B << 96) + 0xA9FE0000 + low):
        with pytest.raises(ValidationFailed):
            check_address("name", ip_address(form))


@given(st.text(max_size=60))
def test_any_text_is_a_goal_or_refused(text: str) -> None:
    try:
        found = goal(text)
    except ValidationFailed:
        return
    assert found.host
    assert not any(sign in found.host + found.path for sign in ' \n"`\\<>|')


@pytest.mark.parametrize(
    ("said", "outcome"),
    [
        ("connect: Connection refused", "refused"),
        ("No route to host", "unreachable"),
        ("Network is unreachable", "unreachable"),
        ("nc: timed out", "timeout"),
        ("no idea", "failed"),
    ],
)
def test_messages_are_told_apart(said: str, outcome: str) -> None:
    assert outcome_of(said).value == outcome
