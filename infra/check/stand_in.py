"""Stand-ins for what a program talks to while its start is measured, and the clock that measures it. Must never listen beyond loopback."""

import http.server
import ssl
import threading
import time


def processor_ms(pid: int) -> float:
    """Processor time of a whole process until now, threads that have ended included (Linux: the clock of another process)."""
    return time.clock_gettime_ns(((~pid) << 3) | 2) / 1e6


class Quiet(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # An answer goes out in one piece: the second of two would wait for the other side's delayed acknowledgement, 40 ms.
    wbufsize = -1

    def log_message(self, *_):
        pass

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("content-length") or 0))

    def answer(self, status: int, content: bytes, headers: dict[str, str]):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_):
        """Whoever asked is gone: its process was ended."""

    def __init__(self, handler, tls: ssl.SSLContext | None = None):
        super().__init__(("127.0.0.1", 0), handler)
        if tls:
            self.socket = tls.wrap_socket(self.socket, server_side=True)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def port(self) -> int:
        return self.server_address[1]


def settled(pid: int) -> float:
    """Processor time once the process sleeps: no more of it between two looks."""
    last = processor_ms(pid)
    while True:
        time.sleep(0.02)
        now = processor_ms(pid)
        if now == last:
            return now
        last = now
