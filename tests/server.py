"""KMNIST's host and OpenML, played on this machine over HTTPS."""

import functools
import hashlib
import io
import json
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import numpy as np
import trustme

AUTHORITY = trustme.CA()  # a client must be told to trust it
HOST = "codh.rois.ac.jp"


class Server(ThreadingHTTPServer):
    """A proxy that answers for both sources itself, from files by their paths.

    Its attributes host and openml say how KMNIST's host and OpenML answer:

    "ok"       with the file
    "503"      with this status
    "html"     with a page, as a hotel's network does before one has logged in
    "other"    with the file, its last byte changed
    "silent"   not at all
    "in step"  with the file, once two clients have asked for it

    requests lists all that it was asked for: (scheme, host, path).
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


class Handler(BaseHTTPRequestHandler):
    def do_CONNECT(self):
        self.send_response(200)
        self.end_headers()
        host = self.path.partition(":")[0]
        with tls(host).wrap_socket(self.connection, server_side=True) as connection:
            Handler(connection, self.client_address, self.server)

    def do_GET(self):
        scheme = "https" if isinstance(self.connection, ssl.SSLSocket) else "http"
        host, path = self.headers["Host"], urlsplit(self.path).path
        self.server.requests.append((scheme, host, path))
        answer = self.server.host if host == HOST else self.server.openml
        body = self.server.files.get(path)
        if answer == "silent":
            self.server.closing.wait(60)
            return
        if answer == "503" or body is None:
            self.send_error(503)
            return
        if answer == "html":
            body = b"<html>Please log in</html>"
        elif answer == "other":
            body = body[:-1] + bytes([body[-1] ^ 1])
        elif answer == "in step":
            self.server.two_clients.wait()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

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
    table = io.BytesIO()
    rows = np.column_stack([images.reshape(len(images), -1), labels])
    np.savetxt(table, rows, "%d", ",", header="@DATA", comments="")
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
        "file_id": "1",
        "url": "https://www.openml.org/data/v1/download/1",
        "md5_checksum": hashlib.md5(table.getvalue()).hexdigest(),
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
    return files | {"/data/v1/download/1": table.getvalue()}
