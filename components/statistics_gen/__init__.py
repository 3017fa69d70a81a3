"""Statistics that look inside the images."""
