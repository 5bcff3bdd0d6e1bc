#!/usr/bin/python
"""Ansible module: logins of a MinIO server that may only read, with MinIO's own client."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = """
module: minio_readers
short_description: Logins of a MinIO server that may only read
description:
  - Each login lists and reads some buckets. A login of an earlier call that is described no more is
    removed; others are left alone.
  - Everything is compared with the server itself, so a new data folder gets the logins again.
options:
  url:
    description: Address of the server, such as C(http://host:9000).
    type: str
    required: true
  root_user:
    description: Access key of the administrator.
    type: str
    required: true
  root_password:
    description: Secret key of the administrator.
    type: str
    required: true
  readers:
    description: The logins.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Access key.
        type: str
        required: true
      password:
        description: Secret key.
        type: str
        required: true
      buckets:
        description: Buckets that it reads.
        type: list
        elements: str
        required: true
"""

# What marks a policy as made here; so no name meets one of MinIO's own policies.
PREFIX = "reader-"
_SECONDS = 60


class ClientError(Exception):
    """The client failed; the message is what it said."""


@dataclass(frozen=True)
class Client:
    """MinIO's client, logged in to one server.

    Attributes:
        url: address of the server.
        user: access key.
        password: secret key.
        folder: where the client keeps its own settings.
    """

    url: str
    user: str
    password: str
    folder: str

    def call(self, *arguments: str, text: str = "") -> list[dict[str, Any]]:
        """Run a command on the server, known as `server`; return the objects that it prints.

        Args:
            arguments: the command.
            text: given to it as standard input: no secret is in a process list.

        Raises:
            ClientError: it failed.
        """
        scheme, _, address = self.url.partition("://")
        login = f"{quote(self.user, safe='')}:{quote(self.password, safe='')}"
        completed = subprocess.run(
            ["minio-client", "--json", *arguments],
            env={
                **os.environ,
                "MC_HOST_server": f"{scheme}://{login}@{address}",
                "MC_CONFIG_DIR": self.folder,
            },
            input=text,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
        printed = [json.loads(line) for line in completed.stdout.splitlines() if line]
        failed = [entry for entry in printed if entry.get("status") == "error"]
        if completed.returncode != 0 or failed:
            raise ClientError(json.dumps(failed) if failed else completed.stderr)
        return printed


def policy_of(buckets: list[str]) -> dict[str, Any]:
    """The policy that lets a login list and read some buckets."""
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Action": ["s3:GetBucketLocation", "s3:ListBucket"],
                "Resource": sorted(f"arn:aws:s3:::{bucket}" for bucket in buckets),
            },
            {
                "Effect": "Allow",
                "Action": ["s3:GetObject"],
                "Resource": sorted(f"arn:aws:s3:::{bucket}/*" for bucket in buckets),
            },
        ],
    }


def same(one: object, other: object) -> bool:
    """Whether two policies say the same: the order within their lists means nothing."""

    def ordered(value: object) -> object:
        if isinstance(value, dict):
            return {key: ordered(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return sorted(map(ordered, value), key=json.dumps)
        return value

    return ordered(one) == ordered(other)


def ensure(server: Client, reader: dict[str, Any], policies: set[str], *, change: bool) -> bool:
    """Have one login as described; tell whether it was not.

    Args:
        server: the server, as its administrator.
        reader: the login.
        policies: the names of the policies that exist.
        change: whether to do what is missing.
    """
    name, policy = reader["name"], PREFIX + reader["name"]
    wanted = policy_of(reader["buckets"])
    changed = False
    if policy not in policies or not same(_policy(server, policy), wanted):
        changed = True
        if change:
            server.call(
                *("admin", "policy", "create", "server", policy, "/dev/stdin"),
                text=json.dumps(wanted),
            )
    user = _user(server, name)
    if user is None or not _may_log_in(server, reader):
        changed = True
        if change:
            server.call("admin", "user", "add", "server", text=f"{name}\n{reader['password']}\n")
    attached = set(filter(None, (user or {}).get("policyName", "").split(",")))
    for verb, names in (("detach", attached - {policy}), ("attach", {policy} - attached)):
        for entry in sorted(names):
            changed = True
            if change:
                server.call("admin", "policy", verb, "server", entry, "--user", name)
    return changed


def remove(server: Client, policy: str, *, change: bool) -> None:
    """Remove a login that is described no more, and its policy."""
    name = policy.removeprefix(PREFIX)
    if change:
        if _user(server, name) is not None:
            server.call("admin", "user", "remove", "server", name)
        server.call("admin", "policy", "remove", "server", policy)


def _policy(server: Client, policy: str) -> object:
    (answer,) = server.call("admin", "policy", "info", "server", policy)
    return answer["policyInfo"]["Policy"]


def _user(server: Client, name: str) -> dict[str, Any] | None:
    users = server.call("admin", "user", "list", "server")
    return next((user for user in users if user["accessKey"] == name), None)


def _may_log_in(server: Client, reader: dict[str, Any]) -> bool:
    """Whether the server takes the login's password; MinIO does not show passwords."""
    login = Client(server.url, reader["name"], reader["password"], server.folder)
    try:
        login.call("ls", "server")
    except ClientError as error:
        if any(code in str(error) for code in ("SignatureDoesNotMatch", "InvalidAccessKeyId")):
            return False
        # It is let in; what it may read, its policy says.
        if "AccessDenied" not in str(error):
            raise
    return True


def main() -> None:
    """Carry out the task."""
    reader = {
        "name": {"type": "str", "required": True},
        "password": {"type": "str", "required": True, "no_log": True},
        "buckets": {"type": "list", "elements": "str", "required": True},
    }
    module = AnsibleModule(
        {
            "url": {"type": "str", "required": True},
            "root_user": {"type": "str", "required": True, "no_log": True},
            "root_password": {"type": "str", "required": True, "no_log": True},
            "readers": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "no_log": True,
                "options": reader,
            },
        },
        supports_check_mode=True,
    )
    asked = module.params
    change = not module.check_mode
    try:
        with tempfile.TemporaryDirectory() as folder:
            server = Client(asked["url"], asked["root_user"], asked["root_password"], folder)
            listed = server.call("admin", "policy", "list", "server")
            policies = {entry["policy"] for entry in listed}
            changed = [
                entry["name"]
                for entry in asked["readers"]
                if ensure(server, entry, policies, change=change)
            ]
            described = {PREFIX + entry["name"] for entry in asked["readers"]}
            former = sorted(name for name in policies - described if name.startswith(PREFIX))
            for policy in former:
                remove(server, policy, change=change)
    except ClientError as error:
        module.fail_json(msg=f"MinIO's client failed: {error}")
    module.exit_json(changed=bool(changed or former), changed_readers=changed, removed=former)


if __name__ == "__main__":
    main()
