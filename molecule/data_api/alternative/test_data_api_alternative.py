"""The data API with nearly every variable changed."""

from __future__ import annotations

from shared.machine import Machine

URL = "http://172.30.99.16:8100"


def test_batches_last_as_long_as_described(machine: Machine) -> None:
    # Eleven calls, each after more than the second that a batch lasts: ten batches, then no more.
    printed = machine.shell(
        f"for i in $(seq 11); do curl --silent --output /dev/null --write-out '%{{http_code}}\n' "
        f"'{URL}/data?group_number=3'; sleep 1.1; done"
    )
    assert printed.split() == ["200"] * 10 + ["400"]
    machine.get_json(f"{URL}/restart_data_generation?group_number=3")
    assert machine.get_json(f"{URL}/data?group_number=3")["batch_number"] == 1


def test_has_the_new_settings(machine: Machine) -> None:
    assert "--workers=1" in machine.containers["data-api"]["Args"]
    assert machine.process("data-api").user_id == 10516
    assert machine.mode("/srv/mlops/source") == ("0700", "10516", "10516")
    limits = machine.limits("data-api")
    assert limits.cpu_quota / limits.cpu_period == 0.4
    assert limits.memory == 448 * 1024**2
