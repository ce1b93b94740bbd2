"""The dataset's host and OpenML, played by a server on the loopback interface.

urllib takes it for its proxy. Plain HTTP requests to codh.rois.ac.jp arrive as they are; those to
OpenML arrive through CONNECT, and are answered with TLS and a certificate of the test's own.
"""

import hashlib
import io
import json
import ssl
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import numpy as np
import trustme


def npz(array):
    """The bytes of an .npz file as the dataset's host has them."""
    file = io.BytesIO()
    np.savez_compressed(file, array)
    return file.getvalue()


def idx_md5(array):
    """MD5 of an array as an IDX file: magic number, dimensions, bytes."""
    header = bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
    return hashlib.md5(header + array.tobytes()).hexdigest()


class Internet:
    """Serves (x_train, y_train), (x_test, y_test) from both places, in the way that is asked for.

    host and openml: a behaviour each, see Handler.answer and openml_table.
    """

    def __init__(self, train, test, folder):
        self.train, self.test = train, test
        self.host = self.openml = "ok"
        self.requests = []
        self.closing = threading.Event()
        authority = trustme.CA()
        self.certificates = folder / "authority.pem"
        authority.cert_pem.write_to_path(self.certificates)
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("www.openml.org", "api.openml.org").configure_cert(self.tls)
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.internet = self
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.environment = {
            "http_proxy": self.url, "https_proxy": self.url, "no_proxy": "",
            "SSL_CERT_FILE": str(self.certificates),
        }
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self):
        self.closing.set()
        self.server.shutdown()
        self.server.server_close()

    def host_file(self, path):
        arrays = dict(zip(
            ("train-imgs", "train-labels", "test-imgs", "test-labels"), (*self.train, *self.test)))
        name = path.rsplit("/")[-1].removesuffix(".npz").partition("-")[2]
        array = arrays[name]
        if self.host == "wrong file":
            array = array[::-1].copy()
        if self.host == "lengths" and name == "train-labels":
            array = array[:-1]
        if self.host == "pickled":
            array = np.array([{}], dtype=object)
        return npz(array)

    def openml_table(self):
        """The published images as OpenML has them: a row each, pixels and class."""
        images = np.concatenate([self.train[0], self.test[0]]).reshape(-1, 784)
        labels = np.concatenate([self.train[1], self.test[1]])
        if self.openml == "order":
            images, labels = images[::-1], labels[::-1]
        if self.openml == "pixel":
            images = images.copy()
            images[7, 300] ^= 1
        lines = ["@RELATION Kuzushiji-MNIST"]
        lines += [f"@ATTRIBUTE pixel{i + 1} INTEGER" for i in range(784)]
        lines += ["@ATTRIBUTE class {0,1,2,3,4,5,6,7,8,9}", "@DATA"]
        lines += [",".join(map(str, (*row, label))) for row, label in zip(images, labels)]
        return "\n".join(lines).encode() + b"\n"

    def openml_json(self, path):
        if "/data/list/" in path:
            return {"data": {"dataset": [{"did": 41982, "name": "Kuzushiji-MNIST", "version": 1}]}}
        if "/features/" in path:
            features = [(f"pixel{i + 1}", "numeric", "false") for i in range(784)]
            return {"data_features": {"feature": [
                {"index": str(i), "name": name, "data_type": kind, "is_target": target,
                 "is_ignore": "false", "is_row_identifier": "false",
                 "number_of_missing_values": "0"}
                for i, (name, kind, target) in enumerate([*features, ("class", "nominal", "true")])
            ]}}
        if "/qualities/" in path:
            rows = len(self.train[1]) + len(self.test[1])
            return {"data_qualities": {"quality": [
                {"name": "NumberOfInstances", "value": str(float(rows))}]}}
        return {"data_set_description": {
            "id": "41982", "name": "Kuzushiji-MNIST", "version": "1", "description": "Images.",
            "format": "ARFF", "status": "active", "file_id": "21230748",
            "url": "https://www.openml.org/data/v1/download/21230748/Kuzushiji-MNIST.arff",
            "md5_checksum": hashlib.md5(self.openml_table()).hexdigest()}}


class Handler(BaseHTTPRequestHandler):
    def do_CONNECT(self):
        if self.server.internet.openml == "503":
            return self.send_error(503)
        self.send_response(200)
        self.end_headers()
        try:
            tls = self.server.internet.tls
            self.connection = tls.wrap_socket(self.connection, server_side=True)
        except OSError:
            return
        self.rfile, self.wfile = self.connection.makefile("rb"), self.connection.makefile("wb", 0)
        self.handle_one_request()
        try:
            self.connection.unwrap()
        except OSError:
            pass  # the client has gone already
        self.close_connection = True

    def do_GET(self):
        internet, path = self.server.internet, urlsplit(self.path).path
        if self.path.startswith("http:"):
            internet.requests.append("host")
            self.answer(internet.host, internet.host_file(path), "application/zip")
        elif "/download/" in path:
            internet.requests.append("openml")
            self.answer(internet.openml, internet.openml_table(), "text/plain")
        else:
            internet.requests.append("openml")
            body = json.dumps(internet.openml_json(path)).encode()
            # What befalls "later" befalls the table only.
            behaviour = internet.openml if internet.openml in ("404", "html", "silent") else "ok"
            self.answer(behaviour, body, "application/json")

    def answer(self, behaviour, body, content_type):
        """Answer as asked for: well, or in one of the ways in which servers fail."""
        closing = self.server.internet.closing
        if behaviour in ("404", "503"):
            return self.send_error(int(behaviour))
        if behaviour == "silent":
            return closing.wait(60)
        if behaviour == "html":
            body, content_type = b"<!DOCTYPE html><html>Please log in</html>", "text/html"
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if behaviour in ("stall", "short"):
            self.wfile.write(body[: len(body) // 2])
            if behaviour == "stall":
                closing.wait(60)
        elif behaviour == "slow":
            size = len(body) // 3 + 1
            for start in range(0, len(body), size):
                self.wfile.write(body[start : start + size])
                time.sleep(0.5)
        else:
            self.wfile.write(body)

    def log_message(self, *args):
        pass
