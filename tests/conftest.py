"""What the tests share. Keras reads KERAS_HOME once, when it is imported: so it is set here."""

import os
import shutil
import sys
import tempfile
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = ROOT / "model_batchnorm.py"
HOME = tempfile.TemporaryDirectory(prefix="keras_home")  # removed at the end
CACHE = Path(HOME.name, "datasets")
os.environ["KERAS_HOME"] = HOME.name
sys.path[:0] = [str(ROOT), str(ROOT / "experiments")]

import keras

import model_batchnorm


@pytest.fixture(autouse=True)
def isolated(monkeypatch, tmp_path):
    """Let a test see neither the network nor any cache, and leave nothing behind for the next."""
    shutil.rmtree(HOME.name)
    CACHE.mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(model_batchnorm, "SHA256", dict.fromkeys(model_batchnorm.SHA256, "none"))
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(tmp_path / "scikit_learn_data"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    for name in "http_proxy", "https_proxy":
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # where nobody answers
    monkeypatch.setattr(urllib.request, "_opener", None)  # else it keeps the old environment's
    yield
    keras.config.set_dtype_policy("float32")
    keras.config.set_image_data_format("channels_last")
