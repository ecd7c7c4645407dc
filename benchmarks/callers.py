"""Clients that cost little and hide nothing: one connection each, the bytes of the protocol and no library."""

import http.client
import json
import subprocess
from pathlib import Path
from typing import Any, Protocol

MODERN = "2026-07-28"
HANDSHAKE = "2025-11-25"
CLIENT = {"name": "bench", "version": "1"}


class Caller(Protocol):
    """Something that can be called again and again. `pid` is the server whose CPU counts."""

    pid: int

    def call(self) -> None: ...


def cpu_seconds(pid: int) -> float:
    """CPU time of all threads of a process so far, in the kernel's nanoseconds."""
    threads = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(thread.read_text().split()[0]) for thread in threads) / 1e9


def ask(
    connection: http.client.HTTPConnection, method: str, path: str, body: str | None, headers: dict[str, str]
) -> tuple[http.client.HTTPResponse, bytes]:
    """One exchange; an idle connection that the server closed meanwhile is opened again."""
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
    except (ConnectionError, http.client.RemoteDisconnected):
        connection.close()
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
    return answer, answer.read()


class Rest:
    """GET over one kept connection."""

    def __init__(self, pid: int, port: int, path: str, token: str | None = None) -> None:
        self.pid = pid
        self._path = path
        self._connection = http.client.HTTPConnection("127.0.0.1", port)
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    def call(self) -> None:
        answer, body = ask(self._connection, "GET", self._path, None, self._headers)
        if answer.status != 200:
            raise RuntimeError(body.decode())


class McpHttp:
    """tools/call over one kept connection, in either era."""

    def __init__(
        self, pid: int, port: int, tool: str, arguments: dict[str, Any], token: str | None = None, *, era: str = MODERN
    ) -> None:
        self.pid = pid
        self._connection = http.client.HTTPConnection("127.0.0.1", port)
        self._headers = {
            "Accept": "application/json, text/event-stream",
            "Content-Type": "application/json",
            "MCP-Protocol-Version": era,
        }
        if token:
            self._headers["Authorization"] = f"Bearer {token}"
        params: dict[str, Any] = {"name": tool, "arguments": arguments}
        if era == MODERN:
            self._headers |= {"Mcp-Method": "tools/call", "Mcp-Name": tool}
            params["_meta"] = {
                "io.modelcontextprotocol/protocolVersion": era,
                "io.modelcontextprotocol/clientInfo": CLIENT,
                "io.modelcontextprotocol/clientCapabilities": {},
            }
        else:
            self._shake_hands()
        self._body = json.dumps({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params})

    def call(self) -> None:
        body = self._post(self._body)[1]
        if b'"isError":true' in body.replace(b" ", b"") or b'"error"' in body[:200]:
            raise RuntimeError(body.decode())

    def _shake_hands(self) -> None:
        params = {"protocolVersion": HANDSHAKE, "capabilities": {}, "clientInfo": CLIENT}
        answer, _ = self._post(json.dumps({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}))
        self._headers["Mcp-Session-Id"] = answer.headers["mcp-session-id"]
        self._post(json.dumps({"jsonrpc": "2.0", "method": "notifications/initialized"}))

    def _post(self, body: str) -> tuple[http.client.HTTPResponse, bytes]:
        return ask(self._connection, "POST", "/mcp", body, self._headers)


class McpStdio:
    """tools/call over a server's stdin and stdout."""

    def __init__(self, process: "subprocess.Popen[bytes]", tool: str, arguments: dict[str, Any]) -> None:
        self.pid = process.pid
        self._process = process
        params = {"protocolVersion": HANDSHAKE, "capabilities": {}, "clientInfo": CLIENT}
        self._ask({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params})
        self._send({"jsonrpc": "2.0", "method": "notifications/initialized"})
        call = {"name": tool, "arguments": arguments}
        self._call = {"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": call}

    def call(self) -> None:
        answer = self._ask(self._call)
        if b'"isError":true' in answer or b'"error"' in answer[:60]:
            raise RuntimeError(answer.decode())

    def _send(self, message: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(message).encode() + b"\n")
        self._process.stdin.flush()

    def _ask(self, message: dict[str, Any]) -> bytes:
        assert self._process.stdout is not None
        self._send(message)
        while True:
            line = self._process.stdout.readline()
            if not line:
                raise RuntimeError("The server has gone.")
            if b'"id":' in line:
                return line
