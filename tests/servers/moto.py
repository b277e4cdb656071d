"""moto's S3 in a process of its own, on a free port of the loopback; one for all tests of this process.

Where moto differs from S3 in what the adapter relies on, this file closes the gap in front of it:

- S3 answers requests on one object one after another; moto looks and then acts in threads. Here one runs at a time,
  and only once it has arrived as a whole.
- S3 keeps to `If-Match` where an upload is completed; moto ignores it.
- S3 answers 404 NoSuchUpload where an upload is not there any more; moto fails with 500.

What it keeps in memory is gone when it ends, so it cannot be killed and come back.

`GET /-/truth/<bucket>` tells what happened, from moto's own state and the requests that it answered: the independent
record of the tests.
"""

import atexit
import io
import json
import os
import signal
import sys
import tempfile
import threading
import time
import urllib.request
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

ACCOUNT = "123456789012"


@cache
def moto() -> str:
    """Start the server, once; return where it is."""
    from gateway.child_process import spawn  # noqa: PLC0415 - the server itself needs nothing of ours

    home = Path(tempfile.mkdtemp(prefix="moto-"))
    with (home / "log").open("wb") as log:
        command = [sys.executable, "-P", __file__, str(home / "port")]
        child = spawn(command, None, signal.SIGKILL, log)
    atexit.register(child.kill)
    deadline = time.monotonic() + 30
    while not (home / "port").exists():
        if child.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"moto does not start; install moto[server]: {(home / 'log').read_text()[-2000:]}")
        time.sleep(0.02)
    return f"http://127.0.0.1:{(home / 'port').read_text()}"


@cache
def somebody_else() -> Any:
    """Return a client of the same server that is not ours."""
    import boto3  # noqa: PLC0415 - the server itself needs none

    config = boto3.session.Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1})
    known = {"aws_access_key_id": "else", "aws_secret_access_key": "else", "region_name": "eu-central-1"}
    return boto3.client("s3", endpoint_url=moto(), config=config, **known)


def truth(bucket: str) -> dict[str, Any]:
    """Return what happened in a bucket: `uploads` that stand, `versions` of objects, the requests `answered`."""
    with urllib.request.urlopen(f"{moto()}/-/truth/{bucket}", timeout=10) as answer:
        return json.load(answer)


class _InFrontOfMoto:
    def __init__(self, app: Any, backend: Any) -> None:
        self._app = app
        self._backend = backend
        self._one_at_a_time = threading.Lock()
        self._answered: list[dict[str, Any]] = []

    def __call__(self, environ: dict[str, Any], start: Any) -> Any:
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"] = io.BytesIO(body)
        with self._one_at_a_time:
            path = environ["PATH_INFO"]
            if path.startswith("/-/truth/"):
                start("200 OK", [("Content-Type", "application/json")])
                return [json.dumps(self._truth(path.removeprefix("/-/truth/"))).encode()]
            refusal = self._refusal(environ)
            if refusal is not None:
                return _refuse(start, *refusal)
            return list(self._app(environ, self._noting(environ, start)))

    def _refusal(self, environ: dict[str, Any]) -> tuple[str, str] | None:
        bucket, _, key = environ["PATH_INFO"].strip("/").partition("/")
        upload = parse_qs(environ["QUERY_STRING"]).get("uploadId", [""])[0]
        if not upload:
            return None
        existing = self._backend.get_object(bucket, key)
        done = existing is not None and existing.multipart is not None and existing.multipart.id == upload
        completes = environ["REQUEST_METHOD"] == "POST"
        if upload not in self._backend.get_bucket(bucket).multiparts and not (completes and done):
            return "404 Not Found", "NoSuchUpload"
        wanted = environ.get("HTTP_IF_MATCH", "").strip('"')
        if completes and wanted and not done and existing is None:
            return "404 Not Found", "NoSuchKey"
        if completes and wanted and not done and existing.etag.strip('"') != wanted:
            return "412 Precondition Failed", "PreconditionFailed"
        return None

    def _noting(self, environ: dict[str, Any], start: Any) -> Any:
        def noted(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
            named = {name.lower(): value for name, value in headers}
            self._answered.append(
                {
                    "method": environ["REQUEST_METHOD"],
                    "path": environ["PATH_INFO"],
                    "query": environ["QUERY_STRING"],
                    "status": int(status[:3]),
                    "who": environ.get("HTTP_AUTHORIZATION", "").partition("Credential=")[2].partition("/")[0],
                    "version": named.get("x-amz-version-id"),
                    "marker": named.get("x-amz-delete-marker"),
                }
            )
            return start(status, [one for one in headers if one[0] != "server"], *more)  # werkzeug says it too

        return noted

    def _truth(self, name: str) -> dict[str, Any]:
        bucket = self._backend.get_bucket(name)
        entries = [(key, one) for key, ones in bucket.keys.lists() for one in ones]
        return {
            "uploads": [{"id": one.id, "key": one.key_name} for one in bucket.multiparts.values()],
            "versions": [
                {"key": key, "version": str(one.version_id), "marker": not hasattr(one, "etag")} for key, one in entries
            ],
            "answered": [one for one in self._answered if one["path"].startswith(f"/{name}/")],
        }


def _refuse(start: Any, status: str, code: str) -> list[bytes]:
    start(status, [("Content-Type", "application/xml")])
    return [f"<Error><Code>{code}</Code><Message>{code}</Message></Error>".encode()]


def _serve(port_file: Path) -> None:
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app  # noqa: PLC0415
    from moto.s3.models import s3_backends  # noqa: PLC0415
    from werkzeug.serving import make_server  # noqa: PLC0415

    app = _InFrontOfMoto(DomainDispatcherApplication(create_backend_app), s3_backends[ACCOUNT]["aws"])
    server = make_server("127.0.0.1", 0, app, threaded=True)
    written = port_file.with_suffix(".new")
    written.write_text(str(server.port))
    os.replace(written, port_file)  # noqa: PTH105 - whole or not at all
    server.serve_forever()


if __name__ == "__main__":
    _serve(Path(sys.argv[1]))
