"""Loading data: from the cache, from the network, from neither, and with something wrong.

Small arrays stand in for KMNIST, and a server on this machine for its sources. The rest
is real: the package's loader, pooch's downloads, scikit-learn's, and HTTPS.
"""

import contextlib
import hashlib
import io
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pooch
import pytest
from extra_keras_datasets import kmnist
from sklearn import datasets

import model_batchnorm
from conftest import ROOT, USERS_KERAS_HOME
from server import AUTHORITY, HOST, Server, openml_files


def npz(array):
    """Return an array as the bytes of a published file."""
    file = io.BytesIO()
    np.savez_compressed(file, array)
    return file.getvalue()


IMAGES = np.random.default_rng(0).integers(0, 256, (70, 28, 28), "uint8")
LABELS = np.arange(70, dtype="uint8") % 10
DATA = (IMAGES[:60], LABELS[:60]), (IMAGES[60:], LABELS[60:])
PUBLISHED = {
    "train_imgs": npz(IMAGES[:60]),
    "train_labels": npz(LABELS[:60]),
    "test_imgs": npz(IMAGES[60:]),
    "test_labels": npz(LABELS[60:]),
}
CACHED = {f"kmnist.npz_kmnist_{name}": file for name, file in PUBLISHED.items()}
SERVED = {
    f"/kmnist/dataset/kmnist/kmnist-{name.replace('_', '-')}.npz": file
    for name, file in PUBLISHED.items()
}
CONSTANTS = {  # the script's
    "SHA256": {name: hashlib.sha256(f).hexdigest() for name, f in PUBLISHED.items()},
    "ALL_SHA256": hashlib.sha256(IMAGES.tobytes() + LABELS.tobytes()).hexdigest(),
    "TIMEOUT": 60,
}
FAILURES = {  # of the host, and what is said of them
    "503": "HTTPError: 503",
    "silent": r"ReadTimeout: .*\(read timeout=1\)",
    "html": "ValueError: SHA256",
    "other": "ValueError: SHA256",
}


@pytest.fixture
def server(monkeypatch, tmp_path):
    """The internet: only what this server answers, to this process and to new ones."""
    for name, value in CONSTANTS.items():
        monkeypatch.setattr(model_batchnorm, name, value)
    AUTHORITY.cert_pem.write_to_path("authority.pem")
    for name in ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"):  # pooch's, and scikit-learn's
        monkeypatch.setenv(name, str(tmp_path / "authority.pem"))
    with Server(SERVED | openml_files(IMAGES, LABELS)) as server:
        monkeypatch.setenv("http_proxy", server.url)
        monkeypatch.setenv("https_proxy", server.url)
        yield server


@pytest.fixture(params=FAILURES)
def failure(request, server, monkeypatch):
    """A way in which the host fails."""
    server.host = request.param
    if request.param == "silent":
        monkeypatch.setattr(model_batchnorm, "TIMEOUT", 1)
    return request.param


@pytest.fixture
def cache():
    return Path(os.environ["KERAS_HOME"], "datasets")


@pytest.fixture
def full_cache(cache):
    cache.mkdir(parents=True)
    for name, content in CACHED.items():
        (cache / name).write_bytes(content)
    return cache


def found_in(folder):
    """Return the files in a folder, by name."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# KMNIST's host and the cache.


def test_kmnist_is_loaded_as_it_was_published(server):
    np.testing.assert_equal(model_batchnorm.load_data(), DATA)


def test_each_file_is_downloaded_once_over_https(server):
    model_batchnorm.load_data()
    model_batchnorm.load_data()
    assert server.requests == [("https", HOST, path) for path in SERVED]


def test_downloads_are_cached_under_the_names_that_the_package_expects(server, cache):
    model_batchnorm.load_data()
    assert found_in(cache) == CACHED


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
def test_other_users_can_read_the_cache(server, cache):
    model_batchnorm.load_data()
    assert {path.stat().st_mode & 0o777 for path in cache.iterdir()} == {0o644}


def test_without_keras_home_the_cache_is_in_the_home_folder(
    server, monkeypatch, tmp_path
):
    monkeypatch.delenv("KERAS_HOME")
    for name in ("HOME", "USERPROFILE"):  # POSIX, Windows
        monkeypatch.setenv(name, str(tmp_path))
    model_batchnorm.load_data()
    assert found_in(tmp_path / ".keras" / "datasets") == CACHED


def test_a_full_cache_needs_no_network(server, full_cache):
    np.testing.assert_equal(model_batchnorm.load_data(), DATA)
    assert server.requests == []


def test_a_full_cache_may_belong_to_another_user(server, full_cache, monkeypatch):
    def chmod(path, mode):
        raise PermissionError

    monkeypatch.setattr(os, "chmod", chmod)
    np.testing.assert_equal(model_batchnorm.load_data(), DATA)
    assert server.requests == []


@pytest.mark.parametrize("content", [b"<html>404</html>", npz(IMAGES[:60][::-1])])
def test_a_wrong_file_in_the_cache_is_replaced(server, full_cache, content):
    (full_cache / "kmnist.npz_kmnist_train_imgs").write_bytes(content)
    np.testing.assert_equal(model_batchnorm.load_data(), DATA)
    assert found_in(full_cache) == CACHED


@pytest.mark.skipif(
    len(list(USERS_KERAS_HOME.glob("datasets/kmnist.npz_kmnist_*"))) < 4,
    reason="KERAS_HOME has no KMNIST",
)
def test_the_checksums_are_those_of_the_published_files(monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(USERS_KERAS_HOME))
    (x_train, y_train), (x_test, y_test) = model_batchnorm.load_data()
    content = b"".join(array.tobytes() for array in (x_train, x_test, y_train, y_test))
    assert hashlib.sha256(content).hexdigest() == model_batchnorm.ALL_SHA256


def test_two_first_runs_at_once_both_load_kmnist(server, cache):
    server.host = "in step"  # no file is sent before both have asked for it
    code = f"import model_batchnorm as m; vars(m).update({CONSTANTS}); m.load_data()"
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT) as other:
        np.testing.assert_equal(model_batchnorm.load_data(), DATA)
    assert other.returncode == 0
    assert [host for _, host, _ in server.requests] == 8 * [HOST]
    assert found_in(cache) == CACHED


def test_tqdm_is_not_needed(server, monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    monkeypatch.setattr("pooch.downloaders.tqdm", None)
    model_batchnorm.load_data()  # downloads
    model_batchnorm.load_data()  # from the cache
    assert server.requests == [("https", HOST, path) for path in SERVED]


# When the host fails, OpenML takes its place.


def test_openml_takes_over_when_the_host_fails(failure):
    (x_train, y_train), (x_test, y_test) = model_batchnorm.load_data()
    np.testing.assert_equal(np.concatenate([x_train, x_test]), IMAGES)
    np.testing.assert_equal(np.concatenate([y_train, y_test]), LABELS)


def test_a_failed_download_leaves_no_file(failure, cache):
    model_batchnorm.load_data()
    assert found_in(cache) == {}


def test_one_line_says_how_the_host_failed(failure, capsys):
    model_batchnorm.load_data()
    lines = capsys.readouterr().err.splitlines()
    (line,) = [line for line in lines if line.startswith("KMNIST: ")]
    assert re.match(f"KMNIST: {FAILURES[failure]}", line)


@pytest.mark.parametrize(
    ("images", "labels"), [(IMAGES[::-1], LABELS), (IMAGES, LABELS[::-1])]
)
def test_wrong_data_from_openml_is_rejected(server, images, labels):
    server.host = "503"
    server.files |= openml_files(images, labels)
    with pytest.raises(OSError, match="^OpenML: ValueError: .*not KMNIST as published"):
        model_batchnorm.load_data()


def test_openml_has_15_seconds_to_answer(monkeypatch):
    def fetch_openml(**options):
        raise TimeoutError(socket.getdefaulttimeout())

    monkeypatch.setattr(datasets, "fetch_openml", fetch_openml)
    with pytest.raises(TimeoutError, match="^15.0$"):
        model_batchnorm.load_openml()


@pytest.mark.filterwarnings("ignore:Invalid cache")  # scikit-learn's, as it retries
@pytest.mark.parametrize("answer", ["ok", "html"])
def test_the_callers_timeout_stays_what_it_was(server, answer):
    server.host, server.openml = "503", answer
    socket.setdefaulttimeout(77)
    with contextlib.suppress(OSError):
        model_batchnorm.load_data()
    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(None)
    assert timeout == 77


def test_the_packages_own_downloader_is_put_back(server):
    get_file, server.host = kmnist.get_file, "503"
    model_batchnorm.load_data()
    assert kmnist.get_file is get_file


@pytest.mark.parametrize("bug", [NameError, TypeError])
def test_a_bug_is_not_taken_for_a_failing_host(server, monkeypatch, bug):
    def retrieve(*args, **kwargs):
        raise bug

    monkeypatch.setattr(pooch, "retrieve", retrieve)
    with pytest.raises(bug):
        model_batchnorm.load_data()


def test_digits_have_the_format_of_kmnist():
    (x_train, y_train), (x_test, y_test) = model_batchnorm.load_data("digits")
    assert (x_train.shape, x_test.shape) == ((1437, 28, 28), (360, 28, 28))
    assert (x_train.dtype, x_train.min(), x_train.max()) == ("uint8", 0, 255)
    assert (y_train.shape, y_test.shape) == ((1437,), (360,))
    assert set(y_train) == set(y_test) == set(range(10))
