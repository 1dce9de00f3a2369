"""A provider for OpenFeature: flags of the control plane, evaluated in this process.

Needs ``pip install control-plane[openfeature]``::

    from openfeature import api
    from control_plane.openfeature import ControlPlaneProvider

    api.set_provider_and_wait(ControlPlaneProvider())
    api.get_client().get_boolean_value("new_ai_model", False, EvaluationContext("user-1", {"tenant": "tenant123"}))

In the context ``tenant``, ``user``, ``agent`` and ``conversation`` are what they are everywhere in the control plane
(an id, or a mapping with ``id``); all else is an attribute, mappings by their path: ``device.os``.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, timezone
from typing import Any, TypeVar

from openfeature.evaluation_context import EvaluationContext
from openfeature.event import ProviderEventDetails
from openfeature.exception import (
    ErrorCode,
    GeneralError,
    InvalidContextError,
    OpenFeatureError,
    ProviderFatalError,
    ProviderNotReadyError,
)
from openfeature.flag_evaluation import FlagResolutionDetails, FlagValueType
from openfeature.provider import AbstractProvider, Metadata
from openfeature.track import TrackingEventDetails

from control_plane import _core
from control_plane.client import ControlPlaneClient
from control_plane.errors import ClosedError, ControlPlaneError, NotReadyError

__all__ = ["ControlPlaneProvider"]

_log = logging.getLogger("control_plane")
_T = TypeVar("_T")

#: What is told of a tracking event: its name, the context's JSON and the details, if there are any.
Tracker = Callable[[str, EvaluationContext, "TrackingEventDetails | None"], None]


class ControlPlaneProvider(AbstractProvider):
    """Resolves flags from a client of the control plane.

    Without a client it is the one that the environment variables describe; a client that is given stays the caller's
    and is not closed with the provider. ``on_track`` is called for each tracking event: the control plane keeps none
    itself. With ``only_flag_metadata`` the metadata of a flag are what its author wrote, without ``revision``,
    ``bucketing``, ``rule`` and ``tenant_unknown``, which come with every evaluation otherwise.
    """

    def __init__(
        self,
        client: ControlPlaneClient | None = None,
        *,
        environment: str | None = None,
        timeout: float = 5.0,
        on_track: Tracker | None = None,
        only_flag_metadata: bool = False,
    ) -> None:
        super().__init__()
        self._client = client or ControlPlaneClient()
        self._environment = environment
        self._timeout = timeout
        self._on_track = on_track
        self._only_flag_metadata = only_flag_metadata
        self._watches: tuple[_core.WatchHandle, ...] = ()
        self._lock = threading.Lock()
        self._state = _NOT_READY

    def get_metadata(self) -> Metadata:
        return Metadata(name="control-plane")

    def initialize(self, evaluation_context: EvaluationContext) -> None:
        """Waits for a view; without one the provider is in error, and becomes ready by itself when one comes."""
        plane = self._plane()
        self.shutdown()
        try:
            self._watches = _core.watch_standing(plane, self._told, self._environment)
            plane.wait_ready(self._timeout, self._environment)
        except ControlPlaneError as error:
            with self._lock:
                self._state = _FAILED
            raise _initialization(error) from error
        with self._lock:
            self._state = _READY

    def shutdown(self) -> None:
        """Ends what was started for the provider; the client goes on for those who share it."""
        with self._lock:
            watches, self._watches = self._watches, ()
            self._state = _NOT_READY
        for watch in watches:
            watch.end()

    def resolve_boolean_details(
        self,
        flag_key: str,
        default_value: bool,
        evaluation_context: EvaluationContext | None = None,
    ) -> FlagResolutionDetails[bool]:
        return self._resolve(flag_key, default_value, evaluation_context, _is_boolean)

    def resolve_string_details(
        self,
        flag_key: str,
        default_value: str,
        evaluation_context: EvaluationContext | None = None,
    ) -> FlagResolutionDetails[str]:
        return self._resolve(flag_key, default_value, evaluation_context, _is_string)

    def resolve_integer_details(
        self,
        flag_key: str,
        default_value: int,
        evaluation_context: EvaluationContext | None = None,
    ) -> FlagResolutionDetails[int]:
        return self._resolve(flag_key, default_value, evaluation_context, _is_integer)

    def resolve_float_details(
        self,
        flag_key: str,
        default_value: float,
        evaluation_context: EvaluationContext | None = None,
    ) -> FlagResolutionDetails[float]:
        found = self._resolve(flag_key, default_value, evaluation_context, _is_number)
        if found.variant is not None:
            found.value = float(found.value)
        return found

    def resolve_object_details(
        self,
        flag_key: str,
        default_value: Sequence[FlagValueType] | Mapping[str, FlagValueType],
        evaluation_context: EvaluationContext | None = None,
    ) -> FlagResolutionDetails[Sequence[FlagValueType] | Mapping[str, FlagValueType]]:
        return self._resolve(flag_key, default_value, evaluation_context, _is_structure)

    def track(
        self,
        tracking_event_name: str,
        evaluation_context: EvaluationContext | None = None,
        tracking_event_details: TrackingEventDetails | None = None,
    ) -> None:
        """Hands the event to ``on_track``; what that raises is logged and reaches nobody."""
        if self._on_track is None:
            return
        try:
            self._on_track(tracking_event_name, evaluation_context or EvaluationContext(), tracking_event_details)
        except Exception:
            _log.exception("on_track failed for the event %r", tracking_event_name)

    def _plane(self) -> _core.Plane:
        try:
            return self._client._plane
        except ControlPlaneError as error:
            raise ProviderFatalError(str(error)) from error

    def _resolve(
        self,
        flag: str,
        default: _T,
        context: EvaluationContext | None,
        fits: Callable[[Any], bool],
    ) -> FlagResolutionDetails[_T]:
        try:
            # Without a default of ours any type will do: which fits is decided here, by the type that was asked for.
            reply = _core.evaluate_flat(self._plane(), flag, "null", _written(context), self._environment)
        except ControlPlaneError as error:
            raise _evaluation(error) from error
        found = json.loads(reply)
        # The author's names are none of ours: the control plane refuses those.
        metadata: dict[str, bool | int | float | str] = dict(found["metadata"])
        if not self._only_flag_metadata:
            metadata |= {"revision": found["revision"], "bucketing": found["bucketing"]}
            if found["rule"] is not None:
                metadata["rule"] = found["rule"]
            if found["tenant_unknown"]:
                metadata["tenant_unknown"] = True
        details = FlagResolutionDetails(value=default, reason=found["reason"], flag_metadata=metadata)
        if found["error_code"] is not None:
            details.error_code = ErrorCode(found["error_code"])
            details.error_message = found["error_message"]
        elif found["variant"] is not None and not fits(found["value"]):
            details.reason = "ERROR"
            details.error_code = ErrorCode.TYPE_MISMATCH
            details.error_message = f"`{flag}` is {json.dumps(found['value'])}, which is of another type"
        elif found["variant"] is not None:
            details.value, details.variant = found["value"], found["variant"]
        return details

    def _told(self, what: str, now: str) -> None:
        """Hears of another revision, or of another source."""
        with self._lock:
            before = self._state
            if before is _NOT_READY:
                return
            if what == "source":
                self._state = _STALE if now in _STALE_SOURCES else _READY
            elif before is _FAILED:
                self._state = _READY
            after = self._state
        if after is _STALE and before is not _STALE:
            message = f"no server is followed, what is held is served ({now})"
            self.emit_provider_stale(ProviderEventDetails(message=message))
        elif after is _READY and before is not _READY:
            self.emit_provider_ready(ProviderEventDetails())
        if what == "revision" and before is not _FAILED:
            details = ProviderEventDetails(message=f"revision {now} is served", metadata={"revision": int(now)})
            self.emit_provider_configuration_changed(details)

    def __repr__(self) -> str:
        return f"<ControlPlaneProvider {self._state}: {self._client!r}>"


_NOT_READY, _READY, _STALE, _FAILED = "not ready", "ready", "stale", "in error"
_STALE_SOURCES = ("stale", "last-known-good", "bundled")


def _written(context: EvaluationContext | None) -> str:
    if context is None:
        return "{}"
    fields = dict(context.attributes)
    # What the SDK calls the targeting key is not an attribute beside it.
    fields.pop("targetingKey", None)
    if context.targeting_key:
        fields["targetingKey"] = context.targeting_key
    try:
        return json.dumps(fields, default=_plain, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InvalidContextError(f"the context cannot be written: {error}") from error


def _plain(value: Any) -> Any:
    """Writes what JSON has no form for: times by RFC 3339, any mapping and any sequence."""
    if isinstance(value, datetime):
        # A time without a zone is taken as UTC, as in the control plane.
        value = value if value.tzinfo else value.replace(tzinfo=timezone.utc)
        return value.astimezone(timezone.utc).isoformat().replace("+00:00", "Z")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Sequence):
        return list(value)
    raise TypeError(f"no rule can look at {type(value).__name__}")


def _initialization(error: ControlPlaneError) -> OpenFeatureError:
    if isinstance(error, NotReadyError):
        return ProviderNotReadyError(str(error))
    # Settings, a tree with mistakes, an environment that is not there: waiting does not mend them.
    return GeneralError(str(error)) if error.retryable else ProviderFatalError(str(error))


def _evaluation(error: ControlPlaneError) -> OpenFeatureError:
    if isinstance(error, (NotReadyError, ClosedError)):
        return ProviderNotReadyError(str(error))
    if error.code == "CONTEXT_INVALID":
        return InvalidContextError(str(error))
    return GeneralError(str(error))


def _is_boolean(value: Any) -> bool:
    return isinstance(value, bool)


def _is_string(value: Any) -> bool:
    return isinstance(value, str)


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_structure(value: Any) -> bool:
    return isinstance(value, (dict, list))
