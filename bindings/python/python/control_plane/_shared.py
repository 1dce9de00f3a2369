"""The one client of a process, which all managers share."""

from __future__ import annotations

import atexit
import os
import threading
import weakref
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from control_plane._core import Plane

_lock = threading.Lock()
_plane: Plane | None = None
_open: weakref.WeakSet[Plane] = weakref.WeakSet()


def make(settings: dict[str, Any]) -> Plane:
    """Makes a client that is closed when the process ends."""
    from control_plane._core import Plane

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


def plane() -> Plane:
    """The client that the environment variables describe; made when it is first needed."""
    global _plane
    found = _plane
    if found is not None:
        return found
    with _lock:
        if _plane is None:
            _plane = make({})
        return _plane


def use(other: Plane | None) -> Plane | None:
    """Puts another client in its place, or none; gives back the one before."""
    global _plane
    with _lock:
        before, _plane = _plane, other
        return before


def _forked() -> None:
    """Makes the lock anew: another thread may have held it at the fork, and is not there to let it go."""
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
