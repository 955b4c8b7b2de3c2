"""Several processes at one task, with the result of a single one."""
