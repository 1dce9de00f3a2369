"""Configuration."""

from control_plane.configs.settings import ConfigManager

__all__ = ["ConfigManager"]
