output "address" {
  description = "IPv4 address, known once the machine answers on ssh."
  value       = terraform_data.configuration.output.address
}
