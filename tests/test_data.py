"""Loading data: from the cache, from the network, and from neither."""

import hashlib
import json
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import keras
import numpy as np
import pytest
from extra_keras_datasets import kmnist

import model_batchnorm
from conftest import PARTS, ROOT, cached, learnable, npz

HOST, OPENML, MD5 = model_batchnorm.HOST, model_batchnorm.OPENML, model_batchnorm.MD5
TRAIN, TEST = learnable(60), learnable(10, seed=1)  # in KMNIST's proportion
NAMES = [f"{dataset}_{part}" for dataset in ("kmnist", "k49") for part in PARTS]
FILES = [f"/kmnist/kmnist-{part.replace('_', '-')}.npz" for part in PARTS]
FAILURES = {"404": "404 -- Not Found", "503": "503 -- Service Unavailable", "silent": "timed out",
            "html": "corrupted file", "other": "corrupted file", "stall": "timed out",
            "short": "retrieval incomplete"}
DAMAGES = {"truncated": lambda data: data[:-30], "html": lambda data: b"<html>404</html>",
           "flipped": lambda data: data[:80] + bytes([data[80] ^ 255]) + data[81:],
           "pickled": lambda data: npz(np.array([{}], dtype=object))}


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.requests.append(self.path)
        answer = self.server.openml if self.path == "/table.arff" else self.server.host
        body = self.server.files.get(self.path)
        if body is None or answer in ("404", "503"):
            return self.send_error(503 if answer == "503" else 404)
        if answer == "silent":
            return self.server.closing.wait(60)
        body = {"html": b"<html>Please log in</html>", "other": body[:-1] + b"!"}.get(answer, body)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        for quarter in np.array_split(np.frombuffer(body, "uint8"), 4):
            self.wfile.write(quarter.tobytes())
            self.server.closing.wait({"slow": 0.4, "stall": 60}.get(answer, 0))
            if answer in ("short", "stall"):
                break


@pytest.fixture
def sources(monkeypatch, cache, offline):
    """The script's sources, played by a server; what its files are counts as published.

    host, openml: how each answers, see Handler. requests: the paths that were asked for and, as
    the server is the proxy, too, any URL over plain HTTP. constants: the script's for the test.
    """
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as sources:
        sources.host = sources.openml = "ok"
        sources.requests, sources.closing = [], threading.Event()
        sources.files = {f"/{name.partition('_')[0]}/{name.replace('_', '-')}.npz": npz(array)
                         for name, array in zip(NAMES, (*TRAIN, *TEST) * 2)}
        images, labels = map(np.concatenate, zip(TRAIN, TEST))
        rows = np.column_stack([images.reshape(-1, 784), labels]).astype(str)
        header = "% Images\n@RELATION Kuzushiji-MNIST\n@ATTRIBUTE class {0,1,2}\n\n@DATA\n"
        sources.files["/table.arff"] = (header + "\n".join(map(",".join, rows))).encode()
        url = f"http://127.0.0.1:{sources.server_port}"
        md5s = (hashlib.md5(file).hexdigest() for file in sources.files.values())
        sources.constants = {
            "HOST": url, "OPENML": f"{url}/table.arff", "TIMEOUT": 1,
            "MD5": dict(zip([*NAMES, f"{url}/table.arff"], md5s)),
            "SIZES": dict.fromkeys(("kmnist", "k49"), (len(TRAIN[0]), len(TEST[0])))}
        for name, value in sources.constants.items():
            monkeypatch.setattr(model_batchnorm, name, value)
        monkeypatch.setenv("http_proxy", url)
        threading.Thread(target=sources.serve_forever, args=(0.05,), daemon=True).start()
        yield sources
        sources.closing.set()
        sources.shutdown()


def assert_loaded(dataset="kmnist"):
    """Assert that TRAIN and TEST are loaded, ready for training."""
    data = model_batchnorm.load_data(dataset)
    for (x, y), (images, labels) in zip(data, (TRAIN, TEST), strict=True):
        assert x.dtype == "float32" and x.shape == (len(images), 28, 28, 1)
        np.testing.assert_allclose(x[..., 0], images.astype("float64") / 255, rtol=1e-6)
        np.testing.assert_array_equal(y, labels)


def assert_cached(sources, cache):
    """Assert that the cache serves everybody without the network, and holds nothing else."""
    del sources.requests[:]
    np.testing.assert_equal(kmnist.load_data(type="kmnist"), (TRAIN, TEST))
    assert_loaded()
    assert len(list(cache.iterdir())) == 4 and sources.requests == []


def error(dataset="kmnist"):
    """Return why a dataset cannot be loaded."""
    with pytest.raises(OSError, match=f"^{dataset} could not be loaded into ") as raised:
        model_batchnorm.load_data(dataset)
    return str(raised.value)


def messages(caplog):
    """What was logged, but for the dataset's request to be cited."""
    return [r.getMessage() for r in caplog.records if not r.getMessage().startswith(
        ("Please cite", "Clanuwat", "Loading dataset"))]


def test_what_is_cached_is_used_as_it_is(sources, cache, caplog):
    cached(cache, [array[:50] for array in TRAIN], TEST)
    (x_train, y_train), _ = model_batchnorm.load_data()
    assert len(x_train) == len(y_train) == 50 and sources.requests == []
    assert caplog.text.count("Please cite") == 1
    assert messages(caplog) == ["Not all of kmnist: 50 training and 10 test images"]


def test_the_host_fills_the_cache(sources, cache):
    """What has been fetched is kept when something else cannot be had."""
    sources.openml, file = "503", sources.files.pop(FILES[2])
    error()
    sources.files[FILES[2]] = file
    assert_loaded()
    assert sources.requests == [*FILES[:3], "/table.arff", *FILES[2:]]
    assert_cached(sources, cache)


@pytest.mark.parametrize("failure", FAILURES)
def test_a_source_that_fails(sources, cache, caplog, failure):
    """With OpenML in its place where that is the host; else with both reasons told."""
    sources.host, sources.openml = "503", failure
    socket.setdefaulttimeout(77)
    assert FAILURES[failure] in (reason := error()) and str(cache) in reason
    assert not list(cache.iterdir())
    sources.host, sources.openml = failure, "ok"
    assert_loaded()
    assert socket.getdefaulttimeout() == 77
    socket.setdefaulttimeout(None)
    assert sources.requests == [FILES[0], "/table.arff"] * 2
    first, second = messages(caplog)
    assert "503" in first and FAILURES[failure] in second and sources.constants["HOST"] in second
    assert_cached(sources, cache)


def test_k49_comes_from_the_host_alone(sources, cache, caplog, monkeypatch, tmp_path):
    """In a KERAS_HOME that Keras, which read it when imported, does not know of: checked, too."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    assert_loaded("k49")
    cache = tmp_path / "datasets"
    assert messages(caplog) == []
    next(cache.iterdir()).unlink()
    sources.host = "503"
    assert "503" in error("k49")
    assert len(sources.requests) == 5 and {path[:5] for path in sources.requests} == {"/k49/"}


@pytest.mark.parametrize("part", ["train_imgs", "test_labels"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_cache(sources, cache, caplog, damage, part):
    """It is replaced from the network; without network the message names the file."""
    cached(cache, TRAIN, TEST)
    file = cache / f"kmnist.npz_kmnist_{part}"
    file.write_bytes(DAMAGES[damage](file.read_bytes()))
    sources.host = sources.openml = "503"
    error()
    assert messages(caplog)[0].startswith(f"{file} cannot be read: ")
    sources.host, sources.requests = "ok", []
    assert_loaded()
    assert len(sources.requests) == 1
    assert_cached(sources, cache)


@pytest.mark.parametrize("train", [
    (TRAIN[0], TRAIN[1][:-1]), (TRAIN[0], TRAIN[1].astype("int16") - 1),
    (TRAIN[0][:0], TRAIN[1][:0]), (TRAIN[0][:, :20], TRAIN[1]), (TRAIN[0] / 255, TRAIN[1]),
    (TRAIN[0], TRAIN[1] / 1), (TRAIN[0], TRAIN[1] + np.int64(999))])
def test_what_cannot_be_trained_on_is_refused(sources, cache, caplog, train):
    cached(cache, train, TEST)
    assert model_batchnorm.main(["--dataset", "kmnist"]) == 1
    assert messages(caplog)[-1].startswith("kmnist could not be loaded")


def test_cache_that_cannot_be_written(sources, cache, monkeypatch):
    cache.rmdir()
    cache.write_bytes(b"")  # a file in the folder's place: not even root can write there
    error()
    cache.unlink()
    cache.mkdir()
    cached(cache, TRAIN, TEST)
    monkeypatch.setattr("os.access", lambda path, mode: "keras_home" not in str(path))
    assert_loaded()


@pytest.mark.parametrize("dataset", ["mnist", "fashion_mnist", "cifar11"])
def test_other_datasets(monkeypatch, offline, cache, dataset):
    error(dataset)
    if loader := getattr(keras.datasets, dataset, None):
        monkeypatch.setattr(loader, "load_data", lambda: (TRAIN, TEST))
        assert_loaded(dataset)


def test_digits(offline):
    (x_train, y_train), (x_test, y_test) = model_batchnorm.load_data("digits")
    assert x_train.shape == (1437, 28, 28, 1) and x_test.shape == (360, 28, 28, 1)
    assert x_train.dtype == "float32" and x_train.min() == 0 and x_train.max() == 1
    assert np.bincount(y_test).min() >= 34  # stratified
    np.testing.assert_array_equal(x_test, model_batchnorm.load_data("digits")[1][0])


def test_two_runs_at_once_after_one_that_was_killed(sources, cache):
    """Each file comes slower than the time-out, but never silent for so long: with progress."""
    code = ("import json, sys, model_batchnorm as m; vars(m).update(json.loads(sys.argv[1]));"
            "print('loaded', *[len(labels) for images, labels in m.load_data('kmnist')])")

    def start(answer):
        sources.host, sources.requests = answer, []
        process = subprocess.Popen(
            [sys.executable, "-c", code, json.dumps(sources.constants)], cwd=ROOT, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        while not sources.requests:
            assert process.poll() is None, process.communicate()
            time.sleep(0.05)
        return process

    killed = start("stall")
    killed.kill()
    killed.communicate()
    assert not list(cache.glob("kmnist.npz*"))
    outputs = [process.communicate(timeout=120)[0] for process in (start("slow"), start("slow"))]
    assert all("loaded 60 10\n" in output for output in outputs), outputs
    assert re.search(r"(\d{3,})/\1\b", outputs[0]), outputs
    next(cache.glob("tmp*")).rename(cache.parent / "left by the killed one")
    assert_cached(sources, cache)


def test_published_files(sources):
    """Sources, and the form of all checksums; where the published test set is at hand, its own."""
    assert sorted(MD5) == sorted([*NAMES, OPENML]) and len(set(MD5.values())) == 9
    assert all(re.fullmatch("[0-9a-f]{32}", md5) for md5 in MD5.values())
    for file in (ROOT.parent / "shared" / "keras_home" / "datasets").glob("*_test_*"):
        assert hashlib.md5(file.read_bytes()).hexdigest() == MD5[file.name.partition("npz_")[2]]
    assert HOST.startswith("https://") and OPENML.startswith("https://")
    with pytest.raises(urllib.error.HTTPError):  # plain HTTP, though, would be seen by all tests
        urllib.request.urlopen("http://codh.rois.ac.jp/")
    assert sources.requests == ["http://codh.rois.ac.jp/"]
