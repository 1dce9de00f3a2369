"""Agents and tools, as they were published: verified, and without the overrides that a tenant gets."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from control_plane.agents import Agent, Tool, ToolName, manifests_of
from control_plane.client import ControlPlaneClient, as_json
from control_plane.errors import NotFoundError

__all__ = ["Compatibility", "RegistryManager"]


@dataclass(frozen=True)
class Compatibility:
    """Whether a tool goes with an agent's tools; true or false where that is asked for."""

    compatible: bool
    reasons: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return self.compatible


class RegistryManager:
    """Reads published agents and tools: ``registry.get_agent("customer_support_agent", version="1.0.0")``."""

    def __init__(self, client: ControlPlaneClient | None = None) -> None:
        self._client = client or ControlPlaneClient()

    def get_agent(self, name: str, version: str | None = None, *, environment: str | None = None) -> Agent:
        """An agent as it was published; without a version, the one that its channel gives everybody."""
        return cast(Agent, self._published("agent", name, version, environment))

    def get_tool(self, name: str, version: str | None = None) -> Tool:
        """A tool as it was published; without a version, the highest one that is active."""
        required = version
        locked = getattr(name, "version", "")
        if required is None and locked[:1].isdigit():
            # Not where it is a range, as in an agent that was not resolved.
            required = locked
        return cast(Tool, self._published("tool", str(name), required, None))

    def _published(self, kind: str, name: str, version: str | None, environment: str | None) -> Agent | Tool:
        row = json.loads(self._client._plane.published(kind, name, version, environment))
        return next(iter(manifests_of([row])))

    def validate_tool_compatibility(self, tool: str, tools: Iterable[str]) -> Compatibility:
        """Says whether a tool is one of an agent's tools, in a version that may be used.

        True or false, with the reasons: ``registry.validate_tool_compatibility("crm_tool", agent.tools)``.
        """
        wanted = next((it for it in tools if it == tool or getattr(it, "alias", None) == tool), None)
        if wanted is None:
            known = ", ".join(tools) or "none"
            return Compatibility(False, [f"the agent does not use `{tool}`; its tools: {known}"])
        try:
            found = self.get_tool(wanted)
        except NotFoundError as error:
            return Compatibility(False, [error.message])
        if found.status in ("revoked", "quarantined"):
            return Compatibility(False, [f"`{found.name}@{found.version}` is {found.status}"])
        digest = getattr(wanted, "digest", "")
        if isinstance(wanted, ToolName) and digest and digest != found.digest:
            return Compatibility(
                False, [f"`{found.name}@{found.version}` is {found.digest}, and the agent was locked to {digest}"]
            )
        return Compatibility(True)

    def search(
        self,
        text: str | None = None,
        *,
        kind: Literal["agent", "tool"] = "tool",
        category: str | None = None,
        capability: str | None = None,
        owner: str | None = None,
    ) -> Sequence[Agent | Tool]:
        """The agents or tools for which all that is given holds, each in its highest active version."""
        rows: Any = json.loads(
            self._client._plane.list_published(kind, text, category, capability, owner)
        )
        return [*manifests_of(rows)]

    def publish(self, manifest: dict[str, Any], *, kind: Literal["agent", "tool"]) -> dict[str, Any]:
        """Publishes a manifest; what is wrong with it is raised, all at once. Needs a server."""
        found: dict[str, Any] = json.loads(self._client._plane.publish(kind, as_json(manifest)))
        return found

    def set_status(
        self,
        name: str,
        version: str,
        status: Literal["active", "deprecated", "yanked", "revoked"],
        *,
        kind: Literal["agent", "tool"],
        message: str | None = None,
        replacement: str | None = None,
        sunset: str | None = None,
    ) -> int:
        """Says whether a published version may still be used; gives the revision. Needs a server."""
        body = {"status": status, "message": message, "replacement": replacement, "sunset": sunset}
        given = {field: value for field, value in body.items() if value is not None}
        return self._client._plane.set_status(kind, name, version, as_json(given))

    def list(self, kind: Literal["agent", "tool"] = "agent") -> Sequence[Agent | Tool]:
        """All agents or tools, each in its highest active version."""
        return self.search(kind=kind)

    def __repr__(self) -> str:
        return f"<RegistryManager {self._client!r}>"
