"""The part that lives in the process of the submission: maps the hardware the script expects to a CPU and records.

Nothing here is trusted by the other side: it shares its process with the submission. What it writes is read back as numbers
and short texts only (`verifier.execution.observations`), and it counts as evidence only where the loss that the script prints
itself can be rebuilt from it.
"""
