"""Download published files into a cache; a file that is there already is verified and used."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import urlsplit

from pose.support.cache_folder import cache_folder
from pose.support.errors import PoseError
from pose.weights.published import published_file


def fetch(name: str, cache: Path | None = None, base_url: str | None = None) -> Path:
    """The local path of a published file, downloaded if it is not in the cache yet.

    ``cache``: the folder, by default ``$POSE_CACHE`` or ``~/.cache/pose/weights``. ``base_url``, by
    default ``$POSE_WEIGHTS_MIRROR``, replaces scheme and host of the file's address. An interrupted
    download goes on where it stopped. Raises PoseError for an unknown name, a failed download, a
    file that must be fetched by hand and is not there, and one whose size or checksum is not the
    published one; a downloaded one is then removed.
    """
    published = published_file(name)
    path = cached_path(name, cache)
    if not path.exists() and published.by_hand:
        raise PoseError(
            f"{name} has to be fetched by hand: open {published.url} in a browser, download "
            f"{published.by_hand} and place it at {path}"
        )
    if not path.exists():
        from pose.support.download import Transfers, download  # whose packages only this needs

        mirror = base_url or os.environ.get("POSE_WEIGHTS_MIRROR")
        url = published.url
        if mirror:
            url = mirror.rstrip("/") + urlsplit(url).path
        elsewhere = "set POSE_CACHE to another folder"
        with Transfers() as transfers:
            download(published, url, path, name, elsewhere, transfers)
    elif problem := published.mismatch(path):
        raise PoseError(
            f"{path} is not the published {name}: {problem}; delete it to fetch it anew"
        )
    return path


def cached_path(name: str, cache: Path | None = None) -> Path:
    """Where the published file of that name lies, or is to be placed by hand."""
    folder = cache or os.environ.get("POSE_CACHE") or cache_folder("weights")
    return Path(folder) / f"{name}.pth"
