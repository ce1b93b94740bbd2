"""The script as a process of its own, as it is started from a shell."""

import os
import re
import signal
import subprocess
import sys
import time
import zipfile

import keras
import pytest

from conftest import SCRIPT

SMALL = "--dataset digits --train-images 60 --epochs 1"
RESULT = r"Test loss: \d+\.\d{4} / Test accuracy: [01]\.\d{4}"
needs_posix = pytest.mark.skipif(os.name != "posix", reason="needs POSIX")


def start(options, **popen):
    """Start the script in a process of its own."""
    command = [sys.executable, "-u", SCRIPT, *options.split()]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, text=True, **pipes, **popen)


# The plain run.


@pytest.fixture(scope="module")
def smoke_run():
    """What the README's smoke test prints, in a process of its own."""
    command = [sys.executable, SCRIPT, "--dataset", "digits", "--epochs", "3"]
    return subprocess.run(command, check=True, text=True, capture_output=True)


def test_the_smoke_test_says_what_it_trains_on(smoke_run):
    assert smoke_run.stdout.startswith(
        "digits: 1149 images to train on, 288 to validate and 360 to test with\n"
        "batch size 17, 68 steps an epoch, momentum 0.9, float32 on the "
    )


def test_the_smoke_test_learns(smoke_run):
    assert float(smoke_run.stdout.split()[-1]) > 0.93


def test_the_smoke_test_ends_with_its_result(smoke_run):
    assert re.fullmatch(RESULT, smoke_run.stdout.splitlines()[-1])


# Odd surroundings.


@pytest.fixture(scope="module")
def odd_run(tmp_path_factory):
    """A run with backends that are not installed, and without an output."""
    folder = tmp_path_factory.mktemp("odd")
    settings = {
        "KERAS_BACKEND": "none",
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
    }
    files = f"--save {folder}/model.keras --plot {folder}/curves.png"
    command = f'"{sys.executable}" "{SCRIPT}" {SMALL} {files} >&-'
    subprocess.run(["bash", "-c", command], check=True, env=os.environ | settings)
    return folder


@needs_posix
def test_without_a_standard_output_it_trains_and_saves(odd_run):
    assert keras.saving.load_model(odd_run / "model.keras")


@needs_posix
def test_keras_computes_with_tensorflow_whatever_backend_is_set(odd_run):
    assert zipfile.is_zipfile(odd_run / "model.keras")


@needs_posix
def test_a_notebooks_backend_that_is_missing_does_not_keep_it_from_plotting(odd_run):
    assert os.path.getsize(odd_run / "curves.png") > 10_000


@needs_posix
def test_when_the_reader_of_its_output_goes_away_it_ends_without_a_traceback():
    process = start(f"{SMALL} --epochs 9")
    process.stdout.readline()
    process.stdout.close()
    errors = process.stderr.read()
    assert process.wait() == 1
    assert "Traceback" not in errors
    assert "BrokenPipe" not in errors


# Ctrl-C.


def press_ctrl_c_after(text, options):
    """Return (status, output, errors) of the script, interrupted when it prints this."""
    process = start(
        f"--dataset digits --batch-size 4 --save model.keras --plot curves.png {options}",
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    read = ""
    for line in process.stdout:
        read += line
        if text in line:
            break
    # Amid the steps: as an epoch begins, TensorFlow may crash on an interrupt.
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate()
    return process.returncode, read + output, errors


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory):
    """A run of both networks, interrupted in the second epoch of the first."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("interrupted")
        patch.chdir(folder)
        return (*press_ctrl_c_after("Epoch 2/25", "--compare"), folder)


@needs_posix
def test_ctrl_c_ends_with_a_result_that_says_so_and_status_130(interrupted):
    status, output, errors, _ = interrupted
    assert status == 130
    assert re.search(rf"{RESULT} \(stopped after epoch 1\)$", output)
    assert "Traceback" not in errors


@needs_posix
def test_ctrl_c_ends_both_trainings(interrupted):
    _, output, _, _ = interrupted
    assert "Training without" not in output


@needs_posix
def test_after_ctrl_c_what_was_learned_is_saved_and_plotted(interrupted):
    *_, folder = interrupted
    assert keras.saving.load_model(folder / "model.keras")
    assert sorted(os.listdir(folder)) == ["curves.png", "model.keras"]
