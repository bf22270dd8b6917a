"""Which Python runs the worker, and making one.

The environment made here is a real one, by venv and pip, but gigabytes are not downloaded: "torch" and "numpy" are
wheels of a few hundred bytes that put the site-packages of the tests' own environment on the path, so that the training
that ends an installation is a real one.  So is uv, which finds "torch" in the same folder.
"""

from __future__ import annotations

import os
import shutil
import site
import socket
import sys
import sysconfig
import time
import zipfile
from pathlib import Path

import pytest
from chimerax.core.errors import UserError
from uv import find_uv_bin

from chimerax.cryotrans.app import pytorch_build, worker_python
from chimerax.cryotrans.app.installation import Installation
from chimerax.cryotrans.app.settings import user_settings
from chimerax.cryotrans.app.worker_python import default_folder, environment, find_python, python_of


@pytest.fixture
def no_python(session, home):
    """A user who has not installed anything; ChimeraX's own Python has no PyTorch here."""
    user_settings(session).python = ""
    shutil.rmtree(default_folder(), ignore_errors=True)
    yield
    shutil.rmtree(default_folder(), ignore_errors=True)


@pytest.fixture
def wheels(tmp_path, monkeypatch):
    """Have pip find "torch" and "numpy" in a folder, and nowhere else."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    for name in worker_python.PACKAGES + worker_python.WITH_THEM:
        _wheel(folder, name)
    call = f"import subprocess, sys\nsys.exit(subprocess.call([{find_uv_bin()!r}, *sys.argv[1:]]))\n"
    _wheel(folder, "uv", "uv/__main__.py", call)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)  # pip as it comes, without what this machine has set for it
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("UV_OFFLINE", "1")
    monkeypatch.setenv("UV_FIND_LINKS", str(folder))
    return folder


def _wheel(folder, name, file=None, text=None):
    """One that holds a file, by default one that puts the packages of the tests on the path."""
    info = f"{name.replace('-', '_')}-99.dist-info"
    with zipfile.ZipFile(folder / f"{name.replace('-', '_')}-99-py3-none-any.whl", "w") as wheel:
        wheel.writestr(file or f"of_the_tests_{name}.pth", text or sysconfig.get_path("purelib"))
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 99\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")


def _script(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


# Making one


def test_install_makes_an_environment_and_tries_it(session, run, no_python, wheels):
    with pytest.raises(UserError, match="not here yet"):
        find_python(session)
    task = run("cryotrans install")
    assert task.done and task.error is None
    python = python_of(default_folder())
    assert find_python(session) == python and user_settings(session).python == str(python)
    log = "\n".join(session.test_log.texts("info"))
    assert "-m venv" in log and "Successfully installed" in log and "Trying it: two steps" in log
    assert f"CryoTRANS is ready: it runs in {python}." in log

    # Again: what is there is tried, not made again.
    before = (default_folder() / "pyvenv.cfg").stat().st_mtime_ns
    session.test_log.entries.clear()
    user_settings(session).python = ""
    run("cryotrans install")
    assert (default_folder() / "pyvenv.cfg").stat().st_mtime_ns == before
    assert "-m venv" not in "\n".join(session.test_log.texts("info"))
    assert user_settings(session).python == str(python)

    # A ChimeraX that has been upgraded: the Python below has gone.
    shutil.copy(default_folder() / "pyvenv.cfg", default_folder() / "kept.cfg")
    text = (default_folder() / "pyvenv.cfg").read_text()
    home = next(line for line in text.splitlines() if line.startswith("home"))
    (default_folder() / "pyvenv.cfg").write_text(text.replace(home, "home = /opt/chimerax-1.0/bin"))
    with pytest.raises(UserError, match=r"was made with a Python that is gone.*Type: cryotrans install"):
        find_python(session)
    shutil.copy(default_folder() / "kept.cfg", default_folder() / "pyvenv.cfg")
    assert find_python(session) == python
    (default_folder() / "bin" / "python").unlink()
    (default_folder() / "bin" / "python").symlink_to("/opt/chimerax-1.0/bin/python")
    with pytest.raises(UserError, match="a Python that is gone"):
        find_python(session)


def _nvidia_smi(folder, monkeypatch, text):
    """A driver that prints this when it is asked for its GPUs."""
    _script(folder / "driver" / "nvidia-smi", text)
    monkeypatch.setenv("PATH", f"{folder / 'driver'}{os.pathsep}{os.environ['PATH']}")


@pytest.mark.parametrize(
    ("driver", "backend", "size"),
    [
        ("echo NVIDIA-SMI has failed ; exit 9", "cpu", "about 300 MB"),
        ("echo No devices were found", "cpu", "about 300 MB"),
        ('[ "$1" = -L ] && echo "GPU 0: NVIDIA RTX A4000 (UUID: GPU-0)" || echo 580.65.06', "auto", "up to 3 GB"),
    ],
)
def test_install_takes_the_build_that_suits(
    session, run, no_python, wheels, monkeypatch, tmp_path, driver, backend, size
):
    _nvidia_smi(tmp_path, monkeypatch, driver)
    assert run("cryotrans install").error is None
    log = session.test_log.texts("info")
    asked = next(number for number, text in enumerate(log) if f"--torch-backend {backend} torch" in text)
    assert any(size in text for text in log[:asked])  # told before it begins
    assert any("+ torch==99" in text for text in log[asked:])  # uv's word for what it has installed
    assert not (default_folder() / "cache").exists()


def test_install_takes_pips_own_build_where_uv_fails(session, run, no_python, wheels, monkeypatch, tmp_path):
    _nvidia_smi(tmp_path, monkeypatch, "exit 9")
    monkeypatch.delenv("UV_FIND_LINKS")  # as where PyTorch's index does not answer
    assert run("cryotrans install").error is None
    log = "\n".join(session.test_log.texts("info"))
    assert "could not be fetched. Instead pip's own follows, on Linux up to 3 GB" in log
    assert log.index("pip's own follows") < log.index("Processing " + str(wheels / "torch-99-py3-none-any.whl"))
    assert find_python(session) == python_of(default_folder())


@pytest.mark.parametrize(
    ("system", "has_gpu", "backend"),
    [
        ("linux", False, "cpu"),
        ("linux", True, "auto"),
        ("win32", False, None),  # pip's own has no CUDA
        ("win32", True, "auto"),
        ("darwin", False, None),
    ],
)
def test_uv_is_asked_where_pips_own_build_does_not_suit(system, has_gpu, backend):
    assert pytorch_build.backend_for(has_gpu, system) == backend


@pytest.mark.parametrize("is_there", [True, False])
def test_cupy_is_added_where_there_is_a_gpu_and_not_missed_elsewhere(
    session, run, no_python, wheels, monkeypatch, is_there
):
    monkeypatch.setattr(worker_python, "CUDA_QUESTION", "print('\"12.8\"')")  # an NVIDIA GPU, PyTorch for CUDA 12.8
    if is_there:
        _wheel(wheels, "cupy-cuda12x")
    task = run("cryotrans install")
    assert task.done and task.error is None and find_python(session) == python_of(default_folder())
    log = "\n".join(session.test_log.texts("info"))
    assert "install --progress-bar off cupy-cuda12x" in log
    assert ("Successfully installed cupy-cuda12x" in log) == is_there
    assert ("cupy-cuda12x could not be installed. CryoTRANS works without it" in log) != is_there


@pytest.mark.parametrize(
    ("cuda", "is_gpu", "package"),
    [
        ("11.8", True, "cupy-cuda11x"),
        ("12.8", True, "cupy-cuda12x"),
        ("13.0", True, "cupy-cuda13x"),
        ("12.8", False, None),  # PyTorch for CUDA, and no GPU
        (None, True, None),  # an AMD GPU, which PyTorch calls CUDA too
        ("14.1", True, None),
    ],
)
def test_cupy_is_that_of_pytorchs_cuda(tmp_path, cuda, is_gpu, package):
    (tmp_path / "torch.py").write_text(
        f"class version:\n    cuda = {cuda!r}\nclass cuda:\n    is_available = lambda: {is_gpu}\n"
    )
    python = _script(tmp_path / "bin" / "python", f'cd "{tmp_path}" && exec "{sys.executable}" "$@"')
    assert worker_python.cupy_for(python) == package


def test_no_cupy_where_the_python_does_not_answer(tmp_path):
    assert worker_python.cupy_for(_script(tmp_path / "bin" / "python", "echo hello")) is None


def test_half_made_environment_is_made_again(session, run, no_python, wheels, tmp_path):
    folder = tmp_path / "an environment"
    torch = wheels / "torch-99-py3-none-any.whl"
    torch.rename(tmp_path / torch.name)
    with pytest.raises(UserError, match=r"cryotrans install: .*exit status 1.*Type it again"):
        run(f'cryotrans install directory "{folder}"')
    assert "No matching distribution found for torch" in "\n".join(session.test_log.texts("info"))
    assert user_settings(session).python == "" and folder.is_dir()
    user_settings(session).python = str(python_of(folder))
    with pytest.raises(UserError, match=r"is half made.*Type: cryotrans install"):
        find_python(session)
    user_settings(session).python = ""
    (folder / "left over").touch()
    (tmp_path / torch.name).rename(torch)
    run(f'cryotrans install directory "{folder}"')
    assert "which is half made" in "\n".join(session.test_log.texts("info"))
    assert not (folder / "left over").exists()
    assert find_python(session) == python_of(folder)


def test_half_made_default_environment_is_noticed(session, no_python):
    default_folder().mkdir(parents=True)
    (default_folder() / "made_by_cryotrans.txt").touch()
    with pytest.raises(UserError, match="is half made"):
        find_python(session)


def test_install_writes_into_no_folder_of_the_users(session, run, no_python, tmp_path):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(UserError, match="holds something else"):
        run(f'cryotrans install directory "{tmp_path}"')
    with pytest.raises(UserError, match="holds something else"):
        run(f'cryotrans install directory "{tmp_path}/thesis.tex"')
    assert (tmp_path / "thesis.tex").is_file() and not session.tasks.find_by_class(Installation)


def test_install_takes_packages_from_a_folder_alone(session, run, no_python, wheels, monkeypatch):
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    task = run(f'cryotrans install source "{wheels}"')
    assert task.error is None
    log = "\n".join(session.test_log.texts("info"))
    assert f"--no-index --find-links {wheels}" in log and "Successfully installed" in log


def test_install_takes_pytorch_from_an_index_first(session, run, no_python, wheels):
    # An address at which nothing is: pip is asked for it, and PIP_NO_INDEX makes it look into the folder all the same.
    task = run("cryotrans install source http://127.0.0.1:9/simple")
    assert task.error is None
    assert "--index-url http://127.0.0.1:9/simple torch" in "\n".join(session.test_log.texts("info"))


def test_install_refuses_a_folder_without_wheels(run, no_python, tmp_path):
    with pytest.raises(UserError, match="holds no wheels"):
        run(f'cryotrans install source "{tmp_path}"')
    with pytest.raises(UserError, match="needs no source"):
        run(f'cryotrans install python "{sys.executable}" source http://127.0.0.1:9/simple')


def test_installation_can_be_stopped(session, run, no_python, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as silent:  # an index that accepts questions and answers none
        monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        task = run("cryotrans install wait false")
        with pytest.raises(UserError, match="An installation is running already"):
            run("cryotrans install")
        assert session.ui.wait_for(lambda: any("-m pip" in text for text in session.test_log.texts("info")), 60)
        run("close session")
        assert not task.done and not task.leaving  # it belongs to the user, not to the session
        silent.accept()
        task.terminate()
        assert session.ui.wait_for(lambda: task.done, 10)
    assert task.error is None and user_settings(session).python == ""
    assert "stopped" in session.test_log.texts("info")[-1]


# Naming one


def test_install_takes_a_python_after_trying_it(session, run, no_python):
    run(f'cryotrans install python "{sys.executable}"')
    assert user_settings(session).python == sys.executable and find_python(session) == Path(sys.executable)
    assert f"it runs in {sys.executable}" in "\n".join(session.test_log.texts("info"))
    assert not default_folder().exists()


def test_install_refuses_a_python_whose_training_fails(session, run, no_python, tmp_path):
    python = _script(
        tmp_path / "bin" / "python",
        f'case "$1" in -c) exec "{sys.executable}" "$@";; esac\necho "CUDA error: no kernel image" >&2; exit 1',
    )
    with pytest.raises(UserError, match=r"The training to try it failed\. The GPU or its driver failed"):
        run(f'cryotrans install python "{python}"')
    assert user_settings(session).python == ""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "There is no Python .*python"),
        ("exit 0", "does not answer as a Python does"),
        ("echo hello", "does not answer as a Python does"),
        ('echo "{\\"version\\": [3, 8], \\"missing\\": []}"', r"is Python 3\.8; Python 3\.9 or later"),
        ('echo "{\\"version\\": [3, 12], \\"missing\\": [\\"numpy\\", \\"torch\\"]}"', "has no numpy and no torch"),
    ],
)
def test_install_says_why_a_python_cannot_be_used(session, run, no_python, tmp_path, text, message):
    path = tmp_path / "bin" / "python"
    if text is not None:
        _script(path, text)
    with pytest.raises(UserError, match=message):
        run(f'cryotrans install python "{path}"')
    assert user_settings(session).python == ""


def test_install_takes_a_python_or_a_directory(run, no_python, tmp_path):
    with pytest.raises(UserError, match="not both"):
        run(f'cryotrans install python "{sys.executable}" directory "{tmp_path}"')


# Choosing


def test_python_that_was_named_comes_first(session, home, no_python, tmp_path, monkeypatch):
    monkeypatch.setattr(worker_python, "own_python", lambda: Path(sys.executable))
    _script(tmp_path / "bin" / "python", f'exec "{sys.executable}" "$@"')
    user_settings(session).python = str(tmp_path / "bin" / "python")
    assert find_python(session) == tmp_path / "bin" / "python"
    (tmp_path / "bin" / "python").unlink()
    with pytest.raises(UserError, match=r"There is no Python .*bin/python\. Type: cryotrans install"):
        find_python(session)


def test_own_python_of_chimerax_is_the_last_resort(session, no_python, monkeypatch):
    monkeypatch.setattr(worker_python, "own_python", lambda: Path(sys.executable))
    assert find_python(session) == Path(sys.executable)


def test_looking_for_pytorch_is_quick(session, home):
    began = time.monotonic()
    find_python(session)
    assert time.monotonic() - began < 1.5  # importing PyTorch takes longer


# What it is started with


def test_worker_gets_no_python_variables(monkeypatch, tmp_path):
    for name in ("PYTHONPATH", "PYTHONHOME", "PYTHONNOUSERSITE", "PYTHONUSERBASE", "PYTHONSTARTUP"):
        monkeypatch.setenv(name, "/somewhere")
    monkeypatch.setenv("SOMETHING_ELSE", "kept")
    variables = environment(tmp_path / "python")
    assert not [name for name in variables if name.startswith("PYTHON")]
    assert variables["SOMETHING_ELSE"] == "kept" and variables["PATH"] == os.environ["PATH"]


def test_own_python_finds_what_chimerax_has_installed(session, monkeypatch):
    monkeypatch.setenv("PYTHONUSERBASE", "/somewhere")
    assert environment(worker_python.own_python())["PYTHONUSERBASE"] == site.USER_BASE


def test_apple_gpu_may_fall_back(monkeypatch, tmp_path):
    assert "PYTORCH_ENABLE_MPS_FALLBACK" not in environment(tmp_path)
    monkeypatch.setattr(sys, "platform", "darwin")
    assert environment(tmp_path)["PYTORCH_ENABLE_MPS_FALLBACK"] == "1"
