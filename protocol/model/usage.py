"""Estimates of token counts, for upstreams that do not count."""

_BYTES_PER_TOKEN = 4


def estimate_tokens(text: str) -> int:
    """Estimate the tokens of a text: a quarter of its UTF-8 bytes, rounded up."""
    return -(-len(text.encode("utf-8", "surrogatepass")) // _BYTES_PER_TOKEN)


def estimated_bytes(tokens: int) -> int:
    """Return the largest number of UTF-8 bytes that is estimated at this number of tokens."""
    return tokens * _BYTES_PER_TOKEN
