"""What hostile input costs, in seconds and MiB, by hand. Figures depend on the machine."""
