"""The two sources of KMNIST, its host and OpenML, played on this machine over HTTPS."""

import functools
import hashlib
import json
import ssl
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import numpy as np
import trustme

AUTHORITY = trustme.CA()  # a client must trust it: that is what SSL_CERT_FILE is for
HOST = "codh.rois.ac.jp"
OPENML = ("api.openml.org", "www.openml.org")  # older scikit-learn asks the first


class Server(ThreadingHTTPServer):
    """A proxy that answers for both sources itself, from files by their paths.

    How it answers for KMNIST's host, and for OpenML, is said by its attributes host and
    openml:

    "ok"       with the file
    "503"      with this status
    "html"     with a page, as a hotel's network does before one has logged in
    "other"    with a file whose last byte differs
    "short"    with half of the file, and then the end
    "stall"    with half of the file, and then nothing
    "silent"   with nothing
    "in step"  with half of the file, and the rest once a second client has its half

    All that it was asked for is in requests: (scheme, host, path).
    """

    def __init__(self, files):
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.files = files
        self.host = self.openml = "ok"
        self.requests = []
        self.closing = threading.Event()
        self.two_clients = threading.Barrier(2, timeout=60)

    def __enter__(self):
        threading.Thread(target=self.serve_forever, args=(0.05,)).start()
        return self

    def __exit__(self, *exception):
        self.closing.set()
        self.shutdown()
        self.server_close()

    def handle_error(self, request, client_address):
        if not isinstance(sys.exc_info()[1], OSError):  # say, a client that was killed
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    def do_CONNECT(self):
        host, _, port = self.path.partition(":")
        if host not in (HOST, *OPENML):
            self.send_error(502)
            return
        self.send_response(200)
        self.end_headers()
        if port == "80":
            Handler(self.connection, self.client_address, self.server)
            return
        with tls(host).wrap_socket(self.connection, server_side=True) as connection:
            Handler(connection, self.client_address, self.server)

    def do_GET(self):
        scheme = "https" if isinstance(self.connection, ssl.SSLSocket) else "http"
        host = self.headers["Host"]
        path = urlsplit(self.path).path  # without the host, if that is there again
        self.server.requests.append((scheme, host, path))
        answer = self.server.host if host == HOST else self.server.openml
        body = self.server.files.get(path)
        if answer == "silent":
            self.server.closing.wait(60)
        elif answer == "503":
            self.send_error(503)
        elif body is None:
            self.send_error(404)
        elif answer == "html":
            self.send(b"<html>Please log in</html>")
        elif answer == "other":
            self.send(body[:-1] + bytes([body[-1] ^ 1]))
        else:
            self.send(body, answer)

    def send(self, body, answer="ok"):
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        half = len(body) // 2
        self.wfile.write(body[:half])
        if answer == "stall":
            self.server.closing.wait(60)
        elif answer == "in step":
            self.server.two_clients.wait()
        if answer in ("ok", "in step"):
            self.wfile.write(body[half:])

    def log_message(self, *args):
        pass


@functools.cache
def tls(host):
    """Return the TLS settings of a server by this name."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    AUTHORITY.issue_cert(host).configure_cert(context)
    return context


def openml_files(images, labels):
    """Return what scikit-learn asks OpenML for, by path: these images as its KMNIST."""
    rows = np.column_stack([images.reshape(len(images), -1), labels])
    lines = [",".join(map(str, row)) for row in rows]
    table = "\n".join(["@DATA", *lines]).encode()
    columns = [
        {
            "index": str(index),
            "name": f"column {index}",
            "data_type": "numeric",
            "is_ignore": "false",
            "is_row_identifier": "false",
            "is_target": "true" if index == 784 else "false",
            "number_of_missing_values": "0",
        }
        for index in range(785)
    ]
    description = {
        "format": "ARFF",
        "status": "active",
        "file_id": "21388379",
        "url": f"https://{OPENML[-1]}/data/v1/download/21388379",
        "md5_checksum": hashlib.md5(table).hexdigest(),
    }
    api = {
        "": {"data_set_description": description},
        "features/": {"data_features": {"feature": columns}},
        "qualities/": {},
    }
    files = {
        f"/api/v1/json/data/{what}41982": json.dumps(answer).encode()
        for what, answer in api.items()
    }
    return files | {"/data/v1/download/21388379": table}
