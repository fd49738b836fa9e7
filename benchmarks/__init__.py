"""Manual benchmarks."""
