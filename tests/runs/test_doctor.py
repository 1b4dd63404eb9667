"""The doctor finds what is wrong with an installation, says what to do, and lets the healthy go."""

import json
from importlib.metadata import PackageNotFoundError, version

import pytest

from fastdiff.runs import doctor
from tests.helpers.paths import ROOT


def test_a_healthy_installation(fastdiff, monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(doctor, "TRAINING_SECONDS", 0.3)
    code, out, err = fastdiff("doctor", "--json")
    found = {check["what"]: check for check in json.loads(out)}
    assert (code, err) == (0, "") and list(found) == [check.__name__ for check in doctor.CHECKS]
    assert {name for name, check in found.items() if check["verdict"] == "FAIL"} == set()
    assert (
        version("fastdiff") in found["packages"]["message"] and version("torch") in found["torch"]["message"]
    )
    assert found["features"]["verdict"] == "ok" and "points per second" in found["training"]["message"]


def test_what_fails_is_said_and_counts(fastdiff, monkeypatch, tmp_path):
    def broken():
        raise OSError("no such\ndevice")

    monkeypatch.setattr(doctor, "CHECKS", (doctor.python, broken, doctor.directory))
    monkeypatch.chdir(tmp_path)
    code, out, err = fastdiff("doctor")
    lines = out.splitlines()
    assert (code, err, len(lines)) == (1, "", 3)
    assert lines[1].split(maxsplit=2) == ["FAIL", "broken", "OSError: no such device"]
    assert lines[0].startswith("ok") and str(tmp_path) in lines[2]


def test_packages_that_are_missing_or_old(monkeypatch):
    asked = ["torch>=2.7", "nosuchpackage>=3", "rich>=999", 'never; python_version < "3"']
    monkeypatch.setattr(doctor, "requires", lambda name: asked)
    verdict, said = doctor.packages()
    assert verdict == "FAIL" and said == (
        f"nosuchpackage is missing, rich is {version('rich')}: pip install 'nosuchpackage>=3' 'rich>=999'"
    )


def test_a_torchvision_of_another_build(monkeypatch):
    def broken(name):
        raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr(doctor.importlib, "import_module", broken)
    verdict, said = doctor.torch()
    assert verdict == "FAIL" and "nms does not exist" in said and "from the same index" in said


def test_versions_that_do_not_work_together(monkeypatch):
    assert doctor.text()[0] == "ok"

    def broken(name):
        raise RuntimeError("cannot import name 'FLAX_WEIGHTS_NAME'")

    monkeypatch.setattr(doctor.importlib, "import_module", broken)
    verdict, line = doctor.text()
    assert verdict == "FAIL" and "does not work with transformers" in line and "FLAX_WEIGHTS_NAME" in line

    def missing(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(doctor, "version", missing)
    assert doctor.text()[0] == "note"


def test_weights_that_are_not_at_hand(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    assert doctor.inception()[0] == "note"
    (tmp_path / "hub/checkpoints").mkdir(parents=True)
    (tmp_path / "hub/checkpoints/weights-inception-2015-12-05-6726825d.pth").write_bytes(b"")
    assert doctor.inception()[0] == "ok"


def test_folders_that_cannot_be_written_or_are_full(monkeypatch, tmp_path):
    monkeypatch.setenv("FASTDIFF_CACHE", str(tmp_path / "file/cache"))
    (tmp_path / "file").write_text("")
    verdict, said = doctor.cache()
    assert verdict == "FAIL" and "is not writable (Not a directory)" in said and "set FASTDIFF_CACHE" in said
    monkeypatch.setattr(doctor, "SMALL_FOLDER", 2**80)
    assert (
        doctor.check_folder(tmp_path / "not/yet", "go elsewhere")[0] == "note"
        and not (tmp_path / "not").exists()
    )


def test_processes_that_cannot_talk(monkeypatch):
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "nosuch0")
    verdict, said = doctor.processes()
    assert verdict == "FAIL" and "GLOO_SOCKET_IFNAME" in said and "nosuch0 is not one" in said


@pytest.mark.parametrize("check", [doctor.devices, doctor.processes])
def test_checks_leave_nothing_behind(check):
    assert check() == check()
