"""Where files lie that are made or fetched once and used by every run."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from pose.support.files import own_folder
from pose.support.packages import package


def cache_folder(kind: str) -> Path:
    """The folder of one ``kind`` of files, such as "annotations"; it need not exist yet.

    It lies below ``$POSE_CACHE`` or the user's cache folder, ``$XDG_CACHE_HOME/pose`` or
    ``~/.cache/pose``; a user without a home folder has one below the system's temporary folder.
    """
    if chosen := os.environ.get("POSE_CACHE"):
        return Path(chosen) / kind
    try:
        home = package("platformdirs").user_cache_path("pose", appauthor=False)
    except RuntimeError:  # neither HOME nor an account names one
        home = Path(tempfile.gettempdir(), f"pose-{os.getuid()}")
        own_folder(home, "set POSE_CACHE to a folder of yours")
    return home / kind
