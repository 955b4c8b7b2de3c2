"""Rendered people with exact annotations, in COCO's layout and joints."""

from __future__ import annotations

from dataclasses import replace

from pose.datasets import coco

DATASET = replace(coco.DATASET, name="synthetic", title="", sizes={}, is_rendered=True)
