"""What the package raises: one base class, a stable code, and what to do next."""

from __future__ import annotations

__all__ = [
    "AccessError",
    "AgentError",
    "ArgumentError",
    "ClosedError",
    "ConfigNotFoundError",
    "ControlPlaneError",
    "NotFoundError",
    "NotReadyError",
    "SettingsError",
    "TreeError",
    "UntrustedError",
]


class ControlPlaneError(Exception):
    """The base of everything that this package raises.

    ``code`` is stable (``control-plane explain CODE`` tells more), ``next`` says what to do, and ``retryable``
    whether it may go away without anybody doing something here.
    """

    def __init__(self, code: str, message: str, next: str, retryable: bool = False) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.next = next
        self.retryable = retryable

    def __str__(self) -> str:
        return f"{self.message} [{self.code}]\n  next: {self.next}"

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), (self.code, self.message, self.next, self.retryable))


class SettingsError(ControlPlaneError):
    """A setting is missing or cannot be used."""


class AccessError(ControlPlaneError):
    """The token is not known, or may not do this."""


class NotReadyError(ControlPlaneError):
    """There is nothing to answer from yet."""


class UntrustedError(NotReadyError):
    """There is nothing to answer from, for what came is not what a trusted server signed.

    Where something is held already it goes on being served, and ``status()`` says the same.
    """


class ClosedError(ControlPlaneError):
    """The client is closed."""


class TreeError(ControlPlaneError):
    """The local tree has mistakes; the message lists them by file and line."""


class NotFoundError(ControlPlaneError):
    """The environment, the agent, the tool or the version does not exist."""


class ConfigNotFoundError(NotFoundError, KeyError):
    """There is no configuration at the path, and no default was given."""

    __str__ = ControlPlaneError.__str__


class ArgumentError(ControlPlaneError, TypeError, ValueError):
    """What was given to a function is of a wrong type, or cannot be used."""


class AgentError(ControlPlaneError):
    """The agent exists and cannot be given now: it is killed, revoked or not whole."""


_BY_CODE: dict[str, type[ControlPlaneError]] = {
    "SDK_URL_MISSING": SettingsError,
    "SDK_ENVIRONMENT_MISSING": SettingsError,
    "SDK_SETTINGS_INVALID": SettingsError,
    "SCHEMA_INVALID": SettingsError,
    "UNAUTHENTICATED": AccessError,
    "FORBIDDEN": AccessError,
    "FIELD_INVALID": ArgumentError,
    "NAME_INVALID": ArgumentError,
    "SDK_NOT_READY": NotReadyError,
    "TENANT_NOT_LOADED": NotReadyError,
    "SERVER_UNREACHABLE": NotReadyError,
    "VIEW_UNVERIFIED": UntrustedError,
    "SERVER_KEY_UNTRUSTED": UntrustedError,
    "LOG_FORKED": UntrustedError,
    "SDK_CLOSED": ClosedError,
    "TREE_INVALID": TreeError,
    "COMMIT_EMPTY": TreeError,
    "ENVIRONMENT_NOT_FOUND": NotFoundError,
    "AGENT_NOT_FOUND": NotFoundError,
    "CHANNEL_NOT_FOUND": NotFoundError,
    "VERSION_NOT_FOUND": NotFoundError,
    "NOT_FOUND": NotFoundError,
    "CONFIG_NOT_FOUND": ConfigNotFoundError,
    "AGENT_KILLED": AgentError,
    "VERSION_REVOKED": AgentError,
    "VERSION_QUARANTINED": AgentError,
    "MANIFEST_MISSING": AgentError,
    "DIGEST_MISMATCH": AgentError,
    "SIGNATURE_INVALID": AgentError,
}


def exception(code: str, message: str, next: str, retryable: bool) -> ControlPlaneError:
    """Makes the exception for a code; the native part calls it."""
    return _BY_CODE.get(code, ControlPlaneError)(code, message, next, retryable)
