"""The one client of a process, which all managers share, and what becomes of clients at its end and after a fork."""

from __future__ import annotations

import atexit
import os
import sys
import threading
import weakref
from typing import Any

from control_plane._core import Plane, forked, leave, share, shared

_lock = threading.Lock()
_open: weakref.WeakSet[Plane] = weakref.WeakSet()


def make(settings: dict[str, Any]) -> Plane:
    """Makes a client that is closed when the process ends."""
    return keep(Plane(settings))


def keep(made: Plane) -> Plane:
    """Closes a client when the process ends: one that is not closed counts as a crash."""
    if not _open:
        atexit.unregister(_close_all)
        atexit.register(_close_all)
    _open.add(made)
    return made


def _close_all() -> None:
    for found in list(_open):
        found.close()
    # Threads that are telling or calling back something right now would be cut off in the middle of it.
    leave()


def plane() -> Plane:
    """The client that the environment variables describe; made when it is first needed."""
    found = shared()
    if found is not None:
        return found
    with _lock:
        found = shared()
        if found is None:
            found = make({})
            share(found)
        return found


def use(other: Plane | None) -> Plane | None:
    """Puts another client in its place, or none; gives back the one before."""
    return share(other)


def _forked() -> None:
    """Goes on in a forked process."""
    global _lock
    # Another thread may have held it at the fork, and is not there to let it go.
    _lock = threading.Lock()
    forked()
    for found in list(_open):
        found.forked()
    multiprocessing = sys.modules.get("multiprocessing.util")
    if multiprocessing is not None:
        # Its children end without `atexit`, by finalizers of its own, which it forgets before it runs what is
        # registered for after a fork.
        multiprocessing.register_after_fork(_open, _end_with_multiprocessing)


def _end_with_multiprocessing(_: object) -> None:
    from multiprocessing.util import Finalize

    Finalize(None, _close_all, exitpriority=0)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
