"""What `make` runs before there is an environment: standard library only, any fit Python."""
