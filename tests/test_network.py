"""The network, the settings that suit its layers, and the faster Batch Normalization."""

import contextlib
import copy
import pickle
import re
import subprocess
import sys
import types

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import model_batchnorm
from conftest import ROOT


def small_data():
    """Return 60 digits, prepared, and their labels."""
    (images, labels), _ = model_batchnorm.load_data("digits")
    return model_batchnorm.prepare(images[:60]), labels[:60]


def train(model, **options):
    """Train on small_data() for an epoch; return its losses."""
    options = {"epochs": 1, "batch_size": 24, "verbose": 0} | options
    return model_batchnorm.train(model, *small_data(), **options).history["loss"]


def norms(model):
    """Return the BatchNormalization layers of a model, those of nested ones, too."""
    return [
        layer
        for layer in model._flatten_layers()
        if isinstance(layer, layers.BatchNormalization)
    ]


def kernels(function, *arguments, **options):
    """Return how often a tf.function's graph has the fused kernel."""
    graph = function.get_concrete_function(*arguments, **options).graph
    operations = [operation.type for operation in graph.get_operations()]
    return operations.count("FusedBatchNormV3")


def kernels_in_training(model):
    """Return how many of the model's layers train with the fused kernel now."""
    shape = (2, *model.input_shape[1:])
    return kernels(tf.function(model), tf.zeros(shape), training=True)


@pytest.fixture
def model():
    return model_batchnorm.build_model((28, 28, 1), 10)


@pytest.fixture
def small_model():
    """One that is traced sooner."""
    return keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Conv2D(4, kernel_size=3, activation="relu"),
            layers.BatchNormalization(momentum=0.9),
            layers.GlobalAveragePooling2D(),
            layers.Dense(10, activation="softmax"),
        ]
    )


# The lesson's functions.


def test_prepared_images_are_float32_from_0_to_1_with_a_channel_axis():
    images = np.array([[0, 51, 255]], "uint8").repeat(28 * 28, axis=0)
    prepared = model_batchnorm.prepare(images.T.reshape(3, 28, 28))
    assert prepared.dtype == "float32"
    assert prepared.shape == (3, 28, 28, 1)
    np.testing.assert_allclose(prepared[:, 0, 0, 0], [0, 0.2, 1])


def test_the_network_has_the_articles_layers(model):
    table = [
        (type(layer).__name__, layer.output.shape[1:], layer.count_params())
        for layer in model.layers
    ]
    assert table == [
        ("Conv2D", (26, 26, 32), 320),
        ("BatchNormalization", (26, 26, 32), 128),
        ("MaxPooling2D", (13, 13, 32), 0),
        ("BatchNormalization", (13, 13, 32), 128),
        ("Conv2D", (11, 11, 64), 18_496),
        ("BatchNormalization", (11, 11, 64), 256),
        ("MaxPooling2D", (5, 5, 64), 0),
        ("BatchNormalization", (5, 5, 64), 256),
        ("Flatten", (1600,), 0),
        ("Dense", (256,), 409_856),
        ("BatchNormalization", (256,), 1_024),
        ("Dense", (10,), 2_570),
    ]


def test_the_activations_are_relu_and_in_the_end_softmax(model):
    activations = [
        layer.activation for layer in model.layers if hasattr(layer, "activation")
    ]
    assert activations == 3 * [keras.activations.relu] + [keras.activations.softmax]


def test_896_of_433034_parameters_are_not_trained(model):
    assert model.count_params() == 433_034
    assert sum(weight.shape[0] for weight in model.non_trainable_weights) == 896


def test_the_momentum_is_that_of_every_layer():
    model = model_batchnorm.build_model((28, 28, 1), 10, momentum=0.3)
    assert [layer.momentum for layer in norms(model)] == [0.3] * 5


def test_both_networks_start_from_the_same_kernels(model):
    keras.utils.set_random_seed(1)
    with_the_layers = model_batchnorm.build_model((28, 28, 1), 10)
    keras.utils.set_random_seed(1)
    without = model_batchnorm.build_model((28, 28, 1), 10, batch_norm=False)
    others = [
        weight
        for layer in with_the_layers.layers
        if not isinstance(layer, layers.BatchNormalization)
        for weight in layer.get_weights()
    ]
    assert without.count_params() == 431_242
    np.testing.assert_equal(others, without.get_weights())


def test_train_returns_keras_history_with_validation(small_model):
    history = model_batchnorm.train(small_model, *small_data(), epochs=2, verbose=0)
    assert isinstance(history, keras.callbacks.History)
    assert history.history.keys() == {"accuracy", "loss", "val_accuracy", "val_loss"}
    assert len(history.history["loss"]) == 2


def test_train_takes_an_optimizer_by_name_or_itself(small_model):
    train(small_model, optimizer="sgd")
    assert isinstance(small_model.optimizer, keras.optimizers.SGD)
    adam = keras.optimizers.Adam(0.5)
    train(small_model, optimizer=adam)
    assert small_model.optimizer is adam


def test_train_validates_with_the_last_images(small_model):
    train(small_model, validation_split=0.6)
    assert small_model.optimizer.iterations == 1  # 24 of 60 images, in batches of 24


def test_train_calls_the_callbacks(small_model):
    called = []
    callback = keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: called.append(1))
    train(small_model, epochs=3, callbacks=[callback])
    assert called == [1, 1, 1]


# Batch size and momentum.


@pytest.mark.parametrize("num_training", [132, 133, 250, 1149, 8000, 16_499, 16_500])
def test_an_epoch_of_the_default_batch_size_has_66_steps_or_more(num_training):
    assert num_training / model_batchnorm.default_batch_size(num_training) >= 66


@pytest.mark.parametrize(("num_training", "size"), [(48_000, 250), (131, 2), (1, 2)])
def test_the_default_batch_size_is_from_2_to_250(num_training, size):
    assert model_batchnorm.default_batch_size(num_training) == size


def test_with_the_default_batch_size_no_image_is_alone_where_they_are_many():
    for num_training in range(462, 60_001):
        batch_size = model_batchnorm.default_batch_size(num_training)
        assert num_training % batch_size != 1, num_training


@pytest.mark.parametrize(
    ("num_training", "batch_size", "messages"), [(9, 4, 1), (8, 4, 0), (1, 1, 1)]
)
def test_an_image_that_is_alone_in_its_batch_is_warned_of(
    caplog, num_training, batch_size, messages
):
    model_batchnorm.warn_of_a_single_image(num_training, batch_size)
    assert len(caplog.messages) == messages


@pytest.mark.parametrize(("steps", "messages"), [(65, 1), (66, 0)])
def test_averages_that_will_not_have_settled_are_warned_of(caplog, steps, messages):
    model_batchnorm.warn_of_unsettled_averages(0.9, steps)
    assert len(caplog.messages) == messages


def test_the_warning_says_how_much_is_left_and_what_helps(caplog):
    model_batchnorm.warn_of_unsettled_averages(0.99, 200)
    assert caplog.messages[0].startswith(
        "After 200 steps with momentum 0.99 the moving averages still hold 13.4 %"
    )
    assert "smaller batches or a lower momentum" in caplog.messages[0]


# The fused kernel computes what Keras does.


def step(
    fused,
    shape=(8, 4, 4, 3),
    *,
    training=True,
    mask=None,
    known=True,
    jit_compile=False,
    eager=False,
    **options,
):
    """Return a layer's outputs, gradients and weights, with the kernel or without."""
    tf.config.experimental.enable_op_determinism()  # as main() does
    rng = np.random.default_rng(0)
    layer = layers.BatchNormalization(momentum=0.7, **options)
    layer.build(shape)
    layer.set_weights([rng.random(weight.shape) + 0.5 for weight in layer.weights])
    # tf.data may have images of unknown shape.
    signature = [tf.TensorSpec(shape if known else [None] * len(shape))]

    def call(x):
        return layer(x, training=training, mask=mask)

    if not eager:
        call = tf.function(call, signature, jit_compile=jit_compile)
    # XLA may compute with what bfloat16 rounds away, so the inputs are rounded before.
    inputs = tf.cast(rng.normal(2, 3, (2, *shape)), "bfloat16")
    x, upstream = tf.cast(inputs, "float32")
    variables = [x, *(weight.value for weight in layer.trainable_weights)]
    model = keras.Sequential([layer])
    kernel = (
        model_batchnorm.fused_batch_norm(model) if fused else contextlib.nullcontext()
    )
    with kernel, tf.GradientTape() as tape:
        tape.watch(x)
        outputs = call(x)
    assert outputs.dtype == layer.compute_dtype
    gradients = tape.gradient(outputs, variables, tf.cast(upstream, outputs.dtype))
    arrays = [outputs, *gradients, *layer.get_weights()]
    return [np.asarray(array).astype("float64") for array in arrays]


@pytest.mark.parametrize(
    ("policy", "shape", "tolerance"),
    [
        ("float32", (250, 7, 5, 3), 2e-4),
        ("float32", (1, 1, 1, 3), 2e-4),
        ("mixed_bfloat16", (250, 7, 5, 3), 2e-2),
        ("mixed_float16", (250, 7, 5, 3), 2e-3),
    ],
)
@pytest.mark.parametrize(
    "call",
    [
        {},
        {"known": False},
        {"jit_compile": True},
        {"eager": True},
        {"training": False},
    ],
    ids=lambda call: next(iter(call), "plain"),
)
def test_the_kernel_computes_what_keras_does(shape, call, policy, tolerance):
    fused = step(True, shape, dtype=policy, **call)
    stock = step(False, shape, dtype=policy, **call)
    for one, other in zip(fused, stock, strict=True):
        largest = max(1, np.abs(other).max())
        np.testing.assert_allclose(one, other, rtol=0, atol=tolerance * largest)
    np.testing.assert_allclose(fused[-2:], stock[-2:], rtol=1e-4)  # averages: float32


@pytest.mark.parametrize(
    "options",
    [
        {"shape": (8, 4)},
        {"shape": (8, 4, 3)},
        {"shape": (8, 4, 4, 4, 3)},
        {"axis": 1},
        {"axis": 2},
        {"center": False},
        {"scale": False},
        {"trainable": False},
        {"dtype": "float64"},
        {"dtype": "bfloat16"},
        {"synchronized": True},
        {"mask": np.arange(128).reshape(8, 4, 4) % 3 > 0},
        pytest.param(
            {"renorm": True},
            marks=pytest.mark.skipif(
                not hasattr(layers.BatchNormalization(), "renorm"),
                reason="Keras has renorm since 3.14",
            ),
        ),
    ],
    ids=lambda options: next(iter(options)),
)
def test_what_the_kernel_cannot_take_is_computed_by_keras(options):
    np.testing.assert_equal(step(True, **options), step(False, **options))


def test_a_tiny_epsilon_counts_as_much_as_it_does_in_keras():
    x = 1e-3 * np.random.default_rng(0).normal(size=(8, 4, 4, 3))  # variance: 1e-6
    model = keras.Sequential([layers.BatchNormalization(epsilon=1e-7)])
    expected = np.array(model(x, training=True))
    with model_batchnorm.fused_batch_norm(model):
        outputs = np.array(model(x, training=True))
    np.testing.assert_allclose(outputs, expected, rtol=1e-3, atol=1e-3)


def test_a_network_learns_the_same_with_the_kernel():
    losses = []
    for kernel in model_batchnorm.fused_batch_norm, contextlib.nullcontext:
        keras.utils.set_random_seed(1)
        model = model_batchnorm.build_model((28, 28, 1), 10)
        with kernel(model):
            losses.append(train(model, epochs=2))
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


def test_a_model_that_runs_eagerly_learns_the_same_with_the_kernel(small_model):
    start, losses = small_model.get_weights(), []
    for kernel in model_batchnorm.fused_batch_norm, contextlib.nullcontext:
        small_model.set_weights(start)
        small_model.compile("sgd", "sparse_categorical_crossentropy", run_eagerly=True)
        with kernel(small_model):
            losses.append(small_model.fit(*small_data(), verbose=0).history["loss"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


@pytest.fixture(scope="module")
def in_a_new_process():
    """Train with the kernel and without, in ways that a test's own process cannot.

    Two devices can be made of one only before TensorFlow starts, and XLA is off wherever op
    determinism was on. Returns the largest differences of the weights.
    """
    code = """
import contextlib, keras, numpy as np, tensorflow as tf, model_batchnorm
from keras import layers

cpu = tf.config.list_physical_devices("CPU")[0]
two = [tf.config.LogicalDeviceConfiguration()] * 2
tf.config.set_logical_device_configuration(cpu, two)
x = np.random.default_rng(0).normal(2, 3, (64, 12, 12, 3)).astype("float32")
y = np.zeros((64, 2))


def weights_after_training(kernel, scope, **options):
    keras.utils.set_random_seed(1)
    with scope:
        model = keras.Sequential([
            keras.Input((12, 12, 3)),
            layers.Conv2D(4, 3),
            layers.BatchNormalization(momentum=0.5),
            layers.GlobalAveragePooling2D(),
            layers.Dense(2),
        ])
        model.compile("sgd", "mse", **options)
    with kernel(model):
        model.fit(x, y, batch_size=32, epochs=2, verbose=0, shuffle=False)
    return model.get_weights()


def difference(new_scope, **options):
    fused = weights_after_training(
        model_batchnorm.fused_batch_norm, new_scope(), **options)
    stock = weights_after_training(contextlib.nullcontext, new_scope(), **options)
    return max(np.abs(one - other).max() for one, other in zip(fused, stock, strict=True))


def mirrored():
    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope()


print(difference(mirrored), difference(contextlib.nullcontext, jit_compile=True))
"""
    command = [sys.executable, "-c", code]
    output = subprocess.run(
        command, check=True, cwd=ROOT, text=True, capture_output=True
    )
    assert "doesn't support `jit_compile" not in output.stderr
    mirrored, compiled = map(float, output.stdout.split()[-2:])
    return {"mirrored": mirrored, "compiled": compiled}


def test_two_mirrored_devices_learn_the_same_with_the_kernel(in_a_new_process):
    assert in_a_new_process["mirrored"] < 1e-4


def test_a_model_that_xla_compiles_learns_the_same_with_the_kernel(in_a_new_process):
    assert in_a_new_process["compiled"] < 1e-4


# Which layers train with the kernel, and that nothing of it stays.


def test_the_four_layers_behind_convolutions_and_poolings_use_the_kernel(model):
    with model_batchnorm.fused_batch_norm(model):
        assert kernels_in_training(model) == 4


def test_no_layer_uses_it_where_the_backend_is_not_tensorflow(model, monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with model_batchnorm.fused_batch_norm(model):
        assert kernels_in_training(model) == 0


def test_a_sequential_in_a_sequential_is_reached(model):
    outer = keras.Sequential([keras.Input((28, 28, 1)), model])
    with model_batchnorm.fused_batch_norm(outer):
        assert kernels_in_training(outer) == 4


def test_the_backbone_of_a_functional_model_is_reached():
    backbone = keras.applications.MobileNetV2(
        (32, 32, 3), alpha=0.35, include_top=False, weights=None
    )
    inputs = keras.Input((32, 32, 3))
    pooled = layers.GlobalAveragePooling2D()(backbone(inputs))
    functional = keras.Model(inputs, layers.Dense(2)(pooled))
    with model_batchnorm.fused_batch_norm(functional):
        assert kernels_in_training(functional) == len(norms(backbone)) == 52


def test_a_subclass_is_left_alone():
    class Doubled(layers.BatchNormalization):
        def call(self, inputs, training=None, mask=None):
            return 2 * super().call(inputs, training=training, mask=mask)

    model = keras.Sequential([keras.Input((4, 4, 3)), Doubled()])
    x = np.random.default_rng(0).normal(size=(8, 4, 4, 3))
    expected = model(x, training=True)
    with model_batchnorm.fused_batch_norm(model):
        np.testing.assert_equal(np.array(model(x, training=True)), np.array(expected))


def unchanged(model):
    """Return whether all layers have Keras' own code."""
    return not any("call" in vars(layer) for layer in norms(model))


def test_afterwards_the_layers_have_keras_own_code(model):
    with model_batchnorm.fused_batch_norm(model):
        assert not unchanged(model)
    assert unchanged(model)
    assert kernels_in_training(model) == 0


def test_after_an_exception_the_layers_have_keras_own_code(model):
    with pytest.raises(KeyError), model_batchnorm.fused_batch_norm(model):
        raise KeyError
    assert unchanged(model)


def test_two_contexts_one_in_the_other_leave_keras_own_code(model):
    with model_batchnorm.fused_batch_norm(model):
        with model_batchnorm.fused_batch_norm(model):
            assert kernels_in_training(model) == 4
        assert kernels_in_training(model) == 4
    assert unchanged(model)


def test_two_contexts_that_overlap_leave_keras_own_code(model):
    first = model_batchnorm.fused_batch_norm(model)
    second = model_batchnorm.fused_batch_norm(model)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    second.__exit__(None, None, None)
    assert unchanged(model)


def test_a_model_can_be_trained_inside_and_then_outside(small_model):
    small_model.compile("adam", "sparse_categorical_crossentropy")
    with model_batchnorm.fused_batch_norm(small_model):
        small_model.fit(*small_data(), verbose=0)
    outside = small_model.fit(*small_data(), verbose=0)
    assert np.isfinite(outside.history["loss"]).all()


@pytest.fixture
def traced(monkeypatch):
    """A list that grows whenever the kernel is traced."""
    kernel, traced = tf.compat.v1.nn.fused_batch_norm, []

    def noted(*args, **kwargs):
        traced.append(kernel)
        return kernel(*args, **kwargs)

    monkeypatch.setattr(tf.compat.v1.nn, "fused_batch_norm", noted)
    return traced


def test_fit_inside_is_traced_with_the_kernel(small_model, traced):
    with model_batchnorm.fused_batch_norm(small_model):
        train(small_model)
    assert traced


def test_fit_outside_is_traced_with_keras_own_code_once_compiled_anew(
    small_model, traced
):
    with model_batchnorm.fused_batch_norm(small_model):
        train(small_model)
    traced.clear()
    train(small_model)  # it compiles the model, too
    assert not traced


@pytest.fixture(params=["inside", "outside"])
def place(request, small_model):
    """Where a copy is made: inside a with, or behind it."""
    small_model.compile("adam", "sparse_categorical_crossentropy")
    with model_batchnorm.fused_batch_norm(small_model):
        if request.param == "inside":
            yield
    if request.param == "outside":
        yield


@pytest.mark.parametrize(
    "copied",
    [copy.deepcopy, lambda thing: pickle.loads(pickle.dumps(thing))],
    ids=["deepcopy", "pickle"],
)
def test_a_copy_predicts_and_trains_like_any_model(small_model, place, copied):
    x, y = small_data()
    other = copied(small_model)
    np.testing.assert_allclose(other(x), small_model(x), atol=1e-6)
    assert np.isfinite(other.train_on_batch(x, y)).all()


def test_a_saved_model_loads_as_keras_own_and_trains_on(small_model, place):
    x, y = small_data()
    small_model.save("model.keras")
    loaded = keras.saving.load_model("model.keras")
    assert {type(layer) for layer in norms(loaded)} == {layers.BatchNormalization}
    assert unchanged(loaded)
    np.testing.assert_allclose(loaded(x), small_model(x), atol=1e-6)
    assert np.isfinite(loaded.train_on_batch(x, y)).all()


def test_a_saved_model_needs_no_script(model):
    with model_batchnorm.fused_batch_norm(model):
        assert "model_batchnorm" not in model.to_json()


@pytest.mark.parametrize("between", [[], [layers.ReLU()]], ids=["before", "after"])
def test_weights_ten_times_as_large_get_a_tenth_of_the_gradient(between):
    dense = layers.Dense(8, bias_initializer="normal")
    model = keras.Sequential([dense, *between, layers.BatchNormalization()])
    random = np.random.default_rng(0)
    x, target = random.normal(0, 5, (60, 16)), random.normal(0, 1, (60, 8))

    def loss_and_gradient():
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((model(x, training=True) - target) ** 2)
        return loss, tape.gradient(loss, dense.kernel.value)

    loss, gradient = loss_and_gradient()
    dense.set_weights([10 * weight for weight in dense.get_weights()])
    larger_loss, smaller = loss_and_gradient()
    np.testing.assert_allclose(larger_loss, loss, rtol=0.001)
    np.testing.assert_allclose(10 * smaller, gradient, atol=1e-4)
    assert np.abs(gradient).max() > 0.01


# The README's code.


def blocks():
    """Return the README's Python, a text for each block."""
    return re.findall(
        r"^```python\n(.*?)^```", (ROOT / "README.md").read_text("utf-8"), re.S | re.M
    )


@pytest.mark.parametrize("shape", [(8, 5, 4, 3), (8, 3)])
@pytest.mark.parametrize("training", [True, False])
def test_the_readmes_layer_computes_what_keras_does(shape, training):
    readme = types.ModuleType("readme")
    exec(next(block for block in blocks() if "class BatchNorm" in block), vars(readme))
    x = np.random.default_rng(0).normal(2, 3, shape)
    mine, kerass = readme.BatchNorm(3), layers.BatchNormalization(dtype="float64")
    for _ in range(3):
        mine(x, training=True)
        kerass(x, training=True)
    np.testing.assert_allclose(mine(x, training), kerass(x, training=training))
    np.testing.assert_allclose(mine.moving_mean, kerass.moving_mean)
    np.testing.assert_allclose(mine.moving_variance, kerass.moving_variance)


def test_the_readmes_numbers_are_what_keras_computes():
    layer = layers.BatchNormalization(dtype="float64")
    values = np.array([[1.0], [3], [5], [7]])
    normalized = np.array(layer(values, training=True)).ravel()
    layer.set_weights(np.array([[2], [1], [0], [1]]))
    scaled = np.array(layer(values, training=True)).ravel()
    readme = (ROOT / "README.md").read_text("utf-8").replace("\n", " ")
    said = ["{:.4f}, {:.4f}, {:.4f} and {:.4f}", "{:.3f}, {:.3f}, {:.3f} and {:.3f}"]
    assert said[0].format(*normalized) in readme
    assert said[1].format(*scaled) in readme


def test_the_readmes_import_trains_and_predicts(monkeypatch, small_model):
    monkeypatch.setattr(model_batchnorm, "build_model", lambda **_: small_model)
    readme = types.ModuleType("readme")
    code = next(block for block in blocks() if "load_data" in block)
    exec(code.replace("epochs=3", "epochs=1"), vars(readme))
    assert readme.probabilities.shape == (1, 10)
    assert readme.probabilities.sum() == pytest.approx(1)


def test_in_the_readmes_block_a_bias_would_change_nothing():
    readme = types.ModuleType("readme")
    exec(next(block for block in blocks() if "use_bias=False" in block), vars(readme))
    convolution, norm, relu = readme.block
    x, _ = small_data()
    features = convolution(x)
    expected = relu(norm(features, training=True))
    biased = relu(norm(features + 5, training=True))
    np.testing.assert_allclose(biased, expected, atol=1e-3)


@pytest.fixture
def fine_tuned():
    """What the README's code for fine-tuning makes of a saved network."""
    keras.backend.clear_session()  # layers are named as in a new process
    model_batchnorm.build_model((28, 28, 1), 10).save("model.keras")
    keras.backend.clear_session()
    readme = types.ModuleType("readme")
    exec(next(block for block in blocks() if "fine_tuned" in block), vars(readme))
    return readme.fine_tuned


def test_the_readmes_fine_tuning_keeps_the_averages(fine_tuned):
    kept = [layer.get_weights() for layer in norms(fine_tuned)]
    x, y = small_data()
    model_batchnorm.train(fine_tuned, x, y, epochs=1, verbose=0)
    np.testing.assert_equal([layer.get_weights() for layer in norms(fine_tuned)], kept)


def test_in_a_functional_model_fit_overrides_training_false(small_model):
    images = keras.Input(small_model.input_shape[1:])
    model = keras.Model(images, small_model(images, training=False))
    averages = small_model.layers[1].moving_mean.numpy()
    model_batchnorm.train(model, *small_data(), epochs=1, verbose=0)
    assert not np.array_equal(small_model.layers[1].moving_mean.numpy(), averages)


def test_in_the_call_of_a_subclassed_model_training_false_holds(small_model):
    class Subclassed(keras.Model):
        def call(self, images):
            return small_model(images, training=False)

    averages = small_model.layers[1].moving_mean.numpy()
    model_batchnorm.train(Subclassed(), *small_data(), epochs=1, verbose=0)
    np.testing.assert_equal(small_model.layers[1].moving_mean.numpy(), averages)


def test_the_readmes_fine_tuning_trains_the_other_layers(fine_tuned):
    before = fine_tuned.layers[0].get_weights()[0].copy()
    x, y = small_data()
    model_batchnorm.train(fine_tuned, x, y, epochs=1, verbose=0)
    assert np.abs(fine_tuned.layers[0].get_weights()[0] - before).max() > 0
