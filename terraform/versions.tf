terraform {
  # 1.9 is the first version in which a validation may look at more than its own variable.
  # Only the built-in provider is used, so that `init` downloads nothing.
  required_version = ">= 1.9"
}
