"""A stub of a hub's HTTP API, as far as `huggingface_hub` asks it to fetch and to commit."""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

__all__ = ["HubStub", "serve_hub"]


@dataclass
class HubStub:
    """What the stub holds and what it was asked for.

    Attributes:
        address: to set `HF_ENDPOINT` to.
        files: repository ("models/anna/photos") to its files.
        refusal: status that every request is answered with; 0 answers them.
        requests: method and path of every request.
        private: repositories that were made private.
    """

    address: str = ""
    files: dict[str, dict[str, bytes]] = field(default_factory=dict)
    refusal: int = 0
    requests: list[str] = field(default_factory=list)
    private: set[str] = field(default_factory=set)

    def commit(self, repository: str) -> str:
        """The id of a repository's state."""
        digest = hashlib.sha1(usedforsecurity=False)
        for path, content in sorted(self.files[repository].items()):
            digest.update(path.encode() + b"\0" + content + b"\0")
        return digest.hexdigest()


class Handler(BaseHTTPRequestHandler):
    """Answers what the client asks."""

    stub: HubStub

    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Print nothing."""

    def answer(
        self, status: int, content: bytes = b"", headers: dict[str, str] | None = None
    ) -> None:
        self.send_response(status)
        length = str(len(content))
        for name, value in {"Content-Length": length, **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def answer_json(self, document: object, status: int = 200) -> None:
        self.answer(status, json.dumps(document).encode(), {"Content-Type": "application/json"})

    def begin(self) -> list[str] | None:
        path = unquote(urlsplit(self.path).path)
        self.stub.requests.append(f"{self.command} {path}")
        if self.stub.refusal:
            self.answer_json({"error": "refused"}, self.stub.refusal)
            return None
        return path.strip("/").split("/")

    def do_GET(self) -> None:
        parts = self.begin()
        if parts is None:
            return
        if parts[0] == "api":  # api/models/OWNER/NAME[/revision/REVISION]
            repository = "/".join(parts[1:4])
            if repository not in self.stub.files:
                self.answer(404, b"", {"X-Error-Code": "RepoNotFound"})
                return
            commit = self.stub.commit(repository)
            if len(parts) > 5 and parts[5] not in ("main", commit):
                self.answer(404, b"", {"X-Error-Code": "RevisionNotFound"})
                return
            siblings = [{"rfilename": name} for name in self.stub.files[repository]]
            name = "/".join(parts[2:4])
            self.answer_json(
                {"id": name, "modelId": name, "sha": commit, "siblings": siblings,
                 "private": repository in self.stub.private, "tags": [], "downloads": 0, "likes": 0}
            )  # fmt: skip
            return
        if parts[0] != "datasets":
            parts = ["models", *parts]
        repository, name = "/".join(parts[:3]), "/".join(parts[5:])  # .../resolve/REVISION/FILE
        content = self.stub.files.get(repository, {}).get(name)
        if content is None:
            self.answer(404, b"", {"X-Error-Code": "EntryNotFound"})
            return
        etag = hashlib.sha256(content).hexdigest()
        commit = self.stub.commit(repository)
        self.answer(200, content, {"ETag": f'"{etag}"', "X-Repo-Commit": commit})

    do_HEAD = do_GET  # noqa: N815 - the library's name

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = self.begin()
        if parts is None:
            return
        if parts == ["api", "repos", "create"]:
            body = json.loads(content)
            kind = f"{body.get('type') or 'model'}s"
            repository = f"{kind}/{body['organization']}/{body['name']}"
            is_new = repository not in self.stub.files
            self.stub.files.setdefault(repository, {})
            if body.get("private") or body.get("visibility") == "private":
                self.stub.private.add(repository)
            url = f"{self.stub.address}/{repository.removeprefix('models/')}"
            self.answer_json({"url": url}, 200 if is_new else 409)
        elif parts[1] == "validate-yaml":
            self.answer_json({"errors": [], "warnings": []})
        elif parts[4] == "preupload":
            entries = [
                {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False}
                for file in json.loads(content)["files"]
            ]
            self.answer_json({"files": entries})
        else:
            assert parts[4] == "commit", parts
            repository = "/".join(parts[1:4])
            for line in content.decode().splitlines():
                entry = json.loads(line)
                if entry["key"] == "file":
                    value = entry["value"]
                    decoded = base64.b64decode(value["content"])
                    self.stub.files[repository][value["path"]] = decoded
            commit = self.stub.commit(repository)
            place = repository.removeprefix("models/")
            url = f"{self.stub.address}/{place}/commit/{commit}"
            self.answer_json({"success": True, "commitOid": commit, "commitUrl": url})


@contextmanager
def serve_hub() -> Iterator[HubStub]:
    """Serve a stub on a free port of this machine."""
    stub = HubStub()
    handler = type("StubHandler", (Handler,), {"stub": stub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    stub.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield stub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
