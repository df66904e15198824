"""The denominator of bits per byte, as logs and tokenizer files show it."""

from audits.denominator.implied_bytes import IMPLIED_BYTES
from audits.denominator.stream import NONCANONICAL_VALIDATION
from audits.denominator.tokenizer_files import SUPERSEDED_TOKENIZER, TOKENIZER_MISSING
from audits.denominator.transformed import TRANSFORMED_BYTES

RULES = (TRANSFORMED_BYTES, IMPLIED_BYTES, SUPERSEDED_TOKENIZER, TOKENIZER_MISSING, NONCANONICAL_VALIDATION)
