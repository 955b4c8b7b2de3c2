"""One file's way over HTTP, into a local file that may have its beginning already."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import IO, Any

import requests
from urllib3.exceptions import HTTPError as StreamError

from pose.support.checksum import WEB_PAGE, is_web_page

TIMEOUT = (10, 60)  # seconds to connect, and between two pieces of the file
CHUNK = 1 << 16  # bytes; what a broken transfer loses at most
WINDOW, TRICKLE = 60.0, 60_000  # within so many seconds, at least so many bytes have to come
PATIENCE, PACE = 3600.0, 20_000  # a file may take so many seconds, and one more for so many bytes
DIGITS = r"[0-9]{1,18}"  # of a file's size; a longer number in a header is none
UNSTATED = 20 * 10**9  # bytes; the size that a file is granted time for if nobody states its own


class Broken(requests.RequestException):
    """The transfer ended too early; what came is kept."""


class Slow(Broken):
    """The transfer was ended, because hardly anything came."""


class Refused(requests.RequestException):
    """An answer that another attempt would not mend."""


@dataclass
class Transfer:
    """Fetches ``url`` into ``file``; all attempts share one allowance of time.

    ``origin`` keeps, as JSON, by what the server would know the file again when it is to be
    continued. ``size``: the published one in bytes. ``checked``: whether a checksum will tell if
    the file is right; only then is one continued that the server cannot know again.
    ``begin(done, total)``, called when bytes are about to come, returns ``advance(bytes)``.
    """

    url: str
    file: IO[bytes]
    origin: IO[bytes]
    size: int | None
    checked: bool
    begin: Callable[[int, int | None], Callable[[int], None]]
    started: float = field(default_factory=time.monotonic)

    def done(self) -> int:
        """The bytes that have come so far."""
        return self.file.seek(0, 2)

    def attempt(self) -> None:
        """Append what the file lacks, or write it anew if it is no beginning of the server's.

        Raises requests.RequestException for whatever happened on the way.
        """
        known = self._known()
        if is_web_page(self.file) or not (self.checked or _validator(known)):
            self.file.truncate(0)
        for done in dict.fromkeys([self.done(), 0]):
            with self._get(done, _validator(known)) as response:
                if done and response.status_code == requests.codes.requested_range_not_satisfiable:
                    if self._is_whole(response, done):
                        return
                elif not done or self._continues(response, done, known):
                    self._receive(response, done, known)
                    return

    def _get(self, done: int, validator: str | None) -> requests.Response:
        headers = {"Accept-Encoding": "identity"}  # ranges and lengths of the file itself
        if done:
            headers["Range"] = f"bytes={done}-"
        if done and validator:
            headers["If-Range"] = validator
        hooks = {"response": _refuse_downgrade}
        try:
            return requests.get(
                self.url, headers=headers, stream=True, timeout=TIMEOUT, hooks=hooks
            )
        except ValueError as error:  # an address, perhaps a redirection's, that is none
            raise Refused(str(error)) from None

    def _is_whole(self, response: requests.Response, done: int) -> bool:
        """Whether the server has no byte left because all of the file has come."""
        _, total = _content_range(response)
        if self.size and total and total != self.size:
            raise Refused(f"the server's file has {total} bytes, not the published {self.size}")
        expected = self.size or total
        return done == expected or (expected is None and self.checked)

    def _continues(self, response: requests.Response, done: int, known: dict[str, Any]) -> bool:
        """Whether the answer is all of the server's file, or the rest of the one begun."""
        if response.status_code != requests.codes.partial_content:
            return True
        start, total = _content_range(response)
        if start is None:  # the server ought to tell; the checksum finds out whether it was right
            return self.checked
        here = _identity(response, self.size or total)
        return start == done and all(
            here[key] == known[key] for key in here if here[key] and known.get(key)
        )

    def _receive(self, response: requests.Response, done: int, known: dict[str, Any]) -> None:
        response.raise_for_status()
        resumed = done > 0 and response.status_code == requests.codes.partial_content
        if not resumed and response.status_code != requests.codes.ok:
            raise requests.HTTPError(response=response)
        if response.headers.get("Content-Type", "").lower().startswith("text/html"):
            raise Refused(WEB_PAGE)
        if not self.checked and response.headers.get("Content-Encoding", "identity") != "identity":
            raise Refused("the server sends it in a compressed form that nobody asked for")
        total = (_content_range(response)[1] or known.get("total")) if resumed else None
        length = re.fullmatch(DIGITS, response.headers.get("Content-Length", ""))
        if total is None and length:
            total = (done if resumed else 0) + int(length[0])
        if not (total is not None or self.size or self.checked):
            raise Refused("the server does not tell the file's size, and no checksum is known")
        if self.size and (total or 0) > self.size:
            raise Refused(f"the server's file has {total} bytes, not the published {self.size}")
        advance = self.begin(done if resumed else 0, total)
        if not resumed:
            self.file.truncate(0)
            self._remember(_identity(response, self.size or total))
        self._write(response, self.size or total, advance)

    def _write(
        self, response: requests.Response, total: int | None, advance: Callable[[int], None]
    ) -> None:
        done, recent, window = self.done(), 0, time.monotonic()
        try:
            while piece := response.raw.read1(CHUNK):
                self.file.write(piece)
                advance(len(piece))
                done += len(piece)
                recent += len(piece)
                now = time.monotonic()
                if total is not None and done > total:
                    self.file.truncate(0)
                    raise Refused(f"more came than the {total} bytes of the file")
                if now - self.started > PATIENCE + (total or UNSTATED) / PACE:
                    raise Refused(f"not done in {(now - self.started) / 3600:.1f} hours")
                if now - window > WINDOW:
                    if recent < TRICKLE:
                        raise Slow(f"only {recent} bytes came in {now - window:.0f} seconds")
                    recent, window = 0, now
        except StreamError:
            if done != total:  # otherwise all has come, and the server did not say so
                raise Broken("the transfer broke off (a retry resumes it)") from None
        if is_web_page(self.file):
            self.file.truncate(0)
            raise Refused(WEB_PAGE)
        if total is not None and done < total:
            raise Broken("the transfer broke off (a retry resumes it)")

    def _known(self) -> dict[str, Any]:
        self.origin.seek(0)
        try:
            known = json.loads(self.origin.read())
        except ValueError:  # nothing yet, or half of it
            return {}
        return known if isinstance(known, dict) else {}

    def _remember(self, identity: dict[str, Any]) -> None:
        self.origin.truncate(0)
        self.origin.seek(0)
        self.origin.write(json.dumps(identity).encode())
        self.origin.flush()


def _refuse_downgrade(response: requests.Response, **options: object) -> None:
    """Follow no redirection from https to http, where anybody could answer."""
    target = response.headers.get("Location", "").strip()
    if response.url.startswith("https:") and target.lower().startswith("http:"):
        raise Refused(f"the server redirects to {target}, a connection that nothing protects")


def _identity(response: requests.Response, total: int | None) -> dict[str, Any]:
    """What tells a server's file from its other versions."""
    return {name: response.headers.get(name) for name in ("ETag", "Last-Modified")} | {
        "total": total
    }


def _validator(known: dict[str, Any]) -> str | None:
    """What ``If-Range`` takes: a strong ETag, or the time of the last change."""
    tag = known.get("ETag")
    return tag if tag and not tag.startswith("W/") else known.get("Last-Modified")


def _content_range(response: requests.Response) -> tuple[int | None, int | None]:
    """The first byte of an answer's part and the size of the whole, as far as it tells them."""
    text = response.headers.get("Content-Range", "")
    match = re.fullmatch(rf"bytes (?:({DIGITS})-\d+|\*)/(?:({DIGITS})|\*)", text.strip())
    start, total = match.groups() if match else (None, None)
    return start and int(start), total and int(total)
