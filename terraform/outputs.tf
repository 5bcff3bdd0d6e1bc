output "machines" {
  description = "What Ansible needs of each machine, by name: type, address, groups, login and the files for ssh."
  value = {
    for name, machine in local.machines : name => {
      type                 = machine.type
      address              = machine.type == "existing" ? machine.address : module.machine[name].address
      groups               = machine.groups
      user                 = machine.user
      ssh_private_key_file = machine.type == "existing" ? machine.ssh_private_key_file : "${local.ssh_directory}/id_ed25519"
      # Null leaves the check of a machine's host key to the operator's own known hosts.
      ssh_known_hosts_file = machine.type == "existing" ? null : "${local.ssh_directory}/known_hosts_${name}"
    }
  }
}
