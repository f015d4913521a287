"""The worker's side of membership: register, report, leave; and what the machine has to report."""
