"""What the tests of all roles have in common."""
