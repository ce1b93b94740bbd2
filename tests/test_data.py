"""Loading data: from the cache, from the network, and from neither."""

import hashlib
import io
import json
import re
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import keras
import numpy as np
import pytest
from conftest import CACHE, ROOT
from sklearn.datasets import _openml

import model_batchnorm

IMAGES = np.random.default_rng(0).integers(0, 256, (70, 28, 28), "uint8")
LABELS = np.arange(70, dtype="uint8") % 10
DATA = (IMAGES[:60], LABELS[:60]), (IMAGES[60:], LABELS[60:])  # in KMNIST's proportion
LOADED = tuple((np.divide(x[..., np.newaxis], 255, dtype="float32"), y) for x, y in DATA)
CACHED = {}  # the files that a full cache has
for name, array in zip(model_batchnorm.SHA256, [*DATA[0], *DATA[1]]):
    file = io.BytesIO()
    np.savez_compressed(file, array)
    CACHED[f"kmnist.npz_kmnist_{name}"] = file.getvalue()
HOST = {name[11:].replace("_", "-") + ".npz": content for name, content in CACHED.items()}
SHA256 = {name[18:]: hashlib.sha256(content).hexdigest() for name, content in CACHED.items()}
CONSTANTS = {"HOST": "http://host", "TIMEOUT": 1, "SHA256": SHA256,  # the script's
             "MD5": hashlib.md5(bytes(IMAGES) + bytes(LABELS)).hexdigest()}

ROWS = np.column_stack([IMAGES.reshape(70, 784), LABELS])
TABLE = ("@DATA\n" + "\n".join(",".join(map(str, row)) for row in ROWS)).encode()
DESCRIPTION = {"format": "ARFF", "status": "active", "file_id": "21388379",
               "url": "http://www.openml.org/data/v1/download/21388379",
               "md5_checksum": hashlib.md5(TABLE).hexdigest()}
FEATURES = {"feature": [
    {"index": str(index), "name": f"column {index}", "data_type": "numeric", "is_ignore": "false",
     "is_row_identifier": "false", "is_target": "true" if index == 784 else "false",
     "number_of_missing_values": "0"} for index in range(785)]}
OPENML = {  # what it answers to fetch_openml
    "api/v1/json/data/41982": json.dumps({"data_set_description": DESCRIPTION}).encode(),
    "api/v1/json/data/features/41982": json.dumps({"data_features": FEATURES}).encode(),
    "api/v1/json/data/qualities/41982": b"{}", "data/v1/download/21388379": TABLE}


class Handler(BaseHTTPRequestHandler):
    """Answers for both sources, as server.host and server.openml say how."""

    def do_GET(self):
        path = self.path.split("/", 3)[3]  # of http://host/path
        self.server.requests.append(path)
        answer = self.server.host if path in HOST else self.server.openml
        body = {**HOST, **OPENML}.get(path, b"")
        body = {"html": b"<html>Please log in</html>", "other": body[:-1] + b"!"}.get(answer, body)
        if answer == "silent":
            self.server.closing.wait()
        self.send_response(503 if answer == "503" else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:50])
        self.server.closing.wait(60 if answer == "stall" else 0)
        if answer == "in step":
            self.server.two_requests.wait(60)
        if answer != "short":
            self.wfile.write(body[50:])

@pytest.fixture
def sources(monkeypatch):
    """A proxy for plain HTTP that answers in place of both sources, and notes its requests."""
    for name, value in CONSTANTS.items():
        monkeypatch.setattr(model_batchnorm, name, value)
    for name, value in list(vars(_openml).items()):
        if str(value).startswith("https://"):
            monkeypatch.setattr(_openml, name, value.replace("https", "http"))
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{server.server_port}")
        server.host, server.openml, server.requests = "ok", "503", []
        server.closing, server.two_requests = threading.Event(), threading.Barrier(2)
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield server
        server.closing.set()
        server.shutdown()

def believed():
    """Return the files of the cache but for unfinished ones."""
    return {file.name: file.read_bytes() for file in CACHE.iterdir() if file.suffix != ".part"}

def test_the_host_is_asked_over_https():
    assert model_batchnorm.HOST.startswith("https://")

def test_the_host_fills_the_cache_and_is_not_asked_again(sources):
    for _ in range(2):
        np.testing.assert_equal(model_batchnorm.load_data(), LOADED)
    assert sources.requests == [*HOST]
    assert believed() == CACHED and len(list(CACHE.iterdir())) == 4

def test_files_where_keras_does_not_look_need_no_network(sources, monkeypatch, tmp_path):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    (tmp_path / "datasets").mkdir()
    for name, content in CACHED.items():
        (tmp_path / "datasets" / name).write_bytes(content)
    np.testing.assert_equal(model_batchnorm.load_data(), LOADED)
    assert sources.requests == []

def test_a_failure_keeps_the_files_and_the_time_out_from_before(sources, monkeypatch):
    monkeypatch.setitem(HOST, "kmnist-test-labels.npz", b"")
    socket.setdefaulttimeout(77)
    with pytest.raises(OSError):
        model_batchnorm.load_data()
    assert len(believed()) == 3 and socket.getdefaulttimeout() == 77
    socket.setdefaulttimeout(None)

@pytest.mark.parametrize("failure", ["503", "silent", "stall", "html", "other", "short"])
def test_openml_steps_in_for_a_host_that_fails_and_is_asked_once(sources, caplog, failure):
    sources.host, sources.openml = failure, "ok"
    np.testing.assert_equal(model_batchnorm.load_data(), LOADED)
    assert re.search("503|timed out|corrupted file|retrieval incomplete", caplog.text)
    assert believed() == {}
    sources.host, sources.openml = "503", "503"
    np.testing.assert_equal(model_batchnorm.load_data(), LOADED)
    assert sources.requests == ["kmnist-train-imgs.npz", *OPENML, "kmnist-train-imgs.npz"]

@pytest.mark.parametrize("answer", ["503", "silent", "html", "ok"])
def test_without_a_source_of_the_right_images_it_fails(sources, monkeypatch, answer):
    monkeypatch.setattr(model_batchnorm, "MD5", "that of other images")
    sources.host, sources.openml = "503", answer
    with pytest.raises(OSError, match="OpenML|openml"):
        model_batchnorm.load_data()

@pytest.mark.parametrize("damage", ["truncated", "html", "pickled", "changed"])
def test_a_wrong_file_is_replaced_when_the_right_one_has_arrived(sources, damage):
    name, right = "kmnist.npz_kmnist_train_imgs", CACHED["kmnist.npz_kmnist_train_imgs"]
    wrong = {"truncated": right[:-30], "html": b"<html>404</html>", "pickled": b"\x80\x04}\x94.",
             "changed": right[:80] + b"?" + right[81:]}[damage]
    CACHE.joinpath(name).write_bytes(wrong)
    sources.host = "503"
    with pytest.raises(OSError):
        model_batchnorm.load_data()
    assert believed() == {name: wrong}
    sources.host = "ok"
    np.testing.assert_equal(model_batchnorm.load_data(), LOADED)
    assert believed() == CACHED

def test_a_cache_that_cannot_be_made_is_done_without(sources):
    CACHE.rmdir()
    CACHE.touch()  # a file in the folder's place: not even root can write there
    sources.openml = "ok"
    np.testing.assert_equal(model_batchnorm.load_data(), LOADED)

def test_a_bug_of_the_script_comes_out_as_that_bug(monkeypatch):
    monkeypatch.delattr(model_batchnorm, "HOST")
    with pytest.raises(NameError):
        model_batchnorm.load_data()

def start(**changes):
    """Start a process that loads KMNIST."""
    code = f"import model_batchnorm as m; vars(m).update({CONSTANTS | changes}); m.load_data()"
    return subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE)

def test_a_killed_download_leaves_nothing_that_is_believed(sources):
    sources.host = "stall"
    with start() as process:
        while not any(CACHE.iterdir()):
            assert process.poll() is None
            sources.closing.wait(0.05)
        process.kill()
    assert believed() == {}

def test_two_runs_at_once_fill_the_cache_and_show_their_progress(sources):
    sources.host = "in step"  # each file in the middle of its two downloads at once
    for process in [start(TIMEOUT=60), start(TIMEOUT=60)]:
        output, _ = process.communicate()
        assert re.search(rb"(\d{3,})/\1\b", output)  # the last step of Keras' progress bar
        assert process.returncode == 0
    assert believed() == CACHED

@pytest.mark.parametrize("dataset", ["mnist", "fashion_mnist"])
def test_keras_own_data_sets(monkeypatch, dataset):
    with pytest.raises(OSError):
        model_batchnorm.load_data(dataset)
    monkeypatch.setattr(getattr(keras.datasets, dataset), "load_data", lambda: DATA)
    np.testing.assert_equal(model_batchnorm.load_data(dataset), LOADED)
