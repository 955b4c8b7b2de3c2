"""What a publisher states of a file on the web, and whether a file is the one."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import IO

WEB_PAGE = "a web page came instead of the file (is a login or a proxy in between?)"
TAG = re.compile(rb"<(?:!--|[!?]?[a-zA-Z][\w:-]*[\s/>])")
ALGORITHMS = {"git-blob-sha1": "sha1", "sha256-prefix": "sha256"}


@dataclass(frozen=True)
class Published:
    """A file on the web and what its publisher states of it.

    ``size`` in bytes, empty where nobody states it. ``checksum``: ``md5:HEX``, ``sha256:HEX``,
    ``git-blob-sha1:HEX`` (git's name of a content), ``sha256-prefix:HEX`` (the digits in the file
    names of many zoos), or empty where none is known.
    """

    url: str
    size: str
    checksum: str

    def mismatch(self, path: Path) -> str:
        """How the file at ``path`` differs from the published one; empty if it does not."""
        if not path.is_file():
            return "it is not a plain file"
        try:
            with path.open("rb") as file:
                return WEB_PAGE if is_web_page(file) else self._difference(file)
        except OSError as error:
            return str(error.strerror)

    def _difference(self, file: IO[bytes]) -> str:
        size = os.fstat(file.fileno()).st_size
        if not size:
            return "it is empty"
        if self.size and size != int(self.size):
            return f"expected {self.size} bytes, got {size}"
        if not self.checksum:
            return ""
        kind, _, expected = self.checksum.partition(":")
        got = digest(file, kind)[: len(expected)]
        return "" if got == expected else f"expected {kind} {expected}, got {got}"


def digest(file: IO[bytes], kind: str) -> str:
    """The checksum of a whole file in hexadecimal digits, of a kind that ``checksum`` has."""
    found = hashlib.new(ALGORITHMS.get(kind, kind))
    if kind == "git-blob-sha1":  # of a header and the content
        found.update(b"blob %d\0" % os.fstat(file.fileno()).st_size)
    file.seek(0)
    return hashlib.file_digest(file, lambda: found).hexdigest()


def is_web_page(file: IO[bytes]) -> bool:
    """Whether ``file`` begins as HTML or XML does."""
    file.seek(0)
    head = file.read(1024).removeprefix(b"\xef\xbb\xbf").lstrip()
    return TAG.match(head) is not None
