"""Builders of .tflite files, for tests: a small classifier, and files with changed tables."""

import functools

import flatbuffers
import numpy as np
from tensorflow.lite.python import schema_py_generated as schema

from ft_tf._compat import keras, tf

KINDS = ("float32", "float16", "dynamic", "int8", "int8_weights_float_ends")


def images(count=40, seed=3):
    """Images whose class is the brightest quarter."""
    x = np.random.default_rng(seed).random((count, 8, 8, 1), np.float32)
    quarters = x.reshape(count, 2, 4, 2, 4).mean(axis=(2, 4)).reshape(count, 4)
    return x, quarters.argmax(axis=1)


@functools.cache
def classifier():
    keras.utils.set_random_seed(5)
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(4, 3, activation="relu", name="conv"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(32, activation="relu", name="hidden"),
            layers.Dense(4, activation="softmax", name="last"),
        ]
    )
    model.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy")
    model.fit(*images(400, seed=4), epochs=20, verbose=0)
    return model


@functools.cache
def converted(kind):
    """The bytes of the classifier as a .tflite file."""
    converter = tf.lite.TFLiteConverter.from_keras_model(classifier())
    if kind != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if kind == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if kind.startswith("int8"):
        x, _ = images()
        converter.representative_dataset = lambda: ([x[i : i + 1]] for i in range(len(x)))
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    if kind == "int8":
        converter.inference_input_type = converter.inference_output_type = tf.int8
    return converter.convert()


def changed(content, change):
    """The file after `change` has worked on TensorFlow's object of its schema."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(bytearray(content), 0))
    change(model)
    builder = flatbuffers.Builder(len(content) + 1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())
