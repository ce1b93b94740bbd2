"""Loading data: from the cache, from the network, and from neither."""

import logging
import socket
import subprocess
import sys
import time
import urllib.request

import keras
import numpy as np
import pytest
from extra_keras_datasets import kmnist

import model_batchnorm
from conftest import REAL_KMNIST, ROOT, cached, learnable
from internet import Internet, idx_md5, npz

TRAIN, TEST = learnable(60), learnable(10, seed=1)  # in KMNIST's proportion
CITATION = "Please cite"


@pytest.fixture
def internet(tmp_path, monkeypatch, cache):
    """The network as this process sees it; what it publishes counts as published."""
    internet = Internet(TRAIN, TEST, tmp_path)
    for name, value in internet.environment.items():
        monkeypatch.setenv(name, value)
        monkeypatch.setenv(name.upper(), value)
    monkeypatch.setattr(model_batchnorm, "KMNIST_MD5", [idx_md5(a) for a in (*TRAIN, *TEST)])
    monkeypatch.setattr(model_batchnorm, "TIMEOUT", 1)
    urllib.request.install_opener(None)  # so that urllib looks at the environment again
    yield internet
    internet.close()
    urllib.request.install_opener(None)


def unpublished(internet):
    """Switch the whole network off."""
    internet.host, internet.openml = "503", "503"


def assert_loaded(data):
    """Assert that data is TRAIN and TEST, ready for training."""
    for (x, y), (images, labels) in zip(data, (TRAIN, TEST), strict=True):
        assert x.dtype == "float32" and x.shape == (len(images), 28, 28, 1)
        np.testing.assert_allclose(x[..., 0], images.astype("float64") / 255, rtol=1e-6)
        np.testing.assert_array_equal(y, labels)


def assert_cached(internet, cache):
    """Assert that the cache serves everybody without the network, and holds nothing else."""
    unpublished(internet)
    (x_train, y_train), (x_test, y_test) = kmnist.load_data(type="kmnist")
    for array, published in zip((x_train, y_train, x_test, y_test), (*TRAIN, *TEST)):
        np.testing.assert_array_equal(array, published)
    assert_loaded(model_batchnorm.load_data("kmnist"))
    assert len(list(cache.iterdir())) == 4


def test_cached_data_needs_no_network(internet, cache, caplog):
    unpublished(internet)
    cached(cache, TRAIN, TEST)
    assert_loaded(model_batchnorm.load_data("kmnist"))
    assert internet.requests == []
    assert caplog.text.count(CITATION) == 1
    assert "Not the published" not in caplog.text


def test_cached_subset_is_used_with_a_warning(internet, cache, caplog):
    unpublished(internet)
    subset = TRAIN[0][:50], TRAIN[1][:50]
    cached(cache, subset, TEST)
    (x_train, y_train), _ = model_batchnorm.load_data("kmnist")
    assert len(x_train) == len(y_train) == 50
    assert [r.message for r in caplog.records if "published" in r.message] == [
        f"Not the published KMNIST, but 50 training and 10 test images from {cache}"]


def test_the_host_fills_the_cache(internet, cache, caplog):
    assert_loaded(model_batchnorm.load_data("kmnist"))
    assert internet.requests == ["host"] * 4
    assert caplog.text.count(CITATION) == 1
    assert_cached(internet, cache)


HOST_FAILURES = {
    "404": "HTTP Error 404: Not Found",
    "503": "HTTP Error 503: Service Unavailable",
    "html": "no intact data",
    "short": "retrieval incomplete",
    "silent": "timed out",
    "stall": "timed out",
    "wrong file": "not the published data",
    "lengths": "no intact data",
    "pickled": "no intact data",
}


@pytest.mark.parametrize("failure", HOST_FAILURES)
def test_when_the_host_fails_openml_fills_the_cache(internet, cache, caplog, failure):
    internet.host = failure
    socket.setdefaulttimeout(77)
    try:
        assert_loaded(model_batchnorm.load_data("kmnist"))
        assert socket.getdefaulttimeout() == 77
    finally:
        socket.setdefaulttimeout(None)
    report, *rest = [r.message for r in caplog.records]
    assert report.startswith("kmnist from codh.rois.ac.jp: ") and HOST_FAILURES[failure] in report
    assert "pickle" not in report.lower()
    assert "".join(rest).count(CITATION) == 1
    assert logging.root.manager.disable == logging.NOTSET
    assert_cached(internet, cache)


@pytest.mark.parametrize(
    "failure, why",
    [
        ("404", "HTTP Error 404"),
        ("503", "503"),
        ("html", "no intact data"),
        ("short", "no intact data"),
        ("silent", "timed out"),
        ("stall", "timed out"),
        ("order", "not the published data"),
        ("pixel", "not the published data"),
    ],
)
def test_when_both_fail_the_reasons_are_told(internet, cache, caplog, failure, why):
    internet.host, internet.openml = "503", failure
    opener = urllib.request.build_opener()
    urllib.request.install_opener(opener)
    start = time.monotonic()
    with pytest.raises(OSError, match="kmnist could not be loaded") as raised:
        model_batchnorm.load_data("kmnist")
    for file in model_batchnorm.cache_files("kmnist")[-1]:
        assert str(file) in str(raised.value)
    host, openml = [r.message for r in caplog.records]
    assert "503" in host
    assert openml.startswith("kmnist from openml.org: ") and why in openml
    assert time.monotonic() - start < 60  # a bound on waiting: retries would take for ever
    assert not list(cache.iterdir())
    assert urllib.request._opener is opener  # the process' own is back


def test_scikit_learn_does_not_retry(internet):
    internet.host = internet.openml = "404"
    with pytest.raises(OSError):
        model_batchnorm.load_data("kmnist")
    assert internet.requests == ["host", "openml"]


@pytest.mark.parametrize("proxy, why", [
    ("http://127.0.0.1:9", "Connection refused"), ("http://proxy.invalid:80", "")])
def test_no_connection(internet, cache, caplog, monkeypatch, proxy, why):
    for name in "http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY":
        monkeypatch.setenv(name, proxy)
    urllib.request.install_opener(None)
    with pytest.raises(OSError, match="kmnist could not be loaded"):
        model_batchnorm.load_data("kmnist")
    assert [why in r.message and "no intact" not in r.message for r in caplog.records] == [True] * 2
    assert not list(cache.iterdir())


def test_slow_transfers_are_left_to_finish(internet, cache, caplog, capsys):
    internet.host = "slow"  # longer than the time-out for a file, never without a byte for as long
    assert_loaded(model_batchnorm.load_data("kmnist"))
    assert internet.requests == ["host"] * 4
    assert "codh" not in caplog.text
    assert_cached(internet, cache)


def test_slow_openml_shows_progress(internet, cache, capsys):
    internet.host, internet.openml = "503", "slow"
    assert_loaded(model_batchnorm.load_data("kmnist"))
    size = len(internet.openml_table())
    assert f"{size}/{size}" in capsys.readouterr().out


def truncated(file):
    file.write_bytes(file.read_bytes()[:-30])


def html(file):
    file.write_bytes(b"<html>404</html>")


def pickled(file):
    file.write_bytes(npz(np.array([{}], dtype=object)))


def one_less(file):
    file.write_bytes(npz(np.load(file)["arr_0"][:-1]))


def floats(file):
    file.write_bytes(npz(np.load(file)["arr_0"].astype("float32")))


def missing(file):
    file.unlink()


@pytest.mark.parametrize("part", ["train_imgs", "test_labels"])
@pytest.mark.parametrize("damage", [truncated, html, pickled, one_less, floats, missing])
def test_damaged_cache_is_replaced(internet, cache, caplog, damage, part):
    cached(cache, TRAIN, TEST)
    damage(cache / f"kmnist.npz_kmnist_{part}")
    assert_loaded(model_batchnorm.load_data("kmnist"))
    assert (f"kmnist in {cache} is unusable" in caplog.text) == (damage is not missing)
    assert_cached(internet, cache)


def test_damaged_cache_without_network(internet, cache):
    unpublished(internet)
    cached(cache, TRAIN, TEST)
    truncated(cache / "kmnist.npz_kmnist_test_imgs")
    with pytest.raises(OSError):
        model_batchnorm.load_data("kmnist")


def test_cache_that_cannot_be_written(internet, cache, caplog):
    cache.rmdir()
    cache.write_bytes(b"")  # a file in the folder's place: not even root can write there
    try:
        assert_loaded(model_batchnorm.load_data("kmnist"))
    finally:
        cache.unlink()
    assert "kmnist_train_imgs could not be written: [Errno 20] Not a directory" in caplog.text


def test_home_that_cannot_be_written(internet, cache, monkeypatch, tmp_path):
    """keras.utils.get_file then takes /tmp/.keras; here, os.access says so instead of the disk."""
    access = model_batchnorm.os.access
    home = str(cache.parent)
    monkeypatch.setattr(
        model_batchnorm.os, "access", lambda path, mode: path != home and access(path, mode))
    (own, fallback) = model_batchnorm.cache_files("kmnist")
    assert own[0].parent == cache and str(fallback[0]).startswith("/tmp/.keras/datasets/")
    unpublished(internet)
    cached(cache, TRAIN, TEST)
    assert_loaded(model_batchnorm.load_data("kmnist"))


def test_k49(internet, cache):
    many = learnable(100, classes=12)
    cached(cache, many, TEST, "k49")
    (x_train, y_train), _ = model_batchnorm.load_data("k49")
    assert x_train.shape == (100, 28, 28, 1) and y_train.max() == 11
    assert internet.requests == []


@pytest.mark.parametrize("dataset", ["k49", "mnist", "fashion_mnist"])
def test_other_datasets_without_network(internet, cache, caplog, dataset):
    unpublished(internet)
    with pytest.raises(OSError, match=f"{dataset} could not be loaded"):
        model_batchnorm.load_data(dataset)
    assert "503" in caplog.text


@pytest.mark.parametrize("dataset", ["mnist", "fashion_mnist"])
def test_keras_datasets(monkeypatch, dataset):
    monkeypatch.setattr(getattr(keras.datasets, dataset), "load_data", lambda: (TRAIN, TEST))
    assert_loaded(model_batchnorm.load_data(dataset))


def test_digits():
    (x_train, y_train), (x_test, y_test) = model_batchnorm.load_data("digits")
    assert x_train.shape == (1437, 28, 28, 1) and x_test.shape == (360, 28, 28, 1)
    assert x_train.dtype == "float32" and x_train.min() == 0 and x_train.max() == 1
    assert np.bincount(y_test).min() >= 34  # stratified
    again = model_batchnorm.load_data("digits")
    np.testing.assert_array_equal(x_test, again[1][0])


def test_unknown_dataset():
    with pytest.raises(ValueError, match="fashion_mnist, digits, not 'cifar10'"):
        model_batchnorm.load_data("cifar10")


LOADER = """
import sys, model_batchnorm
model_batchnorm.KMNIST_MD5 = sys.argv[1:]
(x_train, y_train), (x_test, y_test) = model_batchnorm.load_data("kmnist")
print("loaded", len(x_train), len(x_test))
"""


def loading(internet):
    """A process that loads KMNIST from the network."""
    return subprocess.Popen(
        [sys.executable, "-c", LOADER, *model_batchnorm.KMNIST_MD5], cwd=ROOT, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def test_killed_while_downloading(internet, cache):
    internet.host = "stall"
    process = loading(internet)
    deadline = time.monotonic() + 60
    while not any(file.stat().st_size for file in cache.iterdir()):
        assert time.monotonic() < deadline and process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.kill()
    process.communicate()
    assert not list(cache.glob("kmnist.npz*"))
    internet.host = "ok"
    assert_loaded(model_batchnorm.load_data("kmnist"))
    unpublished(internet)
    kmnist.load_data(type="kmnist")


def test_two_runs_at_once(internet, cache):
    internet.host = "slow"
    processes = [loading(internet) for _ in range(2)]
    for process in processes:
        output, _ = process.communicate(timeout=120)
        assert output.endswith("loaded 60 10\n"), output
    assert internet.requests.count("host") == 8
    assert_cached(internet, cache)


def test_published_checksums():
    """Hold KMNIST_MD5 to the real data, as far as it is there."""
    folder = REAL_KMNIST / "datasets"
    if not folder.is_dir():
        pytest.skip("the published KMNIST is not on this machine")
    for part, md5 in zip(("train_imgs", "train_labels", "test_imgs", "test_labels"),
                         model_batchnorm.KMNIST_MD5, strict=True):
        array = np.load(folder / f"kmnist.npz_kmnist_{part}")["arr_0"]
        if len(array) in (60_000, 10_000):
            assert idx_md5(array) == md5, part
