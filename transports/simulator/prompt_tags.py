"""The tags by which a prompt makes a simulated model call tools and answer in JSON, at the site and the API. No I/O."""

import re

CALL = re.compile(r'<call\s+name="([^"]*)"\s*>(.*?)</call>', re.DOTALL)
"""A call: the name of the tool and its arguments."""
JSON = re.compile(r"<json>(.*?)</json>", re.DOTALL)
"""The answer to a structured request."""
BAD_JSON, MALFORMED, PROSE = "<badjson/>", "<malformed-call/>", "<prose-then-call/>"
"""Break the JSON, break the call, and write words before the call."""
