"""Every error the product raises on purpose.

    InfrastructorError
    ├── ValidationFailed            the request itself is wrong; nothing ran
    │   └── RequestTooLarge         more input than any operation takes
    ├── Unauthenticated             no token, or one that is unknown, expired or revoked
    ├── PermissionDenied            the caller's role may not do this
    │   ├── ReadOnlyMode            the server, or this device, is only read
    │   └── Protected               a label on the thing itself forbids its destruction
    ├── NotFound
    │   ├── DeviceNotFound
    │   └── OperationNotFound
    ├── Conflict                    the thing exists already, or changed meanwhile
    │   └── PlanRejected            a plan token is unknown, used, expired, or the state moved on
    │       ├── Declined            a person was asked and did not agree
    │       └── ApprovalNeeded      an admin must approve the plan first, outside MCP
    ├── SSHConnectionError          no command reached the device
    │   ├── SSHAuthenticationError
    │   ├── HostKeyUntrusted        no key was ever trusted for this device
    │   ├── HostKeyMismatch         the device shows another key than the trusted one
    │   ├── SSHTimeout
    │   └── CircuitOpen             it failed a moment ago; we wait before trying again
    ├── DataCollectionError         the device was reached, the answer is no good
    │   ├── CommandFailed
    │   ├── CommandTimeout
    │   ├── CommandNotAvailable     the program is not on this device
    │   │   ├── ZfsNotLoaded        the programs are there, the kernel module is not
    │   │   ├── ZfsForbidden        the login may not use it
    │   │   └── EngineUnavailable   its container engine's API is not to be reached
    │   │       ├── EngineStopped   the engine is installed and does not run
    │   │       └── EngineForbidden the login may not use it
    │   ├── RolledBack              a change did not end well and was undone: all is as it was
    │   │   └── RollbackFailed      it could not be undone wholly; somebody has to look
    │   ├── OutcomeUnknown          the connection died after the command was sent
    │   └── ParseError
    ├── DatabaseOperationError
    │   ├── AuditUnavailable        intent could not be made durable, so nothing was sent
    │   └── HistoryKeyUnavailable   the key that configuration contents are sealed with is missing or another one
    ├── LimitReached                so many of these are open already
    ├── CacheOperationError         never leaves the cache module
    ├── SubscriberTooSlow           events came faster than they were read; nothing is lost
    ├── ResultTooLarge              it ran, but the answer is longer than this door may hand out
    ├── Cancelled                   the caller went away, or somebody stopped it
    └── UndeclaredCommand           our bug: a handler ran a command its operation does not declare

`code` is stable and is what programs match on; `hint` is the next step for a reader.
No HTTP here: `api/errors.py` maps codes to statuses, `mcp_server` to tool errors.
"""

from typing import ClassVar, Self


class InfrastructorError(Exception):
    """Base of all deliberate errors. `details` are JSON-ready facts about the failure."""

    code: ClassVar[str] = "internal_error"
    retryable: ClassVar[bool] = False
    default_hint: ClassVar[str] = ""

    def __init__(self, message: str, *, hint: str | None = None, **details: object) -> None:
        super().__init__(message)
        self.message = message
        self.hint = self.default_hint if hint is None else hint
        self.details = details
        self.operation_id: str | None = None

    def again(self) -> Self:
        """A fresh copy, for each caller that waited for the same run."""
        return type(self)(self.message, hint=self.hint, **self.details)

    def one_line(self) -> str:
        """`code: message. Hint: …`, the form a person or a model reads."""
        text = f"{self.code}: {self.message}"
        return f"{text} Hint: {self.hint}" if self.hint else text


class ValidationFailed(InfrastructorError):
    code = "validation_failed"


class RequestTooLarge(ValidationFailed):
    code = "request_too_large"
    default_hint = "No operation takes so much input; send names and values, not files."


class Unauthenticated(InfrastructorError):
    code = "unauthenticated"
    default_hint = "Send 'Authorization: Bearer <token>'; 'infrastructor token' prints the admin token."


class PermissionDenied(InfrastructorError):
    code = "permission_denied"


class ReadOnlyMode(PermissionDenied):
    code = "read_only"
    default_hint = "Restart the server without --read-only to allow changes."


class Protected(PermissionDenied):
    """Raise it for a device tag, a container label or a ZFS property `infrastructor.protected=true`."""

    code = "protected"
    default_hint = "Somebody marked it on purpose. An admin takes the mark off where it was set, not over MCP."


class NotFound(InfrastructorError):
    code = "not_found"


class DeviceNotFound(NotFound):
    code = "device_not_found"
    default_hint = "device_list names the registered devices; device_add registers one."


class OperationNotFound(NotFound):
    code = "operation_not_found"


class Conflict(InfrastructorError):
    code = "conflict"


class PlanRejected(Conflict):
    code = "plan_rejected"
    default_hint = "Call again without plan_token for a fresh plan, and read it before confirming."


class Declined(PlanRejected):
    code = "declined"
    default_hint = "Nothing was done. Ask the user what they want instead; do not simply try again."


class ApprovalNeeded(PlanRejected):
    code = "approval_needed"
    default_hint = "An admin approves it with 'infrastructor plan approve' or REST; then send the same token again."


class LimitReached(InfrastructorError):
    code = "limit_reached"
    retryable = True


class SSHConnectionError(InfrastructorError):
    code = "device_unreachable"
    retryable = True
    default_hint = "Check that the device is up and its address and port are right; device_test names the fault."


class SSHAuthenticationError(SSHConnectionError):
    code = "ssh_authentication_failed"
    retryable = False
    default_hint = "Install the public key on the device for this user, then run device_test."


class HostKeyUntrusted(SSHConnectionError):
    code = "host_key_untrusted"
    retryable = False
    default_hint = "Compare the fingerprint with the device's own, then call device_trust with it."


class HostKeyMismatch(SSHConnectionError):
    code = "host_key_mismatch"
    retryable = False
    default_hint = (
        "Someone may be in between, or the device was reinstalled. Compare fingerprints on the device itself; "
        "only then call device_trust with the new one."
    )


class SSHTimeout(SSHConnectionError):
    code = "ssh_timeout"


class CircuitOpen(SSHConnectionError):
    code = "circuit_open"


class DataCollectionError(InfrastructorError):
    code = "data_collection_failed"


class CommandFailed(DataCollectionError):
    code = "command_failed"


class CommandTimeout(DataCollectionError):
    code = "command_timeout"
    retryable = True


class CommandNotAvailable(DataCollectionError):
    code = "command_not_available"


class ZfsNotLoaded(CommandNotAvailable):
    code = "zfs_not_loaded"
    default_hint = (
        "Load it on the device with 'modprobe zfs'; where that fails, the module is not built for the running kernel "
        "(zfs-dkms or the distribution's kernel package)."
    )


class ZfsForbidden(CommandNotAvailable):
    code = "zfs_forbidden"
    default_hint = (
        "Log in as root, or allow it with sudo: 'infrastructor sudoers' prints the exact rules. Some of it can be "
        "delegated with 'zfs allow', and /dev/zfs be opened by a udev rule."
    )


class EngineUnavailable(CommandNotAvailable):
    code = "engine_unavailable"
    default_hint = "The login user needs the engine's socket (group docker), or sudo for docker; see device_analyze."


class EngineStopped(EngineUnavailable):
    code = "engine_stopped"
    default_hint = "Start it on the device, e.g. 'systemctl start docker', and look at its log with log_query."


class EngineForbidden(EngineUnavailable):
    code = "engine_forbidden"
    default_hint = "Add the login user to the group docker on the device, or let it use sudo without a password."


class RolledBack(DataCollectionError):
    code = "rolled_back"
    default_hint = "All is as it was before. Mend what the message names, look at it with dry_run, then try again."


class RollbackFailed(RolledBack):
    code = "rollback_failed"
    default_hint = "Look at it now, with stack_get and container_logs: what should run may not run."


class OutcomeUnknown(DataCollectionError):
    code = "outcome_unknown"
    default_hint = "The command may or may not have run. Read the state back before trying again."


class ParseError(DataCollectionError):
    code = "parse_error"
    default_hint = "The device answered in a form this version does not understand; please report the quoted line."


class DatabaseOperationError(InfrastructorError):
    code = "database_unavailable"
    retryable = True
    default_hint = "Reads go on; changes are refused until PostgreSQL is back. 'infrastructor doctor' tells more."


class AuditUnavailable(DatabaseOperationError):
    code = "audit_unavailable"
    default_hint = "Nothing was sent to any device. Changes need the audit store; 'infrastructor doctor' tells more."


class HistoryKeyUnavailable(DatabaseOperationError):
    code = "history_key_unavailable"
    retryable = False
    default_hint = (
        "No content is stored or read without it. Restore the key file of the server that wrote the history, or point "
        "INFRASTRUCTOR_CONFIG_KEYS_PATH at it; no restart is needed."
    )


class CacheOperationError(InfrastructorError):
    code = "cache_unavailable"


class SubscriberTooSlow(InfrastructorError):
    code = "subscriber_too_slow"
    retryable = True
    default_hint = "Subscribe again after the last sequence you had; nothing in between is lost."


class ResultTooLarge(InfrastructorError):
    code = "result_too_large"


class Cancelled(InfrastructorError):
    code = "cancelled"


class UndeclaredCommand(InfrastructorError):
    code = "undeclared_command"
