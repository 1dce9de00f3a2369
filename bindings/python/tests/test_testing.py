"""The control plane in memory that users test with."""

from __future__ import annotations

import asyncio

import control_plane
import pytest
from control_plane.configs.settings import ConfigManager
from control_plane.feature_flags.flag_manager import FeatureFlagManager
from control_plane.testing import InMemory

from conftest import TREE


def test_a_test_says_what_holds_and_managers_without_arguments_see_it() -> None:
    with InMemory().shared() as plane:
        flags, config = FeatureFlagManager(), ConfigManager()
        assert flags.is_enabled("beta_features") is False
        plane.flag("beta_features", True).config("database.url", "sqlite://")
        assert flags.is_enabled("beta_features") is True
        assert config.get("database.url") == "sqlite://"
        plane.forget_flag("beta_features")
        assert flags.is_enabled("beta_features", default=True) is True
        assert flags.is_enabled("beta_features") is False


def test_agents_and_tools_are_said_by_their_metadata() -> None:
    plane = InMemory().tool("search", timeout_ms=250).agent("helper", tools=["search"], temperature=0.2)
    agent = asyncio.run(plane.client().get_agent("helper"))
    assert (agent.temperature, agent.tools) == (0.2, ["search"])
    agent.tools.clear()
    assert agent.tool("search").policy.timeout_seconds == 0.25


def test_a_tree_is_what_a_test_changes_a_little_of() -> None:
    plane = InMemory(TREE)
    client = plane.client("production")
    assert client.is_enabled("enhanced_reasoning", tenant_id="tenant123")
    plane.agent("customer_support_agent", temperature=0.1).flag("enhanced_reasoning", False)
    assert not client.is_enabled("enhanced_reasoning", tenant_id="tenant123")
    assert asyncio.run(client.get_agent("customer_support_agent", tenant_id="tenant123")).temperature == 0.1


def test_what_a_platform_could_not_hold_is_refused() -> None:
    with pytest.raises(control_plane.ControlPlaneError) as raised:
        InMemory().agent("helper", tools=["no_such_tool"])
    assert "no_such_tool" in str(raised.value)
    with pytest.raises(control_plane.ControlPlaneError):
        InMemory().flag("not a name", True)
