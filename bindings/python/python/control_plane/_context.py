"""For whom evaluations are, where a call does not say: per thread and per task."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from control_plane._core import Ambient

AMBIENT: ContextVar[Ambient | None] = ContextVar("control_plane_context", default=None)


@contextmanager
def context(
    *, tenant_id: str | None = None, user_id: str | None = None, **attributes: Any
) -> Iterator[None]:
    """Makes evaluations inside of the block be for this tenant and user.

    What is not given stays as it is outside. It holds for this thread and for the asyncio tasks that the block
    starts, and for no others::

        with control_plane.context(tenant_id="tenant123"):
            flags.is_enabled("new_ai_model")
    """
    token = AMBIENT.set(Ambient(AMBIENT.get(), tenant_id, user_id, attributes))
    try:
        yield
    finally:
        AMBIENT.reset(token)
