# %% [markdown]
# # What is re-using a trained network worth?
#
# CIFAR-10 is split in part A (eight classes) and part B (two classes). A convolutional network is trained on A; then
# the same architecture is trained on B in three ways: from scratch, re-using A's weights with only the last layer
# trained, and re-using them with the last two layers trained.
#
# Run it from top to bottom in its run folder. Each training keeps a checkpoint in `checkpoints/`: one that is finished
# is read back instead of being repeated, one that was stopped goes on. Remove that folder to train everything anew.

# %% parameters
registration = "2020387499"  # its last two digits name the classes of part B
data = None  # None: CIFAR-10, or the embedded digits where it cannot be had
data_dir = None
epochs = 20
batch_size = 128
limit = None
seed = 0
seeds = 1  # how often each network for part B is trained
precision = "float32"

# %%
from tl_keras import quiet

quiet.import_tensorflow()

from pathlib import Path

import numpy as np
from IPython import get_ipython
from sklearn.metrics import classification_report, confusion_matrix

from experiments.cifar_ab import classes_of_part_b
from tl_keras.data import sources, splits
from tl_keras.data.augment import FlipShift
from tl_keras.evaluation import outcome
from tl_keras.models import cnn
from tl_keras.reporting import conclusion, figures
from tl_keras.run_folder import RunFolder
from tl_keras.training import loop, runtime
from tl_keras.training.schedules import Recipe
from tl_keras.transfer import strategies

get_ipython().run_line_magic("matplotlib", "inline")
out = RunFolder(Path())

# %% [markdown]
# ## Data
#
# Part B holds the two classes named by the last two digits of the registration number; if the two are the same, the
# first of them moves back one digit at a time until they differ. Part A holds the other classes. Labels are numbered
# anew in each part.

# %%
images = sources.load(data or "cifar10", data_dir, size=(32, 32), fallback=data is None)
classes_b = classes_of_part_b(registration)
classes_a = [number for number in range(len(images.class_names)) if number not in classes_b]

train = splits.limit(images.train, limit, seed)
test = splits.limit(images.test, limit, seed)
a_train, a_test = splits.by_class(train, classes_a), splits.by_class(test, classes_a)
b_train, b_test = splits.by_class(train, classes_b), splits.by_class(test, classes_b)

name_of_data = images.name
del images, train, test  # the parts are copies
print(f"data set {name_of_data}")
for name, part_train, part_test in (("A", a_train, a_test), ("B", b_train, b_test)):
    print(f"part {name}: {len(part_train):,} train, {len(part_test):,} test images of", *part_train.class_names)

# %%
print(b_train.images.shape, b_train.images.dtype, "labels", np.bincount(b_train.labels))

# %% [markdown]
# ## The network
#
# Four convolutions, two max-poolings, two fully connected layers; ReLU everywhere but at the softmax output; Dropout.
# BatchNorm follows each convolution. It and ReLU stand after the pooling where there is one: there they have a quarter
# of the work.

# %%
network_a = cnn.build(classes=len(classes_a))
network_a.summary()

# %% [markdown]
# ## Protocol
#
# One protocol for all networks: AdamW with decoupled weight decay on a one-cycle schedule. Images are shifted by up to
# an eighth of their side and, if they are natural images, mirrored at random. Part B sees two versions of each image,
# so that what the frozen layers make of them can be computed once and stored. Only the peak learning rate differs
# between the networks; it was chosen on a validation part of the training images. The test images are measured after
# each epoch, but nothing is chosen by them.

# %%
augment = FlipShift(flip=name_of_data not in ("digits", "mnist"), shift=0.125)


def recipe(learning_rate, seed, views=None):
    return Recipe(
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        warmup=0.2,
        weight_decay=0.02,
        views=views,
        seed=seed,
    )


# %% [markdown]
# ## Part A

# %%
runtime.prepare(seed, precision)
network_a = cnn.build(classes=len(classes_a))
training = loop.fit("A", network_a, a_train, a_test, recipe(4e-3, seed), out, augment=augment)
outcome_a = outcome.measure(network_a, training, seed, a_train, a_test, out)
figures.history("A, eight classes", training.history)

# %% [markdown]
# ## Part B, three ways
#
# A strategy says which layers train: all of them, the last one, or the last two; the others are frozen. The two re-use
# networks get the weights of A in every layer but the last, which has two new outputs.

# %%
ways = {  # name: (title, strategy, peak learning rate)
    "B_scratch": ("B from scratch", "scratch", 8e-3),
    "B_last_two": ("B, last two layers", "last_two", 1e-3),
    "B_last": ("B, last layer", "last_layer", 8e-3),
}

networks = []
for name, (title, strategy, learning_rate) in ways.items():
    outcomes = []
    for repeat in range(seeds):
        runtime.prepare(seed + repeat, precision)
        model = cnn.build(classes=2)
        if strategy != "scratch":
            strategies.copy_weights(network_a, model, new_layers=1)
        training = loop.fit(
            f"{name}_seed{seed + repeat}" if repeat else name,
            model,
            b_train,
            b_test,
            recipe(learning_rate, seed + repeat, views=2),
            out,
            augment=augment,
            phases=strategies.find(strategy).phases,
        )
        outcomes.append(outcome.measure(model, training, seed + repeat, b_train, b_test, out))
    networks.append(outcome.Network(name, title, tuple(outcomes)))

# %%
figures.history(networks[0].title, networks[0].first.training.history)

# %%
figures.history(networks[1].title, networks[1].first.training.history)

# %%
figures.history(networks[2].title, networks[2].first.training.history)

# %% [markdown]
# ## Comparison
#
# Accuracies on the test images after the last epoch, without augmentation. The interval is Student's over the seeds,
# or Wilson's for the finite test set where there is one seed.

# %%
for network in networks:
    first = network.first
    print(
        f"{network.title:<20} test {conclusion.percent(network)}   train {first.train_accuracy:.2%}"
        f"   {first.training.seconds:6.1f} s   {first.training.trainable_parameters:,} weights trained"
    )

# %%
figures.compare({network.title: network.first.training.history for network in networks})

# %%
intervals = {network.title: network.interval() for network in networks}
figures.bars({title: (each.mean, each.low, each.high) for title, each in intervals.items()}, "test accuracy")

# %% [markdown]
# ## Errors and samples

# %%
for network in networks:
    print(network.title)
    print(
        classification_report(
            network.first.test.labels, network.first.test.classes, target_names=b_test.class_names, digits=4
        )
    )

# %%
best = max(networks, key=lambda network: network.accuracy)
matrix = confusion_matrix(best.first.test.labels, best.first.test.classes)
figures.confusion(matrix, b_test.class_names, best.title)

# %%
shown = np.sort(np.random.default_rng(0).choice(len(b_test), min(24, len(b_test)), replace=False))
predicted = best.first.test
figures.samples(
    b_test.images[shown],
    predicted.labels[shown],
    predicted.classes[shown],
    predicted.probabilities.max(axis=1)[shown],
    b_test.class_names,
    best.title,
)

# %% [markdown]
# ## Conclusion
#
# Computed from the numbers above: who won, whether the lead is more than noise (a paired test on the same test images,
# adjusted for two comparisons), and what transfer did to start, slope, final level and cost.

# %%
scratch, *reused = networks
for sentence in conclusion.verdict(networks) + conclusion.transfer_effects(reused, scratch):
    print("-", sentence)
