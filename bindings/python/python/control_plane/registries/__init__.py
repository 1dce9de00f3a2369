"""Agents and tools, as they were published."""

from control_plane.registries.registry_manager import RegistryManager

__all__ = ["RegistryManager"]
