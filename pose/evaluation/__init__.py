"""From heat maps to numbers: flip test, decoding, OKS-NMS, COCO's AP and MPII's PCKh."""
