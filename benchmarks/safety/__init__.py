"""Manual benchmarks of hostile input, in seconds and MiB. Figures depend on the machine."""
