"""A run that is killed when all its steps are done, and its report is not: resuming makes what is missing."""

from __future__ import annotations

import pytest
from running import call, run_json, training

from chimerax.cryotrans.programs import keeping


@pytest.mark.parametrize("recipe", [(), ("--recipe", "auto")], ids=["published", "auto"])
def test_what_is_missing_is_made(maps, tmp_path, capsys, monkeypatch, recipe):
    directory = tmp_path / "run"
    left_out = ("--no-report", "--w2_iter", "--lr", 2, 5e-3) if recipe else ("--no-report",)
    line = [word for word in training(maps, directory, 6, 3) if word not in left_out]

    class Killed(BaseException):
        """As a signal that no program can catch, it passes whatever catches errors."""

    def die(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(keeping, "conclude", die)
        with pytest.raises(Killed):
            call(capsys, *line, *recipe)
    assert (directory / "net.pt").is_file() and not (directory / "report.html").exists()
    losses = (directory / "loss.log").read_bytes()
    resumed = call(capsys, "train", "--resume", "-d", directory)
    assert resumed.status == 0, resumed.err
    assert (directory / "report.html").is_file() and (directory / "motion.npz").is_file()
    assert (directory / "loss.log").read_bytes() == losses
    content = run_json(directory)
    assert content["state"] == "finished" and content["witness"] is not None
    again = call(capsys, "train", "--resume", "-d", directory)
    assert again.status == 2 and ("is finished after" in again.err or "has done its" in again.err)
