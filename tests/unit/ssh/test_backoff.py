from infrastructor.errors import (
    CircuitOpen,
    HostKeyMismatch,
    SSHAuthenticationError,
    SSHConnectionError,
    SSHTimeout,
)
from infrastructor.ssh.backoff import LONGEST_S, Breaker


def test_a_day_of_refused_logins_makes_few_attempts() -> None:
    breaker, attempts, now = Breaker(), 0, 0.0
    while now < 86_400:
        if breaker.refusal("nas", now) is None:
            attempts += 1
            breaker.failed(SSHAuthenticationError("no"), now)
        now += 1
    assert attempts <= 3 + 86_400 / 600


def test_a_refused_login_stays_a_refused_login_while_it_waits() -> None:
    breaker = Breaker()
    for now in (0.0, 10.0, 100.0):
        breaker.failed(SSHAuthenticationError("no"), now)
    refusal = breaker.refusal("nas", 101.0)

    assert isinstance(refusal, SSHAuthenticationError)
    assert refusal.details["retry_in_s"] == 599.0
    assert breaker.state(101.0) == "blocked"
    assert breaker.refusal("nas", 701.0) is None


def test_a_changed_host_key_blocks_for_ever() -> None:
    breaker = Breaker()
    breaker.failed(HostKeyMismatch("changed"), 0.0)
    assert isinstance(breaker.refusal("nas", 1e9), HostKeyMismatch)
    assert breaker.state(1e9) == "blocked"


def test_waits_grow_with_jitter_up_to_a_minute() -> None:
    breaker = Breaker()
    waits = []
    for now in range(0, 100_000, 1000):
        breaker.failed(SSHTimeout("silent"), float(now))
        waits.append(breaker.retry_at - now)
    assert max(waits[:2]) <= 4
    assert min(waits) >= 0
    assert 30 < max(waits) <= LONGEST_S
    assert len(set(waits)) > 90


def test_an_open_circuit_says_why_and_for_how_long() -> None:
    breaker = Breaker()
    breaker.failed(SSHConnectionError("nas refused the connection."), 0.0)
    breaker.retry_at = 3.0
    refusal = breaker.refusal("nas", 1.0)

    assert isinstance(refusal, CircuitOpen)
    assert "nas refused the connection." in refusal.message
    assert refusal.details == {"reason": "device_unreachable", "retry_in_s": 2.0}
    breaker.succeeded()
    assert breaker.refusal("nas", 1.0) is None
