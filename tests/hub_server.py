"""The few calls of the Hugging Face Hub that the library makes, answered on 127.0.0.1."""

import base64
import hashlib
import json
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from tempfile import TemporaryDirectory
from threading import Thread
from typing import Self
from unittest import mock
from urllib.parse import unquote, urlsplit

import huggingface_hub
import yaml
from huggingface_hub import constants
from huggingface_hub.utils import disable_progress_bars, enable_progress_bars

TOKEN = "hf_token"  # noqa: S105 - of this server only
OWNER = "owner"


@dataclass
class Repository:
    """A repository: its commits with their files, the newest last."""

    private: bool = False
    commits: list[tuple[str, str, dict[str, bytes]]] = field(default_factory=list)

    def commit(self, title, files):
        """Append a commit that changes some files, and return its hash."""
        files = {**(self.commits[-1][2] if self.commits else {}), **files}
        sha = hashlib.sha1(repr((len(self.commits), files)).encode()).hexdigest()  # noqa: S324 - as Git
        self.commits.append((sha, title, files))
        return sha

    def at(self, revision):
        """Return the hash and the files of a revision."""
        found = {sha: (sha, files) for sha, _, files in self.commits}
        return found[self.commits[-1][0] if revision == "main" else revision]


class Hub(ThreadingHTTPServer):
    """A Hub with the repositories of one user, whose access token is `TOKEN`."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.repositories: dict[str, Repository] = {}
        self.objects: dict[str, bytes] = {}  # large files by checksum
        self.requests: list[str] = []
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.refused = ""  # the end of a path that is answered with an error

    def __enter__(self) -> Self:
        """Answer from now on, as the only Hub that `huggingface_hub` knows of."""
        Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        template = f"{self.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        self.cache = TemporaryDirectory()
        self.patch = mock.patch.multiple(
            constants,
            ENDPOINT=self.url,
            HUGGINGFACE_CO_URL_TEMPLATE=template,
            HF_HUB_CACHE=self.cache.name,
            HF_HUB_DISABLE_XET=True,
        )
        self.patch.start()
        disable_progress_bars()
        return self

    def __exit__(self, *_: object) -> None:
        huggingface_hub.close_session()
        enable_progress_bars()
        self.patch.stop()
        self.cache.cleanup()
        self.stop()

    def stop(self):
        """Answer no more."""
        self.shutdown()
        self.server_close()


class Handler(BaseHTTPRequestHandler):
    """Answer a request."""

    server: Hub

    def log_message(self, *_: object) -> None:
        """Print nothing."""

    def answer(self, status, body=b"", **headers):
        """Send an answer, JSON unless it is bytes."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content_Length": str(len(data)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def refuse(self, status, code, message):
        """Send an error in the way of the Hub."""
        self.answer(status, {"error": message}, X_Error_Code=code, X_Error_Message=message)

    def do_POST(self):
        """Make and change repositories, which needs the token."""
        length = int(self.headers.get("Content-Length", 0))
        body = self.rfile.read(length)
        self.dispatch(body)

    do_PUT = do_GET = do_HEAD = do_POST  # noqa: N815 - the names of http.server

    def dispatch(self, body):
        """Find the call by the path."""
        path = unquote(urlsplit(self.path).path)
        self.server.requests.append(f"{self.command} {path}")
        is_known = self.headers.get("Authorization") == f"Bearer {TOKEN}"
        parts = path.strip("/").split("/")
        if self.server.refused and path.endswith(self.server.refused):
            self.refuse(403, "", "Out of space")
        elif path == "/api/validate-yaml":
            self.validate(json.loads(body)["content"])
        elif path.startswith("/objects/"):
            self.large_file(parts[1], body)
        elif path == "/api/repos/create":
            self.create(json.loads(body), is_known)
        elif parts[:2] == ["api", "models"] and len(parts) >= 4:
            self.with_repository("/".join(parts[2:4]), is_known, parts[4:], body)
        elif len(parts) >= 3:
            self.with_repository(
                "/".join(parts[:2]).removesuffix(".git"), is_known, parts[2:], body
            )
        else:
            self.refuse(404, "", "Not found")

    def validate(self, card):
        """Check the metadata of a card as far as the library writes them."""
        errors = []
        try:
            data = yaml.safe_load(card.split("---\n")[1])
            for model in data.get("model-index", []):
                assert isinstance(model["name"], str)
                for result in model["results"]:
                    strings = [
                        result["task"]["type"],
                        *map(result["dataset"].get, ("type", "name")),
                    ]
                    metrics = result["metrics"]
                    assert all(isinstance(each, str) for each in strings)
                    assert all(isinstance(each["type"], str) for each in metrics)
                    assert all(isinstance(each["value"], float) for each in metrics)
            assert isinstance(data["license"], str)
            assert all(isinstance(each, str) for each in data["tags"])
        except (AssertionError, KeyError, IndexError, TypeError, yaml.YAMLError) as error:
            errors.append({"message": repr(error)})
        self.answer(400 if errors else 200, {"errors": errors, "warnings": []})

    def create(self, asked, is_known):
        """Make a repository."""
        if not is_known:
            self.refuse(401, "", "Invalid username or password.")
            return
        if asked["organization"] not in {OWNER, None}:
            message = "You don't have the rights to create a model under this namespace"
            self.refuse(403, "", message)
            return
        name = f"{OWNER}/{asked['name']}"
        url = {"url": f"{self.server.url}/{name}"}
        if name in self.server.repositories:
            self.answer(409, url)
        else:
            private = asked.get("visibility") == "private" or asked.get("private") is True
            self.server.repositories[name] = repository = Repository(private)
            repository.commit("initial commit", {".gitattributes": b""})
            self.answer(200, url)

    def with_repository(self, name, is_known, rest, body):
        """Answer a call about a repository, if it is there and may be read."""
        repository = self.server.repositories.get(name)
        if repository is None or (repository.private and not is_known):
            self.refuse(404 if is_known else 401, "RepoNotFound", "Repository not found")
            return
        if rest[:1] == ["preupload"]:
            sizes = {each["path"]: each["size"] for each in json.loads(body)["files"]}
            modes = {p: "lfs" if p.endswith(".safetensors") else "regular" for p in sizes}
            files = [{"path": p, "uploadMode": modes[p], "shouldIgnore": False} for p in sizes]
            self.answer(200, {"files": files})
        elif rest[:1] == ["commit"]:
            self.commit(name, repository, [json.loads(line) for line in body.splitlines()])
        elif rest[-2:] == ["objects", "batch"]:
            objects = json.loads(body)["objects"]
            for each in objects:
                each["actions"] = {"upload": {"href": f"{self.server.url}/objects/{each['oid']}"}}
            self.answer(200, {"objects": objects})
        else:
            self.read(name, repository, rest)

    def commit(self, name, repository, lines):
        """Append a commit of all files at once."""
        files = {}
        for line in lines[1:]:
            value = line["value"]
            if line["key"] == "lfsFile":
                files[value["path"]] = self.server.objects[value["oid"]]
            else:
                files[value["path"]] = base64.b64decode(value["content"])
        sha = repository.commit(lines[0]["value"]["summary"], files)
        answer = {"commitUrl": f"{self.server.url}/{name}/commit/{sha}", "commitOid": sha}
        self.answer(200, {"success": True, **answer})

    def read(self, name, repository, rest):
        """Describe a revision, list its files, or send one."""
        if rest and rest[0] not in {"revision", "tree", "resolve"}:
            self.refuse(404, "", "Not found")
            return
        revision = rest[1] if rest else "main"
        try:
            sha, files = repository.at(revision)
        except KeyError:
            self.refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
            return
        if not rest or rest[0] == "revision":
            siblings = [{"rfilename": path} for path in files]
            described = {"id": name, "sha": sha, "private": repository.private}
            self.answer(200, {**described, "siblings": siblings, "tags": [], "downloads": 0})
        elif rest[0] == "tree":
            entries = [
                {"type": "file", "path": path, "size": len(data), "oid": etag(data)}
                for path, data in files.items()
            ]
            self.answer(200, entries)
        elif "/".join(rest[2:]) not in files:
            self.refuse(404, "EntryNotFound", "Entry not found")
        else:
            data = files["/".join(rest[2:])]
            self.answer(200, data, ETag=f'"{etag(data)}"', X_Repo_Commit=sha)

    def large_file(self, checksum, data):
        """Keep a large file."""
        self.server.objects[checksum] = data
        self.answer(200)


def etag(data):
    """Return the hash of a file."""
    return hashlib.sha1(data).hexdigest()  # noqa: S324 - as Git
