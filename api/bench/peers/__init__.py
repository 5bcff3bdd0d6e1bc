"""The peers, written as their users write them."""
