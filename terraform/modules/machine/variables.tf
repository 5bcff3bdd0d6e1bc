variable "name" {
  description = "Host name of the machine."
  type        = string
}

variable "type" {
  description = "`container` or `virtual-machine`."
  type        = string
}

variable "address" {
  description = "IPv4 address on the bridge."
  type        = string
}

variable "cpus" {
  description = "Number of processors, null for all of the host's."
  type        = number
}

variable "memory" {
  description = "Upper bound, such as `20GiB`."
  type        = string
}

variable "disk" {
  description = "Size of the root disk, null for what the storage pool gives."
  type        = string
}

variable "user" {
  description = "Login with sudo rights and the deployment's ssh key."
  type        = string
}

variable "image" {
  description = "Incus image that the machine is made from; one with a definition is built if it is gone."
  type        = object({ alias = string, definition_directory = optional(string) })
}

variable "network" {
  description = "The bridge and the range it serves."
  type        = object({ bridge = string, subnet = string })
}

variable "ssh_directory" {
  description = "Folder with the deployment's ssh key; the machine's known hosts file is written there."
  type        = string
}

variable "incus_directory" {
  description = "Where the Incus daemon keeps its instances."
  type        = string
}

variable "driver" {
  description = "Path of the script that talks to Incus."
  type        = string
}
