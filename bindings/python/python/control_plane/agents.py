"""Agents and tools as services use them: the caller's own copies."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

__all__ = ["Agent", "CallPolicy", "Explanation", "Tool", "ToolName", "Warning"]


@dataclass(frozen=True)
class CallPolicy:
    """How a tool is to be called, as its manifest says.

    In one line, with the libraries that many services use::

        httpx.Client(timeout=tool.policy.timeout_seconds)
        tenacity.Retrying(**tool.policy.tenacity())
    """

    timeout_ms: int | None = None
    retry_attempts: int | None = None
    circuit_breaker_threshold: int | None = None

    @property
    def timeout_seconds(self) -> float | None:
        """When to give up a call; None for never."""
        return None if self.timeout_ms is None else self.timeout_ms / 1000

    @property
    def attempts(self) -> int:
        """How often to try in all: once, and again as often as the manifest says."""
        return 1 + (self.retry_attempts or 0)

    def tenacity(self) -> dict[str, Any]:
        """Arguments for ``tenacity.retry`` and ``tenacity.Retrying``."""
        import tenacity

        return {
            "stop": tenacity.stop_after_attempt(self.attempts),
            "wait": tenacity.wait_random_exponential(multiplier=0.1, max=10),
            "reraise": True,
        }


class ToolName(str):
    """The name of a tool that an agent uses, with the version and the digest that its lock says."""

    version: str
    digest: str
    alias: str | None

    def __new__(
        cls, name: str, version: str = "", digest: str = "", alias: str | None = None
    ) -> ToolName:
        made = super().__new__(cls, name)
        made.version = version
        made.digest = digest
        made.alias = alias
        return made

    def __reduce__(self) -> tuple[object, ...]:
        return (ToolName, (str(self), self.version, self.digest, self.alias))


@dataclass(frozen=True)
class Warning:
    """Something that a caller should know of, though the agent was given."""

    code: str
    subject: str
    detail: str
    replacement: str | None = None
    sunset: str | None = None


@dataclass(frozen=True)
class Explanation:
    """Where the value of one field comes from."""

    field: str
    value: Any
    source: str
    flag: str | None = None
    variant: str | None = None
    rule: str | None = None
    revision: int | None = None

    def __str__(self) -> str:
        if self.flag is None:
            return f"{self.field} = {self.value!r}, as published in {self.source}"
        rule = f", rule {self.rule}" if self.rule else ""
        return (
            f"{self.field} = {self.value!r}, set by flag {self.flag} = {self.variant}{rule} "
            f"at revision {self.revision}"
        )


class _Manifest:
    """Metadata of a manifest as attributes, which are the caller's to change."""

    name: str
    version: str
    digest: str
    owner: str | None
    manifest: dict[str, Any]

    def __init__(self, manifest: dict[str, Any], digest: str) -> None:
        self.manifest = manifest
        self.name = manifest["name"]
        self.version = manifest["version"]
        self.digest = digest
        self.owner = manifest.get("owner")
        metadata = manifest.get("metadata", {})
        self.__dict__.update((it, value) for it, value in metadata.items() if it not in _RESERVED)

    def __getattr__(self, field: str) -> Any:
        # Only what is not there gets here.
        manifest = self.__dict__.get("manifest", {})
        known = ", ".join(sorted(manifest.get("metadata", {})))
        raise AttributeError(
            f"{type(self).__name__} {self.__dict__.get('name')!r} has no `{field}`; its manifest has: {known}"
        )

    if TYPE_CHECKING:
        # Tells type checkers that attributes can be set, as they can be read.
        def __setattr__(self, field: str, value: Any) -> None: ...

    @property
    def metadata(self) -> Mapping[str, Any]:
        """The metadata as it was given, whatever was set since."""
        metadata: dict[str, Any] = self.manifest.get("metadata", {})
        return metadata


_RESERVED = frozenset({"name", "version", "digest", "manifest", "metadata", "tools", "policy", "explain"})


class Tool(_Manifest):
    """A tool: its schemas as attributes, and how to call it as ``policy``."""

    status: str | None

    def __init__(
        self, manifest: dict[str, Any], digest: str, policy: CallPolicy | None = None, status: str | None = None
    ) -> None:
        super().__init__(manifest, digest)
        metadata = manifest.get("metadata", {})
        self.status = status
        self.policy = policy or CallPolicy(
            metadata.get("timeout_ms"), metadata.get("retry_attempts"), metadata.get("circuit_breaker_threshold")
        )

    def __repr__(self) -> str:
        return f"<Tool {self.name}@{self.version}>"


class Agent(_Manifest):
    """An agent as it holds for one tenant now: a copy of the caller's own.

    What the manifest's metadata says are attributes (``temperature``, ``max_tokens``, ``system_prompt``, …); setting
    one changes this copy and nothing else. ``tools`` are the names of its tools with version and digest;
    ``tool(name)`` gives one whole.
    """

    tools: list[ToolName]
    environment: str | None
    tenant_id: str | None
    revision: int | None
    effective_digest: str | None
    warnings: list[Warning]

    def __init__(
        self,
        manifest: dict[str, Any],
        digest: str,
        *,
        resolved: Mapping[str, Any] | None = None,
        whole: bytes = b"{}",
        status: str | None = None,
    ) -> None:
        super().__init__(manifest, digest)
        found = resolved or {}
        self.status = status
        self.environment = found.get("environment")
        self.tenant_id = found.get("tenant")
        self.revision = found.get("revision")
        self.effective_digest = found.get("effective_digest")
        self.chosen_by = found.get("chosen_by")
        self.warnings = [
            Warning(it["code"], it["subject"], it["detail"], it.get("replacement"), it.get("sunset"))
            for it in found.get("warnings", ())
        ]
        self._origins: list[dict[str, Any]] = found.get("origins", [])
        if resolved is None:
            self.tools = [_required(it) for it in manifest.get("metadata", {}).get("tools", ())]
        else:
            self.tools = [ToolName(*it) for it in found["tools"]]
        # `tools` is the caller's to change.
        self._given = tuple(self.tools)
        self._whole = whole
        self._tools: list[Tool] | None = None

    def tool(self, name: str) -> Tool:
        """One of the tools that it was given, by its name or by what the agent calls it."""
        if self._tools is None:
            # Most callers want one of them, or none: their manifests are read when the first is wanted.
            rows = json.loads(self._whole).get("tools", ())
            self._tools = [Tool(it["manifest"], it["digest"], CallPolicy(**it["policy"])) for it in rows]
        for called, tool in zip(self._given, self._tools):
            if name in (called, called.alias):
                return tool
        known = ", ".join(self._given)
        raise KeyError(f"the agent {self.name} has no tool `{name}`; it has: {known}")

    def explain(self, field: str) -> Explanation:
        """Says where the value of a field comes from, such as ``temperature`` or ``model.name``."""
        pointer = "/metadata/" + field.replace("~", "~0").replace("/", "~1").replace(".", "/")
        subject = f"agent:{self.name}@{self.version}"
        for origin in self._origins:
            covers = pointer == origin["pointer"] or pointer.startswith(origin["pointer"] + "/")
            if origin["subject"] == subject and covers:
                return Explanation(
                    field,
                    _at(self.manifest, pointer),
                    subject,
                    origin["flag"],
                    origin["variant"],
                    origin.get("rule"),
                    origin["revision"],
                )
        return Explanation(field, _at(self.manifest, pointer), f"{self.name}@{self.version}")

    def __repr__(self) -> str:
        whom = f" for {self.tenant_id}" if self.tenant_id else ""
        where = f" in {self.environment} at revision {self.revision}" if self.revision else ""
        return f"<Agent {self.name}@{self.version}{whom}{where}>"


def _required(written: Any) -> ToolName:
    """A tool as an agent's manifest requires it."""
    if isinstance(written, dict):
        return ToolName(written["name"], written.get("version", "*"), alias=written.get("as"))
    name, _, version = str(written).partition("@")
    return ToolName(name, version or "*")


def _at(manifest: Any, pointer: str) -> Any:
    value = manifest
    for step in pointer.split("/")[1:]:
        step = step.replace("~1", "/").replace("~0", "~")
        if not isinstance(value, dict) or step not in value:
            raise KeyError(f"the manifest has nothing at {pointer}")
        value = value[step]
    return value


def agent_of(reply: tuple[dict[str, Any], bytes]) -> Agent:
    """Makes an agent of a resolve's answer: its own part, and the whole as JSON."""
    found, whole = reply
    return Agent(found["manifest"], found["manifest_digest"], resolved=found, whole=whole)


def manifests_of(rows: list[dict[str, Any]]) -> Iterator[Agent | Tool]:
    """Makes agents and tools of published manifests."""
    for row in rows:
        made = Agent if row["kind"] == "agent" else Tool
        yield made(row["manifest"], row["digest"], status=row["status"])
