"""Batch Normalization in Keras: a small convolutional network learns to read KMNIST,
70,000 images (28 x 28 pixels) of ten cursive Japanese characters. With the layers it
learns in fewer epochs and bears higher learning rates. The lesson goes from prepare() to
the end of main().

    python model_batchnorm.py                              # train for 25 epochs
    python model_batchnorm.py --epochs 3 --compare         # with and without the layers
    python model_batchnorm.py --epochs 3 --dataset digits  # a test without the internet

The layer: Ioffe and Szegedy (2015), https://arxiv.org/abs/1502.03167
The data: Clanuwat et al. (2018), https://arxiv.org/abs/1812.01718
The network: MachineCurve (2020), "How to use Batch Normalization with Keras?"
"""

import argparse
import contextlib
import hashlib
import importlib.util
import logging
import math
import os
import shutil
import socket
import sys
import tempfile
import types
import warnings
from pathlib import Path
from unittest import mock

os.environ["KERAS_BACKEND"] = "tensorflow"  # whatever a user's keras.json says

# Keras imports matplotlib, and that fails where a notebook's backend is asked for but not
# installed, as in "!uv run model_batchnorm.py".
if (
    "matplotlib_inline" in os.environ.get("MPLBACKEND", "")
    and importlib.util.find_spec("matplotlib_inline") is None
):
    del os.environ["MPLBACKEND"]

import keras
import numpy as np
import tensorflow as tf
from extra_keras_datasets import kmnist
from keras import layers
from sklearn import datasets, model_selection


def prepare(images):
    """Turn uint8 images of shape (n, 28, 28) into the network's input.

    Returns float32 from 0 to 1 of shape (n, 28, 28, 1): Conv2D expects a channel axis.
    """
    # This fixed scaling is not Batch Normalization, which normalizes inside the network,
    # by the mean and the variance of each batch.
    return images.reshape(-1, 28, 28, 1).astype("float32") / 255


def build_model(input_shape, num_classes, batch_norm=True, momentum=0.9):
    """Build the network, not yet compiled: it turns images into class probabilities.

    input_shape is that of an image, (height, width, channels), at least 10 x 10 pixels;
    the output has shape (n, num_classes). batch_norm=False leaves the
    BatchNormalization layers out. momentum is that of their moving averages, from 0 to
    less than 1.
    """
    # In training, the first BatchNormalization takes each of its 32 channels by itself:
    # it subtracts the channel's mean and divides by sqrt(variance + epsilon), where
    # epsilon is 0.001. Mean and variance are those of all images of the batch and all
    # 26 x 26 positions. Then it multiplies by gamma and adds beta, two weights of the
    # channel that are learned like any other. The last one does so for each of 256 units,
    # over the images of the batch.
    #
    # In validation, evaluate() and predict(), the layers use moving averages of these means
    # and variances instead, so that what is predicted for an image does not depend on the
    # other images in the batch. In training, each step updates them:
    # average = momentum * average + (1 - momentum) * the batch's.
    #
    # The averages start at 0 (mean) and 1 (variance), and after k steps momentum ** k of
    # that is left. With 0.9 that is a thousandth after 66 steps, with Keras' default of
    # 0.99 after 688, and until then validation can look much worse than what the network
    # has learned. In return 0.99 averages over more batches, and so is steadier.
    #
    # The paper puts the layer between a convolution and its ReLU. Here it follows the
    # ReLU, and stands again after each pooling, as in the article. Our measurements
    # (experiments/README.md) could not tell before the ReLU from after it in this
    # network, and find that the two layers after pooling bring nothing. One behind each
    # convolution and each hidden Dense layer is enough to start with.
    network = [
        keras.Input(shape=input_shape),  # (28, 28, 1)
        layers.Conv2D(32, kernel_size=3, activation="relu"),  # (26, 26, 32)
        layers.BatchNormalization(momentum=momentum),
        layers.MaxPooling2D(pool_size=2),  # (13, 13, 32)
        layers.BatchNormalization(momentum=momentum),
        layers.Conv2D(64, kernel_size=3, activation="relu"),  # (11, 11, 64)
        layers.BatchNormalization(momentum=momentum),
        layers.MaxPooling2D(pool_size=2),  # (5, 5, 64)
        layers.BatchNormalization(momentum=momentum),
        layers.Flatten(),  # (1600,)
        layers.Dense(256, activation="relu"),  # (256,)
        layers.BatchNormalization(momentum=momentum),
        # The probabilities stay float32 when the rest computes in mixed precision.
        layers.Dense(num_classes, activation="softmax", dtype="float32"),  # (10,)
    ]
    if not batch_norm:
        network = [
            layer
            for layer in network
            if not isinstance(layer, layers.BatchNormalization)
        ]
    return keras.Sequential(network)


def train(
    model,
    x_train,
    y_train,
    *,
    optimizer="adam",
    epochs=25,
    batch_size=250,
    validation_split=0.2,
    callbacks=None,
    verbose="auto",
):
    """Compile and train the model; return Keras' History of it."""
    model.compile(
        optimizer=optimizer,
        loss="sparse_categorical_crossentropy",  # the labels are integers
        metrics=["accuracy"],
    )
    return model.fit(
        x_train,
        y_train,
        epochs=epochs,
        batch_size=batch_size,
        validation_split=validation_split,  # the last images, which are not trained on
        callbacks=callbacks,
        verbose=verbose,
    )


def main(argv=None):
    """Run the example with these options (None: the command line's).

    Returns the exit status. TensorFlow's op determinism stays on afterwards, and Keras'
    floatx float32.
    """
    options = parse_options(argv)
    # For KMNIST this calls extra_keras_datasets.kmnist.load_data(), with checked files.
    dataset, data = load_or_digits(options.dataset)
    (x_train, y_train), (x_test, y_test) = data
    x_train = prepare(x_train[: options.train_images])
    y_train = y_train[: options.train_images]
    x_test = prepare(x_test)

    num_training = int(len(x_train) * (1 - options.validation_split))  # as in fit()
    batch_size = min(
        options.batch_size or default_batch_size(num_training), num_training
    )
    steps = math.ceil(num_training / batch_size)
    print(
        f"{dataset}: {num_training} images to train on,"
        f" {len(x_train) - num_training} to validate and {len(x_test)} to test with\n"
        f"batch size {batch_size}, {steps} steps an epoch, momentum {options.momentum},"
        f" {options.dtype_policy} on the {device()}"
    )
    if "with" in options.networks:
        warn_of_unsettled_averages(options.momentum, steps * options.epochs)
        warn_of_a_single_image(num_training, batch_size)

    tf.config.experimental.enable_op_determinism()
    keras.config.set_floatx("float32")  # a user's keras.json may have another
    histories, results, written = {}, {}, []
    interrupted = False
    for name in options.networks:  # "with", "without", or both
        print(f"Training {name} Batch Normalization", flush=True)
        # From the same seed, both networks start with the same kernels and see the images
        # in the same order. Op determinism makes a run repeatable on the same machine.
        keras.utils.set_random_seed(options.seed)
        with keras_defaults(options.dtype_policy):
            model = build_model(
                input_shape=(28, 28, 1),
                num_classes=10,
                batch_norm=(name == "with"),
                momentum=options.momentum,
            )
        try:
            # Not part of the lesson: inside, the layers compute the same, rounded
            # differently, and on some processors faster.
            with fused_batch_norm(model):
                train(
                    model,
                    x_train,
                    y_train,
                    optimizer=keras.optimizers.Adam(options.learning_rate),
                    epochs=options.epochs,
                    batch_size=batch_size,
                    validation_split=options.validation_split,
                    verbose=1 if sys.stdout.isatty() else 2,
                )
        except KeyboardInterrupt:
            # What was learned until then is tested and saved.
            if not epochs_finished(model):
                raise
            interrupted = True
        # What train() returns, but for Ctrl-C. Keras' evaluate() may put another there.
        histories[name] = model.history
        loss, accuracy = model.evaluate(x_test, y_test, verbose=0)
        results[name] = f"Test loss: {loss:.4f} / Test accuracy: {accuracy:.4f}"
        if dataset == "digits" and not options.dataset:
            results[name] += " (digits, not KMNIST)"
        if interrupted:
            results[name] += f" (stopped after epoch {len(histories[name].epoch)})"
        print(results[name], flush=True)
        written += write_files(options, model, histories)
        if interrupted:
            break

    if len(results) > 1:
        print("\nWith and without Batch Normalization:")
        for name, result in results.items():
            print(f"{name:7} {result}")
    if not all(written):
        return 1
    return 130 if interrupted else 0


# The example ends here. What follows serves it, and can be skipped: a faster layer, the
# data, files, and the options.


@contextlib.contextmanager
def fused_batch_norm(model):
    """Let a model's BatchNormalization layers train with TensorFlow's fused kernel.

    One operation in place of several. It computes the same, rounded differently, for the
    outputs of convolutions, of shape (n, height, width, channels). All else, and all
    after the with, is Keras' own code; but what fit() has traced inside it, fit() goes on
    using. Nested models are reached; subclasses of the layer are left alone.
    """
    fused = [
        layer
        for layer in model._flatten_layers()
        if type(layer) is layers.BatchNormalization
        and "call" not in vars(layer)  # another fused_batch_norm has it already
        and keras.backend.backend() == "tensorflow"
    ]
    for layer in fused:
        layer.call = types.MethodType(fused_call, layer)
    try:
        yield
    finally:
        for layer in fused:
            del layer.call


def fused_call(layer, inputs, training=None, mask=None):
    """Do what BatchNormalization.call() does, with the fused kernel where it can."""
    can_be_fused = (
        training
        and layer.trainable
        and mask is None
        and layer.input_spec.ndim == 4  # the inputs' own may be unknown while tracing
        and layer.axis in (-1, 3)
        and layer.center
        and layer.scale
        and layer.variable_dtype == "float32"
        and inputs.dtype == layer.compute_dtype
        and not layer.synchronized
        and not getattr(layer, "renorm", False)  # since Keras 3.14
    )
    if not can_be_fused:
        return layers.BatchNormalization.call(
            layer, inputs, training=training, mask=mask
        )
    outputs, mean, variance = tf.compat.v1.nn.fused_batch_norm(
        inputs, layer.gamma, layer.beta, epsilon=layer.epsilon
    )
    # The kernel's variance is over n - 1, as in the paper's algorithm 2 (page 4), and
    # Keras' is over n.
    n = tf.cast(tf.size(inputs, tf.int64) // layer.gamma.shape[0], "float32")
    variance *= (n - 1) / n
    for average, batch in (
        (layer.moving_mean, mean),
        (layer.moving_variance, variance),
    ):
        average.assign(average * layer.momentum + batch * (1 - layer.momentum))
    return outputs


@contextlib.contextmanager
def keras_defaults(dtype_policy):
    """Set Keras' dtype policy, and channels last, for what is built in the with."""
    policy, data_format = keras.config.dtype_policy(), keras.config.image_data_format()
    # A user's keras.json may have others.
    keras.config.set_dtype_policy(dtype_policy)
    keras.config.set_image_data_format("channels_last")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(policy)
        keras.config.set_image_data_format(data_format)


def epochs_finished(model):
    """Return how many epochs fit() has finished, 0 where it has not begun."""
    history = getattr(model, "history", None)
    return len(history.epoch) if history else 0


def device():
    """Return the name of what TensorFlow computes on."""
    return "GPU" if tf.config.list_physical_devices("GPU") else "CPU"


def default_batch_size(num_training):
    """Return 250, or as much less as gives 66 steps an epoch: 0.9 ** 66 < 0.001.

    Or a little less again, so that the last of them is not left with a single image.
    """
    batch_size = max(2, min(250, num_training // 66))
    while batch_size > 2 and is_last_alone(num_training, batch_size):
        batch_size -= 1
    return batch_size


def is_last_alone(num_training, batch_size):
    """Return whether an epoch's last batch is a single image."""
    return (num_training - 1) % batch_size == 0


def warn_of_a_single_image(num_training, batch_size):
    """Warn where the last training step before each validation has a single image."""
    if is_last_alone(num_training, batch_size):
        LOGGER.warning(
            "The last of %d images is alone in its batch of at most %d. For it,"
            " BatchNormalization behind Dense returns beta, whatever the image, and the"
            " variance of 0 goes into the moving averages. Another batch size helps.",
            num_training,
            batch_size,
        )


def warn_of_unsettled_averages(momentum, steps):
    """Warn where too much of the moving averages' initial values is left in the end."""
    left = momentum**steps
    if left > 0.001:
        LOGGER.warning(
            "After %d steps with momentum %g the moving averages still hold %.1f %% of"
            " their initial values: validation and test may look much worse than what was"
            " learned. More epochs, smaller batches or a lower momentum help.",
            steps,
            momentum,
            100 * left,
        )


# The data: KMNIST comes from Keras' cache, else from its host, else from OpenML.

LOGGER = logging.getLogger(__name__)
TIMEOUT = 15  # seconds without a byte after which a source is given up
SHA256 = {  # of the published files
    "train_imgs": "11d69e17c8fd294905864aef177fd10c2185e5a3655f4da03d72ea5a64c17a72",
    "train_labels": "a325c877035602cb9b9ba54f4194a2a1b5f718026a463db5b5e0cdc124c03720",
    "test_imgs": "692d824896bec8f3c357ebf7a0fe904ed67ac632ce953d0b58f7fbef7bb27d87",
    "test_labels": "660f13a4705431ea2a6391c41ecbe384cd0d932c595a101ec4f3b8989e785046",
}
# Of all 70,000 images' bytes, then all labels'.
ALL_SHA256 = "a91c75e8e73cbfd2af973873c28f72e2399e30a68d26ab4ea0dc4196b40df8bf"


def load_or_digits(dataset):
    """Load a data set, or None: KMNIST, else digits. Return its name, too."""
    try:
        return dataset or "kmnist", load_data(dataset or "kmnist")
    except OSError as error:
        if dataset:
            sys.exit(f"{error}\n--dataset digits needs no network.")
        LOGGER.warning(
            "%s\nUsing digits instead; --dataset kmnist insists on KMNIST.", error
        )
        return "digits", load_data("digits")


def load_data(dataset="kmnist"):
    """Load "kmnist", "mnist", "fashion_mnist" or, which needs no network, "digits".

    Returns (x_train, y_train), (x_test, y_test), as Keras' loaders do: uint8 images of
    shape (n, 28, 28), and labels from 0 to 9 of shape (n,). Raises OSError where the data
    cannot be had.
    """
    return LOADERS[dataset]()


def load_kmnist():
    """Load KMNIST by the package's loader, given files that were checked, or OpenML's."""
    try:
        with (
            tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch,
            mock.patch.multiple(
                kmnist,
                # Its own fetches over plain HTTP, waits forever, and checks nothing.
                get_file=lambda name, origin: checked_file(name, origin, scratch),
                # Its own would configure the root logger, which is the caller's.
                logging=mock.Mock(warning=LOGGER.warning),
            ),
        ):
            return kmnist.load_data(type="kmnist")
    except OSError as error:
        LOGGER.warning("KMNIST could not be loaded from its host: %s", error)
    cache = False
    with contextlib.suppress(OSError):  # scikit-learn's home cannot be made
        cache = os.access(datasets.get_data_home(), os.W_OK)
    with network("OpenML"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # It would try again, and behind a proxy over plain HTTP.
        warnings.filterwarnings("error", "A network error")
        images, labels = datasets.fetch_openml(
            data_id=41982,
            cache=cache,
            as_frame=False,
            return_X_y=True,
            parser="pandas",
            # Its own choice takes eight times the memory, and fails with pandas 3.
            read_csv_kwargs={"dtype": "uint8"},
        )
    if hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest() != ALL_SHA256:
        raise OSError("OpenML: what it sent is not KMNIST as published")
    images = images.reshape(-1, 28, 28)
    n = len(images) * 6 // 7  # the training images come first
    return (images[:n], labels[:n]), (images[n:], labels[n:])


def keras_home():
    """Return the path of the folder in which Keras keeps data sets."""
    return os.path.expanduser(os.environ.get("KERAS_HOME") or "~/.keras")


def checked_file(name, origin, scratch):
    """Return the path of a published file, from Keras' cache or else from its host.

    It is kept in the first folder that can be written: Keras' home, what Keras takes
    where that is read-only, or the folder scratch. Raises OSError.
    """
    folders = [
        Path(keras_home(), "datasets"),
        Path(tempfile.gettempdir(), ".keras", "datasets"),
        Path(scratch),
    ]
    url = origin.replace("http:", "https:")
    sha256 = SHA256[name.removeprefix("kmnist.npz_kmnist_")]
    for folder in folders:
        with contextlib.suppress(OSError):  # it is not there, or another user's
            content = (folder / name).read_bytes()
            if hashlib.sha256(content).hexdigest() == sha256:
                return folder / name
    # In a folder of its own, nothing unfinished or unchecked is taken for the file.
    with first_temporary_folder(folders) as part:
        with network(url):
            file = keras.utils.get_file(name, url, file_hash=sha256, cache_dir=part)
        return Path(file).replace(Path(part).with_name(name))


def first_temporary_folder(folders):
    """Return a TemporaryDirectory in the first of the folders that can be written."""
    for folder in folders:
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            return tempfile.TemporaryDirectory(dir=folder, ignore_cleanup_errors=True)
    raise OSError(f"{folders[-1]} cannot be written")


@contextlib.contextmanager
def network(source):
    """Give up a silent source in the with, and raise OSError for whatever goes wrong."""
    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT)
    try:
        yield
    except Exception as error:  # Keras raises Exception itself, scikit-learn many kinds
        # scikit-learn's warning says "Retrying...", and not why.
        reason = error.__context__ if isinstance(error, Warning) else error
        raise OSError(f"{source}: {reason}") from error
    finally:
        socket.setdefaulttimeout(timeout)


def load_from_keras(dataset):
    """Load one of Keras' own data sets, from its cache or else from its host."""
    # Keras does not check the files of Fashion-MNIST: a broken one must be deleted by hand.
    with network(f"{dataset}, kept in {keras_home()}/datasets"):
        return getattr(keras.datasets, dataset).load_data()


def load_digits():
    """Load scikit-learn's 1,797 handwritten digits, enlarged to 28 x 28 pixels."""
    digits = datasets.load_digits()  # 8 x 8 pixels of 0 to 16
    images = (digits.images * (255 / 16)).astype("uint8")
    images = images.repeat(3, axis=1).repeat(3, axis=2)
    images = np.pad(images, ((0, 0), (2, 2), (2, 2)))
    x_train, x_test, y_train, y_test = model_selection.train_test_split(
        images,
        digits.target.astype("uint8"),
        test_size=0.2,
        stratify=digits.target,
        random_state=0,
    )
    return (x_train, y_train), (x_test, y_test)


LOADERS = {
    "kmnist": load_kmnist,
    "digits": load_digits,
    "mnist": lambda: load_from_keras("mnist"),
    "fashion_mnist": lambda: load_from_keras("fashion_mnist"),
}


# Files and options.


def write_files(options, model, histories):
    """Save the model, but not the second, plot all; return whether each was written."""
    written = []
    if options.save and len(histories) == 1:
        written.append(write(options.save, model.save))
    if options.plot:
        written.append(write(options.plot, lambda file: plot(histories).savefig(file)))
    return written


def write(path, save):
    """Call save() for a file; return whether that went well, and say why if not."""
    target = os.path.realpath(path)  # what a link points to
    try:
        # Beside its place, and then put there: an earlier file is replaced as a whole.
        with (
            tempfile.TemporaryDirectory(dir=os.path.dirname(target)) as folder,
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")  # with python -W error they would end it
            part = os.path.join(folder, Path(path).name)
            save(part)
            if os.path.exists(target):
                shutil.copymode(target, part)
            os.replace(part, target)
    except Exception as error:  # HDF5 and matplotlib have their own kinds
        LOGGER.error("%s could not be written: %s", path, error)
        return False
    return True


def plot(histories):
    """Return a matplotlib Figure: accuracy and loss of each Keras History by name."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.5), dpi=150, layout="constrained")
    looks = {"with": "C0o", "without": "C1s"}  # color and marker
    for axes, quantity in zip(figure.subplots(1, 2), ("accuracy", "loss")):
        for name, history in histories.items():
            for key, line in ((quantity, "--"), (f"val_{quantity}", "-")):
                curve = history.history.get(key)
                if curve:  # there is no validation with --validation-split 0
                    epochs = range(1, len(curve) + 1)
                    axes.plot(epochs, curve, looks[name] + line, label=f"{key}, {name}")
        axes.set(xlabel="epoch", ylabel=quantity)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.legend(title=f"{' and '.join(histories)} Batch Normalization")
    return figure


def parse_options(argv):
    """Return the options; exit with status 2 where one could only fail later."""
    parser = argparse.ArgumentParser(
        description="Train a network with Batch Normalization on KMNIST, and test it."
    )
    parser.add_argument(
        "--dataset",
        choices=LOADERS,
        help="what to train on (default: kmnist, or digits where that cannot be had)",
    )
    parser.add_argument(
        "--train-images",
        type=number(int, 20),
        metavar="N",
        help="take only the first N training images, 20 or more (default: all)",
    )
    parser.add_argument(
        "--epochs",
        type=number(int, 1, 10**9),
        default=25,
        metavar="N",
        help="times to train on all of them (default: %(default)s)",
    )
    parser.add_argument(
        "--batch-size",
        type=number(int, 2),
        metavar="N",
        help="images in a training step (default: 250, or as much less as gives 66 steps"
        " an epoch)",
    )
    parser.add_argument(
        "--learning-rate",
        type=number(float, 1e-9),
        default=0.001,
        metavar="RATE",
        help="learning rate of the Adam optimizer (default: %(default)s)",
    )
    parser.add_argument(
        "--validation-split",
        type=number(float, 0.001, 0.9, or_else=0),
        default=0.2,
        metavar="SHARE",
        help="share of the training images to validate with, 0 for none"
        " (default: %(default)s)",
    )
    parser.add_argument(
        "--momentum",
        type=number(float, 0, 0.999999),
        default=0.9,
        metavar="M",
        help="momentum of the moving averages, not of the optimizer"
        " (default: %(default)s)",
    )
    parser.add_argument(
        "--seed",
        type=number(int, 0, 2**32 - 1),
        default=1,
        metavar="N",
        help="seed of all random numbers (default: %(default)s)",
    )
    parser.add_argument(
        "--dtype-policy",
        choices=["float32", "mixed_bfloat16", "mixed_float16"],
        default="float32",
        metavar="NAME",
        help="float32, mixed_bfloat16 or mixed_float16 (default: %(default)s)",
    )
    parser.add_argument(
        "--save",
        type=file_to_write(".keras"),
        metavar="FILE",
        help="save the trained network as a .keras file",
    )
    parser.add_argument(
        "--plot",
        type=file_to_write(".png", ".svg", ".pdf"),
        metavar="FILE",
        help="draw accuracy and loss as a .png, .svg or .pdf file",
    )
    networks = parser.add_mutually_exclusive_group()
    networks.add_argument(
        "--no-batch-norm",
        dest="networks",
        action="store_const",
        default=["with"],
        const=["without"],
        help="leave the BatchNormalization layers out",
    )
    networks.add_argument(
        "--compare",
        dest="networks",
        action="store_const",
        const=["with", "without"],
        help="train with the layers, then without them",
    )
    return parser.parse_args(argv)


def number(convert, low, high=math.inf, or_else=None):
    """Return a type for argparse: a number from low to high, or this other one."""
    bounds = f"{low} or more" if high == math.inf else f"from {low} to {high}"
    bounds += "" if or_else is None else f", or {or_else}"

    def number(text):  # argparse takes the name for its message, "invalid number value"
        value = convert(text)
        if value != math.inf and low <= value <= high or value == or_else:
            return value
        raise argparse.ArgumentTypeError(f"{text} is not {bounds}")

    return number


def file_to_write(*suffixes):
    """Return a type for argparse: a path with such a suffix that write() can write."""

    def path(text):
        if Path(text).suffix not in suffixes:
            raise argparse.ArgumentTypeError(f"{text} is no {', '.join(suffixes)} file")
        try:
            target = Path(os.path.realpath(text))
            if target.exists() and not target.is_file():
                raise argparse.ArgumentTypeError(f"{text} is not a regular file")
            tempfile.TemporaryDirectory(dir=target.parent).cleanup()
            if target.exists():
                open(target, "ab").close()  # a read-only file stays as it is
        except OSError as error:
            message = f"{text} cannot be written: {error}"
            raise argparse.ArgumentTypeError(message) from error
        return text

    return path


if __name__ == "__main__":
    if sys.stdout is None:  # in pythonw, for one
        sys.stdout = open(os.devnull, "w")
    try:
        status = main()
        sys.stdout.flush()
    except BrokenPipeError:  # what read the output has ended, say "| head -1"
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 1
    sys.exit(status)

# For "uv run model_batchnorm.py" and "pipx run model_batchnorm.py":
#
# /// script
# requires-python = ">=3.10,<3.14"
# dependencies = [
#     "tensorflow>=2.16.1",
#     "keras>=3.7.0",
#     "extra-keras-datasets>=1.2.0,<1.3",
#     "scikit-learn>=1.4.2",
#     "numpy>=1.26.4",
#     "matplotlib>=3.8.4",
# ]
# ///
