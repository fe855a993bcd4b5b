"""A deployment of two nodes."""

import pytest

from sims.deploy.folder import Deployment, write_deployment


@pytest.fixture
def deployment(tmp_path):
    made = Deployment(tmp_path / "made", 2, ("pi.example", "10.0.0.7"))
    write_deployment(made, False)
    return made
