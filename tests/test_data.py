"""Loading data: from a cache, from the network, from neither, and with something wrong.

Small arrays stand in for KMNIST, and a server on this machine for its sources. The rest
is real: the package's loader, Keras' downloads, scikit-learn's, and HTTPS.
"""

import hashlib
import io
import logging
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import keras
import numpy as np
import pytest

import model_batchnorm
from conftest import ROOT
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
}
FAILURES = {  # of the host, and what is said of them
    "503": "503",
    "silent": "timed out",
    "stall": "timed out",
    "html": "corrupted file",
    "other": "corrupted file",
    "short": "retrieval incomplete",
}
DAMAGED = {  # files in the place of the training images
    "truncated": PUBLISHED["train_imgs"][:-30],
    "html": b"<html>404</html>",
    "pickled": b"\x80\x04}\x94.",
    "changed byte": PUBLISHED["train_imgs"].replace(b"\n", b"\r", 1),
    "other images": npz(IMAGES[:60][::-1]),
}


@pytest.fixture
def server(monkeypatch, tmp_path):
    """The internet: only what this server answers, to this process and to new ones."""
    for name, value in CONSTANTS.items():
        monkeypatch.setattr(model_batchnorm, name, value)
    AUTHORITY.cert_pem.write_to_path("authority.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
    with Server(SERVED | openml_files(IMAGES, LABELS)) as server:
        monkeypatch.setenv("http_proxy", server.url)
        monkeypatch.setenv("https_proxy", server.url)
        yield server


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(model_batchnorm, "TIMEOUT", 1)


@pytest.fixture
def patient(monkeypatch):
    monkeypatch.setattr(model_batchnorm, "TIMEOUT", 60)


@pytest.fixture
def cache():
    return Path(os.environ["KERAS_HOME"], "datasets")


@pytest.fixture
def second_cache():
    return Path(tempfile.gettempdir(), ".keras", "datasets")


@pytest.fixture
def timeout():
    """The caller's own, for new sockets."""
    socket.setdefaulttimeout(77)
    yield 77
    socket.setdefaulttimeout(None)


def fill(folder, files=CACHED):
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)


def found_in(folder):
    """Return what is in a folder: a file's content, None for a folder."""
    return {
        path.name: path.read_bytes() if path.is_file() else None
        for path in folder.iterdir()
    }


def hosts_of(requests):
    return [host for _, host, _ in requests]


def start(*prefix):
    """Start a process that loads KMNIST, and writes it to loaded.npz."""
    code = f"""
import numpy as np, model_batchnorm
vars(model_batchnorm).update({CONSTANTS}, TIMEOUT=60)
(x_train, y_train), (x_test, y_test) = model_batchnorm.load_data()
np.savez({os.path.abspath("loaded.npz")!r}, x_train, y_train, x_test, y_test)
"""
    return subprocess.Popen([*prefix, sys.executable, "-c", code], cwd=ROOT)


def loaded_by(process):
    """Wait for a process from start(), and return what it loaded."""
    assert process.wait() == 0
    x_train, y_train, x_test, y_test = np.load("loaded.npz").values()
    return (x_train, y_train), (x_test, y_test)


# What load_data() returns.


def test_the_images_and_labels_of_kmnist_are_those_that_were_published(server):
    np.testing.assert_equal(model_batchnorm.load_data(), DATA)


@pytest.mark.parametrize(
    ("dataset", "num_train", "num_test"), [("kmnist", 60, 10), ("digits", 1437, 360)]
)
def test_images_are_uint8_of_28_by_28_pixels(server, dataset, num_train, num_test):
    (x_train, _), (x_test, _) = model_batchnorm.load_data(dataset)
    assert x_train.dtype == x_test.dtype == "uint8"
    assert x_train.shape == (num_train, 28, 28)
    assert x_test.shape == (num_test, 28, 28)


@pytest.mark.parametrize(
    ("dataset", "num_train", "num_test"), [("kmnist", 60, 10), ("digits", 1437, 360)]
)
def test_labels_are_uint8_from_0_to_9(server, dataset, num_train, num_test):
    (_, y_train), (_, y_test) = model_batchnorm.load_data(dataset)
    assert y_train.dtype == y_test.dtype == "uint8"
    assert y_train.shape == (num_train,)
    assert y_test.shape == (num_test,)
    assert set(y_train) == set(y_test) == set(range(10))


def test_digits_use_the_whole_range_of_a_byte():
    (x_train, _), _ = model_batchnorm.load_data("digits")
    assert x_train.min() == 0
    assert x_train.max() == 255


def test_digits_need_no_network(server):
    model_batchnorm.load_data("digits")
    assert server.requests == []


# KMNIST's host and the cache.


def test_the_host_is_asked_for_each_file_once_and_over_https(server):
    model_batchnorm.load_data()
    assert server.requests == [("https", HOST, path) for path in SERVED]


def test_the_cache_then_has_the_published_files_and_nothing_else(server, cache):
    model_batchnorm.load_data()
    assert found_in(cache) == CACHED


def test_the_host_is_not_asked_again(server):
    model_batchnorm.load_data()
    server.requests.clear()
    np.testing.assert_equal(model_batchnorm.load_data(), DATA)
    assert server.requests == []


def test_files_in_keras_home_need_no_network(server, cache):
    fill(cache)
    np.testing.assert_equal(model_batchnorm.load_data(), DATA)
    assert server.requests == []


def test_files_in_the_second_cache_need_no_network(server, second_cache):
    fill(second_cache)
    np.testing.assert_equal(model_batchnorm.load_data(), DATA)
    assert server.requests == []


def test_only_missing_files_are_asked_for(server, cache):
    fill(cache)
    (cache / "kmnist.npz_kmnist_test_imgs").unlink()
    model_batchnorm.load_data()
    assert [path for _, _, path in server.requests] == [
        "/kmnist/dataset/kmnist/kmnist-test-imgs.npz"
    ]


def test_where_keras_home_cannot_be_written_the_second_cache_is_filled(
    server, cache, second_cache
):
    cache.parent.touch()  # a file in the folder's place: not even root can write there
    model_batchnorm.load_data()
    assert found_in(second_cache) == CACHED


def test_where_no_cache_can_be_written_kmnist_is_loaded_all_the_same(
    server, cache, second_cache
):
    cache.parent.touch()
    second_cache.parent.touch()
    np.testing.assert_equal(model_batchnorm.load_data(), DATA)
    assert set(hosts_of(server.requests)) == {HOST}


def test_where_no_cache_can_be_written_nothing_is_left_behind(
    server, cache, second_cache
):
    cache.parent.touch()
    second_cache.parent.touch()
    model_batchnorm.load_data()
    assert found_in(Path(tempfile.gettempdir())) == {".keras": b""}


@pytest.mark.skipif(
    os.name != "posix" or (os.geteuid() == 0 and not shutil.which("setpriv")),
    reason="needs permissions, and root needs setpriv to be bound by them",
)
def test_a_cache_that_may_not_be_read_is_passed_over(server, cache, second_cache):
    fill(cache)
    fill(second_cache)
    cache.chmod(0)
    bound = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
    process = start(*(bound if os.geteuid() == 0 else []))
    np.testing.assert_equal(loaded_by(process), DATA)
    assert server.requests == []
    cache.chmod(0o700)  # so that pytest can remove it


# A host that fails, and OpenML in its place.


@pytest.fixture(params=FAILURES)
def failure(request, server, impatient):
    """A kind of failure: the host's."""
    server.host = request.param
    return request.param


def test_openml_has_the_same_images_and_labels(server, failure):
    np.testing.assert_equal(model_batchnorm.load_data(), DATA)
    assert HOST not in hosts_of(server.requests[1:])


def test_a_failure_leaves_nothing_behind(failure, cache):
    model_batchnorm.load_data()
    assert found_in(cache) == {}
    assert found_in(Path(tempfile.gettempdir())) == {}


def test_a_warning_says_which_file_could_not_be_had_and_why(failure, caplog):
    model_batchnorm.load_data()
    warning = caplog.messages[0]
    assert f"{HOST}/kmnist/dataset/kmnist/kmnist-train-imgs.npz" in warning
    assert FAILURES[failure] in warning


def test_openml_is_asked_once_and_over_https(server):
    server.host = "503"
    for _ in range(2):
        np.testing.assert_equal(model_batchnorm.load_data(), DATA)
    asked = [request for request in server.requests if request[1] != HOST]
    assert len(asked) == len(set(asked)) == 4
    assert {scheme for scheme, _, _ in asked} == {"https"}


def test_files_that_arrived_before_the_failure_are_kept(server, cache):
    del server.files["/kmnist/dataset/kmnist/kmnist-test-labels.npz"]
    model_batchnorm.load_data()
    assert found_in(cache).items() == CACHED.items() - {
        ("kmnist.npz_kmnist_test_labels", PUBLISHED["test_labels"])
    }


@pytest.mark.parametrize(
    ("answer", "reason"),
    [("503", "503"), ("silent", "timed out"), ("html", "Expecting value")],
)
def test_if_openml_fails_too_the_error_names_it_and_the_reason(
    server, impatient, answer, reason
):
    server.host, server.openml = "503", answer
    with pytest.raises(OSError, match=f"^OpenML: .*{reason}") as error:
        model_batchnorm.load_data()
    assert "Retrying" not in str(error.value)


def test_nothing_is_asked_for_over_plain_http_even_if_both_sources_fail(server):
    server.host = server.openml = "503"
    with pytest.raises(OSError, match="503"):
        model_batchnorm.load_data()
    assert {scheme for scheme, _, _ in server.requests} == {"https"}


def test_a_source_whose_certificate_is_not_trusted_is_not_believed(server, monkeypatch):
    monkeypatch.delenv("SSL_CERT_FILE")
    with pytest.raises(OSError, match="^OpenML: .*certificate verify failed"):
        model_batchnorm.load_data()
    assert server.requests == []


def test_openml_is_had_without_a_home_to_keep_it_in(server, monkeypatch, tmp_path):
    server.host = "503"
    (tmp_path / "file").touch()
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(tmp_path / "file" / "home"))
    np.testing.assert_equal(model_batchnorm.load_data(), DATA)


def test_other_images_from_openml_are_not_believed(server):
    server.host = "503"
    server.files |= openml_files(IMAGES[::-1], LABELS)
    with pytest.raises(OSError, match="^OpenML: .*not KMNIST as published"):
        model_batchnorm.load_data()


def test_other_labels_from_openml_are_not_believed(server):
    server.host = "503"
    server.files |= openml_files(IMAGES, LABELS[::-1])
    with pytest.raises(OSError, match="^OpenML: .*not KMNIST as published"):
        model_batchnorm.load_data()


def test_after_a_success_the_callers_timeout_is_what_it_was(server, timeout):
    model_batchnorm.load_data()
    assert socket.getdefaulttimeout() == timeout


def test_after_a_failure_the_callers_timeout_is_what_it_was(server, timeout):
    server.host = server.openml = "503"
    with pytest.raises(OSError, match="503"):
        model_batchnorm.load_data()
    assert socket.getdefaulttimeout() == timeout


# Files that are not what was published.


@pytest.fixture(params=DAMAGED)
def damaged(request, cache):
    """A file in a cache whose other files are right."""
    fill(cache)
    file = cache / "kmnist.npz_kmnist_train_imgs"
    file.write_bytes(DAMAGED[request.param])
    return file


def test_a_damaged_file_is_not_believed(server, damaged):
    server.host = "503"
    np.testing.assert_equal(model_batchnorm.load_data(), DATA)


def test_a_damaged_file_stays_while_there_is_no_right_one(server, cache, damaged):
    server.host, content = "503", damaged.read_bytes()
    model_batchnorm.load_data()
    assert found_in(cache) == CACHED | {damaged.name: content}


def test_a_damaged_file_is_replaced_when_the_right_one_arrives(server, cache, damaged):
    np.testing.assert_equal(model_batchnorm.load_data(), DATA)
    assert found_in(cache) == CACHED


def test_a_damaged_file_does_not_hide_a_right_one(server, second_cache, damaged):
    fill(second_cache)
    np.testing.assert_equal(model_batchnorm.load_data(), DATA)
    assert server.requests == []


def test_with_keras_2_tampered_files_are_not_believed(server, monkeypatch, tmp_path):
    # Keras 2, tf_keras, is not installed here. It would take what lies in ~/.keras.
    monkeypatch.setenv("TF_USE_LEGACY_KERAS", "1")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KERAS_HOME")
    fill(tmp_path / ".keras" / "datasets", dict.fromkeys(CACHED, npz(IMAGES[::-1])))
    np.testing.assert_equal(loaded_by(start()), DATA)


# Several processes, and one that ends early.


def test_two_processes_fill_the_cache_at_once(server, patient, cache):
    server.host = "in step"  # both have half of the same file before one gets the rest
    other = start()
    np.testing.assert_equal(model_batchnorm.load_data(), DATA)
    np.testing.assert_equal(loaded_by(other), DATA)
    assert hosts_of(server.requests) == [HOST] * 8
    assert found_in(cache) == CACHED


def test_a_killed_download_leaves_no_file_that_is_believed(server, cache):
    server.host = "stall"
    process = start()
    while not list(cache.rglob("kmnist*")):
        assert process.poll() is None
        time.sleep(0.05)
    process.kill()
    process.wait()
    assert not [path for path in cache.iterdir() if path.is_file()]
    server.host = "ok"
    np.testing.assert_equal(model_batchnorm.load_data(), DATA)


# What the caller hears.


def test_a_download_shows_its_progress(server, capsys):
    model_batchnorm.load_data()
    size = len(PUBLISHED["train_imgs"])
    assert f"{size}/{size}" in capsys.readouterr().out


def test_the_root_logger_is_the_callers_to_configure(server, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(logging.root, "handlers", [])  # without pytest's
        model_batchnorm.load_data()
        logging.basicConfig(filename="log.txt")
        logging.warning("It is heard.")
        logging.root.handlers[0].close()
    assert "It is heard." in Path("log.txt").read_text()


def test_the_citation_is_a_warning_of_the_scripts_logger(server, caplog):
    model_batchnorm.load_data()
    assert {(record.name, record.levelname) for record in caplog.records} == {
        ("model_batchnorm", "WARNING")
    }
    assert "Please cite the following paper" in caplog.text


def test_without_a_network_digits_take_kmnists_place(caplog):
    name, data = model_batchnorm.load_or_digits(None)
    assert name == "digits"
    np.testing.assert_equal(data, model_batchnorm.load_data("digits"))


def test_a_warning_says_why_digits_take_kmnists_place(caplog):
    model_batchnorm.load_or_digits(None)
    assert caplog.messages[-1].startswith("OpenML: ")
    assert "refused" in caplog.messages[-1]
    assert "Using digits instead" in caplog.messages[-1]


def test_without_a_network_who_insists_on_kmnist_gets_one_message():
    with pytest.raises(SystemExit, match="--dataset digits needs no network") as end:
        model_batchnorm.load_or_digits("kmnist")
    assert end.value.code.startswith("OpenML: ")


def test_with_a_network_kmnist_is_the_default(server):
    name, data = model_batchnorm.load_or_digits(None)
    assert name == "kmnist"
    np.testing.assert_equal(data, DATA)


@pytest.mark.parametrize("dataset", ["mnist", "fashion_mnist"])
def test_an_error_of_keras_own_data_sets_says_why_and_where_files_are(dataset):
    folder = f"{os.environ['KERAS_HOME']}/datasets"
    with pytest.raises(OSError, match=f"^{dataset}, kept in {folder}: .*refused"):
        model_batchnorm.load_data(dataset)


@pytest.mark.parametrize("dataset", ["mnist", "fashion_mnist"])
def test_keras_own_data_sets_are_handed_on(monkeypatch, dataset):
    loader = getattr(keras.datasets, dataset)
    monkeypatch.setattr(loader, "load_data", lambda: DATA)
    np.testing.assert_equal(model_batchnorm.load_data(dataset), DATA)


@pytest.mark.parametrize("constant", ["SHA256", "ALL_SHA256", "TIMEOUT"])
def test_a_bug_of_the_script_comes_out_as_that_bug(server, monkeypatch, constant):
    server.host = "503"
    monkeypatch.delattr(model_batchnorm, constant)
    with pytest.raises(NameError, match=constant):
        model_batchnorm.load_data()
