"""Configuration, by environment, with callbacks for what changes."""

from __future__ import annotations

import inspect
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from control_plane.client import _MISSING, ControlPlaneClient
from control_plane.errors import ArgumentError

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from concurrent.futures import Future

    from control_plane._core import WatchHandle

__all__ = ["ConfigChange", "ConfigManager", "Watch"]

_log = logging.getLogger("control_plane")

_watches: set[Watch] = set()
"""What has not ended: a callback goes on though nobody keeps its handle, or the manager that made it."""


@dataclass(frozen=True)
class ConfigChange:
    """What changed at a path that is watched."""

    path: str
    old: Any
    new: Any
    revision: int
    cause: str


class Watch:
    """A callback that is being called, whether or not this is kept.

    ``end()`` ends that, and so does leaving a ``with`` block, or closing the client.
    """

    def __init__(self) -> None:
        self._handle: WatchHandle | None = None
        self._has_ended = False

    def _begin(self, handle: WatchHandle) -> Watch:
        self._handle = handle
        _watches.add(self)
        if self._has_ended:
            # By the callback, which was quicker.
            self.end()
        return self

    def end(self) -> None:
        """Calls back no more."""
        self._has_ended = True
        _watches.discard(self)
        if self._handle is not None:
            self._handle.end()

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()


class ConfigManager:
    """Reads configuration: ``config.get("database.url")``.

    The environment is that of ``CONTROL_PLANE_ENVIRONMENT``, until ``load_environment`` or a call names another.
    """

    def __init__(self, client: ControlPlaneClient | None = None, *, environment: str | None = None) -> None:
        self._client = client or ControlPlaneClient()
        self._environment = environment

    def load_environment(self, environment: str) -> None:
        """Loads an environment's view, and reads from it from now on unless a call names another."""
        self._client.wait_ready(environment=environment)
        self._environment = environment

    def get(
        self,
        key: str,
        default: Any = _MISSING,
        *,
        environment: str | None = None,
        tenant_id: str | None = None,
    ) -> Any:
        """Reads the value at a path such as ``database.url``, or the default where there is none."""
        return self._client.config(
            key, default, tenant_id=tenant_id, environment=environment or self._environment
        )

    def watch(
        self,
        key: str,
        callback: Callable[..., Any],
        *,
        environment: str | None = None,
        tenant_id: str | None = None,
    ) -> Watch:
        """Calls back whenever the value at a path, or anything below it, is another.

        The callback gets the new value, or, if it takes two arguments, the new value and a :class:`ConfigChange`;
        without arguments it is only told that something changed. It runs on a background thread, in order; a
        coroutine function runs on the event loop that runs now. What it raises is logged and stops nothing.
        """
        loop, wanted = _loop_of(callback), _positional(callback)
        watch = Watch()

        def call(text: str) -> None:
            change = ConfigChange(**json.loads(text))
            arguments = (change.new, change)[:wanted]
            failed = ("the callback for %s at revision %d failed", change.path, change.revision)
            try:
                if loop is None:
                    callback(*arguments)
                elif loop.is_closed():
                    _log.warning("the event loop of the callback for %s is closed: it is called back no more", key)
                    watch.end()
                else:
                    _run(loop, callback, arguments, failed)
            except Exception:
                _log.exception(*failed)

        plane = self._client._plane
        return watch._begin(plane.watch(key, call, tenant_id, environment or self._environment))

    def __repr__(self) -> str:
        return f"<ConfigManager {self._environment or 'of the default environment'}>"


def _loop_of(callback: Callable[..., Any]) -> AbstractEventLoop | None:
    """The event loop on which a coroutine function is to run; none for a plain function."""
    if not callable(callback):
        raise ArgumentError("FIELD_INVALID", f"`{callback!r}` cannot be called back", "give a function")
    if not inspect.iscoroutinefunction(callback):
        return None
    import asyncio

    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        raise ArgumentError(
            "FIELD_INVALID",
            "the callback is a coroutine function, and no event loop runs here that could run it",
            "call `watch` from a coroutine, or give a plain function",
        ) from None


def _run(loop: AbstractEventLoop, callback: Callable[..., Any], arguments: tuple[Any, ...], failed: tuple[Any, ...]) -> None:
    """Runs a coroutine function on its loop, and logs what it raises."""
    import asyncio

    def done(future: Future[Any]) -> None:
        error = None if future.cancelled() else future.exception()
        if error is not None:
            _log.error(*failed, exc_info=error)

    asyncio.run_coroutine_threadsafe(callback(*arguments), loop).add_done_callback(done)


def _positional(callback: Callable[..., Any]) -> int:
    """How many arguments a callback takes, of two."""
    try:
        parameters = inspect.signature(callback).parameters.values()
    except (TypeError, ValueError):
        return 1
    kinds = [it.kind for it in parameters]
    if inspect.Parameter.VAR_POSITIONAL in kinds:
        return 2
    places = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return min(2, sum(kind in places for kind in kinds))
