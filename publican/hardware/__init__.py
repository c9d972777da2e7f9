"""What this machine has, and by arithmetic what fits where. Nothing here loads anything; only `nvml` and `machine` look."""
