"""A file server on 127.0.0.1 whose files and faults the tests decide."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Archive:
    """Server on 127.0.0.1 whose files, faults and request log the tests hold in their hands."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.types: dict[str, str] = {}
        self.etags: dict[str, str] = {}
        #: Per path, one entry for each coming request: a status code, or the bytes after which to hang up.
        self.faults: dict[str, list[tuple[str, int]]] = {}
        self.requests: list[tuple[str, str | None]] = []
        archive = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                archive.answer(self)

            def log_message(self, *_: Any) -> None:
                """Keep quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        path = handler.path.split("?")[0]
        self.requests.append((path, handler.headers["Range"]))
        kind, amount = self.faults[path].pop(0) if self.faults.get(path) else ("", 0)
        if kind == "status" or path not in self.files:
            handler.send_error(amount or 404)
            return
        body, etag = self.files[path], self.etags.get(path, '"1"')
        start = 0
        if handler.headers["Range"] and handler.headers["If-Range"] == etag:
            start = int(handler.headers["Range"].removeprefix("bytes=").rstrip("-"))
            handler.send_response(206)
            handler.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        else:
            handler.send_response(200)
        handler.send_header("ETag", etag)
        handler.send_header("Content-Type", self.types.get(path, "application/octet-stream"))
        handler.send_header("Content-Length", str(len(body) - start))
        handler.end_headers()
        handler.wfile.write(body[start : start + amount] if kind == "cut" else body[start:])

    def start(self) -> None:
        """Serve in a thread."""
        self._thread = threading.Thread(
            target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """End the thread and free the port."""
        self.server.shutdown()
        self.server.server_close()
        self._thread.join()
