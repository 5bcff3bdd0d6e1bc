"""Breaks each role in one way and shows that its scenario notices.

    python molecule/mutations.py [ROLE ...]

Not part of `make test`: it takes a scenario's time for each mutation. Every file is put back as it
was.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Mutation:
    """One way to break a role.

    Attributes:
        role: the role, whose scenario must fail.
        breaks: what is wrong with it then.
        path: the file, from the role's folder.
        old: a text that stands there once.
        new: what takes its place.
    """

    role: str
    breaks: str
    path: str
    old: str
    new: str

    @property
    def file(self) -> Path:
        """The file that is changed."""
        return REPOSITORY / "roles" / self.role / self.path

    def broken(self) -> str:
        """What the file has in it then."""
        text = self.file.read_text()
        assert text.count(self.old) == 1, f"{self.file}: {self.old}"
        return text.replace(self.old, self.new)


MUTATIONS = (
    Mutation(
        "base_machine", "wrong mode of a folder", "tasks/main.yml", 'mode: "0711"', 'mode: "0755"'
    ),
    Mutation(
        "docker",
        "a restart of Docker ends containers",
        "templates/daemon.json.j2",
        '"live-restore": true',
        '"live-restore": false',
    ),
    Mutation(
        "base_image",
        "secrets with spaces are cut",
        "files/with-secrets",
        'export "${line?}"',
        "export $line",
    ),
    Mutation(
        "python_image",
        "packages of another hash are taken",
        "files/image/install-requirements",
        " --require-hashes",
        "",
    ),
    Mutation(
        "image", "tests get into the image", "tasks/build.yml", "- --exclude=tests", "- --itemize"
    ),
    Mutation(
        "container",
        "a container without a limit of swap",
        "tasks/main.yml",
        'memory_swap: "{{ container_memory }}"',
        'memory_swap: "-1"',
    ),
    Mutation(
        "container",
        "a changed configuration is not taken over",
        "tasks/main.yml",
        "_container_config.results | map(attribute='stat.checksum', default='absent')",
        "'any'",
    ),
    Mutation(
        "container",
        "a shutdown ends a store before those that use it",
        "tasks/service.yml",
        "{'mlops.stopped': 'last'} if",
        "{} if",
    ),
    Mutation(
        "secrets",
        "well-known words in capitals are accepted",
        "tasks/main.yml",
        "'(?i)('",
        "'('",
    ),
    Mutation(
        "certificates",
        "everyone on the machine can read the key",
        "tasks/sign.yml",
        'mode: "0400"',
        'mode: "0444"',
    ),
    Mutation(
        "postgres",
        "no password is asked for",
        "templates/pg_hba.conf.j2",
        "host    all       all   0.0.0.0/0     scram-sha-256",
        "host    all       all   0.0.0.0/0     trust",
    ),
    Mutation(
        "postgres",
        "a stop waits for clients until the server is killed",
        "files/image/Dockerfile",
        "STOPSIGNAL SIGINT",
        "STOPSIGNAL SIGTERM",
    ),
    Mutation(
        "postgres",
        "who is no longer a reader still is one",
        "tasks/readers.yml",
        "state: absent",
        "state: present",
    ),
    Mutation(
        "postgres",
        "a reader can take every connection",
        "tasks/readers.yml",
        'conn_limit: "{{ postgres_reader_connections }}"',
        "conn_limit: -1",
    ),
    Mutation(
        "jupyterlab",
        "no password is asked for",
        "files/image/jupyter_server_config.py",
        "c.PasswordIdentityProvider.password_required = True",
        'c.PasswordIdentityProvider.hashed_password = ""',
    ),
    Mutation(
        "pgadmin",
        "a changed password is not taken over",
        "files/image/platform_pgadmin.py",
        "if not verify_password(password, user.password):",
        "if False:",
    ),
    Mutation(
        "redis",
        "a published port",
        "tasks/main.yml",
        "    container_config_files:",
        '    container_ports: ["6379:6379"]\n    container_config_files:',
    ),
    Mutation(
        "redis",
        "messages are lost in a crash",
        "templates/redis.conf.j2",
        "appendonly yes",
        "appendonly no",
    ),
    Mutation("mysql", "a second open port", "templates/my.cnf.j2", "mysqlx = OFF", ""),
    Mutation(
        "minio",
        "the password stands in the container's description",
        "tasks/main.yml",
        "{{ _minio_environment | combine(",
        "{{ _minio_environment | combine({'SHOWN': minio_root_password}) | combine(",
    ),
    Mutation(
        "minio",
        "a reader may read every bucket",
        "library/minio_readers.py",
        'f"arn:aws:s3:::{bucket}/*"',
        '"arn:aws:s3:::*"',
    ),
    Mutation(
        "mlflow",
        "no login is asked for",
        "vars/main.yml",
        "  - --app-name=basic-auth\n",
        "",
    ),
    Mutation(
        "data_api",
        "the state is lost with the container",
        "tasks/main.yml",
        '      - "{{ data_api_data_directory }}:/var/lib/data_api"',
        '      - "data-api-state-{{ now().microsecond }}:/var/lib/data_api"',
    ),
    Mutation(
        "airflow",
        "a component gets another one's share",
        "tasks/main.yml",
        "airflow_budget[airflow_component.component].cpus",
        "airflow_budget.worker.cpus",
    ),
    Mutation(
        "inference_api",
        "each replica gets the whole share",
        "vars/main.yml",
        '"{{ inference_api_cpus / (_inference_api_count | int) }}"',
        '"{{ inference_api_cpus }}"',
    ),
    Mutation(
        "nginx",
        "a dead server is not taken out",
        "templates/nginx.conf.j2",
        "        proxy_next_upstream error timeout http_502;\n",
        "        proxy_next_upstream off;\n",
    ),
    Mutation(
        "portal",
        "everyone on the machine can change what it tells of",
        "tasks/main.yml",
        'mode: "0644"',
        'mode: "0666"',
    ),
    Mutation(
        "locust",
        "workers that are not wanted stay",
        "tasks/main.yml",
        "_locust_existing | difference(_locust_wanted)",
        "_locust_existing | difference(_locust_existing)",
    ),
)


def notices(mutation: Mutation) -> tuple[bool, str]:
    """Run the scenario on the broken role; tell whether it failed, and where first."""
    path = mutation.file
    original, broken = path.read_text(), mutation.broken()
    try:
        path.write_text(broken)
        completed = subprocess.run(
            ["molecule", "test", "--scenario-name", mutation.role],
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        path.write_text(original)
    printed = completed.stdout + completed.stderr
    tests = re.findall(r"FAILED \S+::(\w+)", printed)
    tasks = re.findall(r"TASK \[([^\]]+)\][^\n]*\n(?:\[ERROR\]|fatal)", printed)
    where = tests or [f"task: {task}" for task in tasks[-1:]] or printed.splitlines()[-1:]
    return completed.returncode != 0, ", ".join(dict.fromkeys(where))


def main(roles: list[str]) -> int:
    """Try the mutations of some roles, or of all; print a line for each."""
    unnoticed = 0
    for mutation in MUTATIONS:
        if roles and mutation.role not in roles:
            continue
        began = time.monotonic()
        noticed, where = notices(mutation)
        unnoticed += not noticed
        verdict = f"noticed by {where}" if noticed else "NOT NOTICED"
        seconds = time.monotonic() - began
        print(f"{mutation.role}: {mutation.breaks}: {verdict} ({seconds:.0f} s)", flush=True)
    return 1 if unnoticed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
