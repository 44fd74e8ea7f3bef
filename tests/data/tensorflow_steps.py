"""Make tensorflow_steps.json beside this file: steps of TensorFlow's optimizers on Rosenbrock's valley.

    pip install tensorflow-cpu==2.21.0     # in an environment of its own; the tests do without
    python tests/data/tensorflow_steps.py

All variables are float64 and start at (-1.2, 1). TensorFlow keeps hyperparameters as float32, so a rate
of 0.1 is numpy.float32(0.1) there. The decays, which TensorFlow 1.15 has in its contrib (sign_decay.py),
are given to its kernels as numbers.
"""

import json
import math
from pathlib import Path

import tensorflow as tf

T = 40  # of the decays: the last of 60 steps are beyond it
START = (-1.2, 1.0)
TRAIN = {  # name: (class of tf.compat.v1.train, its arguments)
    "SGD": ("GradientDescentOptimizer", {"learning_rate": 1e-3}),
    "Momentum": ("MomentumOptimizer", {"learning_rate": 1e-3, "momentum": 0.9}),
    "RMSProp": ("RMSPropOptimizer", {"learning_rate": 1e-2}),
    "Adam": ("AdamOptimizer", {"learning_rate": 1e-1}),
    "Adam, eps 0.001": ("AdamOptimizer", {"learning_rate": 1e-1, "epsilon": 1e-3}),
}
DECAYS = {  # num_periods is 1/2 of cd and 1 of rd, contrib's defaults
    "": lambda step: 1.0,
    "-ld": lambda step: (T - step) / T,
    "-cd": lambda step: 0.5 * (1 + math.cos(math.pi * 2 * 0.5 * step / T)),
    "-rd": lambda step: 0.5 * (1 + math.cos(math.pi * math.fmod(1 * step / T, 1))),
}


def value(w):
    return (1 - w[0]) ** 2 + 100 * (w[1] - w[0] ** 2) ** 2


def trained(name: str, settings: dict, steps: int = 20) -> list[list[float]]:
    """Return the points after each step of an optimizer of tf.compat.v1.train, as its users run it."""
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        w = tf.compat.v1.get_variable("w", initializer=tf.constant(START, tf.float64), use_resource=True)
        step = getattr(tf.compat.v1.train, name)(**settings).minimize(value(w))
        session.run(tf.compat.v1.global_variables_initializer())
        points = []
        for _ in range(steps):
            session.run(step)
            points.append(session.run(w).tolist())
        return points


def signed(kernel: str, decay, steps: int = 60) -> list[list[float]]:
    """Return the points after each step of ApplyPowerSign or ApplyAddSign, with contrib's defaults."""
    w, m = tf.Variable(START, dtype=tf.float64), tf.Variable([0.0, 0.0], dtype=tf.float64)
    more = {"logbase": 1.0} if kernel == "PowerSign" else {"alpha": 1.0}
    more |= {"lr": 1e-3, "beta": 0.9}
    more = {name: tf.constant(number, tf.float64) for name, number in more.items()}
    points = []
    for step in range(steps):
        with tf.GradientTape() as tape:
            height = value(w)
        more["sign_decay"] = tf.constant(decay(min(step, T)), tf.float64)
        more |= {"var": w.handle, "m": m.handle, "grad": tape.gradient(height, w)}
        getattr(tf.raw_ops, f"ResourceApply{kernel}")(**more)
        points.append(w.numpy().tolist())
    return points


steps = {name: {"settings": more, "points": trained(kind, more)} for name, (kind, more) in TRAIN.items()}
signs = {
    kernel.lower() + suffix: {
        "settings": {"learning_rate": 1e-3, "T": T},
        "points": signed(kernel, decay),
    }
    for kernel in ("PowerSign", "AddSign")
    for suffix, decay in DECAYS.items()
}
lines = [f'"{name}": {json.dumps(one)}' for name, one in (steps | signs).items()]
text = "{\n" + ",\n".join([f'"tensorflow": "{tf.__version__}"', *lines]) + "\n}\n"
Path(__file__).with_suffix(".json").write_text(text)
