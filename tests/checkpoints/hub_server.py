"""A stand-in for the Hugging Face Hub on this machine: repositories that are made, written to in one commit, and read."""

import base64
import hashlib
import http.server
import json
import re
import threading
from contextlib import contextmanager

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves `server.repositories`, a dict of files for every repository."""

    protocol_version = "HTTP/1.1"

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        match = re.fullmatch(r"/([\w.-]+/[\w.-]+)/resolve/([\w.-]+)/(.+)", self.path)
        files = self.server.repositories.get(match[1]) if match else None
        if files is None:
            return self.refuse("RepoNotFound" if match else "")
        if match[2] not in ("main", COMMIT):
            return self.refuse("RevisionNotFound")
        if match[3] not in files:
            return self.refuse("EntryNotFound")
        content = files[match[3]]
        self.answer(content, {"ETag": f'"{hashlib.sha256(content).hexdigest()}"', "X-Repo-Commit": COMMIT})

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Authorization") != "Bearer hf_writer":
            return self.refuse("", 401)
        if self.path == "/api/repos/create":
            facts = json.loads(body)
            name = f"{facts['organization']}/{facts['name']}" if facts.get("organization") else facts["name"]
            self.server.repositories.setdefault(name, {})
            return self.answer_json({"url": f"{self.server.address}/{name}", "name": name, "private": False})
        if self.path == "/api/validate-yaml":
            return self.answer_json({"warnings": [], "errors": []})
        if self.path.endswith("/preupload/main"):
            paths = [file["path"] for file in json.loads(body)["files"]]
            modes = [{"path": path, "uploadMode": "regular", "shouldIgnore": False, "oid": None} for path in paths]
            return self.answer_json({"files": modes})
        match = re.fullmatch(r"/api/models/([\w.-]+/[\w.-]+)/commit/main", self.path)
        for operation in map(json.loads, body.splitlines()):
            if operation["key"] == "file":
                value = operation["value"]
                self.server.repositories[match[1]][value["path"]] = base64.b64decode(value["content"])
        url = f"{self.server.address}/{match[1]}/commit/{COMMIT}"
        return self.answer_json(
            {"commitUrl": url, "commitOid": COMMIT, "commitMessage": "Upload model", "success": True}
        )

    def answer_json(self, facts):
        self.answer(json.dumps(facts).encode(), {"Content-Type": "application/json"})

    def refuse(self, code, status=404):
        self.answer(b"", {"X-Error-Code": code, "X-Error-Message": code}, status)

    def answer(self, content, headers, status=200):
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *arguments):
        """Print nothing."""


@contextmanager
def running_hub():
    """The server, while the block runs; `server.address` is what takes the place of https://huggingface.co."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.repositories, server.address = {}, f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
