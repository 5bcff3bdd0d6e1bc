"""The object store as an S3 client on the machine reaches it."""

from __future__ import annotations

import json
from typing import Any

from shared.machine import Machine

_SCRIPT = """
import boto3, botocore, json, sys
url, key, secret, region, method, parameters = json.loads(sys.argv[1])
config = botocore.config.Config(
    signature_version=botocore.UNSIGNED if key is None else "s3v4", retries={"max_attempts": 1}
)
client = boto3.client("s3", endpoint_url=url, aws_access_key_id=key, aws_secret_access_key=secret,
                      region_name=region, config=config)
try:
    answer = getattr(client, method)(**parameters)
except botocore.exceptions.ClientError as error:
    answer = {"refused": error.response["Error"]["Code"]}
if "Body" in answer:
    answer["Body"] = answer["Body"].read().decode()
print(json.dumps(answer, default=str))
"""


def s3(
    machine: Machine, method: str, *, login: tuple[str, str] | None, port: int, **parameters: str
) -> dict[str, Any]:
    """Call a method of boto3's S3 client; a refusal comes back as its code."""
    key, secret = login or (None, None)
    url = f"http://{machine.variables['minio_address']}:{port}"
    region = machine.variables.get("minio_region", "us-east-1")
    argument = json.dumps([url, key, secret, region, method, parameters])
    answer: dict[str, Any] = json.loads(machine.run("python3", "-c", _SCRIPT, argument))
    return answer


def administrator(machine: Machine) -> tuple[str, str]:
    """The administrator's access key and secret key."""
    return machine.variables["minio_root_user"], machine.variables["minio_root_password"]


def reader(machine: Machine) -> tuple[str, str]:
    """The first reader's access key and secret key."""
    first = machine.variables["minio_readers"][0]
    return first["name"], first["password"]
