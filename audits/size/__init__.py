"""The artifact: bytes against the cap, code bytes against the committed script, claimed sizes against the logs, files beside it."""

from audits.size import cap, claims, code_bytes, payload

RULES = (cap.OVER_CAP, code_bytes.CODE_MISMATCH, claims.CLAIM_MISMATCH, payload.UNCOUNTED_PAYLOAD)
