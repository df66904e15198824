"""Byte accounting: exact decoders for every tokenizer in use, and the strict audit over a whole validation set."""
