"""What things are called and which colour they have, the same in every figure and table.

The palette is one that colour-blind readers can tell apart (Okabe and Ito 2008). Nothing here needs
matplotlib. Read next: runs.py.
"""

ALGORITHM_NAMES = {
    "trpo": "TRPO",
    "ppo": "PPO",
    "reinforce": "REINFORCE",
    "evolution": "evolution",
    "guided": "guided",
    "random": "random",
}
SEARCHES = {
    "trpo": "TRPO controller",
    "ppo": "PPO controller",
    "reinforce": "REINFORCE controller",
    "evolution": "evolution",
    "guided": "guided search",
    "random": "random search",
}
HUMAN_NAMES = {"sgd": "SGD", "momentum": "Momentum", "rmsprop": "RMSProp", "adam": "Adam"}
DATASETS = {
    "cifar10": "CIFAR-10",
    "fashion-mnist": "Fashion-MNIST",
    "fashion-mnist-sample": "Fashion-MNIST sample",
}
CHILDREN = {"pool": "pooled ConvNet", "stride": "strided ConvNet"}
SETTINGS = {"max_kl": "max KL", "entropy_coeff": "entropy", "elite_coeff": "elite"}  # in labels

CONTROLLER, RANDOM, DIVERGED = "#0072B2", "#8C8C8C", "#D55E00"
HUMAN = {"sgd": "#E69F00", "momentum": "#CC79A7", "rmsprop": "#009E73", "adam": "#56B4E9"}
FOUND = ["#0072B2", "#D55E00", "#332288", "#882255", "#117733", "#000000"]
ALGORITHM = {
    "trpo": CONTROLLER,
    "ppo": "#332288",
    "reinforce": "#882255",
    "evolution": "#117733",
    "guided": "#44AA99",
    "random": RANDOM,
}
SPARE = ["#AA4499", "#999933", "#000000"]  # for an algorithm's second, third and fourth settings
TOKENS = {"op1": "#332288", "op2": "#88CCEE", "u1": "#117733", "u2": "#999933", "b": "#CC6677"}
DARK, FAINT = "#333333", "#777777"  # text, and text that may be overlooked
