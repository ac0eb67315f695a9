"""An S3 server on this machine, and what lies in it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import boto3
import pytest
from moto.server import ThreadedMotoServer

from sweeps.storage.object_store import Mirror
from tests.support.tiny_sweep import untimed

ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_EC2_METADATA_DISABLED": "true",  # no machine of Amazon's is asked who we are
}


@dataclass(frozen=True)
class Objects:
    """A bucket on a server."""

    client: Any
    server: ThreadedMotoServer
    address: str
    bucket: str

    def uri(self, prefix: str) -> str:
        """Where pyarrow finds what begins with a prefix."""
        return f"s3://{self.bucket}/{prefix}?region=us-east-1&scheme=http&endpoint_override={self.address}"

    def there(self, prefix: str) -> dict[str, bytes]:
        """What there is below a prefix, by the rest of its name; markers of folders are nothing."""
        found = {key.removeprefix(f"{prefix}/"): self.read(key) for key in self.keys(prefix) if not key.endswith("/")}
        return {key: content for key, content in found.items() if content is not None}

    def keys(self, prefix: str) -> list[str]:
        """Names of what there is below a prefix."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=f"{prefix}/")
        return [entry["Key"] for page in pages for entry in page.get("Contents", ())]

    def read(self, key: str) -> bytes | None:
        """One object; None if it has been removed since it was listed."""
        try:
            content: bytes = self.client.get_object(Bucket=self.bucket, Key=key)["Body"].read()
        except self.client.exceptions.NoSuchKey:
            return None
        return content

    def tensors(self, prefix: str, folder: Path) -> dict[str, bytes]:
        """Files of tensors below a prefix, copied into a folder, but for how long they took."""
        Mirror.from_uri(self.uri(prefix)).with_folder(folder).pull_folder(folder.resolve())
        return {str(path.relative_to(folder)): untimed(path) for path in folder.rglob("*.safetensors")}


@contextmanager
def serving() -> Iterator[Objects]:
    """A server with an empty bucket; we and whom we start know how to reach it.

    All servers of a process have the same buckets, so each has a bucket of its own.
    """
    with pytest.MonkeyPatch.context() as patch:
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        server.start()
        host, port = server.get_host_and_port()
        client = boto3.client("s3", endpoint_url=f"http://{host}:{port}", region_name="us-east-1")
        bucket = f"bucket-{uuid4().hex}"
        client.create_bucket(Bucket=bucket)
        try:
            yield Objects(client, server, f"{host}:{port}", bucket)
        finally:
            client.close()
            server.stop()
