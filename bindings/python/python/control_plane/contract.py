"""What a service relies on, so that a change that breaks it is not served to it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, Union

from control_plane.errors import ArgumentError

__all__ = ["AgentContract", "Contract"]


class _Model(Protocol):
    """A class of pydantic's, or anything that says its schema as they do."""

    def model_json_schema(self) -> dict[str, Any]: ...


class _Adapter(Protocol):
    """A ``TypeAdapter`` of pydantic's, such as for a dataclass or a ``TypedDict``."""

    def json_schema(self) -> dict[str, Any]: ...


Schema = Union[Mapping[str, Any], _Model, _Adapter]
FlagType = Union[
    type[bool], type[str], type[int], type[float], type[dict[str, Any]],
    Literal["boolean", "string", "integer", "float", "object"],
]  # fmt: skip

_FLAG_TYPES: dict[type, str] = {bool: "boolean", str: "string", int: "integer", float: "float", dict: "object"}


@dataclass(frozen=True)
class AgentContract:
    """What of an agent a service relies on: the versions that it can use, and what their metadata look like."""

    version: str | None = None
    metadata: Schema | None = None


@dataclass(frozen=True)
class Contract:
    """What a service relies on::

        class AiSettings(pydantic.BaseModel):
            temperature: float
            fallback_models: list[str] = []

        client = ControlPlaneClient(contract=Contract(
            configs={"ai": AiSettings},                        # a model of pydantic's, or a JSON Schema as a dict
            flags={"new_ai_model": bool},
            agents={"customer_support_agent": "^1.0"},         # or an AgentContract, or None for any version
        ))

    A revision that breaks it, for whichever tenant, is not served for the documents that break it: their last good
    content is, and the rest of the revision. ``client.status()`` says so as ``rejected``, the log ``control_plane``
    with the level of an error, and ``control-plane rev N status`` for all instances of all services.
    """

    configs: Mapping[str, Schema] = field(default_factory=dict)
    flags: Mapping[str, FlagType] = field(default_factory=dict)
    agents: Mapping[str, AgentContract | str | None] = field(default_factory=dict)

    def to_json(self) -> str:
        """The contract as servers are told it."""
        whole = {
            "configs": {name: _schema(f"configs: {name}", it) for name, it in self.configs.items()},
            "flags": {key: _flag_type(it) for key, it in self.flags.items()},
            "agents": {name: _agent(name, it) for name, it in self.agents.items()},
        }
        try:
            return json.dumps(whole)
        except (TypeError, ValueError) as error:
            raise ArgumentError(
                "FIELD_INVALID", f"the contract is not JSON: {error}", "give schemas as dicts of JSON, types of flags by name"
            ) from None


def _flag_type(given: FlagType) -> str:
    # What is no type of flags is named, and refused with those that are.
    return _FLAG_TYPES.get(given, given.__name__) if isinstance(given, type) else given


def _agent(name: str, given: AgentContract | str | None) -> dict[str, Any]:
    wanted = given if isinstance(given, AgentContract) else AgentContract(given)
    made: dict[str, Any] = {}
    if wanted.version is not None:
        made["version"] = wanted.version
    if wanted.metadata is not None:
        made["metadata"] = _schema(f"agents: {name}", wanted.metadata)
    return made


def _schema(where: str, given: Schema) -> Mapping[str, Any]:
    if isinstance(given, Mapping):
        return given
    for method in ("model_json_schema", "json_schema"):
        make = getattr(given, method, None)
        if callable(make):
            made: dict[str, Any] = make()
            return made
    raise ArgumentError(
        "FIELD_INVALID",
        f"the contract's {where} is neither a JSON Schema nor something that has one: {type(given).__name__}",
        "give a dict, a model of pydantic's, or a `pydantic.TypeAdapter`",
    )
