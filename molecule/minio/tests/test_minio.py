"""MinIO as S3 clients and its operator see it."""

from __future__ import annotations

import pytest

from shared.machine import Machine
from shared.s3 import administrator, reader, s3


def test_takes_and_gives_an_object(machine: Machine) -> None:
    login = administrator(machine)
    s3(machine, "put_object", login=login, port=9000, Bucket="shelf", Key="a/b", Body="content")
    answer = s3(machine, "get_object", login=login, port=9000, Bucket="shelf", Key="a/b")
    assert answer["Body"] == "content"
    listed = s3(machine, "list_objects_v2", login=login, port=9000, Bucket="shelf")
    assert [entry["Key"] for entry in listed["Contents"]] == ["a/b"]


@pytest.mark.parametrize(
    ("key", "secret", "code"),
    [
        ("minioadmin", "minioadmin", "InvalidAccessKeyId"),
        ("Zt5rKw8xMq3nVb7c", "not-the-secret-key", "SignatureDoesNotMatch"),
    ],
)
def test_refuses_wrong_keys(machine: Machine, key: str, secret: str, code: str) -> None:
    assert s3(machine, "list_buckets", login=(key, secret), port=9000) == {"refused": code}


def test_refuses_clients_without_a_key(machine: Machine) -> None:
    for method, parameters in (
        ("list_objects_v2", {}),
        ("get_object", {"Key": "a/b"}),
        ("put_object", {"Key": "c", "Body": "x"}),
    ):
        answer = s3(machine, method, login=None, port=9000, Bucket="shelf", **parameters)
        assert answer == {"refused": "AccessDenied"}, method


def test_a_reader_reads_its_buckets_and_changes_nothing(machine: Machine) -> None:
    login = reader(machine)
    administrators = administrator(machine)
    for bucket in ("shelf", "closed"):
        s3(machine, "put_object", login=administrators, port=9000, Bucket=bucket, Key="r", Body="x")
    read = s3(machine, "get_object", login=login, port=9000, Bucket="shelf", Key="r")
    assert read["Body"] == "x"
    listed = s3(machine, "list_objects_v2", login=login, port=9000, Bucket="shelf", Prefix="r")
    assert [entry["Key"] for entry in listed["Contents"]] == ["r"]
    for method, parameters in (
        ("put_object", {"Bucket": "shelf", "Key": "r", "Body": "y"}),
        ("delete_object", {"Bucket": "shelf", "Key": "r"}),
        ("delete_bucket", {"Bucket": "shelf"}),
        ("create_bucket", {"Bucket": "mine"}),
        ("get_object", {"Bucket": "closed", "Key": "r"}),
        ("list_objects_v2", {"Bucket": "closed"}),
    ):
        answer = s3(machine, method, login=login, port=9000, **parameters)
        assert answer == {"refused": "AccessDenied"}, method


def test_is_the_pinned_release(machine: Machine) -> None:
    assert "RELEASE.2026-02-12T20-18-48Z" in machine.execute("minio", "minio", "--version")


def test_the_console_answers(machine: Machine) -> None:
    status, body = machine.http(f"http://{machine.address('minio')}:9001/")
    assert status == 200
    assert "MinIO Console" in body


def test_files(machine: Machine) -> None:
    assert machine.mode("/srv/mlops/minio") == ("0700", "10013", "10013")


def test_limits(machine: Machine) -> None:
    limits = machine.limits("minio")
    assert limits.cpu_quota / limits.cpu_period == 1.0
    assert limits.memory == 1024**3


def test_keeps_objects_over_a_crash(machine: Machine) -> None:
    machine.run("docker", "kill", "minio")
    machine.run("docker", "start", "minio")
    machine.wait_for("curl --fail --silent http://172.30.98.13:9000/minio/health/ready")
    answer = s3(
        machine, "get_object", login=administrator(machine), port=9000, Bucket="shelf", Key="a/b"
    )
    assert answer["Body"] == "content"
