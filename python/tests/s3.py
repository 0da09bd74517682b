"""Storage that speaks S3: moto's, in this process, with conditions that hold and requests that wait."""

from __future__ import annotations

import io
import json
import logging
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import boto3
import botocore.config
import pyarrow as pa
import pyarrow.parquet as pq
from moto.moto_server.werkzeug_app import (
    DomainDispatcherApplication,
    MotoRequestHandler,
    create_backend_app,
)
from pyarrow import fs
from werkzeug.serving import make_server

PROFILE = "moto"
"""The name of the storage profile."""

BUCKET = "bench"

REGION, KEY_ID, SECRET = "us-east-1", "somebody", "something"

BOUND_SECONDS = 60.0
"""No request is held, and nothing waited for, any longer."""

LOOK = "a-look"
"""What the requests of a test itself say of who sends them."""

Environ = dict[str, Any]
App = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]


class _Turns:
    """Requests are answered one at a time: moto looks whether a condition holds, and writes later, so that of
    two who write at once both could be told that they were first."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._turn = threading.Lock()
        self._changed = threading.Condition()
        self._held: re.Pattern[str] | None = None
        self.waiting = 0
        """How many requests are held."""
        self.events = 0
        """How often a request of somebody else's was answered, or began to wait."""

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        # Before its turn: who sends it may have been killed.
        length = int(environ.get("CONTENT_LENGTH") or 0)
        body = environ["wsgi.input"].read(
            *([] if environ.get("wsgi.input_terminated") else [length])
        )
        if len(body) < length:
            start_response("400 Bad Request", [])
            return []
        environ["wsgi.input"] = io.BytesIO(body)
        self._wait(f"{environ['PATH_INFO']}?{environ.get('QUERY_STRING', '')}")
        try:
            return self._answer(environ, start_response)
        finally:
            if LOOK not in environ.get("HTTP_USER_AGENT", ""):
                with self._changed:
                    self._tell()

    def _answer(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        with self._turn:
            answer = self._app(environ, start_response)
            try:
                return [b"".join(answer)]
            finally:
                close = getattr(answer, "close", None)
                if close is not None:
                    close()

    def _tell(self) -> None:
        self.events += 1
        self._changed.notify_all()

    def _wait(self, target: str) -> None:
        def passes() -> bool:
            return self._held is None or self._held.search(target) is None

        with self._changed:
            if passes():
                return
            self.waiting += 1
            self._tell()
            try:
                self._changed.wait_for(passes, BOUND_SECONDS)
            finally:
                self.waiting -= 1

    def wait_for_more(self, events: int, seconds: float) -> bool:
        """Waits until there were more events than these."""
        with self._changed:
            return self._changed.wait_for(lambda: self.events > events, seconds)

    def hold(self, pattern: str | None) -> None:
        with self._changed:
            self._held = None if pattern is None else re.compile(pattern)
            self._changed.notify_all()


class Storage:
    """A bucket, and whoever serves it. It ends with ``close``."""

    def __init__(self) -> None:
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self._turns = _Turns(DomainDispatcherApplication(create_backend_app))
        # It listens when this is back.
        self._server = make_server(
            "127.0.0.1", 0, self._turns, threaded=True, request_handler=MotoRequestHandler
        )
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self._client = boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name=REGION,
            aws_access_key_id=KEY_ID,
            aws_secret_access_key=SECRET,
            config=botocore.config.Config(user_agent_extra=LOOK),
        )
        self._client.create_bucket(Bucket=BUCKET)

    def close(self) -> None:
        self._client.close()
        self._server.shutdown()
        self._thread.join(BOUND_SECONDS)
        self._server.server_close()

    @property
    def profile(self) -> dict[str, str]:
        """The options by which workers reach it."""
        return {
            "aws_endpoint": self.endpoint,
            "aws_region": REGION,
            "aws_access_key_id": KEY_ID,
            "aws_secret_access_key": SECRET,
            "allow_http": "true",
        }

    @property
    def environment(self) -> dict[str, str]:
        """The same as workers take it from their environment, where words like ``true`` want quotes."""
        prefix = f"KEYLOOM_WORKER_STORE__STORAGE_PROFILES__{PROFILE.upper()}__"
        return {
            f"{prefix}{name.upper()}": json.dumps(value) for name, value in self.profile.items()
        }

    def url(self, name: str) -> str:
        return f"s3://{BUCKET}/{name}"

    def names(self, folder: str) -> list[str]:
        """What is below a folder, hidden or not, from there on."""
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=BUCKET, Prefix=f"{folder}/"
        )
        keys = [found["Key"] for page in pages for found in page.get("Contents", ())]
        return sorted(key.removeprefix(f"{folder}/") for key in keys)

    def uploads(self, folder: str) -> list[str]:
        """The uploads below a folder that nobody has completed or aborted."""
        found = self._client.list_multipart_uploads(Bucket=BUCKET, Prefix=f"{folder}/")
        return sorted(upload["Key"] for upload in found.get("Uploads", ()))

    def put(self, name: str, body: bytes) -> None:
        self._client.put_object(Bucket=BUCKET, Key=name, Body=body)

    def table(self, folder: str) -> pa.Table:
        """The rows of a folder's Parquet files, in the order of their names, as pyarrow reads them."""
        storage = fs.S3FileSystem(
            endpoint_override=self.endpoint,
            access_key=KEY_ID,
            secret_key=SECRET,
            region=REGION,
            scheme="http",
        )
        files = [name for name in self.names(folder) if name.endswith(".parquet")]
        paths = [f"{BUCKET}/{folder}/{name}" for name in files]
        return pa.concat_tables(
            pq.read_table(path, filesystem=storage, partitioning=None) for path in paths
        )

    @contextmanager
    def holding(self, pattern: str) -> Iterator[None]:
        """Requests in whose path and query this pattern is found wait until this is left."""
        self._turns.hold(pattern)
        try:
            yield
        finally:
            self._turns.hold(None)

    def wait_until(self, holds: Callable[[], object]) -> None:
        """Waits until something holds of what is here. It is looked at again after each request."""
        deadline = time.monotonic() + BOUND_SECONDS
        while True:
            events = self._turns.events
            if holds():
                return
            left = deadline - time.monotonic()
            assert self._turns.wait_for_more(events, left), "it did not come to pass"

    @property
    def held(self) -> int:
        """How many requests wait."""
        return self._turns.waiting
