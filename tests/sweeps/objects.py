"""An S3 server on this machine, and what lies in it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

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
    bucket: str = "bucket"

    def uri(self, prefix: str) -> str:
        """Where pyarrow finds what begins with a prefix."""
        return f"s3://{self.bucket}/{prefix}?region=us-east-1&scheme=http&endpoint_override={self.address}"

    def there(self, prefix: str) -> dict[str, bytes]:
        """What there is below a prefix, by the rest of its name; markers of folders are nothing."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=f"{prefix}/")
        keys = [entry["Key"] for page in pages for entry in page.get("Contents", ())]
        return {key.removeprefix(f"{prefix}/"): self.read(key) for key in keys if not key.endswith("/")}

    def read(self, key: str) -> bytes:
        """One object."""
        content: bytes = self.client.get_object(Bucket=self.bucket, Key=key)["Body"].read()
        return content


@contextmanager
def serving() -> Iterator[Objects]:
    """A server with an empty bucket; we and whom we start know how to reach it."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        server.start()
        host, port = server.get_host_and_port()
        client = boto3.client("s3", endpoint_url=f"http://{host}:{port}", region_name="us-east-1")
        client.create_bucket(Bucket="bucket")
        try:
            yield Objects(client, server, f"{host}:{port}")
        finally:
            client.close()
            server.stop()
