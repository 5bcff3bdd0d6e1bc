terraform {
  required_version = ">= 1.9"
}

variable "driver" {
  description = "Path of the script that talks to Incus."
  type        = string
}

locals {
  definition_directory = abspath("${path.module}/definition")
  # The alias names the content: another definition is another image, and machines
  # that were made from an earlier one stay as they are.
  digest = substr(sha256(join("", [
    for file in sort(fileset(local.definition_directory, "**")) : filesha256("${local.definition_directory}/${file}")
  ])), 0, 12)
}

resource "terraform_data" "image" {
  input = {
    driver               = var.driver
    alias                = "mlops-machine-${local.digest}"
    definition_directory = local.definition_directory
  }
  triggers_replace = [local.digest]

  provisioner "local-exec" {
    command     = "${self.input.driver} image-create"
    environment = { INPUT = jsonencode(self.input) }
  }

  provisioner "local-exec" {
    when        = destroy
    command     = "${self.output.driver} image-delete"
    environment = { INPUT = jsonencode(self.output) }
  }
}

output "image" {
  description = "Name under which Incus knows the image, and what it is made from."
  value = {
    alias                = terraform_data.image.output.alias
    definition_directory = terraform_data.image.output.definition_directory
  }
}
