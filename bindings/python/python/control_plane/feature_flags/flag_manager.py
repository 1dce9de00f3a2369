"""Feature flags."""

from __future__ import annotations

from typing import Any

from control_plane._core import Client
from control_plane.client import ControlPlaneClient, Evaluation

__all__ = ["FeatureFlagManager"]


class FeatureFlagManager(Client):
    """Asks flags: ``flags.is_enabled("new_ai_model", tenant_id="tenant123")``."""

    def __init__(self, client: ControlPlaneClient | None = None) -> None:
        self._client = client or ControlPlaneClient()
        own = self._client._own
        if own is not None:
            self._ask(own)

    def evaluate(
        self,
        flag: str,
        default: Any = None,
        *,
        user_id: str | None = None,
        tenant_id: str | None = None,
        environment: str | None = None,
    ) -> Evaluation:
        """Evaluates a flag of any type and says why it has its value."""
        return self._client.evaluate(
            flag, default, user_id=user_id, tenant_id=tenant_id, environment=environment
        )

    def __repr__(self) -> str:
        return f"<FeatureFlagManager {self._client!r}>"
