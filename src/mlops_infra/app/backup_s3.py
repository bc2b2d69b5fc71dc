"""A bucket of an S3-compatible store, through boto3 (docs/decisions/0010)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mlops_infra.core import Secret
from mlops_infra.errors import InfraError
from mlops_infra.model.backup import S3Place
from mlops_infra.model.named import beside

__all__ = ["Bucket"]

_AT_ONCE = 1000
"""What one request may delete, by S3's own limit."""


class Bucket:
    """A `Shelf` in a bucket. The client is made at first use: importing it takes a third of a second."""

    def __init__(self, name: str, place: S3Place, access_key: Secret, secret_key: Secret, base: Path) -> None:
        self.name = name
        self._place = place
        self._keys = access_key, secret_key
        self._base = base
        self._made: Any = None

    def names(self) -> list[tuple[str, int]]:
        prefix, found = self._place.prefix, []
        with self._explained("list its files"):
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._place.bucket, Prefix=prefix)
            for page in pages:
                found += [(o["Key"].removeprefix(prefix), int(o["Size"])) for o in page.get("Contents", ())]
        return [(name, size) for name, size in found if "/" not in name]

    def put(self, path: Path, digest: str) -> None:
        key = self._place.prefix + path.name
        with self._explained("write to it"):
            # Each part is signed with its hash: the store refuses what arrives changed. An object is whole or absent.
            self._client.upload_file(str(path), self._place.bucket, key, ExtraArgs={"Metadata": {"sha256": digest}})
            there = self._client.head_object(Bucket=self._place.bucket, Key=key)
        if int(there["ContentLength"]) != path.stat().st_size:
            raise self._problem("write to it", f"{there['ContentLength']} bytes arrived of {path.stat().st_size}")

    def get(self, name: str, target: Path) -> None:
        with self._explained(f"read {name}"):
            self._client.download_file(self._place.bucket, self._place.prefix + name, str(target))

    def remove(self, names: Sequence[str]) -> None:
        for start in range(0, len(names), _AT_ONCE):
            keys = [{"Key": self._place.prefix + name} for name in names[start : start + _AT_ONCE]]
            with self._explained("remove from it"):
                done = self._client.delete_objects(Bucket=self._place.bucket, Delete={"Objects": keys, "Quiet": True})
            if errors := done.get("Errors"):
                raise self._problem("remove from it", f"{errors[0].get('Key')}: {errors[0].get('Code')}")

    @property
    def _client(self) -> Any:
        if self._made is None:
            self._made = self._make()
        return self._made

    def _make(self) -> Any:
        try:
            import boto3  # noqa: PLC0415 - large, and only for this
            from botocore.config import Config  # noqa: PLC0415
        except ModuleNotFoundError as error:
            raise InfraError(
                "copies to S3 need boto3, which is not installed",
                cause="It is an extra: most sites do without it.",
                remedy="pip install 'mlops-infra[s3]'",
            ) from error
        place = self._place
        return boto3.client(
            "s3",
            endpoint_url=place.endpoint,
            region_name=place.region,
            aws_access_key_id=self._keys[0].reveal(),
            aws_secret_access_key=self._keys[1].reveal(),
            verify=str(beside(self._base, place.ca_file)) if place.ca_file else None,
            config=Config(
                connect_timeout=10,
                read_timeout=60,
                retries={"max_attempts": 3, "mode": "standard"},
                # Stores other than Amazon's often know neither the newer checksums nor names of buckets as hosts.
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
                s3={"addressing_style": "path" if place.endpoint else "auto", "payload_signing_enabled": True},
            ),
        )

    @contextmanager
    def _explained(self, what: str) -> Iterator[None]:
        client = self._client  # says by itself what is missing
        del client
        from boto3.exceptions import Boto3Error  # noqa: PLC0415
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

        try:
            yield
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", ""))
            raise self._problem(what, code) from error
        except (BotoCoreError, Boto3Error, OSError) as error:
            raise self._problem(what, str(error)) from error

    def _problem(self, what: str, details: str) -> InfraError:
        where = self._place.endpoint or "Amazon S3"
        cause = "The store is down or out of reach, or its address is wrong."
        if any(word in details for word in ("AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "403")):
            cause = "The keys are wrong, or may not do this there."
        elif "NoSuchBucket" in details or "404" in details:
            cause = "There is no such bucket (or file) there: this program makes none."
        return InfraError(
            f"the bucket {self._place.bucket} at {where}: cannot {what}",
            host=f"copy:{self.name}",
            details=details[:600],
            cause=cause,
            remedy=f"Look at backup.copies[{self.name}] in cluster.yaml; then mlops-infra backup copy",
        )
