"""MinIO with nearly every variable changed."""

from __future__ import annotations

from shared.machine import Machine
from shared.s3 import administrator, reader, s3


def test_has_the_new_buckets_at_its_new_address(machine: Machine) -> None:
    listed = s3(machine, "list_buckets", login=administrator(machine), port=9100)
    assert sorted(bucket["Name"] for bucket in listed["Buckets"]) == ["drawer", "shelf"]


def test_takes_the_new_keys_and_refuses_the_old_ones(machine: Machine) -> None:
    old = ("Zt5rKw8xMq3nVb7c", "Dy9gHs4jLf6kPo2uXe8i")
    assert s3(machine, "list_buckets", login=old, port=9100) == {"refused": "InvalidAccessKeyId"}


def test_a_new_data_folder_has_the_readers(machine: Machine) -> None:
    listed = s3(machine, "list_objects_v2", login=reader(machine), port=9100, Bucket="drawer")
    assert listed["KeyCount"] == 0


def test_has_the_new_settings(machine: Machine) -> None:
    login = administrator(machine)
    region = s3(machine, "get_bucket_location", login=login, port=9100, Bucket="drawer")
    assert region["LocationConstraint"] == "eu-west-1"
    assert machine.http("http://172.30.99.13:9101/")[0] == 200
    environment = machine.containers["minio"]["Config"]["Env"]
    assert "MINIO_BROWSER_REDIRECT_URL=http://console.example:9101" in environment
    assert machine.process("minio").user_id == 10513
    assert machine.mode("/srv/mlops/objects") == ("0700", "10513", "10513")


def test_has_the_new_limits(machine: Machine) -> None:
    limits = machine.limits("minio")
    assert limits.cpu_quota / limits.cpu_period == 0.75
    assert limits.memory == 768 * 1024**2
