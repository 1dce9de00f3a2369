"""Feature flags."""

from control_plane.feature_flags.flag_manager import FeatureFlagManager

__all__ = ["FeatureFlagManager"]
