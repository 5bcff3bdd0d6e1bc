# Plans only: nothing is made. The folder for Incus is one that has no machine in it, so that the
# plans are the same whether a deployment runs on this host or not.
variables {
  incus_directory      = "tests"
  deployment_directory = "tests"
  # Not what a deployment here has asked for.
  machines_in_demand = []
}

run "default_is_one_container_for_the_platform" {
  command = plan

  assert {
    condition     = output.machines["mlops"].type == "container" && output.machines["mlops"].user == "mlops"
    error_message = "the default machine is a container with the login mlops"
  }
  assert {
    condition     = output.machines["mlops"].groups == toset(["platform"])
    error_message = "the default machine is in the group platform"
  }
  assert {
    condition     = endswith(output.machines["mlops"].ssh_private_key_file, "/tests/ssh/id_ed25519") && endswith(output.machines["mlops"].ssh_known_hosts_file, "/tests/ssh/known_hosts_mlops")
    error_message = "ssh files lie in the deployment's folder"
  }
  assert {
    condition     = length(module.machine_image) == 1 && length(terraform_data.ssh_key) == 1
    error_message = "a container needs the image and the key"
  }
  assert {
    condition     = length(module.machine) == 1 && length(output.machines) == 1
    error_message = "no other machine is made unless somebody asks for it"
  }
}

run "the_load_test_machine_is_made_when_asked_for" {
  command = plan
  variables {
    machines_in_demand = ["loadtest"]
  }
  assert {
    condition     = length(module.machine) == 2 && output.machines["loadtest"].groups == toset(["loadtest"])
    error_message = "both machines are planned"
  }
}

run "a_machine_is_one_more_entry" {
  command = plan
  variables {
    machines = {
      mlops = { address = "10.43.101.202", groups = ["platform"], cpus = 4, memory = "24GiB", disk = "60GiB" }
      other = { address = "10.43.101.211", groups = ["loadtest"] }
    }
  }
  assert {
    condition     = length(module.machine) == 2 && output.machines["other"].groups == toset(["loadtest"])
    error_message = "both machines are planned"
  }
}

run "a_virtual_machine_needs_no_built_image" {
  command = plan
  variables {
    machines = { mlops = { type = "virtual-machine", address = "10.43.101.202", groups = ["platform"] } }
  }
  assert {
    condition     = length(module.machine_image) == 0 && length(module.machine) == 1
    error_message = "a virtual machine starts from a disk image"
  }
  assert {
    condition     = output.machines["mlops"].type == "virtual-machine"
    error_message = "the type is handed on"
  }
}

run "a_container_from_another_image" {
  command = plan
  variables {
    container_image = "mine"
  }
  assert {
    condition     = length(module.machine_image) == 0 && local.container_image.alias == "mine"
    error_message = "an image that is there already is not made"
  }
}

run "an_existing_machine_creates_nothing" {
  command = plan
  variables {
    machines = {
      mlops = { type = "existing", address = "192.168.7.9", groups = ["platform"], user = "debian", ssh_private_key_file = "/keys/debian" }
    }
  }
  assert {
    condition     = length(module.machine) == 0 && length(module.machine_image) == 0 && length(terraform_data.ssh_key) == 0
    error_message = "nothing is planned for an existing machine"
  }
  assert {
    condition = (
      output.machines["mlops"].address == "192.168.7.9" && output.machines["mlops"].ssh_private_key_file == "/keys/debian"
      && output.machines["mlops"].ssh_known_hosts_file == null
    )
    error_message = "the operator's own address, key and known hosts are used"
  }
}

run "refuses_an_address_outside_the_bridge" {
  command = plan
  variables {
    machines = { mlops = { address = "10.43.102.5", groups = ["platform"] } }
  }
  expect_failures = [var.machines]
}

run "refuses_the_address_of_the_bridge" {
  command = plan
  variables {
    machines = { mlops = { address = "10.43.101.1", groups = ["platform"] } }
  }
  expect_failures = [var.machines]
}

run "refuses_what_is_no_address" {
  command = plan
  variables {
    machines = { mlops = { address = "mlops.example", groups = ["platform"] } }
  }
  expect_failures = [var.machines]
}

run "refuses_an_unknown_group" {
  command = plan
  variables {
    machines = { mlops = { address = "10.43.101.202", groups = ["platform", "nosuchgroup"] } }
  }
  expect_failures = [var.machines]
}

run "refuses_an_unknown_type" {
  command = plan
  variables {
    machines = { mlops = { type = "pod", address = "10.43.101.202", groups = ["platform"] } }
  }
  expect_failures = [var.machines]
}

run "refuses_two_machines_with_one_address" {
  command = plan
  variables {
    machines = {
      mlops    = { address = "10.43.101.202", groups = ["platform"] }
      loadtest = { address = "10.43.101.202", groups = ["loadtest"] }
    }
  }
  expect_failures = [var.machines]
}

run "refuses_two_platforms" {
  command = plan
  variables {
    machines = {
      one = { address = "10.43.101.202", groups = ["platform"] }
      two = { address = "10.43.101.203", groups = ["platform"] }
    }
  }
  expect_failures = [var.machines]
}

run "refuses_sizes_without_a_unit" {
  command = plan
  variables {
    machines = { mlops = { address = "10.43.101.202", groups = ["platform"], memory = "20" } }
  }
  expect_failures = [var.machines]
}

run "refuses_part_of_a_processor" {
  command = plan
  variables {
    machines = { mlops = { address = "10.43.101.202", groups = ["platform"], cpus = 0.5 } }
  }
  expect_failures = [var.machines]
}

run "refuses_an_existing_machine_without_a_key" {
  command = plan
  variables {
    machines = { mlops = { type = "existing", address = "192.168.7.9", groups = ["platform"] } }
  }
  expect_failures = [var.machines]
}

run "refuses_a_name_that_is_no_host_name" {
  command = plan
  variables {
    machines = { "ML ops" = { address = "10.43.101.202", groups = ["platform"] } }
  }
  expect_failures = [var.machines]
}
