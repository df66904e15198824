"""The artifact: bytes against the cap, code bytes against the committed script, claimed sizes against the logs."""

from audits.size import cap, claims, code_bytes

RULES = (cap.OVER_CAP, code_bytes.CODE_MISMATCH, claims.CLAIM_MISMATCH)
