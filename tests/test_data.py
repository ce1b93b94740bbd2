"""Loading data: from the cache, from the network, from neither, and with something wrong.

Small arrays stand in for KMNIST, and a server on this machine for its host. The rest is
real: the package's loader, pooch's downloads, and HTTPS.
"""

import hashlib
import io
import os
from pathlib import Path

import numpy as np
import pooch
import pytest
from extra_keras_datasets import kmnist
from sklearn import datasets

import model_batchnorm
from conftest import USERS_KERAS_HOME
from server import AUTHORITY, HOST, Server


def npz(array):
    """Return an array as the bytes of a published file."""
    file = io.BytesIO()
    np.savez_compressed(file, array)
    return file.getvalue()


IMAGES = np.random.default_rng(0).integers(0, 256, (70, 28, 28), "uint8")
LABELS = np.arange(70, dtype="uint8") % 10
DATA = (IMAGES[:60], LABELS[:60]), (IMAGES[60:], LABELS[60:])
PUBLISHED = {
    "train-imgs": npz(IMAGES[:60]),
    "train-labels": npz(LABELS[:60]),
    "test-imgs": npz(IMAGES[60:]),
    "test-labels": npz(LABELS[60:]),
}
SERVED = {f"/kmnist/dataset/kmnist/kmnist-{n}.npz": f for n, f in PUBLISHED.items()}
SERVED_K49 = {f"/kmnist/dataset/k49/k49-{n}.npz": f for n, f in PUBLISHED.items()}
CACHED = {f"kmnist.npz_kmnist_{n.replace('-', '_')}": f for n, f in PUBLISHED.items()}
SHA256 = {name: hashlib.sha256(file).hexdigest() for name, file in CACHED.items()}


@pytest.fixture
def server(monkeypatch, tmp_path):
    """The internet is what this server answers."""
    monkeypatch.setattr(model_batchnorm, "SHA256", SHA256)
    AUTHORITY.cert_pem.write_to_path("authority.pem")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "authority.pem"))
    with Server(SERVED | SERVED_K49) as server:
        monkeypatch.setenv("http_proxy", server.url)
        monkeypatch.setenv("https_proxy", server.url)
        yield server


@pytest.fixture
def cache():
    return Path(os.environ["KERAS_HOME"], "datasets")


def found_in(folder):
    """Return the files in a folder, by name."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# KMNIST's host and the cache.


def test_kmnist_is_loaded_as_it_was_published(server):
    name, data = model_batchnorm.load_or_exit()
    assert name == "kmnist"
    np.testing.assert_equal(data, DATA)


def test_each_file_is_downloaded_once_over_https(server):
    model_batchnorm.load_data()
    model_batchnorm.load_data()
    assert server.requests == [("https", HOST, path) for path in SERVED]


def test_downloads_are_cached_under_the_names_that_the_package_expects(server, cache):
    model_batchnorm.load_data()
    assert found_in(cache) == CACHED


def test_without_keras_home_the_cache_is_in_the_home_folder(
    server, monkeypatch, tmp_path
):
    monkeypatch.delenv("KERAS_HOME")
    for name in ("HOME", "USERPROFILE"):  # POSIX, Windows
        monkeypatch.setenv(name, str(tmp_path))
    model_batchnorm.load_data()
    assert found_in(tmp_path / ".keras" / "datasets") == CACHED


def test_a_wrong_file_in_the_cache_is_replaced(server, cache):
    cache.mkdir()
    (cache / "kmnist.npz_kmnist_train_imgs").write_bytes(npz(IMAGES[:60][::-1]))
    np.testing.assert_equal(model_batchnorm.load_data(), DATA)
    assert found_in(cache) == CACHED


def test_another_data_set_of_the_package_is_loaded_without_a_checksum(server):
    np.testing.assert_equal(kmnist.load_data(type="k49"), DATA)
    assert server.requests == [("https", HOST, path) for path in SERVED_K49]


@pytest.mark.skipif(
    len(list(USERS_KERAS_HOME.glob("datasets/kmnist.npz_kmnist_*"))) < 4,
    reason="KERAS_HOME has no KMNIST",
)
def test_the_checksums_are_those_of_the_published_files(monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(USERS_KERAS_HOME))
    (x_train, _), (x_test, _) = model_batchnorm.load_data()  # without the network
    assert (len(x_train), len(x_test)) == (60_000, 10_000)


# A host that cannot be reached.


@pytest.fixture(params=["dead", "silent"])
def unreachable(request, monkeypatch):
    """A way in which KMNIST's host cannot be reached."""
    if request.param == "silent":
        request.getfixturevalue("server").answer = "silent"
        monkeypatch.setattr(model_batchnorm, "TIMEOUT", 1)


def test_without_a_network_it_loads_digits(unreachable):
    name, data = model_batchnorm.load_or_exit()
    assert name == "digits"
    np.testing.assert_equal(data, model_batchnorm.load_digits())


def test_without_a_network_one_line_says_so(unreachable, capsys):
    model_batchnorm.load_or_exit()
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("No KMNIST: it cannot be downloaded from codh.rois.ac.jp (")
    assert line.endswith("). Training on handwritten digits instead.")


def test_asking_for_kmnist_without_a_network_ends_with_a_message(unreachable):
    # sys.exit() prints a text, and ends with status 1.
    message = "^No KMNIST: .*\n--dataset digits needs no download.$"
    with pytest.raises(SystemExit, match=message):
        model_batchnorm.load_or_exit("kmnist")


# Something wrong, which digits must not hide.


def test_a_wrong_checksum_ends_with_a_message(server):
    server.answer = "other"
    with pytest.raises(SystemExit, match="^No KMNIST: SHA256 hash of downloaded file"):
        model_batchnorm.load_or_exit()


def test_a_file_with_a_wrong_checksum_is_not_kept(server, cache):
    server.answer = "other"
    with pytest.raises(ValueError, match="SHA256"):
        model_batchnorm.load_data()
    assert found_in(cache) == {}


def test_a_cache_that_cannot_be_written_ends_with_a_message(server, cache):
    cache.write_text("a file where the folder should be")
    with pytest.raises(SystemExit, match="^No KMNIST: .*datasets"):
        model_batchnorm.load_or_exit()


def test_a_bug_is_not_taken_for_a_missing_network(monkeypatch):
    def retrieve(*args, **options):
        raise TypeError

    monkeypatch.setattr(pooch, "retrieve", retrieve)
    with pytest.raises(TypeError):
        model_batchnorm.load_or_exit()


# Digits.


def test_digits_have_the_format_of_kmnist():
    (x_train, y_train), (x_test, y_test) = model_batchnorm.load_data("digits")
    assert (x_train.shape, x_test.shape) == ((1437, 28, 28), (360, 28, 28))
    assert (x_train.dtype, x_train.min(), x_train.max()) == ("uint8", 0, 255)
    assert (y_train.shape, y_test.shape) == ((1437,), (360,))


def test_a_fifth_of_every_digit_is_for_the_test():
    _, (_, y_test) = model_batchnorm.load_data("digits")
    fifths = np.bincount(datasets.load_digits().target) / 5
    np.testing.assert_allclose(np.bincount(y_test), fifths, rtol=0, atol=1)
