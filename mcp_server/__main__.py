"""`python -m mcp_server`: the MCP door alone, over HTTP. The same as `infrastructor serve mcp`."""

import sys

from infrastructor.app import open_application
from infrastructor.serve import Part, run
from infrastructor.settings import Settings

sys.exit(run(Settings(), open_application, Part.MCP))
