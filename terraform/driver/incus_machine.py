#!/usr/bin/env python3
"""Make, change and remove Incus machines on behalf of Terraform.

Terraform calls this script as ``incus_machine.py VERB`` with the resource's attributes as JSON in
the environment variable ``INPUT``. Every verb is safe to run again: what is there already is left
alone, and what an interrupted run left half made is made anew. Only the standard library is used,
because the script runs before anything is installed.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

READY_TIMEOUT_SECONDS = 180
# Marks the instances that this script made, so that it never removes somebody else's.
OWNER_KEY = "user.mlops.made-by"
OWNER_VALUE = "terraform"
IDENTITY_TEMPLATE = "identity.tpl"

Input = dict[str, Any]


class DriverError(Exception):
    """Something that the operator has to put right; the message says what."""


def run(*command: str, stdin: str | None = None) -> str:
    """Run a command and return what it printed.

    Raises:
        DriverError: the command failed or is not installed; carries its error output.
    """
    try:
        result = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise DriverError(f"{command[0]} is not installed; `make up` installs it") from error
    if result.returncode != 0:
        raise DriverError(f"`{' '.join(command[:4])} ...` failed: {result.stderr.strip()}")
    return result.stdout


def say(message: str) -> None:
    """Print one line of progress."""
    print(message, flush=True)


# --- ssh key ---------------------------------------------------------------------------------


def private_key(ssh_directory: str) -> Path:
    """Return the path of the deployment's private key, making the key pair where it is missing."""
    key = Path(ssh_directory, "id_ed25519")
    if not key.exists():
        key.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "mlops deployment", "-f", str(key))
    return key


def ssh_key_create(values: Input) -> None:
    """Make the key pair unless it is there."""
    say(f"ssh key {private_key(values['ssh_directory'])}")


def ssh_key_delete(values: Input) -> None:
    """Remove the key pair."""
    for name in ("id_ed25519", "id_ed25519.pub"):
        Path(values["ssh_directory"], name).unlink(missing_ok=True)


# --- machine image ---------------------------------------------------------------------------


def image_exists(alias: str) -> bool:
    """Tell whether Incus has an image under this alias."""
    images = json.loads(run("incus", "image", "list", "--format", "json"))
    return any(alias == entry["name"] for image in images for entry in image["aliases"])


def debian_sources(suite: str) -> list[str]:
    """Return apt lines for `suite` from the mirrors that this host itself uses.

    On a host that is not Debian the list is empty, and mmdebstrap takes its own default.
    """
    listing = run(
        "apt-get", "indextargets", "--format", "$(SITE)|$(CODENAME)|$(LABEL)|$(SIGNED_BY)"
    )
    sites: dict[str, str] = {}
    for line in listing.splitlines():
        site, codename, label, _ = line.split("|", 3)
        if label == "Debian" and "backports" not in codename:
            sites.setdefault("main", site)
        elif label == "Debian-Security":
            sites.setdefault("security", site)
    if "main" not in sites:
        return []
    lines = [f"deb {sites['main']} {suite}{part} main" for part in ("", "-updates")]
    if "security" in sites:
        lines.append(f"deb {sites['security']} {suite}-security main")
    return lines


def image_create(values: Input) -> None:
    """Make the machine image unless it is there; another one that makes it is waited for."""
    with exclusive(Path(values["definition_directory"])) as definition_directory:
        if image_exists(values["alias"]):
            say(f"image {values['alias']} is there already")
        else:
            build_image(definition_directory, values["alias"])


@contextmanager
def exclusive(directory: Path) -> Iterator[Path]:
    """Wait until no other process has this directory, then have it."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield directory
    finally:
        os.close(descriptor)


def build_image(definition_directory: Path, alias: str) -> None:
    """Build a machine image from Debian packages and give it to Incus."""
    definition = json.loads((definition_directory / "image.json").read_text())
    sources = debian_sources(definition["suite"])
    with tempfile.TemporaryDirectory(prefix="mlops-image-") as work:
        rootfs = Path(work, "rootfs.tar")
        say(f"building {alias} from Debian packages")
        run(
            # It makes all mounts private, which must not outlast it on the operator's host.
            "unshare",
            "--mount",
            "mmdebstrap",
            "--quiet",
            "--variant=minbase",
            "--format=tar",
            f"--include={','.join(definition['packages'])}",
            # Each machine draws its own host keys and machine id at its first start.
            '--customize-hook=rm -f "$1"/etc/ssh/ssh_host_*',
            '--customize-hook=chroot "$1" systemctl enable systemd-networkd systemd-resolved ssh',
            '--customize-hook=ln -sf /run/systemd/resolve/stub-resolv.conf "$1"/etc/resolv.conf',
            '--customize-hook=: > "$1"/etc/machine-id',
            definition["suite"],
            str(rootfs),
            *(["-"] if sources else []),
            stdin="\n".join(sources) if sources else None,
        )
        metadata = {**definition["metadata"], "creation_date": int(time.time())}
        # JSON is YAML too, which is what Incus reads.
        Path(work, "metadata.yaml").write_text(json.dumps(metadata))
        shutil.copytree(definition_directory / "templates", Path(work, "templates"))
        archive = Path(work, "metadata.tar")
        run("tar", "-C", work, "-cf", str(archive), "metadata.yaml", "templates")
        run("incus", "image", "import", str(archive), str(rootfs), "--alias", alias)
    say(f"image {alias} is ready")


def image_delete(values: Input) -> None:
    """Remove the machine image unless it is gone already."""
    if image_exists(values["alias"]):
        run("incus", "image", "delete", values["alias"])


# --- machines --------------------------------------------------------------------------------


def instance(name: str) -> dict[str, Any] | None:
    """Return what Incus knows of an instance, or None where there is none of that name."""
    instances = json.loads(run("incus", "list", "--format", "json"))
    return next((entry for entry in instances if entry["name"] == name), None)


def addresses(name: str) -> list[str]:
    """Return the IPv4 addresses by which others reach an instance, as far as Incus sees them."""
    state = (instance(name) or {}).get("state") or {}
    interfaces = state.get("network") or {}
    return [
        address["address"]
        for interface in interfaces.values()
        for address in interface["addresses"]
        if (address["family"], address["scope"]) == ("inet", "global")
    ]


def has_identity(name: str) -> bool:
    """Tell whether an instance was made to the end."""
    return IDENTITY_TEMPLATE in run("incus", "config", "template", "list", name, "--format", "csv")


def size_options(values: Input) -> dict[str, str]:
    """Return Incus' configuration keys for processors and memory; an empty value means no bound."""
    return {
        "limits.cpu": str(values["cpus"] or ""),
        "limits.memory": values["memory"],
    }


def cloud_config(user: str, public_key: str) -> str:
    """Return the user data that gives a machine its login."""
    config = {
        "users": [
            {
                "name": user,
                "shell": "/bin/bash",
                "sudo": "ALL=(ALL) NOPASSWD:ALL",
                "lock_passwd": True,
                "ssh_authorized_keys": [public_key],
            }
        ],
        "ssh_pwauth": False,
    }
    return f"#cloud-config\n{json.dumps(config)}\n"


def container_options() -> dict[str, str]:
    """Return the configuration keys that Docker in a system container needs on this host."""
    options = {"security.nesting": "true"}
    if not Path("/sys/fs/cgroup/cgroup.controllers").exists():
        # Debian 13's systemd refuses to start on cgroup v1 unless told that this is meant.
        options["environment.SYSTEMD_PROC_CMDLINE"] = "SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1"
    return options


def machine_create(values: Input) -> None:
    """Make a machine, start it and wait until it answers on ssh."""
    name = values["name"]
    found = instance(name)
    if found is not None:
        if found["config"].get(OWNER_KEY) != OWNER_VALUE or has_identity(name):
            raise DriverError(
                f"an Incus instance named {name} is there already, but this Terraform state does "
                f"not know it (another checkout may have made it). Look at it with "
                f"`incus info {name}`; "
                f"if nothing in it is needed, remove it with `incus delete --force {name}`"
            )
        say(f"removing {name}, which an interrupted run left half made")
        run("incus", "delete", "--force", name)

    image = values["image"]
    # The state may know of an image that was removed behind Terraform's back.
    if image["definition_directory"] is not None:
        image_create(image)
    public_key = private_key(values["ssh_directory"]).with_suffix(".pub").read_text().strip()
    options = {
        OWNER_KEY: OWNER_VALUE,
        "cloud-init.user-data": cloud_config(values["user"], public_key),
        "boot.autostart": "true",
        **size_options(values),
        **(container_options() if values["type"] == "container" else {}),
    }
    command = ["incus", "init", image["alias"], name, "--network", values["bridge"]]
    if values["type"] == "virtual-machine":
        command.append("--vm")
    for key, value in options.items():
        command += ["-c", f"{key}={value}"]
    command += ["-d", f"eth0,ipv4.address={values['address']}"]
    if values["disk"]:
        command += ["-d", f"root,size={values['disk']}"]
    say(f"creating {values['type']} {name} at {values['address']}")
    run(*command)
    run("incus", "start", name)
    wait_until_ready(values)
    run("incus", "config", "template", "create", name, IDENTITY_TEMPLATE)
    run("incus", "config", "template", "edit", name, IDENTITY_TEMPLATE, stdin=values["identity"])
    say(f"{name} answers at {values['address']}")


def wait_until_ready(values: Input) -> None:
    """Wait for a machine's ssh server and note its host keys, read from inside the machine.

    Raises:
        DriverError: the machine did not come up in time.
    """
    name = values["name"]
    deadline = time.monotonic() + READY_TIMEOUT_SECONDS
    problem = "it did not start"
    while time.monotonic() < deadline:
        try:
            run("incus", "exec", name, "--", "cloud-init", "status", "--wait")
            run("incus", "exec", name, "--", "systemctl", "is-active", "--quiet", "ssh")
            # Not by `incus exec`: on a busy host it loses what a short command prints.
            keys = run("incus", "file", "pull", f"{name}/etc/ssh/ssh_host_ed25519_key.pub", "-")
            if not keys.strip():
                raise DriverError("its ssh server has no host key yet")
            found = addresses(name)
            if values["address"] not in found:
                raise DriverError(f"its addresses are {', '.join(found) or 'none'}")
        except DriverError as error:
            problem = str(error)
            time.sleep(1)
            continue
        algorithm, key = keys.split()[:2]
        known_hosts_file(values).write_text(f"{values['address']} {algorithm} {key}\n")
        return
    raise DriverError(
        f"machine {name} was not ready at {values['address']} after {READY_TIMEOUT_SECONDS} s: "
        f"{problem}. "
        f"`incus console {name} --show-log` and `incus exec {name} -- journalctl -b` tell more"
    )


def known_hosts_file(values: Input) -> Path:
    """Return the path of the known hosts file that belongs to one machine."""
    return Path(values["ssh_directory"], f"known_hosts_{values['name']}")


def machine_configure(values: Input) -> None:
    """Give a running machine the wanted size and address, restarting it only for the address."""
    name = values["name"]
    found = instance(name)
    if found is None:
        raise DriverError(f"there is no Incus instance named {name}; run terraform apply again")
    for key, value in size_options(values).items():
        if found["config"].get(key, "") != value:
            run("incus", "config", "set", name, f"{key}={value}")
    if values["disk"] and found["expanded_devices"]["root"].get("size") != values["disk"]:
        verb = "set" if "root" in found["devices"] else "override"
        run("incus", "config", "device", verb, name, "root", f"size={values['disk']}")
    if found["expanded_devices"]["eth0"].get("ipv4.address") != values["address"]:
        run("incus", "config", "device", "set", name, "eth0", f"ipv4.address={values['address']}")
        run("incus", "restart", name)
        wait_until_ready(values)


def machine_delete(values: Input) -> None:
    """Remove a machine unless it is gone already."""
    found = instance(values["name"])
    if found is not None:
        if found["config"].get(OWNER_KEY) != OWNER_VALUE:
            raise DriverError(
                f"the Incus instance {values['name']} was not made by this project; it stays"
            )
        run("incus", "delete", "--force", values["name"])
    known_hosts_file(values).unlink(missing_ok=True)


VERBS: dict[str, Callable[[Input], None]] = {
    "ssh-key-create": ssh_key_create,
    "ssh-key-delete": ssh_key_delete,
    "image-create": image_create,
    "image-delete": image_delete,
    "machine-create": machine_create,
    "machine-configure": machine_configure,
    "machine-delete": machine_delete,
}


def main(arguments: list[str]) -> int:
    """Run one verb; return the exit status."""
    if len(arguments) != 1 or arguments[0] not in VERBS or "INPUT" not in os.environ:
        print(f"usage: INPUT=JSON incus_machine.py {{{','.join(VERBS)}}}", file=sys.stderr)
        return 2
    try:
        VERBS[arguments[0]](json.loads(os.environ["INPUT"]))
    except DriverError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
