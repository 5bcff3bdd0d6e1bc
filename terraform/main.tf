locals {
  network      = jsondecode(file("${path.module}/network.json"))
  known_groups = ["platform", "loadtest"]

  machines   = { for name, machine in var.machines : name => machine if !machine.on_demand || contains(var.machines_in_demand, name) }
  created    = { for name, machine in local.machines : name => machine if machine.type != "existing" }
  containers = { for name, machine in local.created : name => machine if machine.type == "container" }

  container_image = one(concat(module.machine_image[*].image, [for alias in var.container_image[*] : { alias = alias, definition_directory = null }]))

  driver        = "${path.module}/driver/incus_machine.py"
  ssh_directory = "${abspath(var.deployment_directory)}/ssh"
}

# The deployment's own ssh key. The driver makes it, not Terraform, so that the private
# half never enters the state.
resource "terraform_data" "ssh_key" {
  count = length(local.created) > 0 ? 1 : 0

  input = { driver = local.driver, ssh_directory = local.ssh_directory }

  provisioner "local-exec" {
    command     = "${self.input.driver} ssh-key-create"
    environment = { INPUT = jsonencode(self.input) }
  }

  provisioner "local-exec" {
    when        = destroy
    command     = "${self.output.driver} ssh-key-delete"
    environment = { INPUT = jsonencode(self.output) }
  }
}

module "machine_image" {
  source = "./modules/machine_image"
  count  = length(local.containers) > 0 && var.container_image == null ? 1 : 0

  driver = local.driver
}

module "machine" {
  source   = "./modules/machine"
  for_each = local.created

  name            = each.key
  type            = each.value.type
  address         = each.value.address
  cpus            = each.value.cpus
  memory          = each.value.memory
  disk            = each.value.disk
  user            = each.value.user
  image           = each.value.type == "container" ? local.container_image : { alias = var.virtual_machine_image, definition_directory = null }
  network         = local.network
  ssh_directory   = local.ssh_directory
  incus_directory = var.incus_directory
  driver          = local.driver

  depends_on = [terraform_data.ssh_key]
}
