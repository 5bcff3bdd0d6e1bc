#!/usr/bin/env python3
"""Ansible inventory: the machines that Terraform made, as its outputs describe them.

Settings that an operator chose with a verb (such as the number of replicas) are kept in the
deployment's folder and handed to every host, so that the next deployment keeps them.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parent.parent
SETTINGS_FILE = REPOSITORY / ".deployment" / "settings.json"


def terraform_machines() -> dict[str, dict[str, Any]]:
    """Return Terraform's output `machines`: name -> type, address, groups, user and ssh files.

    Raises:
        SystemExit: Terraform is missing or has made no machine yet.
    """
    program = shutil.which("terraform") or shutil.which("tofu")
    if program is None:
        sys.exit("inventory: neither terraform nor tofu is on the PATH")
    command = [program, f"-chdir={REPOSITORY / 'terraform'}", "output", "-json", "machines"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        sys.exit(f"inventory: no machines yet; run terraform apply first ({result.stderr.strip()})")
    machines: dict[str, dict[str, Any]] = json.loads(result.stdout)
    return machines


def host_variables(machine: dict[str, Any]) -> dict[str, Any]:
    """Return what Ansible needs to reach one machine."""
    variables = {
        "ansible_host": machine["address"],
        "ansible_user": machine["user"],
        "ansible_ssh_private_key_file": machine["ssh_private_key_file"],
    }
    if machine["ssh_known_hosts_file"] is not None:
        variables["ansible_ssh_common_args"] = (
            f"-o UserKnownHostsFile={machine['ssh_known_hosts_file']} -o IdentitiesOnly=yes"
        )
    return variables


def inventory(
    machines: dict[str, dict[str, Any]], settings: dict[str, Any]
) -> dict[str, dict[str, Any]]:
    """Return the whole inventory in the form that Ansible's script plugin reads."""
    groups: dict[str, dict[str, Any]] = {}
    hostvars: dict[str, Any] = {}
    for name, machine in machines.items():
        hostvars[name] = host_variables(machine) | settings
        for group in machine["groups"]:
            groups.setdefault(group, {"hosts": []})["hosts"].append(name)
    return {"_meta": {"hostvars": hostvars}, "all": {"children": sorted(groups)}, **groups}


def main() -> None:
    """Print the inventory as JSON."""
    settings = json.loads(SETTINGS_FILE.read_text()) if SETTINGS_FILE.exists() else {}
    print(json.dumps(inventory(terraform_machines(), settings), indent=2))


if __name__ == "__main__":
    main()
