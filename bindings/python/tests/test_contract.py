"""What a service declares that it relies on."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

import control_plane
import pydantic
import pytest
from control_plane import AgentContract, Contract, errors
from control_plane.testing import InMemory

from conftest import TREE


class Limits(pydantic.BaseModel):
    requests_per_minute: int = pydantic.Field(le=100)


class Search(pydantic.BaseModel):
    url: str
    limits: Limits


@dataclasses.dataclass
class SearchAsDataclass:
    url: str


def plane() -> InMemory:
    return InMemory().config("search", {"url": "http://search", "limits": {"requests_per_minute": 60}})


@pytest.mark.parametrize(
    "schema",
    [
        Search,
        pydantic.TypeAdapter(SearchAsDataclass),
        {"type": "object", "required": ["url"], "properties": {"url": {"type": "string"}}},
    ],
    ids=["model", "adapter", "schema"],
)
def test_a_config_document_is_relied_on_by_a_model_or_a_schema(schema: Any) -> None:
    memory = plane()
    client = memory.client(contract=Contract(configs={"search": schema}))
    assert client.config("search.url") == "http://search"
    memory.config("search.url", 7)
    assert client.config("search.url") == "http://search", "the last good one"
    (rejected,) = client.status()[0]["rejected"]
    assert (rejected["subject"], rejected["pointer"]) == ("config:search", "/url")
    memory.config("search.url", "http://other")
    assert client.config("search.url") == "http://other"
    assert client.status()[0]["rejected"] == []


def test_a_model_within_a_model_is_looked_at() -> None:
    memory = plane()
    client = memory.client(contract=Contract(configs={"search": Search}))
    assert client.config("search.limits.requests_per_minute") == 60
    memory.config("search.limits.requests_per_minute", 101)
    assert client.config("search.limits.requests_per_minute") == 60


def test_what_is_broken_from_the_start_is_not_there_rather_than_wrong() -> None:
    client = plane().config("search.url", 7).client(contract=Contract(configs={"search": Search}))
    with pytest.raises(errors.ConfigNotFoundError):
        client.config("search.url")
    assert client.config("search.url", "mine") == "mine"


def test_a_flag_is_relied_on_by_its_type() -> None:
    memory = InMemory().flag("beta", True).flag("model", "small")
    client = memory.client(contract=Contract(flags={"beta": bool, "model": "string", "gone": int}))
    assert client.is_enabled("beta") and client.evaluate("model").value == "small"
    assert [it["subject"] for it in client.status()[0]["rejected"]] == ["flag:gone"]


def test_an_agent_is_relied_on_by_versions_and_metadata() -> None:
    memory = InMemory(TREE)
    name = "customer_support_agent"
    warm = {"properties": {"temperature": {"maximum": 0.9}}}
    contract = Contract(agents={name: AgentContract("^1.0", warm), "sales_assistant": None})
    client = memory.client("production", contract=contract)
    before = asyncio.run(client.get_agent(name))
    assert client.status()[0]["rejected"] == []
    # What is said in memory is a major version more.
    memory.agent(name, temperature=1.0)
    details = [it["detail"] for it in client.status()[0]["rejected"]]
    assert len(details) == 2 and "which is not ^1.0" in details[0]
    assert asyncio.run(client.get_agent(name)).version == before.version


@pytest.mark.parametrize(
    ("contract", "said"),
    [
        (Contract(configs={"search": 7}), "search"),  # type: ignore[dict-item]
        (Contract(configs={"search": {"type": "nonsense"}}), ""),
        (Contract(configs={"not a name": {}}), "not a name"),
        (Contract(flags={"beta": "colour"}), "colour"),  # type: ignore[dict-item]
        (Contract(flags={"beta": list}), "list"),  # type: ignore[dict-item]
        (Contract(agents={"helper": "not a range"}), "contract"),
        (Contract(configs={"search": {"const": float("nan")}}), "finite"),
    ],
)
def test_a_contract_that_is_none_is_refused_with_help(contract: Contract, said: str) -> None:
    with pytest.raises(control_plane.ControlPlaneError) as raised:
        InMemory().client(contract=contract)
    assert said in raised.value.message
    assert raised.value.code and raised.value.next
    with pytest.raises(control_plane.ControlPlaneError):
        control_plane.ControlPlaneClient(f"file:{TREE}", environment="production", contract=contract)
