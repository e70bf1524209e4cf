"""Says whether a bill of materials is what CycloneDX wants it to be; needs CycloneDX's own library."""

import sys
from pathlib import Path

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

wrong = JsonStrictValidator(SchemaVersion.V1_6).validate_str(Path(sys.argv[1]).read_text())
sys.exit(f"{sys.argv[1]}: {wrong.data.message}" if wrong else 0)
