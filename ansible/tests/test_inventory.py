"""The inventory that Ansible sees, from what Terraform says."""

import importlib.util
from pathlib import Path

SOURCE = Path(__file__).resolve().parent.parent / "inventory.py"
spec = importlib.util.spec_from_file_location("inventory", SOURCE)
assert spec is not None
assert spec.loader is not None
inventory = importlib.util.module_from_spec(spec)
spec.loader.exec_module(inventory)

CREATED = {
    "type": "container",
    "address": "10.43.101.202",
    "groups": ["platform"],
    "user": "mlops",
    "ssh_private_key_file": "/d/ssh/id_ed25519",
    "ssh_known_hosts_file": "/d/ssh/known_hosts_mlops",
}
EXISTING = CREATED | {
    "type": "existing",
    "address": "192.168.7.9",
    "groups": ["loadtest", "platform"],
    "ssh_known_hosts_file": None,
}


def test_hosts_stand_in_their_groups() -> None:
    result = inventory.inventory({"mlops": CREATED, "other": EXISTING}, {})
    assert result["platform"]["hosts"] == ["mlops", "other"]
    assert result["loadtest"]["hosts"] == ["other"]
    assert result["all"]["children"] == ["loadtest", "platform"]


def test_a_made_machine_is_known_by_its_own_host_key() -> None:
    variables = inventory.inventory({"mlops": CREATED}, {})["_meta"]["hostvars"]["mlops"]
    assert variables["ansible_host"] == "10.43.101.202"
    assert variables["ansible_user"] == "mlops"
    assert "UserKnownHostsFile=/d/ssh/known_hosts_mlops" in variables["ansible_ssh_common_args"]


def test_an_existing_machine_uses_the_operators_known_hosts() -> None:
    variables = inventory.inventory({"m": EXISTING}, {})["_meta"]["hostvars"]["m"]
    assert "ansible_ssh_common_args" not in variables


def test_settings_reach_every_host() -> None:
    settings = {"inference_replicas": 4}
    hostvars = inventory.inventory({"a": CREATED, "b": EXISTING}, settings)["_meta"]["hostvars"]
    assert [host["inference_replicas"] for host in hostvars.values()] == [4, 4]
