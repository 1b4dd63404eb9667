"""Licences: read off cards, handed down from teacher and data, the stricter of two."""

import pytest
from huggingface_hub import constants

from fastdiff.io import licences
from fastdiff.io.licences import UNSTATED, card_of, licence, limit, lineage
from tests.helpers.cards import CARD, NONCOMMERCIAL, stated


@pytest.mark.parametrize(
    ("front", "line"),
    [
        ({"license": "mit"}, "mit"),
        ({"license": ["mit", "cc0-1.0"]}, "mit, cc0-1.0"),
        ({}, UNSTATED),
        ({"license": "unknown"}, UNSTATED),
        ({"license": None}, UNSTATED),
        ({"license": "other"}, "other"),
        ({"license": "other", "license_name": "some-non-commercial"}, "some-non-commercial"),
        ({"license": "one\ntwo\n\nthree"}, "one two three"),
        ({"license": "x" * 1000}, "x" * 100),
        ({"license": {"a": 1}}, "{'a': 1}"),
    ],
)
def test_a_licence_is_one_line(front, line):
    assert licence(front) == line


@pytest.mark.parametrize(
    ("stated", "what"),
    [
        ("cc-by-nc-4.0", "commercial"),
        ("cc-by-nc-sa-4.0", "commercial"),
        ("CC BY-NC 4.0", "commercial"),
        ("stabilityai-non-commercial", "commercial"),
        ("flux-1-dev-non-commercial-license", "commercial"),
        ("NonCommercial research", "commercial"),
        ("creativeml-openrail-m", "restrictions"),
        ("openrail++", "restrictions"),
        ("mit", None),
        ("apache-2.0", None),
        ("cc-by-4.0", None),
        ("ncsa", None),
        (UNSTATED, None),
    ],
)
def test_what_a_licence_forbids_is_read_off_its_name(stated, what):
    assert limit(stated) is None if what is None else what in limit(stated)


@pytest.mark.parametrize(
    "text",
    ["", "# No front matter", "---\n[unclosed\n---\n", "---\n- a list\n---\n", "\x00", b"\xff\xfe\x00"],
)
def test_a_card_that_cannot_be_read_states_nothing(tmp_path, text):
    (tmp_path / CARD).write_bytes(text if isinstance(text, bytes) else text.encode())
    assert card_of(tmp_path) == {} and licence(card_of(tmp_path)) == UNSTATED
    assert card_of(tmp_path / "nowhere") == {}


def test_without_a_network_a_licence_on_the_hub_is_unknown(monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    noted = lineage(
        {"teacher": ("someone/model", "someone/model")}, ("someone/data", "someone/data", "someone/data")
    )
    assert noted["licences"] == {"teacher": UNSTATED, "data": UNSTATED}
    assert noted["card"] == {
        "license": "unknown",
        "base_model": ["someone/model"],
        "datasets": ["someone/data"],
    }


def test_a_licence_on_the_hub_is_that_of_its_card(tmp_path, monkeypatch):
    asked = []

    def download(name, file, repo_type, revision, **options):
        asked.append((name, file, repo_type, revision))
        return (
            stated(tmp_path / repo_type, {"license": {"model": "openrail", "dataset": "mit"}[repo_type]})
            / CARD
        )

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    noted = lineage(
        {"teacher": ("someone/model@v1", "someone/model@v1")},
        ("someone/data", "someone/data", "someone/data"),
    )
    assert asked == [("someone/model", CARD, "model", "v1"), ("someone/data", CARD, "dataset", None)]
    assert noted["licences"] == {"teacher": "openrail", "data": "mit"}
    assert noted["card"] == {
        "license": "openrail",
        "base_model": ["someone/model"],
        "datasets": ["someone/data"],
    }


def test_of_two_sources_the_stricter_licence_is_the_students(tmp_path):
    free, bound = stated(tmp_path / "free", {"license": "mit"}), stated(tmp_path / "bound", NONCOMMERCIAL)
    silent = stated(tmp_path / "silent", {"tags": ["x"]})
    for weights in (
        {"teacher": free, "init": bound},
        {"teacher": bound, "init": free},
        {"teacher": silent, "init": bound},
    ):
        noted = lineage({role: (path.name, path) for role, path in weights.items()}, ("toy", "toy", ""))
        assert (
            noted["card"]["license"] == "cc-by-nc-4.0"
            and noted["licences"]["data"] == licences.EMBEDDED_LICENCES["toy"]
        )
    assert lineage({"teacher": ("a", silent), "init": ("b", free)})["card"]["license"] == "mit"


def test_data_in_a_folder_state_their_licence_in_it(tmp_path):
    folder = stated(tmp_path / "faces", {"license": "cc-by-nc-sa-4.0"})
    assert lineage({}, ("faces", folder, ""))["licences"] == {"data": "cc-by-nc-sa-4.0"}
    assert lineage({}, ("images", tmp_path, ""))["licences"] == {"data": UNSTATED}
