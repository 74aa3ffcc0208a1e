"""What setup.cfg cannot say: how the command is installed."""

import os

from setuptools import setup

if os.name == "nt":
    setup(entry_points={"console_scripts": ["docker-machine = docker_machine:main"]})
else:
    # The wrapper that pip writes for an entry point imports re until pip 25.2, which takes half as
    # long again as Python's own start.
    setup(scripts=["docker-machine"])
