"""What a web server may do wrong, and that no wrong or half a file is ever taken for the right."""

import hashlib
import os
import resource
import time
from dataclasses import dataclass, field
from itertools import count, repeat
from pathlib import Path

import pytest
import requests
from web_server import Quiet, serving

from pose.support import download as module
from pose.support import transfer
from pose.support.checksum import Published
from pose.support.download import Transfers, download
from pose.support.errors import PoseError

CONTENT = hashlib.sha256(b"noise").digest() * 5000  # 160 kB
OTHER = CONTENT[::-1]
MD5 = "md5:" + hashlib.md5(CONTENT).hexdigest()
SIZE = str(len(CONTENT))
HALF = len(CONTENT) // 2
Answer = tuple[int, dict[str, object], object]


def whole(content: bytes = CONTENT, **headers: object) -> Answer:
    return 200, {"Content-Length": len(content)} | headers, content


def part(start: int, content: bytes = CONTENT, **headers: object) -> Answer:
    told = f"bytes {start}-{len(content) - 1}/{len(content)}"
    length = len(content) - start
    return 206, {"Content-Range": told, "Content-Length": length} | headers, content[start:]


def cut(answer: Answer, length: int = HALF) -> Answer:
    """The answer of a server whose line breaks after so many bytes of the body."""
    status, headers, body = answer
    return status, headers, body[:length]


@dataclass
class Server:
    """Answers each request with the next of ``answers``, and ever after with the last."""

    url: str = ""
    answers: list[Answer] = field(default_factory=list)
    requests: list[dict[str, str]] = field(default_factory=list)


@pytest.fixture
def server(monkeypatch):
    server = Server()

    class Handler(Quiet):
        def do_GET(self):
            status, headers, body = server.answers[0]
            del server.answers[: len(server.answers) - 1 and 1]
            server.requests.append(dict(self.headers))
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), str(value))
            self.end_headers()
            try:
                for piece in [body] if isinstance(body, bytes) else body:
                    self.wfile.write(piece)
            except ConnectionError:  # the client has had enough
                pass

    monkeypatch.setattr(module, "PAUSE", 0.001)
    with serving(Handler) as address:
        server.url = f"{address}/file"
        yield server


@pytest.fixture
def fetch(server, tmp_path):
    """Fetch the server's file, of which size and checksum may be known; its path."""
    path = tmp_path / "file"

    def fetch(size: str = "", checksum: str = "", persist: bool = False) -> Path:
        known = Published(server.url, size, checksum)
        download(known, server.url, path, "file", "choose another folder", Transfers(), persist)
        return path

    fetch.path, fetch.partial = path, tmp_path / "file.part"
    return fetch


def nothing_is_left(fetch) -> bool:
    return [p.name for p in fetch.path.parent.iterdir()] == ["file.lock"]


TAG = {"ETag": '"one"'}
SINCE = {"Last-Modified": "Wed, 21 Oct 2015 07:28:00 GMT"}


@pytest.mark.parametrize("version", [TAG, SINCE, {"ETag": 'W/"weak"'} | SINCE])
def test_a_resumed_transfer_asks_for_the_rest_of_the_same_version(fetch, server, version):
    server.answers = [cut(whole(**version)), part(HALF, **version)]
    with pytest.raises(PoseError, match=r"broke off \(a retry resumes it\)"):
        fetch()
    assert fetch.partial.stat().st_size == HALF and not fetch.path.exists()
    assert fetch().read_bytes() == CONTENT
    assert sorted(p.name for p in fetch.path.parent.iterdir()) == ["file", "file.lock"]
    resumed = server.requests[1]
    assert resumed["Range"] == f"bytes={HALF}-"
    assert resumed["If-Range"] == [*version.values()][-1]


@pytest.mark.parametrize("checksum", ["", MD5])
@pytest.mark.parametrize(
    "then",
    [
        [whole(ETag='"two"')],  # as If-Range asks for
        [part(HALF, ETag='"two"'), whole(ETag='"two"')],  # by a server that does not know If-Range
        [part(HALF, CONTENT + b"longer now", **TAG), whole()],
        [part(HALF - 1, **TAG), whole()],
        [part(HALF + 1, **TAG), whole()],
        [(416, {"Content-Range": "bytes */99"}, b""), whole()],
    ],
)
def test_what_does_not_continue_the_file_that_was_begun_begins_it_anew(
    fetch, server, checksum, then
):
    server.answers = [cut(whole(OTHER, **TAG)), *then]
    with pytest.raises(PoseError, match="broke off"):
        fetch(checksum=checksum)
    assert fetch(checksum=checksum).read_bytes() == CONTENT


def test_a_server_that_does_not_tell_the_range_is_believed_only_where_a_checksum_decides(
    fetch, server
):
    rest = (206, {"Content-Length": HALF}, CONTENT[HALF:])
    for checksum, asked in (("", 3), (MD5, 2)):
        server.answers = [cut(whole(**TAG)), rest, whole()]
        with pytest.raises(PoseError, match="broke off"):
            fetch(checksum=checksum)
        assert fetch(checksum=checksum).read_bytes() == CONTENT
        assert len(server.requests) == asked
        server.requests.clear()
        fetch.path.unlink()


def test_without_checksum_and_version_nothing_is_resumed(fetch, server):
    server.answers = [cut(whole(OTHER)), whole()]
    with pytest.raises(PoseError, match="broke off"):
        fetch()
    assert fetch().read_bytes() == CONTENT
    assert "Range" not in server.requests[1]


@pytest.mark.parametrize("told", [SIZE, "*"])
def test_a_part_that_ends_before_the_file_does_is_no_end(fetch, server, told):
    some = {"Content-Range": f"bytes {HALF}-{HALF + 9}/{told}", "Content-Length": 10} | TAG
    server.answers = [cut(whole(**TAG)), (206, some, CONTENT[HALF : HALF + 10])]
    server.answers.append(part(HALF + 10, **TAG))
    assert fetch(persist=True).read_bytes() == CONTENT
    assert [request.get("Range") for request in server.requests] == [
        *(None, f"bytes={HALF}-", f"bytes={HALF + 10}-")
    ]


def test_a_body_that_nobody_asked_to_compress_is_kept_only_if_a_checksum_knows_it(fetch, server):
    server.answers = [whole(Content_Encoding="gzip")]
    with pytest.raises(PoseError, match="in a compressed form that nobody asked for"):
        fetch(SIZE)
    assert fetch(checksum=MD5).read_bytes() == CONTENT  # a tar.gz, say, that is called encoded


def test_where_no_byte_is_left_the_size_tells_whether_all_came(fetch, server):
    fetch.partial.write_bytes(CONTENT)
    server.answers = [(416, {"Content-Range": f"bytes */{SIZE}"}, b"")]
    assert fetch(SIZE, MD5).read_bytes() == CONTENT
    fetch.path.rename(fetch.partial)
    server.answers = [(416, {"Content-Range": "bytes */160000"}, b"")]
    with pytest.raises(PoseError, match=r"server's file has 160000 bytes, not the published 17"):
        fetch("17", MD5)


@pytest.mark.parametrize("persist", [False, True])
def test_a_body_shorter_than_the_published_size_is_resumed(fetch, server, persist):
    server.answers = [whole(CONTENT[:HALF], **TAG), part(HALF, **TAG)]
    if not persist:
        with pytest.raises(PoseError, match="broke off"):
            fetch(SIZE)
    assert fetch(SIZE, persist=persist).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (whole(CONTENT + b"!"), "the server's file has 160001 bytes, not the published 160000"),
        ((200, {}, repeat(CONTENT)), "more came than the 160000 bytes of the file"),
    ],
)
def test_a_body_larger_than_the_published_size_stops(fetch, server, answer, message):
    server.answers = [answer]
    with pytest.raises(PoseError, match=message):
        fetch(SIZE, persist=True)
    assert len(server.requests) == 1 and nothing_is_left(fetch)


def test_a_body_of_unknown_length_is_taken_if_a_checksum_or_a_size_is_known(fetch, server):
    server.answers = [(200, {}, CONTENT)]
    with pytest.raises(PoseError, match="does not tell the file's size, and no checksum is known"):
        fetch()
    assert nothing_is_left(fetch)
    for known in ((SIZE, ""), ("", MD5)):
        assert fetch(*known).read_bytes() == CONTENT
        fetch.path.unlink()


def test_a_number_that_no_file_has_as_its_size_is_none(fetch, server):
    server.answers = [whole(Content_Length="9" * 5000)]
    with pytest.raises(PoseError, match="the server does not tell the file's size"):
        fetch()
    for status, told in (
        (206, f"bytes {HALF}-{SIZE}/{'9' * 5000}"),
        (416, f"bytes */{'9' * 5000}"),
    ):
        answer = status, {"Content-Range": told, "Content-Length": 0}, b""
        server.answers = [cut(whole(**TAG)), answer, whole()]
        with pytest.raises(PoseError, match="broke off"):
            fetch()
        assert fetch().read_bytes() == CONTENT
        fetch.path.unlink()


def test_a_link_to_a_disk_that_is_away_is_not_replaced(fetch, server):
    fetch.path.symlink_to("disk/file")
    with pytest.raises(PoseError, match="is a link to a file that is not there; mend or remove it"):
        fetch(checksum=MD5)
    assert fetch.path.is_symlink() and not server.requests


def test_an_empty_body_is_no_file(fetch, server):
    server.answers = [whole(b"")]
    with pytest.raises(PoseError, match="is not the published file: it is empty"):
        fetch()
    assert nothing_is_left(fetch)


def chunks(*pieces: bytes) -> Answer:
    body = [b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces]
    return 200, {"Transfer-Encoding": "chunked"}, body


def test_a_chunked_body_is_whole_when_its_last_chunk_has_come(fetch, server):
    server.answers = [chunks(CONTENT[:7], CONTENT[7:], b"")]
    assert fetch(checksum=MD5).read_bytes() == CONTENT
    fetch.path.unlink()
    server.answers = [chunks(CONTENT[:HALF])]
    with pytest.raises(PoseError, match="broke off"):
        fetch(checksum=MD5)


LOGIN = b"\xef\xbb\xbf\n<!DOCTYPE html><title>Please log in</title>"


@pytest.mark.parametrize("known", [("", ""), (SIZE, ""), ("", MD5)])
@pytest.mark.parametrize(
    "page", [whole(b"log in", Content_Type="text/html; charset=utf-8"), whole(LOGIN)]
)
def test_a_web_page_is_named_as_that_and_never_taken_for_the_file(fetch, server, page, known):
    server.answers = [page]
    with pytest.raises(PoseError, match=r"a web page came instead of the file .* a login or"):
        fetch(*known)
    assert nothing_is_left(fetch)
    server.answers = [cut(whole(**TAG)), page]
    with pytest.raises(PoseError, match="broke off"):
        fetch(*known)
    with pytest.raises(PoseError, match="a web page came"):
        fetch(*known)
    fetch.partial.write_bytes(LOGIN)  # of an earlier release
    server.answers = [whole()]
    assert fetch(*known).read_bytes() == CONTENT


def test_a_web_page_that_was_saved_by_hand_is_not_the_published_file(tmp_path):
    for page in (LOGIN, b"<head>\n<title>Log in", b"<!-- -->", b'<?xml version="1.0"?><Error>'):
        (tmp_path / "file").write_bytes(page)
        assert "a web page" in Published("", "", "").mismatch(tmp_path / "file")
    (tmp_path / "file").write_bytes(b"<a" + bytes(6) + b"{}")  # the length of safetensors' header
    assert Published("", "", "").mismatch(tmp_path / "file") == ""
    assert Published("", "", "").mismatch(tmp_path) == "it is not a plain file"


def slowly(pause: float) -> Answer:
    return 200, {}, (time.sleep(pause) or b"!" for _ in count())


def test_a_trickle_is_ended_by_its_rate_or_by_the_time_it_takes_in_all(fetch, server, monkeypatch):
    server.answers = [slowly(0.005)]
    monkeypatch.setattr(transfer, "WINDOW", 0.02)
    with pytest.raises(PoseError, match=r"only \d+ bytes came in \d+ seconds; retry, or place"):
        fetch(checksum=MD5)
    monkeypatch.setattr(transfer, "TRICKLE", 0)
    monkeypatch.setattr(transfer, "PATIENCE", 0.03)
    monkeypatch.setattr(transfer, "UNSTATED", 0)
    server.answers = [slowly(0.005)]
    with pytest.raises(PoseError, match=r"not done in 0\.0 hours; retry, or place"):
        fetch(checksum=MD5)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("file:///etc/passwd", "No connection adapters were found"),
        ("ftp://127.0.0.1/file", "No connection adapters were found"),
        ("/file", "Exceeded 30 redirects"),
        ("http://[", "cannot fetch file"),
    ],
)
def test_redirections_lead_to_the_web_and_end_somewhere(fetch, server, target, message):
    server.answers = [(302, {"Location": target, "Content-Length": 0}, b"")]
    with pytest.raises(PoseError, match=message):
        fetch(checksum=MD5)
    assert nothing_is_left(fetch)


def test_no_redirection_leaves_the_encrypted_connection(tmp_path, monkeypatch):
    asked = []

    def send(adapter, request, **options):
        asked.append(request.url)
        response = requests.Response()
        response.request, response.url, response.status_code = request, request.url, 302
        response.headers["Location"] = "http://example.org/file"
        return response

    monkeypatch.setattr("requests.adapters.HTTPAdapter.send", send)
    url = "https://example.org/file"
    with pytest.raises(PoseError, match=r"redirects to http://example\.org/file, a connection"):
        download(Published(url, "", MD5), url, tmp_path / "file", "file", "", Transfers())
    assert asked == [url]


@pytest.mark.parametrize("name", ["file.part", "file.part.json", "file.lock"])
def test_a_link_in_place_of_a_file_of_ours_is_not_followed(fetch, server, tmp_path, name):
    server.answers = [whole(**TAG)]
    target = tmp_path / "precious"
    target.write_bytes(b"precious")
    (tmp_path / name).symlink_to(target)
    with pytest.raises(PoseError, match=f"{name} is a link, which is not followed; remove it"):
        fetch(checksum=MD5)
    (tmp_path / name).unlink()
    if name != "file.lock":
        (tmp_path / name).hardlink_to(target)
        with pytest.raises(PoseError, match=f"{name} is not a plain file of yours; remove it"):
            fetch(checksum=MD5)
    assert target.read_bytes() == b"precious" and not fetch.path.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files that are another user's")
def test_a_part_that_another_user_placed_is_not_continued(fetch, server):
    server.answers = [whole(**TAG)]
    fetch.partial.write_bytes(CONTENT[:HALF])
    os.chown(fetch.partial, 12345, -1)
    with pytest.raises(PoseError, match=r"file\.part is not a plain file of yours; remove it"):
        fetch(checksum=MD5)
    assert fetch.partial.stat().st_size == HALF and not server.requests


def test_a_full_disk_is_one_line_and_the_transfer_goes_on_when_there_is_room(fetch, server):
    server.answers = [whole(**TAG)]
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (HALF, limits[1]))
    try:
        with pytest.raises(PoseError, match=r"cannot write .*file\.part: .*; free some space or"):
            fetch(SIZE, MD5)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    kept = fetch.partial.stat().st_size
    assert 0 < kept <= HALF
    server.answers = [part(kept, **TAG)]
    assert fetch(SIZE, MD5).read_bytes() == CONTENT
