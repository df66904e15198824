"""The package: files that must be there, what a pull request may touch, metadata, leaks, re-used evidence."""

from audits.package import leaked_paths, metadata, missing_files, pull_request, reused_evidence

RULES = (
    *missing_files.RULES,
    *pull_request.RULES,
    *metadata.RULES,
    *leaked_paths.RULES,
    *reused_evidence.RULES,
)
