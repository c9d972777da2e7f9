"""What this machine has, and (to come) what fits where."""
