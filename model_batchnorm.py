"""Batch Normalization at work: a small convolutional network learns to read KMNIST.

    python model_batchnorm.py             # 25 epochs, then test loss and test accuracy
    python model_batchnorm.py --compare   # with and without Batch Normalization, side by side
    python model_batchnorm.py --help

Parts 1 to 4 are the example: data, network, training, the run. Parts 5 to 7 (fetching KMNIST,
reports, options) only serve it and can be skipped.

Batch Normalization: Ioffe and Szegedy (2015), https://arxiv.org/abs/1502.03167
KMNIST: Clanuwat et al. (2018), https://arxiv.org/abs/1812.01718
"""

import argparse
import hashlib
import importlib.util
import logging
import math
import os
import signal
import socket
import struct
import sys
import tempfile
import threading
import time
import urllib.request
import uuid
import warnings
from pathlib import Path

if __name__ == "__main__":  # Ctrl-C during the slow imports ends the run without a traceback
    on_interrupt = signal.signal(signal.SIGINT, signal.SIG_DFL)
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # read once, when TensorFlow is imported

import keras
import numpy as np
import sklearn.datasets
import sklearn.model_selection
import tensorflow as tf
from extra_keras_datasets import kmnist
from keras import layers

# --- 1. The data ---------------------------------------------------------------------------------

DATASETS = "kmnist", "k49", "mnist", "fashion_mnist", "digits"


def load_data(dataset):
    """Load one of DATASETS, ready for training. Only "digits" never needs the network.

    Returns (x_train, y_train), (x_test, y_test): images as float32 in [0, 1] of shape
    (n, 28, 28, 1), their classes as integers from 0 of shape (n,).
    Raises ValueError for another name, OSError when the data cannot be had.
    """
    if dataset not in DATASETS:
        raise ValueError(f"dataset must be one of {', '.join(DATASETS)}, not {dataset!r}")
    data = load_digits() if dataset == "digits" else load_or_fetch(dataset)  # both in part 5
    x_train, y_train, x_test, y_test = data

    def prepare(images):
        # The new axis is the channel. Dividing straight into float32 saves a copy of the images.
        return np.divide(images[..., np.newaxis], 255, dtype="float32")

    return (prepare(x_train), y_train), (prepare(x_test), y_test)


# --- 2. The network ------------------------------------------------------------------------------


class BatchNormalization(layers.BatchNormalization):
    """Keras' layer, computed by TensorFlow's fused kernel: the same numbers in less time.

    Keras 3 computes it from separate operations, each a pass over the whole batch. The kernel
    takes float32 of shape (n, height, width, channels) or, reshaped, (n, features). What it
    does not take, and a frozen layer, is left to Keras' own code.

    Training normalises with the batch's mean and variance (Ioffe and Szegedy, algorithm 1,
    page 3), inference with their moving averages (algorithm 2, page 4).
    """

    __module__ = "keras.layers"  # saved as Keras' own layer: its files load without this script

    def call(self, inputs, training=None, mask=None):
        rank, channels = len(inputs.shape), inputs.shape[-1]
        if not (
            keras.backend.backend() == "tensorflow" and inputs.dtype == "float32"
            and rank in (2, 4) and self.axis in (-1, rank - 1) and mask is None
            and self.trainable and self.center and self.scale
            and not self.synchronized and not getattr(self, "renorm", False)
        ):
            return super().call(inputs, training=training, mask=mask)
        outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs if rank == 4 else tf.reshape(inputs, (-1, 1, 1, channels)),
            scale=self.gamma, offset=self.beta, epsilon=self.epsilon, is_training=bool(training),
            mean=self.moving_mean, variance=self.moving_variance)
        if training:
            # The kernel returns the variance over n - 1, Keras averages the one over n.
            n = tf.cast(tf.size(inputs) // channels, "float32")
            variance *= (n - 1) / n
            for average, batch in (self.moving_mean, mean), (self.moving_variance, variance):
                average.assign(average * self.momentum + batch * (1 - self.momentum))
        return outputs if rank == 4 else tf.reshape(outputs, (-1, channels))


def settled_momentum(steps_per_epoch):
    """Return the momentum with which the moving averages have settled after one epoch."""
    # After k steps they still hold momentum ** k of their initial values, 0 and 1. Until that is
    # about a thousandth, validation and test accuracy of five such layers read like chance:
    # 688 steps with Keras' default of 0.99, 66 with 0.9.
    return min(0.9, 0.001 ** (1 / steps_per_epoch))


def build_model(input_shape, num_classes, batch_norm=True, momentum=0.9):
    """Build the network, not yet compiled.

    input_shape: (height, width, channels), 10 x 10 pixels or more. batch_norm: False leaves the
    BatchNormalization layers out. momentum: of their moving averages; small data needs a lower
    one, see settled_momentum().
    Returns a keras.Sequential: (n, height, width, channels) to (n, num_classes) probabilities.
    """
    network = [
        keras.Input(shape=input_shape),
        layers.Conv2D(32, kernel_size=3, activation="relu"),
        BatchNormalization(momentum=momentum),
        layers.MaxPooling2D(pool_size=2),
        BatchNormalization(momentum=momentum),
        layers.Conv2D(64, kernel_size=3, activation="relu"),
        BatchNormalization(momentum=momentum),
        layers.MaxPooling2D(pool_size=2),
        BatchNormalization(momentum=momentum),
        layers.Flatten(),
        layers.Dense(256, activation="relu"),
        BatchNormalization(momentum=momentum),
        layers.Dense(num_classes, activation="softmax"),
    ]
    if not batch_norm:
        network = [layer for layer in network if not isinstance(layer, BatchNormalization)]
    return keras.Sequential(network)


# --- 3. Training ---------------------------------------------------------------------------------


def train(model, x_train, y_train, epochs=25, batch_size=250, validation_split=0.2):
    """Compile the model and train it until the epochs are over or Ctrl-C is pressed.

    Returns (history, interrupted). history has a list for each of "loss", "accuracy", "val_loss",
    "val_accuracy" and "seconds" (since the start), with a number for each finished epoch.
    """
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    history, seconds, pressed, start = keras.callbacks.History(), [], [], time.perf_counter()

    def stop(batch, logs):
        if pressed:
            raise KeyboardInterrupt

    watch = keras.callbacks.LambdaCallback(
        on_train_batch_end=stop,
        on_epoch_end=lambda epoch, logs: seconds.append(time.perf_counter() - start))
    # Ctrl-C waits for the end of the batch: a KeyboardInterrupt amid it can crash TensorFlow.
    handles_signals = threading.current_thread() is threading.main_thread()  # Python's rule
    if handles_signals:
        handler = signal.signal(signal.SIGINT, lambda *_: pressed.append(True))
    try:
        model.fit(x_train, y_train, epochs=epochs, batch_size=batch_size,
                  validation_split=validation_split, callbacks=[watch, history],
                  verbose=1 if sys.stdout.isatty() else 2)  # progress bar, or a line an epoch
    except KeyboardInterrupt:
        pass
    finally:
        if handles_signals:
            signal.signal(signal.SIGINT, handler)
    return {**history.history, "seconds": seconds}, bool(pressed)


# --- 4. The run ----------------------------------------------------------------------------------


def main(argv=None):
    """Run the example with these options (None: the command line's); return the exit status."""
    parser = option_parser()
    args = parser.parse_args(argv)
    if args.plot and not importlib.util.find_spec("matplotlib"):
        parser.error("argument --plot: needs matplotlib, which is not installed")
    logging.basicConfig(format="%(message)s")  # else kmnist.load_data turns on all INFO messages

    remark = ""
    try:
        (x_train, y_train), (x_test, y_test) = load_data(args.dataset or "kmnist")
    except OSError as error:
        logging.error("%s", error)
        if args.dataset:
            logging.error("--dataset digits needs no network.")
            return 1
        logging.error("Using scikit-learn's 1,797 handwritten digits instead."
                      " --dataset kmnist insists on KMNIST.")
        (x_train, y_train), (x_test, y_test) = load_data("digits")
        remark = " (digits, not KMNIST)"

    num_training = int(len(x_train) * (1 - args.validation_split))  # Keras' own formula
    if num_training == 0 or num_training == len(x_train) and args.validation_split:
        parser.error(f"argument --validation-split: {args.validation_split} of {len(x_train):,}"
                     " images leaves none to train on or none to validate with")
    steps_per_epoch = math.ceil(num_training / args.batch_size)
    momentum = settled_momentum(steps_per_epoch) if args.momentum is None else args.momentum
    initial = momentum ** (steps_per_epoch * args.epochs)
    if args.batch_norm and initial > 0.01:
        logging.warning("--momentum %g leaves %.0f %% of the moving averages' initial values after"
                        " all %d steps: validation and test accuracy will read low.",
                        momentum, 100 * initial, steps_per_epoch * args.epochs)

    if keras.backend.backend() == "tensorflow":
        tf.config.experimental.enable_op_determinism()  # the same seed gives the same result
    num_classes = int(max(y_train.max(), y_test.max())) + 1
    models, results, written = [], {}, True
    try:
        for batch_norm in (True, False) if args.compare else (args.batch_norm,):
            name = "with Batch Normalization" if batch_norm else "without Batch Normalization"
            if args.compare:
                print(f"Training {name}", flush=True)
            keras.utils.set_random_seed(args.seed)
            model = build_model(x_train.shape[1:], num_classes, batch_norm, momentum)
            result, interrupted = train(
                model, x_train, y_train, args.epochs, args.batch_size, args.validation_split)
            models.append(model)
            results[name] = result
            result["test_loss"], result["test_accuracy"] = model.evaluate(
                x_test, y_test, batch_size=args.batch_size, verbose=0)
            if interrupted:
                break
        if args.compare:
            print(comparison(results))
        result = next(iter(results.values()))  # with --compare, of the first: with the layers
        print(f"Test loss: {result['test_loss']:.4f} / Test accuracy: {result['test_accuracy']:.4f}"
              + remark, flush=True)
    finally:  # if Ctrl-C ends the evaluation, what has been trained is saved all the same
        if models and args.save:
            written &= write_whole(args.save, models[0].save)
        if models and args.plot:
            written &= write_whole(args.plot, lambda path: plot(results, path))
    return 1 if not written else 130 if interrupted else 0


# --- 5. Loading data without trusting the network ------------------------------------------------

TIMEOUT = 15  # seconds without a byte after which a source is given up
KMNIST_MD5 = [  # of the published arrays in IDX form, MNIST's own file format
    "92be26ec9822e900ac425d0a0aa84ced",  # training images
    "949e75301f8813e0dc5800dcc320fc52",  # training labels
    "bf305b8cd328700fbc17f5acbc2856d2",  # test images
    "9f55f451c0988b028eccdf7d5cc265ab",  # test labels
]


def load_digits():
    """Return scikit-learn's 1,797 handwritten digits in the form of load_or_fetch."""
    digits = sklearn.datasets.load_digits()  # 8 x 8 pixels of 0 to 16
    images = (digits.images * (255 / 16)).astype("uint8").repeat(3, axis=1).repeat(3, axis=2)
    images = np.pad(images, ((0, 0), (2, 2), (2, 2)))
    x_train, x_test, y_train, y_test = sklearn.model_selection.train_test_split(
        images, digits.target, test_size=0.2, stratify=digits.target, random_state=0)
    return x_train, y_train, x_test, y_test


def load_or_fetch(dataset):
    """Load a dataset from Keras' cache, filled from the network first where need be.

    Returns training images, their labels, test images and theirs: uint8 of shape (n, 28, 28),
    integers of shape (n,). Raises OSError when no source delivers them; the log says why.
    """
    if dataset in ("mnist", "fashion_mnist"):
        loader = getattr(keras.datasets, dataset).load_data  # fills the cache itself
        return fetch(dataset, {"storage.googleapis.com": loader})
    for files in cache_files(dataset):
        try:
            data = check([np.load(file)["arr_0"] for file in files])
        except FileNotFoundError:
            continue
        except Exception as error:  # a damaged file makes zipfile and numpy raise many kinds
            logging.warning("%s in %s is unusable: %s", dataset, files[0].parent, reason(error))
            continue
        if dataset == "kmnist" and not is_published(data):
            logging.warning("Not the published KMNIST, but %s training and %s test images from %s",
                            f"{len(data[0]):,}", f"{len(data[2]):,}", files[0].parent)
        break
    else:
        sources = {"codh.rois.ac.jp": lambda: fetch_from_host(dataset)}
        if dataset == "kmnist":
            sources["openml.org"] = fetch_from_openml
        data = fetch(dataset, sources)
        for file, array in zip(files, data):
            if not write_whole(file, lambda path: save_npz(path, array)):
                break
    kmnist.warn_citation()
    return data


def fetch(dataset, sources):
    """Return what the first of the sources, callables by name, delivers intact."""
    timeout = socket.getdefaulttimeout()
    for name, source in sources.items():
        try:
            socket.setdefaulttimeout(TIMEOUT)
            logging.disable(logging.WARNING)  # the request to cite: load_or_fetch makes it, once
            train, test = source()
            data = check([*train, *test])
            if dataset != "kmnist" or is_published(data):
                return data
            failure = "what it sent is not the published data"
        except Exception as error:  # keras.utils.get_file raises bare Exceptions
            failure = reason(error)
        finally:
            socket.setdefaulttimeout(timeout)
            logging.disable(logging.NOTSET)
        logging.warning("%s from %s: %s", dataset, name, failure)
    files = "\n  ".join(map(str, cache_files(dataset)[-1]))
    raise OSError(f"{dataset} could not be loaded. Had from elsewhere, its files belong here"
                  f" (delete any that are damaged):\n  {files}")


def fetch_from_host(dataset):
    """Fetch from the dataset's own host, through its loader."""
    name = str(uuid.uuid4())  # what the loader writes to the cache, nobody takes for checked data
    try:
        return kmnist.load_data(path=name, type=dataset)
    finally:
        for file in cache_files(dataset)[-1][0].parent.glob(name + "*"):
            file.unlink()


def fetch_from_openml():
    """Fetch from OpenML: a table with a row an image, the last seventh of them for testing."""
    opener = urllib.request._opener
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        # scikit-learn warns before each of its retries; raising the warning puts an end to them.
        warnings.filterwarnings("error", message=".*(Retrying|redownloading)")
        urllib.request.install_opener(urllib.request.build_opener(ProgressBar))
        try:
            images, labels = sklearn.datasets.fetch_openml(
                "Kuzushiji-MNIST", version=1, data_home=folder, return_X_y=True, as_frame=False,
                parser="pandas", read_csv_kwargs={"dtype": "uint8"})
        finally:
            urllib.request.install_opener(opener)
    images, split = images.reshape(-1, 28, 28), len(images) * 6 // 7
    return (images[:split], labels[:split]), (images[split:], labels[split:])


class ProgressBar(urllib.request.BaseHandler):
    """Shows how a download proceeds, which fetch_openml does not."""

    def https_response(self, request, response):
        if response.headers.get_content_type() != "application/json":  # a few lines only
            read, bar = response.read, keras.utils.Progbar(response.length, interval=1)

            def read_and_show(*size):
                data = read(*size)
                bar.add(len(data))
                return data

            response.read = read_and_show
        return response


def cache_files(dataset):
    """Return, for each folder to look in, where a loader expects its files; new ones go last."""
    parts = "train_imgs", "train_labels", "test_imgs", "test_labels"
    names = {"mnist": ["mnist.npz"], "fashion_mnist": ["fashion-mnist"]}.get(
        dataset, [f"kmnist.npz_{dataset}_{part}" for part in parts])
    home = os.path.expanduser(os.environ.get("KERAS_HOME", "~/.keras"))
    # keras.utils.get_file turns to /tmp where its home cannot be written, even to read.
    homes = [home] if os.access(home, os.W_OK) else [home, "/tmp/.keras"]
    return [[Path(home, "datasets", name) for name in names] for home in homes]


def check(data):
    """Return data if it is of the form that load_or_fetch promises, else raise ValueError."""
    for images, labels in (data[:2], data[2:]):
        if not (images.dtype == "uint8" and images.shape == (len(labels), 28, 28) and len(labels)
                and labels.dtype.kind in "iu" and labels.ndim == 1):
            raise ValueError("not images of 28 x 28 bytes with a label each")
    return data


def is_published(data):
    """Tell whether data is the published KMNIST, to the bit."""

    def md5(array):
        header = struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
        return hashlib.md5(header + array.tobytes(), usedforsecurity=False).hexdigest()

    return [md5(array) for array in data] == KMNIST_MD5


def reason(error):
    """Return a few words on the error at the root of those that urllib, Keras and others raise."""
    while error.__context__ and not error.__suppress_context__:
        error = error.__context__
    return str(error) if isinstance(error, OSError) else f"no intact data ({type(error).__name__})"


def save_npz(path, array):
    """Save an array as the published files do; np.savez would append .npz to a mere path."""
    with open(path, "wb") as file:
        np.savez_compressed(file, arr_0=array)


def write_whole(path, write):
    """Have write(path) make a file that takes its place once it is whole; return if that worked."""
    try:
        with tempfile.TemporaryDirectory(dir=os.path.dirname(path)) as folder:
            part = os.path.join(folder, os.path.basename(path))
            write(part)
            os.replace(part, path)
    except Exception as error:  # on a full disk HDF5 raises one kind, matplotlib another
        logging.error("%s could not be written: %s", path, error)
        return False
    return True


# --- 6. Reports on the results that main collects, a dict for each network -----------------------


def comparison(results, target=0.9):
    """Return a table with a column for each network."""
    columns = [["", "Test accuracy", "Test loss", "Best validation accuracy (epoch)",
                f"Epochs to {target:.0%} validation accuracy", "Seconds to it", "Seconds an epoch"]]
    for name, result in results.items():
        seconds, accuracy = result["seconds"], result.get("val_accuracy", [])
        best = max(accuracy, default=None)
        reached = next((epoch for epoch, value in enumerate(accuracy) if value >= target), None)
        never = "never" if accuracy else "-"
        columns.append([
            name, f"{result['test_accuracy']:.4f}", f"{result['test_loss']:.4f}",
            f"{best:.4f} ({accuracy.index(best) + 1})" if accuracy else "-",
            never if reached is None else f"{reached + 1}",
            never if reached is None else f"{seconds[reached]:.1f}",
            f"{seconds[-1] / len(seconds):.2f}" if seconds else "-",
        ])
    return "\n".join(f"{label:<34}" + "".join(f"{cell:>30}" for cell in cells)
                     for label, *cells in zip(*columns))


def plot(results, path):
    """Draw accuracy and loss over the epochs into a file."""
    from matplotlib.figure import Figure  # no pyplot, so no display is needed

    figure = Figure(figsize=(11, 4.5), layout="constrained")
    for axes, quantity in zip(figure.subplots(1, 2), ("accuracy", "loss")):
        for (name, result), color, marker in zip(results.items(), ("#0072B2", "#E69F00"), "os"):
            for kind, prefix, line in ("training", "", "--"), ("validation", "val_", "-"):
                if values := result.get(prefix + quantity):
                    axes.plot(range(1, len(values) + 1), values, line, color=color, marker=marker,
                              markersize=4, label=f"{kind}, {name}")
        axes.set(xlabel="Epoch", ylabel=quantity.capitalize())
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        if axes.has_data():
            axes.legend()
    figure.savefig(path, dpi=150)


# --- 7. Options: what could only fail after training is refused before it ------------------------


def option_parser():
    """Return the parser of the command line."""
    count = number(int, 1, 2**31, "a whole number of at least 1")
    fraction = number(float, 0, 1, "a number of at least 0 and below 1")
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    option = parser.add_argument
    option("--dataset", choices=DATASETS,
           help="what to learn (default: kmnist, or digits where KMNIST cannot be had)")
    option("--epochs", type=count, default=25, metavar="N",
           help="passes over the training images (default: %(default)s)")
    option("--batch-size", type=count, default=250, metavar="N",
           help="images in a training step (default: %(default)s)")
    option("--validation-split", type=fraction, default=0.2, metavar="F",
           help="the last part of the training images, to validate with (default: %(default)s)")
    option("--momentum", type=fraction, metavar="F",
           help="of the moving averages (default: 0.9, less if one epoch has under 66 steps)")
    option("--seed", type=number(int, 0, 2**32, "a whole number from 0 to 4294967295"), default=1,
           metavar="N", help="of all random numbers (default: %(default)s)")
    option("--save", type=output_file(".keras"), metavar="FILE.keras",
           help="save the trained network (default: do not)")
    option("--plot", type=output_file(".png", ".svg", ".pdf"), metavar="FILE",
           help="draw accuracy and loss as .png, .svg or .pdf (default: do not)")
    option = parser.add_mutually_exclusive_group().add_argument
    option("--no-batch-norm", dest="batch_norm", action="store_false",
           help="leave the BatchNormalization layers out (default: they are in)")
    option("--compare", action="store_true",
           help="train both with and without them, and compare (default: do not)")
    return parser


def number(kind, low, below, accepts):
    """Return an argparse type for numbers of a kind in [low, below)."""

    def parse(text):
        try:
            value = kind(text)
        except ValueError:
            value = math.nan  # is in no interval
        if not low <= value < below:
            raise argparse.ArgumentTypeError(f"accepts {accepts}, not {text!r}")
        return value

    return parse


def output_file(*suffixes):
    """Return an argparse type for files with these suffixes that can be written."""

    def parse(path):
        error = None
        try:
            tempfile.TemporaryFile(dir=os.path.dirname(os.path.realpath(path))).close()
            if os.path.exists(path):
                open(path, "r+b").close()
        except OSError as e:
            error = e.strerror
        if error or not path.endswith(suffixes):
            raise argparse.ArgumentTypeError(
                f"accepts a {' or '.join(suffixes)} file that can be written, not {path!r}"
                + (f" ({error})" if error else ""))
        return os.path.realpath(path)  # a link stays one, the file behind it is written

    return parse


if __name__ == "__main__":
    signal.signal(signal.SIGINT, on_interrupt)
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # nobody reads on, as with "| head"
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes it at exit
        sys.exit(1)
