# %% [markdown]
# # What is re-using a trained network worth?
#
# The ten classes of CIFAR-10 are split: part B holds two of them, named by the registration number, part A the other
# eight. A convolutional network is trained on A. Then the same network is trained on B in three ways: **from scratch**
# (all weights random at first, all trained), re-using A with only the **last two layers** trained, and re-using A with
# only the **last layer**, whose two outputs are new, trained.
#
# All code is in this notebook; it needs Keras 3 with TensorFlow, scikit-learn and matplotlib. Run the cells in order,
# for CIFAR-10 preferably on a GPU. A network that lies in `models/` with its learning curve in `history/`, as beside a
# finished run, is read instead of being trained; where there is none, everything is trained here.

# %% parameters
data = "cifar10"  # or "mnist", "digits" (needs no download), the path of an .npz (x_train, y_train, x_test, y_test)
registration = "2020387499"  # its last two digits name the classes of part B
epochs = 20
batch_size = 128
limit = None  # at most so many training and so many test images, for a quick try
seed = 0
seeds = 1  # how often each network for part B is trained
augment = True  # shift (and mirror) the training images at random

# %%
import hashlib
import json
import os
import time
from pathlib import Path
from types import SimpleNamespace

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"  # TensorFlow without its remarks; it reads this when it is imported

import keras
import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf
from keras import layers
from PIL import Image, ImageOps
from scipy import stats
from sklearn.datasets import load_digits
from sklearn.metrics import ConfusionMatrixDisplay, confusion_matrix
from sklearn.model_selection import train_test_split

tf.config.experimental.enable_op_determinism()  # the same seed gives the same weights again, on a GPU too
tf.get_logger().setLevel("ERROR")  # several networks are no reason for its warning that one is compiled too often
print(f"Keras {keras.__version__}, TensorFlow {tf.__version__}, GPUs: {len(tf.config.list_physical_devices('GPU'))}")

# %% [markdown]
# ## Data
#
# CIFAR-10 has 50,000 training and 10,000 test images. The 1,797 digits of scikit-learn have no test set: a fifth of
# every class is cut off for testing. Images with the same pixels go to the same side, so that no network is tested on
# an image that it was trained on.


# %%
def cut(images, labels, fraction, seed):
    """Whether each image falls into the part that gets `fraction` of every class."""
    contents = [hashlib.blake2b(image.tobytes()).hexdigest() for image in images]
    _, distinct, copy_of = np.unique(contents, return_index=True, return_inverse=True)
    numbers, classes = np.arange(len(distinct)), labels[distinct]
    _, chosen = train_test_split(numbers, test_size=fraction, stratify=classes, random_state=seed)
    return np.isin(copy_of, chosen)


def rgb32(images):
    """Images as uint8 (N, 32, 32, 3): grey ones get three equal channels, others than 32x32 are scaled."""
    images = [Image.fromarray(image.squeeze()).convert("RGB") for image in images]
    return np.stack([np.asarray(ImageOps.fit(image, (32, 32), Image.Resampling.BILINEAR)) for image in images])


def load(data):
    """(training images, labels), (test images, labels), names of the classes."""
    if data == "digits":
        scans = load_digits()
        x, y = rgb32(np.rint(scans.images * (255 / 16)).astype("uint8")), scans.target
        tested = cut(x, y, 0.2, seed=0)
        return (x[~tested], y[~tested]), (x[tested], y[tested]), list("0123456789")
    if data in ("cifar10", "mnist"):
        (x_train, y_train), (x_test, y_test) = getattr(keras.datasets, data).load_data()
    else:
        x_train, y_train, x_test, y_test = (np.load(data)[key] for key in ("x_train", "y_train", "x_test", "y_test"))
    natural = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    names = natural if Path(data).stem == "cifar10" else [str(number) for number in range(y_train.max() + 1)]
    return (rgb32(x_train), y_train.reshape(-1)), (rgb32(x_test), y_test.reshape(-1)), names


train, test, names = load(data)

# %% [markdown]
# The last two digits of the registration number are the classes of part B. If they are equal, the first of them moves
# back one digit at a time until they differ. In each part the labels are numbered anew, from 0.

# %%
last = registration[-1]
first = next(digit for digit in reversed(registration[:-1]) if digit != last)
classes_b = sorted([int(first), int(last)])
classes_a = [number for number in range(len(names)) if number not in classes_b]
names_a, names_b = ([names[number] for number in classes] for classes in (classes_a, classes_b))


def part(images, labels, classes):
    """The images of `classes`, in their order, and their new labels."""
    if limit and limit < len(images):
        order = np.random.default_rng(seed).permutation(len(labels))
        place = np.empty(len(labels))  # of each image in its class, from 0 to 1: each class gives its first ones
        for number in np.unique(labels):
            members = order[labels[order] == number]
            place[members] = np.arange(len(members)) / len(members)
        chosen = np.sort(np.argsort(place, kind="stable")[:limit])
        images, labels = images[chosen], labels[chosen]
    kept = np.isin(labels, classes)
    return images[kept], np.searchsorted(classes, labels[kept])


train_a, test_a = (part(images, labels, classes_a) for images, labels in (train, test))
train_b, test_b = (part(images, labels, classes_b) for images, labels in (train, test))
print(f"{data}, part A: {len(train_a[0]):,} training, {len(test_a[0]):,} test images:", ", ".join(names_a))
print(f"{data}, part B: {len(train_b[0]):,} training, {len(test_b[0]):,} test images:", ", ".join(names_b))

# %% [markdown]
# ## The network
#
# Four convolutions, two max-poolings, two fully connected layers; ReLU everywhere but at the softmax output; Dropout
# against overfitting. BatchNorm after each convolution allows larger learning rates. It and ReLU stand behind the
# pooling where there is one: there they have a quarter of the work. The pixels, 0 to 255, are scaled inside.


# %%
def build_network(classes):
    """The untrained network: images (B, 32, 32, 3) in, probabilities (B, classes) out."""
    images = keras.Input((32, 32, 3), name="images")
    x = layers.Rescaling(1 / 64, offset=-2, name="rescale")(images)
    dropout = {1: 0.1, 3: 0.2}  # after these convolutions, where there is a pooling, too
    for number, filters in enumerate((40, 80, 160, 128), start=1):
        options = {"use_bias": False, "kernel_initializer": "he_normal"}  # BatchNorm has a bias
        x = layers.Conv2D(filters, 3, padding="same", name=f"conv{number}", **options)(x)
        if number in dropout:
            x = layers.MaxPooling2D(name=f"pool{number}")(x)
        x = layers.BatchNormalization(momentum=0.9, name=f"norm{number}")(x)
        x = layers.ReLU(name=f"relu{number}")(x)
        if number in dropout:
            x = layers.Dropout(dropout[number], name=f"dropout{number}")(x)
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dense(128, activation="relu", kernel_initializer="he_normal", name="dense1")(x)
    x = layers.Dropout(0.4, name="dropout_dense")(x)
    return keras.Model(images, layers.Dense(classes, activation="softmax", name="dense2")(x), name="cnn")


build_network(len(classes_a)).summary()

# %% [markdown]
# ## Augmentation and batches
#
# A version of an image is the image shifted by up to an eighth of its side, the border reflected, and mirrored in half
# of the cases (not digits: a mirrored digit is none). Its random numbers depend on the seed, the number of the version
# and the image alone, so that version 7 of an image is always the same. Each epoch has its own order of the images.


# %%
def version_of(images, rows, version, seed):
    """Version number `version` of the images at `rows`; without augmentation these images as they are."""
    batch = tf.gather(images, rows)
    if not augment:
        return batch
    # tl_keras draws the same numbers (down, right, mirror) from [seed, version], so that its results can be compared.
    draw = tf.gather(tf.random.stateless_uniform((len(images), 3), seed=[seed, version]), rows)
    shift = tf.cast(tf.floor(draw[:, :2] * 9), tf.int32) - 4  # -4 to 4 pixels
    source = tf.abs(tf.range(32) + shift[:, :, None])  # which row and column comes to lie at each place,
    source = tf.minimum(source, 62 - source)  # reflected at both borders
    columns = source[:, 1]
    if Path(data).stem not in ("digits", "mnist"):
        columns = tf.where(draw[:, 2:] < 0.5, columns[:, ::-1], columns)
    return tf.gather(tf.gather(batch, source[:, 0], axis=1, batch_dims=1), columns, axis=2, batch_dims=1)


def training_batches(inputs_of, labels, seed):
    """The batches of all epochs, one after the other; inputs_of(rows, epoch) gives the inputs of these rows."""

    def rows_of(epoch):
        rows = tf.random.experimental.stateless_shuffle(tf.range(len(labels), dtype=tf.int64), seed=[seed, -1 - epoch])
        return tf.data.Dataset.from_tensor_slices(rows).batch(batch_size).map(lambda rows: (rows, epoch))

    batches = tf.data.Dataset.range(epochs).flat_map(rows_of)
    return batches.map(lambda rows, epoch: (inputs_of(rows, epoch), tf.gather(labels, rows)), 2).prefetch(2)


# %% [markdown]
# ## Training
#
# One protocol for all: AdamW; the learning rate rises to its peak over the first fifth of the steps and falls to zero
# along a cosine; labels are smoothed by 0.1. The peak is that of each way, chosen on training images held out. The test
# images are measured after each epoch, but nothing is chosen by them: the weights after the last epoch count.
#
# **What "only the last layers are trained" means.** A frozen layer does the same in every epoch: its weights stay,
# its BatchNorm uses the statistics learned on A, and the Dropout between frozen layers rests. So the frozen layers are
# run once (`predict`) for each version of an image, and a small model made of the *same* layer objects that follow is
# trained on what they gave. Training it trains the network. Re-use sees two versions of each image, in turn; training
# from scratch a new one in every epoch.


# %%
def fit(model, inputs_of, labels, tests, peak, seed):
    """Train what is not frozen of `model` and return its learning curve; tests: (inputs, labels)."""
    steps = int(np.ceil(len(labels) / batch_size))
    warmup = max(1, int(0.2 * steps * epochs))
    falling = max(1, steps * epochs - warmup)
    rate = keras.optimizers.schedules.CosineDecay(peak / 25, falling, warmup_target=peak, warmup_steps=warmup)
    optimizer = keras.optimizers.AdamW(rate, weight_decay=0.02)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    # The labels are smoothed to learn from; the loss that is shown is the plain one.
    shown = ["accuracy", keras.metrics.CategoricalCrossentropy(name="cross_entropy")]
    model.compile(optimizer, keras.losses.CategoricalCrossentropy(label_smoothing=0.1), metrics=shown)
    one_hot = np.eye(model.output_shape[-1], dtype="float32")
    batches = training_batches(inputs_of, one_hot[labels], seed)
    tests = tf.data.Dataset.from_tensor_slices((tests[0], one_hot[tests[1]])).batch(500)
    how = {"epochs": epochs, "steps_per_epoch": steps, "shuffle": False, "verbose": 2}  # the batches are shuffled
    found = model.fit(batches, validation_data=tests, **how).history
    return found | {"loss": found["cross_entropy"], "val_loss": found["val_cross_entropy"]}


def fit_from(position, network, train, test, peak, seed, versions):
    """Train the layers of `network` from `position` on; epoch e sees version e % versions of each image."""
    count = len(train[0])
    with tf.device("CPU:0"):  # in the computer's memory, not the GPU's: tf.data reads it
        images = tf.constant(train[0])

    def images_of(rows, epoch):
        return version_of(images, rows, epoch % versions, seed)

    def features_of(rows, epoch):
        return tf.gather(features, rows + epoch % versions * count)

    if position == 0:
        return fit(network, images_of, train[1], test, peak, seed)
    frozen = keras.Model(network.input, network.layers[position - 1].output)
    x = inputs = keras.Input(frozen.output.shape[1:])
    for layer in network.layers[position:]:
        x = layer(x)
    versions = versions if augment else 1
    rows = tf.data.Dataset.range(count).batch(500)
    each = tf.data.Dataset.range(versions).flat_map(lambda version: rows.map(lambda rows: images_of(rows, version)))
    with tf.device("CPU:0"):
        features = tf.constant(frozen.predict(each, steps=versions * len(rows), verbose=0))
    test_features = frozen.predict(test[0], batch_size=500, verbose=0)
    return fit(keras.Model(inputs, x), features_of, train[1], (test_features, test[1]), peak, seed)


def trial(name, title, train, test, peak, seed, versions, first_trained="images", start=None):
    """Build a network, give it the weights of `start`, train it from layer `first_trained` on, and measure it."""
    keras.utils.set_random_seed(seed)
    network = build_network(len(set(train[1])))
    for layer, trained in zip(network.layers[:-1], start.layers if start else (), strict=False):
        layer.set_weights(trained.get_weights())
    position = [layer.name for layer in network.layers].index(first_trained)
    for layer in network.layers[:position]:
        layer.trainable = False
    weights, curve, record = Path(f"models/{name}.keras"), Path(f"history/{name}.csv"), Path(f"records/{name}.json")
    if weights.is_file() and curve.is_file():
        print(f"{name}: read from {weights}, not trained")
        network.load_weights(weights)
        history = np.atleast_1d(np.genfromtxt(curve, delimiter=",", names=True))
        assert len(history) == epochs, f"{curve}: {len(history)} epochs, not {epochs}; remove models/ to train anew"
        seconds = json.loads(record.read_text())["seconds"] if record.is_file() else np.nan
    else:
        print(f"{name}: training")
        began = time.perf_counter()
        history = fit_from(position, network, train, test, peak, seed, versions)
        seconds = time.perf_counter() - began
    run = SimpleNamespace(title=title, network=network, history=history, seconds=seconds)
    run.weights = sum(int(np.prod(weight.shape)) for weight in network.trainable_weights)
    run.train_accuracy = np.mean(network.predict(train[0], batch_size=500, verbose=0).argmax(axis=1) == train[1])
    run.probabilities = network.predict(test[0], batch_size=500, verbose=0)
    run.correct = run.probabilities.argmax(axis=1) == test[1]
    return run


a = trial("A", "A", train_a, test_a, peak=4e-3, seed=seed, versions=epochs)
print(f"A: test accuracy {a.correct.mean():.2%}, {a.seconds:.1f} s, {a.weights:,} weights trained")

# %% [markdown]
# ## Part B, three ways

# %%
ways = {  # name: (title, peak learning rate, versions, first layer that is trained, network whose weights are re-used)
    "B_scratch": ("B from scratch", 4e-3, epochs, "images", None),
    "B_last_two": ("B, last two layers", 2e-3, 2, "dense1", a.network),
    "B_last": ("B, last layer", 1.6e-2, 2, "dropout_dense", a.network),
}
runs: dict[str, list] = {title: [] for title, *_ in ways.values()}  # the networks of all seeds
for name, (title, peak, versions, layer, start) in ways.items():
    for repeat in range(seed, seed + seeds):
        file = name if repeat == seed else f"{name}_seed{repeat}"
        runs[title].append(trial(file, title, train_b, test_b, peak, repeat, versions, layer, start))
firsts = [of_way[0] for of_way in runs.values()]  # of each way the network of the first seed: the figures show these

# %% [markdown]
# ## Learning curves
#
# In training, images are augmented and Dropout is at work: training images can look harder than test images.

# %%
figure, axes = plt.subplots(2, 2, figsize=(12, 7), sharex=True, layout="constrained")
for column, part_name, shown in zip(axes.T, "AB", ([a], firsts), strict=True):
    for axis, kind in zip(column, ("accuracy", "loss"), strict=True):
        for color, run in zip(("C0", "C1", "C2"), shown, strict=False):
            axis.plot(range(1, epochs + 1), run.history[f"val_{kind}"], ".-", color=color, label=run.title)
            axis.plot(range(1, epochs + 1), run.history[kind], ":", color=color)
        axis.set(title=f"Part {part_name}: {kind} (line: test, dots: training)", xlabel="epoch", ylabel=kind)
        axis.legend()
plt.show()

# %% [markdown]
# ## Comparison
#
# Test accuracy is that after the last epoch. Its 95% interval is Wilson's for a finite test set; with several seeds it
# is that of as many images as would be as unsure as images and seeds together. *Start* is the test accuracy after the
# first epoch, *slope* its gain per epoch over the first five. Everything is averaged over the seeds.

# %%
table = {}
print(f"{'':20}{'test':>8}{'95% interval':>19}{'train':>9}{'start':>9}{'slope':>9}{'time':>11}{'weights trained':>17}")
for title, of_way in runs.items():
    row = table[title] = SimpleNamespace(correct=np.stack([run.correct for run in of_way]), weights=of_way[0].weights)
    row.accuracy, row.by_seed, count = row.correct.mean(), row.correct.mean(axis=1), len(test_b[0])
    variance = row.correct.mean(axis=0).var() / count
    if seeds > 1:  # the seeds add what their accuracies scatter by, less what these very images make of it by chance
        residual = row.correct - row.by_seed[:, None] - row.correct.mean(axis=0) + row.accuracy
        chance = (residual**2).sum() / ((seeds - 1) * (count - 1)) / (seeds * count)
        added = max(0, row.by_seed.var(ddof=1) / seeds - chance)
        variance += added * (stats.t.ppf(0.975, seeds - 1) / stats.norm.ppf(0.975)) ** 2
    enough = min(count, row.accuracy * (1 - row.accuracy) / variance) if variance else count  # so many images would do
    wide = stats.norm.ppf(0.975) ** 2 / enough
    half = np.sqrt(wide * row.accuracy * (1 - row.accuracy) + wide**2 / 4)
    low, high = ((row.accuracy + wide / 2 + sign * half) / (1 + wide) for sign in (-1, 1))
    row.curve = np.mean([run.history["val_accuracy"] for run in of_way], axis=0)
    row.slope = np.diff(row.curve[:5]).mean() if epochs > 1 else 0.0
    on_train, row.seconds = np.mean([(run.train_accuracy, run.seconds) for run in of_way], axis=0)
    print(f"{title:20}{row.accuracy:>8.2%}{f'{low:.2%} to {high:.2%}':>19}{on_train:>9.2%}", end="")
    print(f"{row.curve[0]:>9.2%}{row.slope:>+9.2%}{row.seconds:>9.1f} s{row.weights:>17,}")

# %% [markdown]
# ## Errors and samples
#
# The errors of each network, and what the three say of ten test images, with the probability that they give it.

# %%
figure, axes = plt.subplots(1, 3, figsize=(12, 4), layout="constrained")
for axis, run in zip(axes, firsts, strict=True):
    matrix = confusion_matrix(test_b[1], run.probabilities.argmax(axis=1), labels=[0, 1])
    ConfusionMatrixDisplay(matrix, display_labels=names_b).plot(ax=axis, colorbar=False)
    axis.set_title(run.title)

figure, axes = plt.subplots(2, 5, figsize=(13, 6), layout="constrained")
for axis, number in zip(axes.flat, np.random.default_rng(0).permutation(len(test_b[0])), strict=False):
    lines = [f"This is {names_b[test_b[1][number]]}"]
    for run in firsts:
        given = run.probabilities[number]
        lines.append(f"{run.title}: {names_b[given.argmax()]}, {given.max():.0%}")
    axis.imshow(test_b[0][number])
    axis.set_title("\n".join(lines), fontsize=9)
    axis.axis("off")
plt.show()

# %% [markdown]
# ## Interpretation
#
# The sentences below are computed from the numbers. How to read them:
#
# * **Lead.** Some images one way recognises (more often) and the other does not. p is how probable it is that a fair
#   coin divides these so unequally (with one seed: McNemar's exact test), times three, since one of three pairs is
#   picked by the same images. Below 0.05 the lead is more than chance, with one seed of these very networks only:
#   another seed may give others. With several seeds their accuracies have to differ by Welch's t-test, too; the larger
#   p counts.
# * **Start, slope, end.** A high start is what A's features are worth before B is known. Then there is less to gain,
#   and the slope is flatter. A low end is the price of frozen layers: they cannot adapt to B.
# * **Cost.** What is frozen is computed once for each version of an image, and never again in any epoch.

# %%
best_title = max(table, key=lambda title: table[title].accuracy)
best, scratch = table[best_title], table["B from scratch"]
print(f"Ahead: {best_title}, {best.accuracy:.2%} of {len(test_b[0]):,} test images.")
for title, row in table.items():
    if row is not best:
        difference = best.correct.mean(axis=0) - row.correct.mean(axis=0)
        wins, losses = int((difference > 0).sum()), int((difference < 0).sum())
        p = stats.binomtest(wins, max(1, wins + losses)).pvalue
        if seeds > 1 and row.by_seed.std() + best.by_seed.std() > 0:
            p = max(p, stats.ttest_ind(best.by_seed, row.by_seed, equal_var=False).pvalue)
        p = min(1, 3 * p)
        verdict = "more than chance" if p < 0.05 else "not to be told from chance"
        points = 100 * (best.accuracy - row.accuracy)
        print(f"{points:.2f} points ahead of {title} ({wins} images to {losses}): {verdict}, p = {p:.2g}.")
for title, row in list(table.items())[1:]:
    start, end = 100 * (row.curve[[0, -1]] - scratch.curve[[0, -1]])
    reached = [epoch for epoch, accuracy in enumerate(row.curve, 1) if accuracy >= scratch.curve[-1]]
    print(f"{title}, against from scratch: start {start:+.2f} points, end {end:+.2f} points;", end=" ")
    print(f"the end of from scratch is reached in epoch {reached[0] if reached else 'none'};", end=" ")
    print(f"{row.seconds / scratch.seconds:.1%} of the time, {row.weights / scratch.weights:.2%} of its weights.")
