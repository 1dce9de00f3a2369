"""For whom evaluations are, where a call does not say: per thread and per task."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple


class Ambient(NamedTuple):
    """Whom evaluations are for unless a call says otherwise."""

    tenant_id: str | None = None
    user_id: str | None = None
    attributes: dict[str, Any] | None = None


AMBIENT: ContextVar[Ambient] = ContextVar("control_plane_context", default=Ambient())


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
    outer = AMBIENT.get()
    merged = {**(outer.attributes or {}), **attributes} or None
    token = AMBIENT.set(
        Ambient(
            tenant_id if tenant_id is not None else outer.tenant_id,
            user_id if user_id is not None else outer.user_id,
            merged,
        )
    )
    try:
        yield
    finally:
        AMBIENT.reset(token)
