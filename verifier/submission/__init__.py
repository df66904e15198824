"""Reading a submission: safe readers that turn a folder into facts with provenance."""
