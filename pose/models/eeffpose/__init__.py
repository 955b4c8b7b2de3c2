"""EEffPose: EfficientNet, a neck and a head, each plain or mutually enhanced (MEMe)."""

from pose.models.eeffpose.net import FAMILY, PoseNet, eeffpose

__all__ = ["FAMILY", "PoseNet", "eeffpose"]
