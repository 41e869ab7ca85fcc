"""Models in this process: callables, modules, torchvision's networks and the bundled classifier."""

from api_smoothing.adapters import Provider

PROVIDER = Provider(
    name="torchvision",
    load="api_smoothing.adapters.local.torchvision:load",
    extra="torchvision",
    package="torchvision",
    heavy=("torch", "torchvision"),
    local=True,
    default_model="cifar10",
    vocabulary=True,
)
