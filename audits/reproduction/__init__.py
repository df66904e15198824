"""Re-running a record: its own script or the reference implementation of its system, compared with its logs."""
