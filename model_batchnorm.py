"""Batch Normalization at work: a small convolutional network learns to read KMNIST.

    python model_batchnorm.py             # 25 epochs, then test loss and test accuracy
    python model_batchnorm.py --compare   # with and without Batch Normalization, side by side

Batch Normalization: Ioffe and Szegedy (2015), https://arxiv.org/abs/1502.03167
KMNIST: Clanuwat et al. (2018), https://arxiv.org/abs/1812.01718
"""

import argparse
import logging
import math
import os
import signal
import socket
import sys
import tempfile
import threading
import time
from importlib.util import find_spec

if __name__ == "__main__":  # Ctrl-C, even amid the slow imports, and "| head" leave no traceback
    STATUS = {KeyboardInterrupt: 130, BrokenPipeError: 1}
    sys.excepthook = lambda kind, *error: (
        os._exit(STATUS[kind]) if kind in STATUS else sys.__excepthook__(kind, *error))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # hides TensorFlow's own log; "0" shows it

import keras
import numpy as np
import tensorflow as tf
from extra_keras_datasets import kmnist
from keras import layers
from sklearn import datasets, model_selection


def load_data(dataset="kmnist"):
    """Load "kmnist", "k49", "mnist", "fashion_mnist" or, never from the network, "digits".

    Returns (x_train, y_train), (x_test, y_test): images as float32 in [0, 1] of shape
    (n, 28, 28, 1), their classes as integers from 0 of shape (n,).
    Raises OSError when they cannot be had. Needs prepare() and "Where the data comes from", below.
    """
    data = load_digits() if dataset == "digits" else load_arrays(dataset)
    (x_train, y_train), (x_test, y_test) = data
    return (prepare(x_train), y_train), (prepare(x_test), y_test)


def prepare(images):
    """Turn uint8 images of shape (n, height, width) into float32 in [0, 1], with a channel axis."""
    return np.divide(images[..., np.newaxis], 255, dtype="float32")  # one copy, not three


def settled_momentum(steps_per_epoch):
    """Return a momentum with which the moving averages have settled after one epoch."""
    # After k steps they still hold momentum ** k of their initial values, 0 and 1, which have
    # nothing to do with the data. A thousandth is little enough: 66 steps with 0.9, 688 with Keras'
    # default of 0.99. Not lower than need be, for they average about 1 / (1 - momentum) batches.
    return min(0.9, 0.001 ** (1 / steps_per_epoch))


def build_model(input_shape, num_classes, batch_norm=True, momentum=0.9):
    """Build the network, not yet compiled.

    input_shape: (height, width, channels), 10 x 10 pixels or more. batch_norm: whether with the
    BatchNormalization layers. momentum: of their moving averages, see settled_momentum().
    Returns a keras.Sequential: (n, height, width, channels) to (n, num_classes) probabilities.
    """
    # BatchNormalization is Keras' layer, made faster below: layers.BatchNormalization would do.
    # data_format and dtype are given because keras.json and mixed precision change their defaults.
    network = [
        keras.Input(shape=input_shape),
        layers.Conv2D(32, kernel_size=3, activation="relu", data_format="channels_last"),
        BatchNormalization(momentum=momentum),
        layers.MaxPooling2D(pool_size=2, data_format="channels_last"),
        BatchNormalization(momentum=momentum),
        layers.Conv2D(64, kernel_size=3, activation="relu", data_format="channels_last"),
        BatchNormalization(momentum=momentum),
        layers.MaxPooling2D(pool_size=2, data_format="channels_last"),
        BatchNormalization(momentum=momentum),
        layers.Flatten(data_format="channels_last"),
        layers.Dense(256, activation="relu"),
        BatchNormalization(momentum=momentum),
        layers.Dense(num_classes, activation="softmax", dtype="float32"),
    ]
    if not batch_norm:
        network = [layer for layer in network if not isinstance(layer, layers.BatchNormalization)]
    return keras.Sequential(network)


def train(model, x_train, y_train, epochs=25, batch_size=250, validation_split=0.2,
          learning_rate=0.001, **fit_options):
    """Compile and train the model, the last images kept for validation; return Keras' History."""
    model.compile(optimizer=keras.optimizers.Adam(learning_rate),
                  loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return model.fit(x_train, y_train, epochs=epochs, batch_size=batch_size,
                     validation_split=validation_split, **fit_options)


def main(argv=None):
    """Run the example with these options (None: the command line's); return the exit status."""
    args = parse_options(argv)
    logging.basicConfig(format="%(message)s")  # else kmnist.load_data turns on all INFO messages
    try:
        data, remark = load_data(args.dataset or "kmnist"), ""
    except OSError as error:
        logging.error("%s\n--dataset digits needs no network.", error)
        if args.dataset:
            return 1
        logging.error("Using scikit-learn's digits instead. --dataset kmnist insists on KMNIST.")
        data, remark = load_data("digits"), " (digits, not KMNIST)"
    (x_train, y_train), (x_test, y_test) = data

    num_training = int(len(x_train) * (1 - args.validation_split))  # Keras' own formula
    # Batches as equal as can be: a last one of a few images would spoil the moving averages.
    steps_per_epoch = math.ceil(num_training / args.batch_size)
    batch_size = math.ceil(num_training / steps_per_epoch)
    momentum = settled_momentum(steps_per_epoch) if args.momentum is None else args.momentum

    tf.config.experimental.enable_op_determinism()  # the same seed gives the same result
    num_classes = int(max(y_train.max(), y_test.max())) + 1
    results, written = {}, True
    for batch_norm in (True, False) if args.compare else (not args.no_batch_norm,):
        name = "with Batch Normalization" if batch_norm else "without Batch Normalization"
        print(f"Training {name}", flush=True)
        keras.utils.set_random_seed(args.seed)
        policy = keras.config.dtype_policy()
        keras.config.set_dtype_policy(args.dtype_policy)  # of the layers that are made now
        model = build_model(x_train.shape[1:], num_classes, batch_norm, momentum)
        keras.config.set_dtype_policy(policy)
        ctrl_c, start = StopOnCtrlC(), time.perf_counter()
        history = train(model, x_train, y_train, args.epochs, batch_size, args.validation_split,
                        args.learning_rate, callbacks=[ctrl_c],
                        verbose=1 if sys.stdout.isatty() else 2)  # a bar, or a line an epoch
        seconds = (time.perf_counter() - start) / len(history.epoch)
        if args.save and not results:
            written = write(args.save, model.save)
        ctrl_c.release()  # now that nothing trained can be lost
        test = model.evaluate(x_test, y_test, batch_size=batch_size, verbose=0)
        results[name] = {**history.history, "seconds": seconds, "test": test}
        if model.stop_training:
            break
    if args.plot:
        written &= write(args.plot, lambda path: plot(results, path))
    if args.compare:
        print(comparison(results))
    loss, accuracy = next(iter(results.values()))["test"]  # with --compare, with the layers
    print(f"Test loss: {loss:.4f} / Test accuracy: {accuracy:.4f}{remark}", flush=True)
    return 1 if not written else 130 if model.stop_training else 0


# Here the example ends. The rest only serves it, and can be skipped.
# --- The same layer made faster ------------------------------------------------------------------


class BatchNormalization(layers.BatchNormalization):
    """Keras' layer, computed by TensorFlow's fused kernel: the same numbers in less time.

    Training normalises with the batch's mean and variance (Ioffe and Szegedy, algorithm 1, page 3),
    inference with their moving averages (algorithm 2, page 4). The kernel takes float32, bfloat16,
    float16 of (n, height, width, channels) or, reshaped, (n, features); Keras' own code the rest.
    """

    # Saved as Keras' own layer, so that the file loads without this script. The price: pickle,
    # inspect and help() take it for that layer, too.
    __module__ = "keras.layers"

    def call(self, inputs, training=None, mask=None):
        rank = self.input_spec.ndim  # that of the inputs themselves may be unknown while tracing
        if not (
            keras.backend.backend() == "tensorflow" and self.variable_dtype == "float32"
            and inputs.dtype in ("float32", "bfloat16", "float16") and rank in (2, 4)
            and self.axis in (-1, rank - 1) and self.center and self.scale and mask is None
            and self.trainable and not self.synchronized and not getattr(self, "renorm", False)
        ):
            return super().call(inputs, training=training, mask=mask)
        channels = self.gamma.shape[0]
        outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs if rank == 4 else tf.reshape(inputs, (-1, 1, 1, channels)),
            scale=self.gamma, offset=self.beta, epsilon=self.epsilon, is_training=bool(training),
            mean=self.moving_mean, variance=self.moving_variance)
        if training:
            # The kernel returns the variance over n - 1, as algorithm 2 has it; Keras that over n.
            n = tf.cast(tf.size(inputs) // channels, "float32")
            variance *= (n - 1) / n
            for average, batch in ((self.moving_mean, mean), (self.moving_variance, variance)):
                average.assign(average * self.momentum + batch * (1 - self.momentum))
        return outputs if rank == 4 else tf.reshape(outputs, (-1, channels))


# --- Where the data comes from -------------------------------------------------------------------

TIMEOUT = 15  # seconds without a byte after which a source is given up
HOST = "https://codh.rois.ac.jp/kmnist/dataset"
OPENML = "https://openml.org/data/v1/download/21388379/Kuzushiji-MNIST.arff"
MD5 = {
    OPENML: "e907c57cd14de74c228fdf82f3e5e7b1",
    "kmnist_train_imgs": "a183fbc01ed9a345513b145673d3d0bb",
    "kmnist_train_labels": "b0e1d240e8afec72b50437fc3bc5908a",
    "kmnist_test_imgs": "dace6de62ca8b90843cc45366337d02e",
    "kmnist_test_labels": "3ae489a79983d0fe386152684e3b5412",
    "k49_train_imgs": "7ac088b20481cf51dcd01ceaab89d821",
    "k49_train_labels": "44a8e1b893f81e63ff38d73cad420f7a",
    "k49_test_imgs": "d352e201d846ce6b94f42c990966f374",
    "k49_test_labels": "4da6f7a62e67a832d5eb1bd85c5ee448",
}
SIZES = {"kmnist": (60_000, 10_000), "k49": (232_365, 38_547)}  # training and test images


def load_arrays(dataset):
    """Load (images, labels) for training and for testing: uint8 (n, 28, 28), integers (n,)."""
    home = os.path.join(os.path.expanduser(os.environ.get("KERAS_HOME", "~/.keras")), "datasets")
    cache = home if os.access(os.path.dirname(home), os.W_OK) else "/tmp/.keras/datasets"
    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT)
    try:
        if dataset in SIZES:
            paths = fill_cache(dataset, cache, home)
            # Else the loader might fetch them itself: over plain HTTP, and unchecked.
            kmnist.get_file = lambda name, origin: paths[name.removeprefix("kmnist.npz_")]
            data = kmnist.load_data(type=dataset)
        else:
            data = getattr(keras.datasets, dataset).load_data()
        for images, labels in data:
            if (images.dtype != "uint8" or images.shape != (*labels.shape, 28, 28)
                    or labels.dtype.kind not in "iu" or labels.min() < 0 or labels.max() > 255):
                raise ValueError("not images of 28 x 28 bytes with a label from 0 to 255 each")
    except Exception as error:  # keras.utils.get_file raises bare ones
        raise OSError(f"{dataset} could not be loaded into {cache}: {error}") from error
    finally:
        socket.setdefaulttimeout(timeout)
        kmnist.get_file = keras.utils.get_file
    sizes = tuple(len(images) for images, _ in data)
    if sizes != SIZES.get(dataset, sizes):
        logging.warning("Not all of %s: %d training and %d test images", dataset, *sizes)
    return data


def fill_cache(dataset, cache, home):
    """Fetch what is missing, checked; return the files' paths, in home or else in the cache."""
    paths, missing = {}, []
    for name in [name for name in MD5 if name.startswith(dataset)]:
        place = home if os.path.exists(f"{home}/kmnist.npz_{name}") else cache
        paths[name] = f"{place}/kmnist.npz_{name}"
        try:
            np.load(paths[name])["arr_0"]
        except Exception as error:  # a damaged file makes zipfile and numpy raise many kinds
            missing.append(name)
            if os.path.exists(paths[name]):
                logging.warning("%s cannot be read: %s", paths[name], error)
    if not missing:
        return paths
    os.makedirs(cache, exist_ok=True)
    # In a folder of its own, nothing unfinished or unchecked can be taken for a file of the cache.
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        own = {"cache_dir": folder, "cache_subdir": ""}
        try:
            for name in missing:
                url = f"{HOST}/{dataset}/{name.replace('_', '-')}.npz"
                os.replace(keras.utils.get_file(name, url, file_hash=MD5[name], **own), paths[name])
        except Exception as error:
            logging.warning("%s: %s", HOST, error)
            if dataset != "kmnist":
                raise
            # OpenML has a row an image, its label at the end; the last seventh is for testing.
            file = keras.utils.get_file("table", OPENML, file_hash=MD5[OPENML], **own)
            table = np.loadtxt(file, dtype="uint8", comments=["@", "%"], delimiter=",")
            train, test = np.split(table, [len(table) * 6 // 7])
            for name in missing:
                rows = train if "train" in name else test
                array = rows[:, :-1].reshape(-1, 28, 28) if "imgs" in name else rows[:, -1]
                np.savez_compressed(f"{folder}/{name}.npz", array)
                os.replace(f"{folder}/{name}.npz", paths[name])
    return paths


def load_digits():
    """Load scikit-learn's 1,797 handwritten digits, enlarged to 28 x 28 pixels."""
    digits = datasets.load_digits()  # 8 x 8 pixels of 0 to 16
    images = (digits.images * (255 / 16)).astype("uint8").repeat(3, axis=1).repeat(3, axis=2)
    images = np.pad(images, ((0, 0), (2, 2), (2, 2)))
    x_train, x_test, y_train, y_test = model_selection.train_test_split(
        images, digits.target, test_size=0.2, stratify=digits.target, random_state=0)
    return (x_train, y_train), (x_test, y_test)


# --- Ctrl-C, files and reports -------------------------------------------------------------------


class StopOnCtrlC(keras.callbacks.Callback):
    """Ends the training after the current batch at the first Ctrl-C, the program at the second."""

    def on_train_begin(self, logs=None):
        # A signal that is ignored, as in a shell's background job, or that others handle is left
        # alone; and Python lets only the main thread handle any.
        free = signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if free and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, self.stop)

    def stop(self, signum, frame):
        self.model.stop_training = True
        self.release()

    def release(self):
        if signal.getsignal(signal.SIGINT) == self.stop:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def write(path, save):
    """Call save(path), or if that fails save(a temporary path); return whether path is written."""
    spare = os.path.join(tempfile.gettempdir(), f"{os.getpid()}-{os.path.basename(path)[-99:]}")
    for target, remedy in (path, f"; writing {spare} instead"), (spare, ""):
        try:
            save(target)
            return target == path
        except Exception as error:  # on a full disk HDF5 raises one kind, matplotlib another
            logging.error("%s could not be written: %s%s", target, error, remedy)
    return False


def comparison(results, target=0.9):
    """Return a table with a column for each network of results, main()'s measurements."""
    columns = [["", "Test accuracy", "Test loss", "Best validation accuracy (epoch)",
                f"Epochs to {target:.0%} validation accuracy", "Seconds an epoch"]]
    for name, result in results.items():
        accuracy = result.get("val_accuracy", [])
        best = f"{max(accuracy):.4f} ({accuracy.index(max(accuracy)) + 1})" if accuracy else "-"
        passed = [epoch for epoch, value in enumerate(accuracy, 1) if value >= target]
        columns.append([name, f"{result['test'][1]:.4f}", f"{result['test'][0]:.4f}", best,
                        min(passed, default="never" if accuracy else "-"),
                        f"{result['seconds']:.2f}"])
    return "\n".join(f"{label:<34}" + "".join(f"{cell:>30}" for cell in cells)
                     for label, *cells in zip(*columns))


def plot(results, path):
    """Draw accuracy and loss over the epochs into a file."""
    from matplotlib.figure import Figure  # no pyplot, so no display is needed
    figure = Figure(figsize=(11, 4.5), layout="constrained")
    for axes, quantity in zip(figure.subplots(1, 2), ("accuracy", "loss")):
        for (name, result), look in zip(results.items(), ("C0o", "C1s")):
            for kind, key, line in ("training", "", "--"), ("validation", "val_", "-"):
                if curve := result.get(key + quantity):
                    axes.plot(range(1, len(curve) + 1), curve, look + line, label=f"{kind}, {name}")
        axes.set(xlabel="Epoch", ylabel=quantity.capitalize())
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.legend()
    figure.savefig(path, dpi=150)


# --- Options: what could only fail after training is refused before it ---------------------------


def parse_options(argv):
    """Return the options; exit with status 2, saying what is accepted, where that is not met."""
    parser = argparse.ArgumentParser(description="Batch Normalization at work, on KMNIST.",
                                     formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--dataset", choices=["kmnist", "k49", "mnist", "fashion_mnist", "digits"],
                        help="what to learn; None: kmnist, or digits where that cannot be had")
    parser.add_argument("--dtype-policy", choices=["float32", "mixed_bfloat16", "mixed_float16"],
                        default="float32", help="precision to compute in")
    checked = [  # name, type, default, what is accepted (args is parsed by then), that in words
        ("epochs", int, 25, lambda n: 1 <= n < 2**31, "times to train on all images, at least 1"),
        ("batch-size", int, 250, lambda n: (1 if args.no_batch_norm else 2) <= n < 2**31,
         "images in a training step, at least 2, or 1 with --no-batch-norm"),
        ("learning-rate", float, 0.001, lambda x: 0 < x < math.inf, "Adam's, above 0"),
        ("validation-split", float, 0.2, lambda x: x == 0 or 0.001 <= x <= 0.999,
         "share of the images to validate with, 0 or from 0.001 to 0.999"),
        ("momentum", float, None, lambda x: 0 <= x < 1,
         "of the moving averages, at least 0 and below 1; None: one that lets them settle early"),
        ("seed", int, 1, lambda n: 0 <= n < 2**32, "of all random numbers, from 0 to 4294967295"),
        ("save", str, None, lambda p: can_write(p, ".keras"), "a .keras file that can be written"),
        ("plot", str, None,
         lambda p: find_spec("matplotlib") and can_write(p, ".png", ".svg", ".pdf"),
         "a .png, .svg or .pdf file that can be written, for the curves; needs matplotlib"),
    ]
    for name, kind, default, _, text in checked:
        parser.add_argument(f"--{name}", type=kind, default=default, help=text)
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--no-batch-norm", action="store_true", help="leave the layers out")
    group.add_argument("--compare", action="store_true", help="train with and without, and compare")
    args = parser.parse_args(argv)
    for name, _, _, is_accepted, text in checked:
        value = getattr(args, name.replace("-", "_"))
        if value is not None and not is_accepted(value):
            parser.error(f"argument --{name}: {text}; not {value}")
    return args


def can_write(path, *suffixes):
    """Tell whether a path has one of the suffixes and can be written."""
    folder = os.path.dirname(os.path.realpath(path))
    try:
        with open(path, "ab") if os.path.exists(path) else tempfile.TemporaryFile(dir=folder):
            return os.path.splitext(path)[1] in suffixes
    except OSError:
        return False


if __name__ == "__main__":
    sys.exit(main())
