"""Token counts for upstreams that do not count."""

_BYTES_PER_TOKEN = 4


def estimate_tokens(text: str) -> int:
    """Estimate the tokens of a text: a quarter of its UTF-8 bytes, at least one where there is any text."""
    return -(-len(text.encode("utf-8", "surrogatepass")) // _BYTES_PER_TOKEN)


def estimated_bytes(tokens: int) -> int:
    """Return how many UTF-8 bytes of text are estimated at so many tokens, at most."""
    return tokens * _BYTES_PER_TOKEN
