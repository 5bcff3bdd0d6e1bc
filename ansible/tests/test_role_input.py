"""Wrong variables stop a role before anything is touched, with the variable's name.

All cases run in one play, each as a host of its own that cannot be reached: whatever goes beyond
the checks, which run on the control host, ends as unreachable.
"""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
ROLES = REPOSITORY / "roles"
# Of the environment that the tests run in.
PROGRAM = Path(sys.executable).with_name("ansible-playbook")

# Variables with values that their types allow and the roles do not, by role.
OUT_OF_RANGE: dict[str, dict[str, Any]] = {
    "airflow": {
        "airflow_workers": 0,
        "airflow_worker_concurrency": 0,
        "airflow_api_server_port": 70000,
        "airflow_proxy_addresses": ["*"],
        "airflow_viewers": [{"name": "viewer", "password": "short"}],
        "airflow_fernet_key": "short",
        "airflow_budget": {"worker": {"cpus": 0, "memory": "1g"}},
    },
    "base_image": {"base_image_suite": "../trixie", "base_image_name": "Not A Name"},
    "base_machine": {
        "base_machine_journal_max_use": "much",
        "base_machine_config_directory": "etc/mlops",
    },
    "certificates": {
        "certificates_subject_names": ["10.43.101.202"],
        "certificates_directory": "etc/certificates",
        "certificates_reader_id": -1,
        "certificates_valid_days": 0,
        "certificates_renew_days": 397,
        "certificates_own_certificate": "/nowhere/server.crt",
        "certificates_own_key": "/nowhere/server.key",
    },
    "container": {
        "container_cpus": 0.01,
        "container_memory": "64 MB",
        "container_cpu_period": 10,
        "container_cpu_shares": 1,
        "container_pids_limit": 0,
        "container_user_id": 0,
    },
    "data_api": {
        "data_api_port": 0,
        "data_api_batch_seconds": 0,
        "data_api_server_workers": 0,
        "data_api_memory": "0m",
    },
    "docker": {
        "docker_log_max_file": 0,
        "docker_log_max_size": "10 MB",
        "docker_networks": [
            {"name": "same", "internal": True},
            {"name": "same", "internal": False},
        ],
    },
    "image": {"image_name": "Not A Name", "image_context": []},
    "inference_api": {
        "inference_api_replicas": 17,
        "inference_api_cpus": 0.1,
        "inference_api_memory": "10 GB",
        "inference_api_cpu_period": 1,
        "inference_api_cpu_shares": 300000,
        "inference_api_port": -1,
    },
    "jupyterlab": {
        "jupyterlab_port": 0,
        "jupyterlab_cpus": 0,
        "jupyterlab_memory": "2 GB",
        "jupyterlab_password": "short",
        "jupyterlab_secret_environment": {"SHOP PASSWORD": "x" * 20},
        "jupyterlab_notebooks": "nosuch",
        "jupyterlab_data_directory": "jupyterlab",
    },
    "locust": {
        "locust_target_url": "10.43.101.202:8000",
        "locust_authority_file": "ca.crt",
        "locust_config_directory": "etc/locust",
        "locust_workers": -1,
        "locust_port": 5557,
        "locust_cpus": 0,
        "locust_memory": "2 GB",
    },
    "minio": {
        "minio_port": 9001,
        "minio_root_password": "short",
        "minio_cpus": 0,
        "minio_readers": [{"name": "viewer", "password": "x" * 20, "buckets": ["nosuch"]}],
    },
    "mlflow": {
        "mlflow_port": 65536,
        "mlflow_server_workers": 0,
        "mlflow_default_permission": "EVERYTHING",
        "mlflow_allowed_origins": ["tracking.example"],
        "mlflow_login_cache_seconds": -1,
    },
    "mysql": {"mysql_version": "9", "mysql_max_connections": 0, "mysql_buffer_pool_size": "128MB"},
    "nginx": {
        "nginx_sites": [{"name": "a", "port": 70000, "servers": ["a:1"]}],
        "nginx_accept_queue": 0,
        "nginx_cpu_shares": 1,
        "nginx_certificates_directory": "certificates",
        "nginx_worker_connections": 1,
        "nginx_health_port": 0,
    },
    "pgadmin": {
        "pgadmin_port": 0,
        "pgadmin_server_threads": 0,
        "pgadmin_email": "admin",
        "pgadmin_queries": [{"name": "../up", "sql": "SELECT 1"}],
        "pgadmin_memory": "512 MB",
    },
    "portal": {
        "portal_port": 0,
        "portal_cpus": 0,
        "portal_memory": "256 MB",
        "portal_services": [
            {"name": "a", "sentence": "b", "address": "", "version": "1", "check": "ftp://a"}
        ],
        "portal_config_directory": "etc/portal",
    },
    "postgres": {
        "postgres_max_connections": 5,
        "postgres_reader_connections": 100,
        "postgres_reader_idle_minutes": -1,
        "postgres_shared_buffers": "128m",
        "postgres_memory": "-1g",
        "postgres_user_id": 0,
        "postgres_readers": [
            {"name": "seller", "password": "x" * 20, "database": "shop", "tables_of": "seller"}
        ],
    },
    "python_image": {"python_image_name": "Not A Name"},
    "redis": {"redis_max_memory": "160 MB", "redis_cpus": 0, "redis_data_directory": "redis"},
    "secrets": {"secrets_minimum_length": 0},
}

# A value that no option of the type takes; a text takes everything.
WRONG_TYPE = {
    "bool": "perhaps",
    "dict": "text",
    "float": "many",
    "int": "many",
    "list": {"not": "a list"},
}


@dataclass(frozen=True)
class Case:
    """One wrong variable; none where everything is right.

    Attributes:
        kind: what is wrong with it.
        role: the role.
        variable: its name.
        value: what it is set to, None where it is missing.
    """

    kind: str
    role: str
    variable: str = ""
    value: Any = field(default=None, hash=False, compare=False)

    @property
    def host(self) -> str:
        """The name of its host in the play."""
        return f"{self.kind}--{self.role}--{self.variable}"


def options(role: str) -> dict[str, Any]:
    """What a role's argument specs say of its main entry point."""
    text = (ROLES / role / "meta" / "argument_specs.yml").read_text()
    described: dict[str, Any] = yaml.safe_load(text)["argument_specs"]["main"]["options"]
    return described


def right_variables(role: str) -> dict[str, Any]:
    """The variables of the role's Molecule scenario."""
    directory = REPOSITORY / "molecule" / role
    text = (directory / "molecule.yml").read_text()
    folders = {
        "${MOLECULE_SCENARIO_DIRECTORY}": directory,
        "${MOLECULE_PROJECT_DIRECTORY}": REPOSITORY,
    }
    for variable, folder in folders.items():
        text = text.replace(variable, str(folder))
    scenario = yaml.safe_load(text)
    inventory = scenario.get("provisioner", {}).get("inventory", {})
    variables: dict[str, Any] = inventory.get("group_vars", {}).get("all", {})
    # What the roles before it would have set.
    return {**variables, "base_image_reference": "mlops/debian:any"}


def cases() -> list[Case]:
    """All cases of all roles."""
    found = []
    for role in sorted(path.name for path in ROLES.iterdir()):
        found.append(Case("right", role))
        # One for each type: it is Ansible that checks them.
        of_type = {option["type"]: name for name, option in options(role).items()}
        for name, option in options(role).items():
            if option.get("required"):
                found.append(Case("missing", role, name))
            if option["type"] in WRONG_TYPE and of_type[option["type"]] == name:
                found.append(Case("wrong-type", role, name, WRONG_TYPE[option["type"]]))
        found += [
            Case("out-of-range", role, name, value) for name, value in OUT_OF_RANGE[role].items()
        ]
    return found


CASES = cases()


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """How the play ended for each host: the results of its last task."""
    folder = tmp_path_factory.mktemp("input")
    hosts = {}
    for case in CASES:
        variables = copy.deepcopy(right_variables(case.role))
        if case.kind == "missing":
            del variables[case.variable]
        elif case.variable:
            variables[case.variable] = case.value
        hosts[case.host] = {**variables, "role_under_test": case.role}
    every = {
        # Nothing listens there.
        "ansible_host": "127.0.0.1",
        "ansible_port": 1,
        "ansible_python_interpreter": "/usr/bin/python3",
    }
    (folder / "inventory.json").write_text(json.dumps({"all": {"hosts": hosts, "vars": every}}))
    play = {
        "hosts": "all",
        "gather_facts": False,
        "tasks": [{"ansible.builtin.include_role": {"name": "{{ role_under_test }}"}}],
    }
    (folder / "play.yml").write_text(json.dumps([play]))
    environment = {
        "ANSIBLE_ROLES_PATH": str(ROLES),
        "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json",
        "ANSIBLE_INVENTORY_ENABLED": "ansible.builtin.yaml",
        "ANSIBLE_RETRY_FILES_ENABLED": "false",
        "ANSIBLE_LOCALHOST_WARNING": "false",
    }
    completed = subprocess.run(
        [PROGRAM, "--forks", "8", "--inventory", "inventory.json", "play.yml"],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert completed.stdout, completed.stderr
    printed = json.loads(completed.stdout[completed.stdout.index("{") :])
    last: dict[str, dict[str, Any]] = {}
    for task in printed["plays"][0]["tasks"]:
        for host, result in task["hosts"].items():
            last[host] = {**result, "task": task["task"]["name"]}
    return last


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.host)
def test_input(outcomes: dict[str, dict[str, Any]], case: Case) -> None:
    outcome = outcomes[case.host]
    if case.kind == "right":
        # Beyond the checks; the role `secrets` is nothing but checks.
        assert outcome.get("unreachable") or case.role == "secrets", outcome
        return
    assert outcome["failed"], outcome
    assert not outcome.get("unreachable"), outcome
    told = json.dumps([outcome["msg"], outcome.get("assertion")])
    assert case.variable in told, outcome
