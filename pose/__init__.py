"""EEffPose / MEMe: models, training and evaluation of top-down human pose estimation."""
