"""The least a door can be: a FastAPI route and a FastMCP tool that echo one body. What ours are compared with.

`python benchmarks/bare.py fastapi PORT BODY`, `… fastmcp PORT BODY`, `… stdio 0 BODY`; BODY is a file.
"""

import json
import logging
import sys
from pathlib import Path
from typing import Any

import uvicorn


def fastapi_app(body: bytes) -> Any:
    from fastapi import FastAPI
    from starlette.responses import Response

    app = FastAPI()

    @app.get("/echo/{device}")
    async def echo(device: str) -> Response:
        return Response(body, media_type="application/json")

    return app


def fastmcp_server(body: bytes) -> Any:
    import fastmcp
    from fastmcp.tools.base import ToolResult
    from mcp_types import TextContent

    logging.getLogger("fastmcp").setLevel(logging.ERROR)
    server = fastmcp.FastMCP("bare")

    @server.tool
    async def echo(device: str) -> ToolResult:
        """Echo. Nothing more."""
        return ToolResult(content=[TextContent(type="text", text=body.decode())], structured_content=json.loads(body))

    return server


def main() -> None:
    kind, port, path = sys.argv[1:]
    body = Path(path).read_bytes()
    if kind == "stdio":
        fastmcp_server(body).run("stdio", show_banner=False)
        return
    app = fastapi_app(body) if kind == "fastapi" else fastmcp_server(body).http_app(path="/mcp")
    uvicorn.run(app, port=int(port), log_level="error", access_log=False, ws="none")


if __name__ == "__main__":
    main()
