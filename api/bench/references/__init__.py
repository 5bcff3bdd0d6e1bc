"""What the inference API is compared with; each runs in a container with the same share."""
