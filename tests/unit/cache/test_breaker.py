from infrastructor.cache.breaker import Breaker


def test_it_opens_after_three_failures_and_lets_one_probe_through() -> None:
    now = 0.0
    breaker = Breaker(failures=3, pause_s=5, clock=lambda: now)
    for _ in range(2):
        breaker.failed()
    assert breaker.allows()
    breaker.failed()
    assert (breaker.state, breaker.allows()) == ("open", False)
    now = 5.0
    assert [breaker.allows() for _ in range(3)] == [True, False, False]
    breaker.failed()
    assert (breaker.state, breaker.allows()) == ("open", False)
    now = 10.0
    assert breaker.allows()
    breaker.succeeded()
    assert (breaker.state, breaker.allows()) == ("closed", True)


def test_a_success_between_failures_starts_counting_anew() -> None:
    breaker = Breaker(failures=2)
    breaker.failed()
    breaker.succeeded()
    breaker.failed()
    assert breaker.allows()
