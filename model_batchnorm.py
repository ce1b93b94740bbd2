"""Batch Normalization in Keras: a small convolutional network learns to read KMNIST.

KMNIST has 70,000 grayscale images, 28 x 28 pixels, of ten cursive Japanese characters.

    python model_batchnorm.py                               # train for 25 epochs
    python model_batchnorm.py --epochs 3 --compare          # then without the layers, too
    python model_batchnorm.py --epochs 3 --dataset digits   # needs no network connection

The layer: Ioffe and Szegedy (2015), https://arxiv.org/abs/1502.03167
The data: Clanuwat et al. (2018), https://arxiv.org/abs/1812.01718
The network: MachineCurve (2020), "How to use Batch Normalization with Keras?"
"""

import argparse
import contextlib
import functools
import hashlib
import importlib.util
import math
import os
import signal
import socket
import sys
import threading
from pathlib import Path

os.environ["KERAS_BACKEND"] = "tensorflow"  # fused_batch_norm() below needs it
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # faster on older CPUs

import keras
import numpy as np
import pooch
import tensorflow as tf
from extra_keras_datasets import kmnist
from keras import layers
from matplotlib.figure import Figure
from sklearn import datasets, model_selection

VALIDATION_SPLIT = 0.2  # share of the training images held out for validation


def prepare(images):
    """Turn uint8 images (n, height, width) into float32 from 0 to 1, with a channel axis."""
    return images[..., np.newaxis].astype("float32") / 255


def build_model(input_shape, num_classes, batch_norm=True, momentum=0.9):
    """Return the network, not yet compiled.

    input_shape is (height, width, channels). The network returns num_classes probabilities
    for each image. batch_norm=False leaves the BatchNormalization layers out. momentum,
    from 0 to less than 1, is the share of its old value that a moving average keeps at
    each training step.
    """
    # In training, the layer takes each channel's mean and variance over the batch, that is,
    # over all its images and all positions in them. It returns
    #     gamma * (x - mean) / sqrt(variance + epsilon) + beta
    # gamma and beta, one of each per channel, are learned; epsilon is 0.001.
    #
    # In validation, evaluate() and predict(), it uses moving averages of the means and
    # variances instead, so that a prediction does not depend on the other images in the
    # batch. Keras' default momentum is 0.99. With 0.9 the averages are usable ten times
    # sooner, here after one epoch.
    #
    # The paper puts the layer between a convolution and its activation. Here it comes after
    # the activation, and again after each pooling, as in MachineCurve's article. Do not copy
    # the two after pooling: they brought no measurable gain (experiments/README.md).
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
        # Probabilities are float32 even if the other layers compute in 16 bits.
        layers.Dense(num_classes, activation="softmax", dtype="float32"),  # (10,)
    ]
    if not batch_norm:
        network = [
            layer
            for layer in network
            if not isinstance(layer, layers.BatchNormalization)
        ]
    return keras.Sequential(network)


def train_and_test(x_train, y_train, x_test, y_test, *, batch_norm, options, callbacks):
    """Build, train and test the network, with or without its BatchNormalization layers.

    The images come from prepare(), the options from main(). Returns the model,
    Keras' History of the training, and the result as a line of text.
    """
    # With or without BatchNormalization, the other layers start with the same weights.
    keras.utils.set_random_seed(options.seed)
    model = build_model(
        input_shape=x_train.shape[1:],
        num_classes=10,
        batch_norm=batch_norm,
        momentum=options.momentum,
    )
    model.compile(
        optimizer=keras.optimizers.Adam(options.learning_rate),
        loss="sparse_categorical_crossentropy",  # the labels are integers
        metrics=["accuracy"],
    )
    # This only saves time on a CPU. Code of your own can call fit() without it.
    with fused_batch_norm(model):
        history = model.fit(
            x_train,
            y_train,
            batch_size=options.batch_size,
            epochs=options.epochs,
            validation_split=VALIDATION_SPLIT,  # the last 20 % of the images
            callbacks=callbacks,
            verbose=1 if sys.stdout.isatty() else 2,  # 2: one line per epoch
        )
    loss, accuracy = model.evaluate(x_test, y_test, verbose=0)
    return model, history, f"Test loss: {loss:.4f} / Test accuracy: {accuracy:.4f}"


def main(argv=None):
    """Run the example with these command-line options; return the exit status."""
    options = parse_options(argv)
    # By default this is extra_keras_datasets.kmnist.load_data(); see below.
    dataset, ((x_train, y_train), (x_test, y_test)) = load_or_exit(options.dataset)
    x_train = prepare(x_train[: options.train_images])
    y_train = y_train[: options.train_images]
    x_test = prepare(x_test)

    num_training = int(len(x_train) * (1 - VALIDATION_SPLIT))  # as fit() computes it
    options.batch_size = options.batch_size or default_batch_size(num_training)
    steps = math.ceil(num_training / options.batch_size)
    print(
        f"{dataset}: {num_training} training, {len(x_train) - num_training} validation"
        f" and {len(x_test)} test images\n"
        f"batch size {options.batch_size}, {steps} steps per epoch"
    )
    # The share of the moving averages' initial values that is left at the end:
    left = options.momentum ** (steps * options.epochs)
    if "with" in options.networks and left > 0.001:
        print(
            "Too few steps for this momentum: validation and test accuracy may be far too low."
        )

    # The same seed gives the same result on the same machine.
    tf.config.experimental.enable_op_determinism()
    keras.config.set_dtype_policy(options.dtype_policy)
    histories, results = {}, {}
    with StopOnCtrlC() as ctrl_c:
        for name in options.networks:  # "with", "without" or both
            print(f"Training {name} Batch Normalization", flush=True)
            model, histories[name], results[name] = train_and_test(
                x_train,
                y_train,
                x_test,
                y_test,
                batch_norm=(name == "with"),
                options=options,
                callbacks=[ctrl_c],
            )
            if dataset == "digits":
                results[name] += " (digits, not KMNIST)"
            if ctrl_c.pressed:
                results[name] += " (stopped by Ctrl-C)"
            print(results[name], flush=True)
            if options.save and name == options.networks[0]:
                model.save(options.save)
            if ctrl_c.pressed:
                break
        if len(results) > 1:
            print()
            for name, result in results.items():
                print(f"{name:7} {result}")
        if options.plot:
            plot(histories).savefig(options.plot)
    return 130 if ctrl_c.pressed else 0  # 130 is the convention for Ctrl-C


# The example ends here. Below: the batch size, the data, a faster kernel, Ctrl-C, the plot
# and the options.


def default_batch_size(num_training):
    """Return 250, or fewer if an epoch would have fewer than 66 steps, but at least 2.

    0.9 ** 66 is less than 0.001, so with 66 steps the averages are usable after one epoch.
    """
    return min(250, max(2, num_training // 66))


SHA256 = {  # of the published files
    "train_imgs": "11d69e17c8fd294905864aef177fd10c2185e5a3655f4da03d72ea5a64c17a72",
    "train_labels": "a325c877035602cb9b9ba54f4194a2a1b5f718026a463db5b5e0cdc124c03720",
    "test_imgs": "692d824896bec8f3c357ebf7a0fe904ed67ac632ce953d0b58f7fbef7bb27d87",
    "test_labels": "660f13a4705431ea2a6391c41ecbe384cd0d932c595a101ec4f3b8989e785046",
}
# Of the bytes of all 70,000 images, followed by those of all labels.
ALL_SHA256 = "a91c75e8e73cbfd2af973873c28f72e2399e30a68d26ab4ea0dc4196b40df8bf"
TIMEOUT = 15  # seconds without an answer


def load_or_exit(dataset=None):
    """Return the name of a data set, and what load_data() returns for it.

    Without a name it is "kmnist", or "digits" if KMNIST cannot be loaded. Exits with a
    message if KMNIST was asked for by name and cannot be loaded.
    """
    try:
        return dataset or "kmnist", load_data(dataset or "kmnist")
    except OSError as error:
        if dataset:
            sys.exit(f"{error}\n--dataset digits needs no network connection.")
        print(f"{error}\nTraining on handwritten digits instead.", file=sys.stderr)
        return "digits", load_data("digits")


def load_data(dataset="kmnist"):
    """Load "kmnist" or "digits", which needs no network connection.

    Returns (x_train, y_train), (x_test, y_test): uint8 images of shape (n, 28, 28), and
    integer labels from 0 to 9. Raises OSError if KMNIST cannot be loaded.
    """
    return {"kmnist": load_kmnist, "digits": load_digits}[dataset]()


def load_kmnist():
    """Load KMNIST with extra_keras_datasets or, if its host fails, from OpenML."""
    get_file = kmnist.get_file
    kmnist.get_file = fetch  # its own has no checksum, no time-out and no HTTPS
    try:
        return kmnist.load_data()
    except (OSError, ValueError) as error:  # ValueError: a wrong checksum
        reason = f"KMNIST: {type(error).__name__}: {error}"
        print(f"{reason}\nTrying OpenML.", file=sys.stderr)
    finally:
        kmnist.get_file = get_file
    try:
        return load_openml()
    except Exception as error:  # scikit-learn's client raises many kinds
        raise OSError(f"OpenML: {type(error).__name__}: {error}") from error


def fetch(name, origin):
    """Return the path of a file of KMNIST in Keras' cache, downloaded if needed."""
    path = pooch.retrieve(
        origin.replace("http:", "https:"),
        known_hash=SHA256[name.removeprefix("kmnist.npz_kmnist_")],
        fname=name,
        path=Path(os.environ.get("KERAS_HOME", "~/.keras"), "datasets"),
        downloader=pooch.HTTPDownloader(
            timeout=TIMEOUT,
            progressbar=importlib.util.find_spec("tqdm") is not None,
        ),
    )
    with contextlib.suppress(OSError):  # the file is another user's
        # pooch lets only the owner of a file read it.
        os.chmod(path, os.stat(path).st_mode | 0o444)
    return path


def load_openml():
    """Load KMNIST from OpenML."""
    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT)
    try:
        images, labels = datasets.fetch_openml(
            data_id=41982,
            as_frame=False,
            return_X_y=True,
            parser="pandas",
            read_csv_kwargs={"dtype": "uint8"},  # an eighth of the memory
            n_retries=1,
        )
    finally:
        socket.setdefaulttimeout(timeout)
    if hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest() != ALL_SHA256:
        raise ValueError("what it sent is not KMNIST as published")
    x_train, x_test = np.split(images.reshape(-1, 28, 28), [60_000])
    y_train, y_test = np.split(labels, [60_000])
    return (x_train, y_train), (x_test, y_test)


def load_digits():
    """Load scikit-learn's 1,797 handwritten digits, enlarged to 28 x 28 pixels."""
    digits = datasets.load_digits()  # 8 x 8 pixels from 0 to 16
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


@contextlib.contextmanager
def fused_batch_norm(model):
    """Train a model's BatchNormalization layers with TensorFlow's fused kernel.

    The kernel is one operation where Keras has several. It computes the same, but rounds
    differently. Only layers with Keras' defaults for everything except momentum and epsilon
    use it, and only the model's own, not those of models inside it. Use a new with block
    after each compile(), around the first fit(), because Keras keeps what fit() traces.
    """
    fused = [layer for layer in model.layers if can_be_fused(layer)]
    for layer in fused:
        layer.call = functools.partial(fused_call, layer)
    try:
        yield
    finally:
        for layer in fused:
            del layer.call


def can_be_fused(layer):
    """Return whether a layer is one whose configuration fused_call() knows."""
    if type(layer) is not layers.BatchNormalization or "call" in vars(layer):
        return False
    known = layers.BatchNormalization(
        momentum=layer.momentum,
        epsilon=layer.epsilon,
        dtype=layer.dtype_policy,
        name=layer.name,
    )
    return (
        layer.get_config() == known.get_config() and known.variable_dtype == "float32"
    )


def fused_call(layer, inputs, training=None, mask=None):
    """Compute what the layer's call() does, in training with the fused kernel."""
    if not training or mask is not None or inputs.shape.rank != 4:
        return type(layer).call(layer, inputs, training=training, mask=mask)
    outputs, mean, variance = tf.compat.v1.nn.fused_batch_norm(
        inputs, layer.gamma, layer.beta, epsilon=layer.epsilon
    )
    # The kernel's variance has n - 1 in its denominator, Keras' has n, the number of values.
    n = tf.cast(tf.size(inputs) / tf.size(mean), "float32")
    variance *= (n - 1) / n
    for average, batch in (
        (layer.moving_mean, mean),
        (layer.moving_variance, variance),
    ):
        average.assign(average * layer.momentum + batch * (1 - layer.momentum))
    return outputs


class StopOnCtrlC(keras.callbacks.Callback):
    """In its with block, Ctrl-C ends the training, and a second one the program.

    It is a callback of fit(), too. In a thread other than the main one it does nothing.
    """

    pressed = False

    def __enter__(self):
        self.in_main_thread = threading.current_thread() is threading.main_thread()
        if self.in_main_thread:
            self.handler = signal.signal(signal.SIGINT, self.press)
        return self

    def press(self, signum, frame):
        self.pressed = True
        signal.signal(signal.SIGINT, self.handler)
        print("\nStopping; press Ctrl-C again to quit at once.", file=sys.stderr)

    def on_train_batch_end(self, batch, logs=None):
        if self.pressed:
            self.model.stop_training = True

    on_epoch_end = on_train_batch_end

    def __exit__(self, *exception):
        if self.in_main_thread:
            signal.signal(signal.SIGINT, self.handler)


def plot(histories):
    """Return a matplotlib Figure: accuracy and loss of each Keras History by name."""
    figure = Figure(figsize=(11, 4.5), dpi=150, layout="constrained")
    looks = {"with": "C0o", "without": "C1s"}  # color and marker
    for axes, quantity in zip(figure.subplots(1, 2), ("accuracy", "loss")):
        for name, history in histories.items():
            for key, line in ((quantity, "--"), (f"val_{quantity}", "-")):
                curve = history.history[key]
                epochs = range(1, len(curve) + 1)
                axes.plot(epochs, curve, looks[name] + line, label=f"{key}, {name}")
        axes.set(xlabel="epoch", ylabel=quantity)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.legend(title=f"{' and '.join(histories)} Batch Normalization")
    return figure


def parse_options(argv):
    """Return the command line's options; exit with status 2 if one cannot work."""
    parser = argparse.ArgumentParser(
        description="Train a network with Batch Normalization on KMNIST, and test it."
    )
    parser.add_argument(
        "--dataset",
        choices=["kmnist", "digits"],
        help="default: kmnist, or digits if KMNIST cannot be loaded",
    )
    parser.add_argument(
        "--train-images",
        type=number(int, 20),
        metavar="N",
        help="use only the first N training images (default: all)",
    )
    parser.add_argument(
        "--epochs",
        type=number(int, 1),
        default=25,
        metavar="N",
        help="train for N epochs (default: %(default)s)",
    )
    parser.add_argument(
        "--batch-size",
        type=number(int, 2),
        metavar="N",
        help="use N images in each training step (default: 250, or fewer if an epoch"
        " would have fewer than 66 steps)",
    )
    parser.add_argument(
        "--learning-rate",
        type=number(float, 1e-9, 1e9),
        default=0.001,
        metavar="RATE",
        help="set the learning rate of Adam, the optimizer (default: %(default)s)",
    )
    parser.add_argument(
        "--momentum",
        type=number(float, 0, 0.999999),
        default=0.9,
        metavar="M",
        help="set the momentum of the layers' moving averages (default: %(default)s)",
    )
    parser.add_argument(
        "--seed",
        type=number(int, 0, 2**32 - 1),
        default=1,
        metavar="N",
        help="set the seed of all random numbers (default: %(default)s)",
    )
    parser.add_argument(
        "--dtype-policy",
        choices=["float32", "mixed_bfloat16", "mixed_float16"],
        default="float32",
        help="compute in 32 bits or partly in 16 bits (default: %(default)s)",
    )
    parser.add_argument(
        "--save",
        type=file(".keras"),
        metavar="FILE",
        help="save the trained network (with --compare, the first) as a .keras file",
    )
    parser.add_argument(
        "--plot",
        type=file(".png", ".svg", ".pdf"),
        metavar="FILE",
        help="plot accuracy and loss to a .png, .svg or .pdf file",
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
        help="train with the BatchNormalization layers, then without them",
    )
    return parser.parse_args(argv)


def number(kind, low, high=math.inf):
    """Return a type for argparse: a number of this kind, from low to high."""

    def number(text):  # argparse shows this name: "invalid number value"
        value = kind(text)
        if not value >= low:
            raise argparse.ArgumentTypeError(f"{text} is less than {low}")
        if value > high:
            raise argparse.ArgumentTypeError(f"{text} is more than {high}")
        return value

    return number


def file(*suffixes):
    """Return a type for argparse: a writable file with one of these suffixes."""

    def file(text):
        path = Path(text)
        if path.suffix not in suffixes:
            raise argparse.ArgumentTypeError(
                f"{text} does not end in {' or '.join(suffixes)}"
            )
        if path.is_dir() or not os.access(
            path if path.exists() else path.parent, os.W_OK
        ):
            raise argparse.ArgumentTypeError(f"{text} cannot be written")
        return str(path)

    return file


if __name__ == "__main__":
    sys.exit(main())

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
#     "pooch>=1.8.0",
#     "tqdm>=4.66.0",
# ]
# ///
