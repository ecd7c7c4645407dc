"""When a device may be tried again. Our own forty lines: libraries cost as much as a whole command."""

import random
from typing import Literal

from infrastructor.errors import (
    CircuitOpen,
    HostKeyMismatch,
    InfrastructorError,
    SSHAuthenticationError,
)
from infrastructor.ssh.request import again

FIRST_S = 1.0
LONGEST_S = 60.0
# sshd from 9.8 on punishes failed logins of a whole source address, fail2ban bans it: few attempts, then rare ones.
LOGIN_WAITS_S = (2.0, 10.0, 600.0)

State = Literal["closed", "backoff", "blocked"]


class Breaker:
    """Per device. After a failure nothing is tried until `retry_at`; then one attempt, which all callers share."""

    __slots__ = ("error", "failures", "logins", "retry_at")

    def __init__(self) -> None:
        self.failures = 0
        self.logins = 0
        self.retry_at = 0.0
        self.error: InfrastructorError | None = None

    def succeeded(self) -> None:
        self.__init__()  # type: ignore[misc]

    def failed(self, error: InfrastructorError, now: float) -> None:
        self.error = error
        self.failures += 1
        if isinstance(error, HostKeyMismatch):
            self.retry_at = float("inf")
        elif isinstance(error, SSHAuthenticationError):
            self.retry_at = now + LOGIN_WAITS_S[min(self.logins, len(LOGIN_WAITS_S) - 1)]
            self.logins += 1
        else:
            self.retry_at = now + random.uniform(0.0, min(LONGEST_S, FIRST_S * 2**self.failures))  # noqa: S311

    def state(self, now: float) -> State:
        if self.error is None or now >= self.retry_at:
            return "closed"
        if isinstance(self.error, HostKeyMismatch) or self.logins >= len(LOGIN_WAITS_S):
            return "blocked"
        return "backoff"

    def refusal(self, name: str, now: float) -> InfrastructorError | None:
        """What to raise instead of trying; None when trying is allowed."""
        if self.error is None or now >= self.retry_at:
            return None
        if isinstance(self.error, HostKeyMismatch):
            return again(self.error)
        wait = self.retry_at - now
        if isinstance(self.error, SSHAuthenticationError):
            error = again(self.error)
            error.details["retry_in_s"] = round(wait, 1)
            return error
        return CircuitOpen(
            f"{name} could not be reached a moment ago ({self.error.message}) It is tried again in {wait:.1f} s.",
            hint=self.error.hint,
            reason=self.error.code,
            retry_in_s=round(wait, 1),
        )
