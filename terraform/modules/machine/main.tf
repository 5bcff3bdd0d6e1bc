terraform {
  required_version = ">= 1.9"
}

locals {
  instance_directory = "${var.incus_directory}/${var.type == "container" ? "containers" : "virtual-machines"}/${var.name}"
  # The driver's last act of making a machine is to store its identity in the instance's own
  # folder, so the file goes where the machine goes.
  identity_file = "${local.instance_directory}/templates/identity.tpl"
}

# A machine that was deleted behind Terraform's back has no identity file; a new identity is
# drawn and everything that hangs on it is made again. No provider is at hand that could ask
# Incus, so the look is at its files. Where they may not be read, fileexists fails, and rightly:
# taking "cannot look" for "gone" would replace a living machine.
resource "terraform_data" "identity" {
  triggers_replace = fileexists(local.identity_file) ? file(local.identity_file) : uuid()
}

resource "terraform_data" "machine" {
  input = {
    driver        = var.driver
    name          = var.name
    type          = var.type
    user          = var.user
    bridge        = var.network.bridge
    ssh_directory = var.ssh_directory
  }
  # Image and size are not here: a changed size is set in place (below), and a changed image
  # is for machines to come; neither is worth a machine's data.
  triggers_replace = [terraform_data.identity.id, var.type]

  provisioner "local-exec" {
    command = "${self.input.driver} machine-create"
    environment = {
      INPUT = jsonencode(merge(self.input, {
        address  = var.address
        image    = var.image
        cpus     = var.cpus
        memory   = var.memory
        disk     = var.disk
        identity = terraform_data.identity.triggers_replace
      }))
    }
  }

  provisioner "local-exec" {
    when        = destroy
    command     = "${self.output.driver} machine-delete"
    environment = { INPUT = jsonencode(self.output) }
  }
}

resource "terraform_data" "configuration" {
  input = {
    driver        = var.driver
    name          = var.name
    type          = var.type
    ssh_directory = var.ssh_directory
    address       = var.address
    cpus          = var.cpus
    memory        = var.memory
    disk          = var.disk
  }
  triggers_replace = [terraform_data.machine.id, var.address, var.cpus, var.memory, var.disk]

  provisioner "local-exec" {
    command     = "${self.input.driver} machine-configure"
    environment = { INPUT = jsonencode(self.input) }
  }
}
