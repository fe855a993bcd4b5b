"""Two runs with their reports, made once: the tests only read them."""

from pathlib import Path

import pytest

from sims.report.page import write_report
from tests.report.runs import NASTY, a_round, a_summary_file, write


def reported(run: Path) -> Path:
    """The folder with its report, whose pictures are coarse to be quick."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sims.report.html.RESOLUTION", 40)
        write_report(run)
    return run


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run, with its report."""
    rows = [a_round(number) for number in range(1, 5)]
    run = tmp_path_factory.mktemp("runs") / "finished"
    write(run, rows, a_summary_file(), classes=[NASTY, "1"], counts=[[5, 0], [1, 7]])
    return reported(run)


@pytest.fixture(scope="session")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that was stopped in its third round, with its report."""
    run = write(tmp_path_factory.mktemp("runs") / "interrupted", [a_round(1, ranks={}), a_round(2, ranks={})])
    return reported(run)
