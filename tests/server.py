"""KMNIST's host, played on this machine over HTTPS."""

import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import trustme

AUTHORITY = trustme.CA()  # a client must be told to trust it
HOST = "codh.rois.ac.jp"


class Server(ThreadingHTTPServer):
    """A proxy that answers for the host itself, from files by their paths.

    Its attribute answer says how:

    "ok"      with the file
    "other"   with the file, its last byte changed
    "silent"  with the file, after ten seconds of silence

    requests lists all that it was asked for: (scheme, host, path).
    """

    def __init__(self, files):
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.files = files
        self.answer = "ok"
        self.requests = []
        self.closing = threading.Event()
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        AUTHORITY.issue_cert(HOST).configure_cert(self.tls)

    def __enter__(self):
        threading.Thread(target=self.serve_forever, args=(0.05,)).start()
        return self

    def __exit__(self, *exception):
        self.closing.set()
        self.shutdown()
        self.server_close()


class Handler(BaseHTTPRequestHandler):
    def do_CONNECT(self):
        self.send_response(200)
        self.end_headers()
        tls = self.server.tls
        with tls.wrap_socket(self.connection, server_side=True) as connection:
            Handler(connection, self.client_address, self.server)

    def do_GET(self):
        scheme = "https" if isinstance(self.connection, ssl.SSLSocket) else "http"
        path = urlsplit(self.path).path
        self.server.requests.append((scheme, self.headers["Host"], path))
        if self.server.answer == "silent" and self.server.closing.wait(10):
            return  # the test is over
        body = self.server.files[path]
        if self.server.answer == "other":
            body = body[:-1] + bytes([body[-1] ^ 1])
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass
