from __future__ import annotations

import errno
import hashlib
import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from idsnn_convert.runtime.data import download
from idsnn_convert.runtime.data.download import TRIES, Remote, fetch
from idsnn_convert.runtime.errors import UserError

CONTENT = bytes(range(256)) * 40


class Server(ThreadingHTTPServer):
    """Serves ``content``; ``breaks`` are the bytes after which each connection in turn is cut, ``asked`` the ranges it got."""

    content = CONTENT
    status = 200
    ranges = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.breaks: list[int] = []
        self.asked: list[str | None] = []

    @property
    def remote(self) -> Remote:
        """The file as its publisher describes it."""
        md5 = hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()
        return Remote(f"http://127.0.0.1:{self.server_port}/files/data.bin", len(CONTENT), md5)


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server, wanted = self.server, self.headers.get("Range")
        server.asked.append(wanted)
        if server.status != 200:
            self.send_error(server.status)
            return
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and server.ranges else 0
        body = server.content[start:]
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(server.content) - 1}/{len(server.content)}")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: server.breaks.pop(0)] if server.breaks else body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as made:
        thread = threading.Thread(target=made.serve_forever, args=(0.01,))
        thread.start()
        yield made
        made.shutdown()
        thread.join()


def test_a_file_arrives_whole_and_leaves_nothing_beside_it(server: Server, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    fetch(server.remote, tmp_path / "data.bin", lambda done, of: seen.append((done, of)))
    assert (tmp_path / "data.bin").read_bytes() == CONTENT
    assert [path.name for path in tmp_path.iterdir()] == ["data.bin"]
    assert seen[-1] == (len(CONTENT), len(CONTENT))


def test_a_broken_connection_is_taken_up_where_it_broke(server: Server, tmp_path: Path) -> None:
    server.breaks = [1000, 500]
    fetch(server.remote, tmp_path / "data.bin")
    assert (tmp_path / "data.bin").read_bytes() == CONTENT
    assert server.asked == [None, "bytes=1000-", "bytes=1500-"]


def test_what_arrived_before_too_many_breaks_is_kept_for_the_next_run(server: Server, tmp_path: Path) -> None:
    server.breaks = [100] * TRIES
    with pytest.raises(UserError, match=r"cannot fetch .*data\.bin: .*500 of 10,240 bytes arrived.*\n.*goes on from there"):
        fetch(server.remote, tmp_path / "data.bin")
    assert not (tmp_path / "data.bin").exists()
    fetch(server.remote, tmp_path / "data.bin")
    assert (tmp_path / "data.bin").read_bytes() == CONTENT
    assert server.asked[-1] == "bytes=500-"


def test_a_server_that_knows_no_ranges_is_asked_for_all_again(server: Server, tmp_path: Path) -> None:
    server.breaks, server.ranges = [1000], False
    fetch(server.remote, tmp_path / "data.bin")
    assert (tmp_path / "data.bin").read_bytes() == CONTENT


def test_another_file_is_refused_and_not_kept(server: Server, tmp_path: Path) -> None:
    cases: list[tuple[Remote, bytes, str]] = [
        (server.remote, CONTENT[::-1], r"MD5 [0-9a-f]{32}, not "),
        (server.remote, CONTENT[:-1], "10,239 bytes, not 10,240"),
        (server.remote, CONTENT + b"more", "10,244 bytes, not 10,240"),
    ]
    for remote, content, told in cases:
        server.content = content
        with pytest.raises(UserError, match=f"sends is not the published file: {told}"):
            fetch(remote, tmp_path / "data.bin")
        assert list(tmp_path.iterdir()) == []


def test_a_file_that_changed_between_two_connections_is_refused(server: Server, tmp_path: Path) -> None:
    server.breaks = [1000] * TRIES
    with pytest.raises(UserError):
        fetch(server.remote, tmp_path / "data.bin")
    server.content = CONTENT[::-1]
    with pytest.raises(UserError, match="MD5"):
        fetch(server.remote, tmp_path / "data.bin")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("status", "connections"), [(404, 1), (503, TRIES)])
def test_what_the_server_says_is_told(server: Server, tmp_path: Path, status: int, connections: int) -> None:
    server.status = status
    with pytest.raises(UserError, match=f"cannot fetch http.*: .*{status}"):
        fetch(server.remote, tmp_path / "data.bin")
    assert len(server.asked) == connections


def test_nobody_there(server: Server, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot fetch .*refused .*\nIs there a connection"):
        fetch(replace(server.remote, url="http://127.0.0.1:1/data.bin"), tmp_path / "data.bin")


def test_a_full_disk_is_told_before_and_during(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(shutil, "disk_usage", lambda path: usage._replace(free=10_000))
        with pytest.raises(UserError, match=r"not enough space in .*: 10,000 bytes are free, 10,240 are needed"):
            fetch(server.remote, tmp_path / "data.bin")
    assert server.asked == []

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(download, "_receive", full)
    with pytest.raises(UserError, match="not enough space in"):
        fetch(server.remote, tmp_path / "data.bin")


def test_a_folder_that_cannot_be_written_is_told(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot write"):
        fetch(server.remote, tmp_path / "file" / "data.bin")
