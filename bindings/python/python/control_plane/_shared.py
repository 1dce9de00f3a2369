"""The one client of a process, which all managers share."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from control_plane._core import Plane

_lock = threading.Lock()
_plane: Plane | None = None


def plane() -> Plane:
    """The client that the environment variables describe; made when it is first needed."""
    global _plane
    found = _plane
    if found is not None:
        return found
    with _lock:
        if _plane is None:
            from control_plane._core import Plane

            _plane = Plane({})
        return _plane


def use(other: Plane | None) -> Plane | None:
    """Puts another client in its place, or none; gives back the one before."""
    global _plane
    with _lock:
        before, _plane = _plane, other
        return before
