"""EEffPose: EfficientNet, BiFPN and heads, each plain or mutually enhanced (MEMe)."""

from pose.models.eeffpose.net import PoseNet, eeffpose

__all__ = ["PoseNet", "eeffpose"]
