variable "machines" {
  description = <<-EOT
    The machines that exist, by name.
    - type: `container` (an Incus system container with its own init; works everywhere),
      `virtual-machine` (the same Incus resource on a host with KVM) or
      `existing` (a reachable Debian 13 machine; nothing is created).
    - address: IPv4 address; inside the bridge's range unless the machine exists already.
    - groups: what the machine is for; Ansible's inventory groups.
    - cpus: number of processors, null for all of the host's.
    - memory: upper bound, such as `20GiB`.
    - disk: size of the root disk, such as `60GiB`, null for what the storage pool gives.
      The pool that `make up` creates bounds every machine; where it is a plain directory, as the host
      has no btrfs, it can bound virtual machines only.
    - user: login with sudo rights that Ansible uses.
    - ssh_private_key_file: for `existing` machines only, the key for that login.
    - on_demand: whether the machine is made only once `machines_in_demand` names it.
  EOT
  type = map(object({
    type                 = optional(string, "container")
    address              = string
    groups               = set(string)
    cpus                 = optional(number)
    memory               = optional(string, "20GiB")
    disk                 = optional(string)
    user                 = optional(string, "mlops")
    ssh_private_key_file = optional(string)
    on_demand            = optional(bool, false)
  }))
  default = {
    mlops = {
      address = "10.43.101.202"
      groups  = ["platform"]
    }
    # Load comes from a machine of its own, so that making it takes nothing from what is measured.
    loadtest = {
      address   = "10.43.101.210"
      groups    = ["loadtest"]
      memory    = "8GiB"
      on_demand = true
    }
  }
  nullable = false

  validation {
    condition     = alltrue([for name in keys(var.machines) : can(regex("^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$", name))])
    error_message = "machines: a name is a host name: lower-case letters, digits and hyphens, beginning with a letter, at most 63 characters."
  }

  validation {
    condition     = alltrue([for m in values(var.machines) : contains(["container", "virtual-machine", "existing"], m.type)])
    error_message = "machines: type must be container, virtual-machine or existing."
  }

  validation {
    condition     = alltrue([for m in values(var.machines) : can(cidrnetmask("${m.address}/32"))])
    error_message = "machines: address must be an IPv4 address, such as 10.43.101.202."
  }

  validation {
    condition = alltrue([
      for m in values(var.machines) : m.type == "existing" ? true : try(
        cidrsubnet("${m.address}/${split("/", local.network.subnet)[1]}", 0, 0) == local.network.subnet
        && !contains([cidrhost(local.network.subnet, 0), cidrhost(local.network.subnet, 1), cidrhost(local.network.subnet, -1)], m.address),
        true, # not an address at all: the rule above says so
      )
    ])
    error_message = "machines: address must lie inside ${local.network.subnet} and be neither its first two addresses nor its last, which belong to the bridge."
  }

  validation {
    condition     = length(distinct([for m in values(var.machines) : m.address])) == length(var.machines)
    error_message = "machines: two machines have the same address."
  }

  validation {
    condition     = alltrue([for m in values(var.machines) : length(m.groups) > 0 && length(setsubtract(m.groups, local.known_groups)) == 0])
    error_message = "machines: groups must name at least one of ${join(", ", local.known_groups)}, and nothing else."
  }

  validation {
    condition     = length([for m in values(var.machines) : m if contains(m.groups, "platform")]) <= 1
    error_message = "machines: only one machine can be in the group platform; its containers share one internal network."
  }

  validation {
    condition     = alltrue([for m in values(var.machines) : m.cpus == null ? true : m.cpus >= 1 && floor(m.cpus) == m.cpus])
    error_message = "machines: cpus must be a whole number of at least 1, or null for all."
  }

  validation {
    condition = alltrue([
      for size in concat([for m in values(var.machines) : m.memory], [for m in values(var.machines) : m.disk if m.disk != null]) :
      can(regex("^[1-9][0-9]*(MiB|GiB|TiB)$", size))
    ])
    error_message = "machines: memory and disk are a whole number and a unit (MiB, GiB or TiB), such as 20GiB."
  }

  validation {
    condition     = alltrue([for m in values(var.machines) : can(regex("^[a-z_][a-z0-9_-]{0,31}$", m.user))])
    error_message = "machines: user must be a Linux user name."
  }

  validation {
    condition     = alltrue([for m in values(var.machines) : (m.type == "existing") == (m.ssh_private_key_file != null)])
    error_message = "machines: ssh_private_key_file belongs to machines of type existing, and they need it; the others get the deployment's own key."
  }
}

variable "machines_in_demand" {
  description = "Names of the machines with on_demand that are to be there; the verb that needs one notes it in a file that Terraform reads by itself."
  type        = set(string)
  default     = []
  nullable    = false
}

variable "deployment_directory" {
  description = "Where the deployment's own ssh key and known hosts are kept; relative to this folder or absolute."
  type        = string
  default     = "../.deployment"
  nullable    = false
}

variable "incus_directory" {
  description = "Where the Incus daemon keeps its instances; read to notice machines that were deleted by hand."
  type        = string
  default     = "/var/lib/incus"
  nullable    = false
}

variable "container_image" {
  description = "Incus image for machines of type container: Debian 13 with cloud-init and an ssh server; null for the one that this project makes."
  type        = string
  default     = null
}

variable "virtual_machine_image" {
  description = "Incus image for machines of type virtual-machine: a Debian 13 disk image with cloud-init and the Incus agent."
  type        = string
  default     = "images:debian/13/cloud"
  nullable    = false
}
