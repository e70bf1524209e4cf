"""`gemini-gateway init`: the first five minutes, from nothing to the first request."""
