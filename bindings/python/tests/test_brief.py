"""Every snippet of the brief, as it stands."""

from __future__ import annotations

import asyncio
from typing import Any

import control_plane
import pytest


def test_configuration_reads_as_the_overview_shows(platform: str) -> None:
    from control_plane.configs.settings import ConfigManager

    config = ConfigManager()
    db_url = config.get("database.url", environment="production")

    assert isinstance(db_url, str) and "://" in db_url


def test_a_flag_is_asked_for_a_tenant(platform: str) -> None:
    from control_plane.feature_flags.flag_manager import FeatureFlagManager

    flags = FeatureFlagManager()
    if flags.is_enabled("new_ai_model", tenant_id="tenant123"):
        # Use new AI model
        pass

    assert flags.is_enabled("enhanced_reasoning", tenant_id="tenant123") is True
    assert flags.is_enabled("enhanced_reasoning", tenant_id="tenant456") is False


def test_a_service_loads_its_agent(platform: str) -> None:
    from control_plane import ControlPlaneClient

    class OrchestorService:
        def __init__(self) -> None:
            self.control_plane = ControlPlaneClient()

        async def load_agent(self, agent_name: str) -> Any:
            # Load agent from registry
            agent_manifest = await self.control_plane.get_agent(agent_name)

            # Check feature flags
            if self.control_plane.is_enabled("enhanced_reasoning"):
                agent_manifest.temperature = 0.3

            return self.create_agent(agent_manifest)

        def create_agent(self, manifest: Any) -> Any:
            return manifest

    agent = asyncio.run(OrchestorService().load_agent("customer_support_agent"))
    assert agent.name == "customer_support_agent"
    assert agent.max_tokens == 4000
    assert agent.temperature == 0.7
    with control_plane.context(tenant_id="tenant123"):
        agent = asyncio.run(OrchestorService().load_agent("customer_support_agent"))
    assert agent.temperature == 0.3


def test_configuration_management(platform: str) -> None:
    from control_plane.configs.settings import ConfigManager

    def update_model() -> None: ...

    # Environment-specific configuration
    config = ConfigManager()
    config.load_environment("production")
    database_url = config.get("database.url")

    # Watch for configuration changes
    config.watch("ai.model_settings", callback=update_model)

    assert database_url == config.get("database.url", environment="production")


def test_feature_flag_usage(platform: str) -> None:
    from control_plane.feature_flags.flag_manager import FeatureFlagManager

    flags = FeatureFlagManager()
    query, user_id, shown = "q", "user-1", []

    def new_search(query: str) -> str:
        return f"new {query}"

    def legacy_search(query: str) -> str:
        return f"legacy {query}"

    def show_beta_ui() -> None:
        shown.append(user_id)

    # Simple feature toggle
    if flags.is_enabled("new_search_algorithm"):
        result = new_search(query)
    else:
        result = legacy_search(query)

    # Percentage rollout
    if flags.is_enabled("beta_features", user_id, rollout_percentage=25):
        show_beta_ui()

    assert result in ("new q", "legacy q")


def test_registry_operations(platform: str) -> None:
    from control_plane.registries.registry_manager import RegistryManager

    registry = RegistryManager()

    # Load agent with version validation
    agent = registry.get_agent("customer_support_agent", version="1.0.0")

    # Validate tool compatibility
    if registry.validate_tool_compatibility("crm_tool", agent.tools):
        tool = registry.get_tool("crm_tool")

    assert agent.version == "1.0.0"
    assert tool.name == "crm_tool"
    assert tool.policy.timeout_seconds == 5.0
    assert tool.inputs_schema["type"] == "object"
    refused = registry.validate_tool_compatibility("no_such_tool", agent.tools)
    assert not refused and "no_such_tool" in refused.reasons[0]


def test_an_agent_says_where_its_fields_come_from(platform: str) -> None:
    client = control_plane.ControlPlaneClient()
    agent = asyncio.run(client.get_agent("customer_support_agent", tenant_id="tenant123"))
    explained = agent.explain("temperature")
    assert (explained.value, explained.flag, explained.variant) == (0.3, "enhanced_reasoning", "on")
    assert "enhanced_reasoning" in str(explained)
    assert agent.explain("max_tokens").flag is None
    assert agent.tools and all(tool.version and tool.digest.startswith("sha256:") for tool in agent.tools)
    assert agent.tool("crm_tool").policy.attempts == 4
    with pytest.raises(AttributeError, match="its manifest has: .*temperature"):
        agent.temprature  # noqa: B018


def test_what_a_caller_changes_is_the_callers_own(platform: str) -> None:
    client = control_plane.ControlPlaneClient()

    async def change(temperature: float) -> float:
        agent = await client.get_agent("customer_support_agent")
        agent.temperature = temperature
        agent.tools.clear()
        await asyncio.sleep(0)
        return float(agent.temperature)

    async def both() -> list[float]:
        return await asyncio.gather(change(0.1), change(0.2))

    assert asyncio.run(both()) == [0.1, 0.2]
    fresh = asyncio.run(client.get_agent("customer_support_agent"))
    assert fresh.temperature == 0.7 and fresh.tools
