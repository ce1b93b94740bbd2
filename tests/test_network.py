"""The network and its BatchNormalization layer."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import model_batchnorm
from benchmark import stock_twin
from conftest import learnable

Stock = keras.layers.BatchNormalization


def test_layers_shapes_and_parameters():
    keras.config.set_image_data_format("channels_first")  # as some user's keras.json may have it
    model = model_batchnorm.build_model((28, 28, 1), 10)
    keras.config.set_image_data_format("channels_last")
    table = [(type(layer).__name__, layer.output.shape[1:], layer.count_params())
             for layer in model.layers]
    norm = "BatchNormalization"
    assert table == [
        ("Conv2D", (26, 26, 32), 320), (norm, (26, 26, 32), 128),
        ("MaxPooling2D", (13, 13, 32), 0), (norm, (13, 13, 32), 128),
        ("Conv2D", (11, 11, 64), 18_496), (norm, (11, 11, 64), 256),
        ("MaxPooling2D", (5, 5, 64), 0), (norm, (5, 5, 64), 256),
        ("Flatten", (1600,), 0), ("Dense", (256,), 409_856), (norm, (256,), 1_024),
        ("Dense", (10,), 2_570)]
    assert sum(int(np.prod(w.shape)) for w in model.non_trainable_weights) == 896
    activations = [layer.activation for layer in model.layers if hasattr(layer, "activation")]
    assert [function.__name__ for function in activations] == ["relu", "relu", "relu", "softmax"]
    norms = [layer for layer in model.layers if isinstance(layer, Stock)]
    assert {(n.momentum, n.epsilon, n.center, n.scale) for n in norms} == {(0.9, 0.001, True, True)}
    assert not model.compiled


def test_both_networks_start_from_the_same_weights():
    starts = []
    for batch_norm in True, False:
        keras.utils.set_random_seed(1)
        model = model_batchnorm.build_model((28, 28, 1), 49, batch_norm)
        starts.append([w.numpy() for layer in model.layers if not isinstance(layer, Stock)
                       for w in layer.weights])
    assert model.count_params() == 431_242 + 39 * 257 and model.output_shape == (None, 49)
    np.testing.assert_equal(*starts)
    smallest = model_batchnorm.build_model((10, 10, 3), 2)
    assert smallest.layers[7].output.shape == (None, 1, 1, 64)  # a pixel less would leave none


@pytest.mark.parametrize("steps", [1, 5, 23, 65, 66, 1000])
def test_momentum_has_settled_after_an_epoch(steps):
    momentum = model_batchnorm.settled_momentum(steps)
    assert momentum**steps <= 0.001 * (1 + 1e-9)
    assert momentum == 0.9 if steps >= 66 else momentum < 0.9


def computed(shape, call, known=True, jit=False, **options):
    """Pairs, by the fused layer and by the stock one: outputs, gradients and the new weights."""
    rng = np.random.default_rng(0)
    x = tf.constant(rng.normal(2, 3, shape).astype("float32"))
    # A tf.data pipeline from a generator may have images of a shape that is not known.
    signature = [tf.TensorSpec(shape if known else [None] * len(shape))]
    upstream, weights, results = rng.normal(size=shape), None, []
    for layer in model_batchnorm.BatchNormalization(**options), Stock(**options):
        layer.build(shape)
        weights = weights or [rng.random(w.shape) + 0.5 for w in layer.weights]
        layer.set_weights(weights)

        @tf.function(jit_compile=jit, input_signature=signature)
        def step(x, layer=layer):
            with tf.GradientTape() as tape:
                tape.watch(x)
                outputs = layer(x, **call)
            variables = [x, *[weight.value for weight in layer.trainable_weights]]
            return outputs, *tape.gradient(
                outputs, variables, output_gradients=tf.cast(upstream, outputs.dtype))

        outputs, *gradients = step(x)
        assert outputs.dtype == layer.compute_dtype
        arrays = outputs, *gradients, *layer.get_weights()
        results.append([np.asarray(array).astype("float64") for array in arrays])
    return list(zip(*results, strict=True))


@pytest.mark.parametrize("policy, tolerance", [
    ("float32", 2e-4), ("mixed_bfloat16", 2e-2), ("mixed_float16", 2e-3)])
@pytest.mark.parametrize("training, known, jit", [
    (True, True, False), (True, False, False), (True, True, True), (False, False, False)])
@pytest.mark.parametrize("shape", [(250, 7, 5, 3), (1, 1, 1, 3), (33, 6), (1, 6)])
def test_computes_what_the_stock_layer_does(shape, training, known, jit, policy, tolerance):
    pairs = computed(shape, {"training": training}, known, jit, momentum=0.7, dtype=policy)
    for fused, stock in pairs:
        scale = max(1, np.abs(stock).max())
        np.testing.assert_allclose(fused, stock, rtol=0, atol=tolerance * scale)
    for fused, stock in pairs[-2:]:  # the averages are kept in float32
        np.testing.assert_allclose(fused, stock, rtol=1e-4)


@pytest.mark.parametrize("shape, options, call", [
    ((8, 4, 3), {}, {}), ((8, 4, 4, 4, 3), {}, {}),
    ((8, 3, 4, 4), {"axis": 1}, {}), ((8, 4, 3, 4), {"axis": 2}, {}),
    *[((8, 4, 4, 3), {name: False}, {}) for name in ("center", "scale", "trainable")],
    *[((8, 4, 4, 3), {"dtype": dtype}, {}) for dtype in ("float64", "bfloat16")],
    ((8, 4, 4, 3), {"synchronized": True}, {}),
    ((8, 4, 4, 3), {}, {"mask": np.arange(8 * 4 * 4).reshape(8, 4, 4) % 3 > 0})])
def test_everything_else_is_the_stock_layer(shape, options, call):
    for one, other in computed(shape, {"training": True, **call}, **options):
        np.testing.assert_array_equal(one, other)


def test_trains_like_the_stock_network_and_exchanges_weights_with_it(tmp_path):
    images, labels = learnable(90)
    x = model_batchnorm.prepare(images)
    fused = model_batchnorm.build_model((28, 28, 1), 10)
    stock, losses = stock_twin(fused), []
    for model in fused, stock:
        model.compile("adam", "sparse_categorical_crossentropy")
        losses += model.fit(x, labels, batch_size=30, shuffle=False, verbose=0).history["loss"]
    np.testing.assert_allclose(*losses, rtol=1e-3)
    for one, other in zip(fused.get_weights(), stock.get_weights(), strict=True):
        # Adam makes a step of 0.001, either way, of any rounding of a gradient that should be 0.
        np.testing.assert_allclose(one, other, rtol=0.05, atol=3 * 2 * 0.0011)
    for source, target in (stock, fused), (fused, stock):
        source.save_weights(tmp_path / "model.weights.h5")
        target.load_weights(tmp_path / "model.weights.h5")
        np.testing.assert_allclose(np.asarray(fused(x)), np.asarray(stock(x)), atol=1e-5)
