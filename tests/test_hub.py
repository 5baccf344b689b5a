"""Models on the Hugging Face Hub: pushed to a local server and loaded again."""

import os
import re
import subprocess
import sys
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from huggingface_hub import ModelCard
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id
from hypothesis import example, given
from hypothesis import strategies as st

from tests.hub_server import OWNER, TOKEN, Hub, Repository
from textrnn import TextClassifier
from textrnn.errors import (
    CorruptFileError,
    InvalidTypeError,
    InvalidValueError,
    MissingDependencyError,
    MissingFileError,
    NotFittedError,
)
from textrnn.estimator.hub import check_repo_id

# What `huggingface_hub` calls to upload large files without `hf_xet`.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

MODEL = Path(__file__).parent / "fixtures" / "model"
NAME = f"{OWNER}/news"
PROBE = ["oil falls", "the keeper scores", "", "weather"]
FILES = {path.name for path in MODEL.iterdir()}


@pytest.fixture(name="hub")
def _hub():
    """Return a local Hub."""
    with Hub() as hub:
        yield hub


@pytest.fixture(name="classifier", scope="module")
def _classifier():
    return TextClassifier.load(MODEL, device="cpu")


@pytest.fixture(name="other", scope="module")
def _other():
    other = TextClassifier(hidden_size=4, epochs=1, device="cpu", progress=False, seed=1)
    return other.fit(["oil", "ball"] * 4, ["a", "b"] * 4)


@pytest.fixture(name="load")
def _load(tmp_path):
    """Return a function that loads a model through a cache of its own."""

    def load(name=NAME, **options):
        options = {"cache_dir": tmp_path / "cache", "device": "cpu", "token": TOKEN} | options
        return TextClassifier.from_pretrained(name, **options)

    return load


def push(classifier, name=NAME, **options):
    """Push a classifier, and return the URL of the commit."""
    return classifier.push_to_hub(name, **{"license": "mit", "token": TOKEN, **options})


def stored(folder=MODEL):
    """Return the files of a folder."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_model_that_was_pushed_comes_back(hub, classifier, load, tmp_path):
    """Predictions are the same to the bit; the folder's files arrive in one commit."""
    url = push(classifier, commit_message="First model")
    loaded = load()
    assert (loaded.predict_proba(PROBE) == classifier.predict_proba(PROBE)).all()
    assert loaded.get_params() == classifier.get_params()
    (_, (sha, title, files)) = hub.repositories[NAME].commits
    assert (url, title, files.keys() - {".gitattributes"}) == (
        f"{hub.url}/{NAME}/commit/{sha}",
        "First model",
        FILES,
    )
    snapshot = next((tmp_path / "cache").glob("*/snapshots/*"))
    assert all(path.is_symlink() for path in snapshot.iterdir())


def test_a_small_model_is_pushed(hub, classifier, load):
    """The weights have the number format that was chosen, and the card says so."""
    push(classifier, weights="int8")
    files = hub.repositories[NAME].at("main")[1]
    assert len(files["model.safetensors"]) < len(stored()["model.safetensors"])
    assert b"\n## Weights\n" in files["README.md"]
    np.testing.assert_allclose(
        load().predict_proba(PROBE), classifier.predict_proba(PROBE), atol=0.01
    )


def test_a_new_process_loads_what_was_pushed(hub, classifier, tmp_path):
    """The endpoint of `HF_ENDPOINT` serves a public model to a user without a token."""
    push(classifier, private=False)
    program = (
        "from textrnn import TextClassifier;"
        f"classifier = TextClassifier.from_pretrained({NAME!r}, device='cpu');"
        f"print(classifier.predict_proba({PROBE!r}).tobytes().hex())"
    )
    environment = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path)}
    run = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.stdout.strip() == classifier.predict_proba(PROBE).tobytes().hex(), run.stderr


def test_a_newer_model_replaces_the_older_one(hub, classifier, other, load):
    """The main branch has the newer model, the older commit has the older one."""
    push(classifier)
    hub.repositories[NAME].commit("Add a file", {"notes.txt": b"of somebody"})
    push(other)
    _, first, _, last = (sha for sha, _, _ in hub.repositories[NAME].commits)
    assert load().classes_.tolist() == load(revision=last).classes_.tolist() == ["a", "b"]
    assert (load(revision=first).predict_proba(PROBE) == classifier.predict_proba(PROBE)).all()
    assert hub.repositories[NAME].at("main")[1]["notes.txt"] == b"of somebody"


def test_only_files_of_the_format_are_downloaded(hub, load, tmp_path):
    """Other files of a repository are left there."""
    others = {"pytorch_model.bin": b"code", "sub/config.json": b"{}"}
    hub.repositories[NAME] = Repository()
    hub.repositories[NAME].commit("Model", stored() | others)
    load()
    snapshot = next((tmp_path / "cache").glob("*/snapshots/*"))
    assert {path.name for path in snapshot.iterdir()} == FILES


def test_a_custom_tokenizer_is_passed_again(hub, load):
    """A tokenizer of the user is left out if confirmed, and needed again."""
    classifier = TextClassifier(tokenizer=str.split, hidden_size=4, epochs=1, progress=False)
    classifier.fit(["oil", "ball"] * 4, ["a", "b"] * 4)
    with pytest.raises(InvalidTypeError, match="custom_tokenizer=True"):
        push(classifier)
    assert hub.requests == []
    push(classifier, custom_tokenizer=True)
    found = load(tokenizer=str.split).predict_proba(PROBE)
    assert (found == classifier.predict_proba(PROBE)).all()
    with pytest.raises(InvalidValueError, match="tokenizer"):
        load()


def test_a_local_folder_needs_no_hub(classifier):
    """A folder is loaded without `huggingface_hub`; a repository names the extra."""
    with mock.patch.dict(sys.modules, {"huggingface_hub": None}):
        for folder in (MODEL, str(MODEL)):
            loaded = TextClassifier.from_pretrained(folder, device="cpu")
            assert (loaded.predict_proba(PROBE) == classifier.predict_proba(PROBE)).all()
        with pytest.raises(MissingDependencyError, match=r"textrnn\[hub\]"):
            TextClassifier.from_pretrained(NAME)
        with pytest.raises(MissingDependencyError, match=r"textrnn\[hub\]"):
            push(classifier)
    with pytest.raises(InvalidValueError, match="`revision` to be None for a local folder"):
        TextClassifier.from_pretrained(MODEL, revision="main")


def test_a_repository_that_does_not_exist_is_named(hub, classifier, load):
    """A wrong name or revision, a private model without a token, and wrong types are errors."""
    with pytest.raises(MissingFileError, match=f"no folder 'owner/news', .* on {hub.url}"):
        load()
    push(classifier, private=True)
    with pytest.raises(MissingFileError, match=r"no repository of this name that `token` gives"):
        load(token=False)
    with pytest.raises(MissingFileError, match="owner/news has no revision 'v2'"):
        load(revision="v2")
    with pytest.raises(MissingFileError, match=r"There is no folder '\./news'\."):
        load("./news")
    with pytest.raises(MissingFileError, match=r"There is no folder "):
        load(MODEL / "sub")
    with pytest.raises(InvalidTypeError, match="`repo_id_or_folder` to be a folder, or the name"):
        load(3)


def test_downloaded_files_are_not_trusted(hub, load, tmp_path):
    """A changed file, a missing one and a model of another library are refused."""
    hub.repositories[NAME] = repository = Repository()
    repository.commit("Other", {"model.bin": b"code"})
    with pytest.raises(CorruptFileError, match=r"'owner/news' is not a model folder: .* no config"):
        load()
    repository.commit("Other", {"config.json": b'{"architectures": ["Bert"]}'})
    with pytest.raises(CorruptFileError, match=r"config\.json is of another kind"):
        load()
    repository.commit("Model", {k: v for k, v in stored().items() if k != "labels.json"})
    with pytest.raises(CorruptFileError, match=r"labels\.json' is damaged: it can't be read"):
        load()
    repository.commit("Model", {"labels.json": stored()["labels.json"].replace(b"sp", b"ps")})
    with pytest.raises(CorruptFileError, match=r"labels\.json' is damaged: it was changed"):
        load()
    repository.commit("Model", stored())
    load()
    for path in (tmp_path / "cache").glob("*/snapshots/*/model.safetensors"):
        path.write_bytes(b"\0" * path.stat().st_size)
    with pytest.raises(CorruptFileError, match=r"model\.safetensors' is damaged: it was changed"):
        load()


@pytest.mark.parametrize("refused", ["/validate-yaml", "/preupload/main", "/batch", "/commit/main"])
def test_a_push_that_fails_leaves_the_older_model(hub, classifier, other, load, refused):
    """An error at any step is an `OSError`, and the repository is as before."""
    push(classifier)
    hub.refused = refused
    with pytest.raises(OSError, match="Out of space"):
        push(other)
    assert len(hub.repositories[NAME].commits) == 2
    assert load().classes_.tolist() == classifier.classes_.tolist()


def test_a_push_needs_rights(hub, classifier):
    """A missing token and the name of somebody else are errors before any upload."""
    with pytest.raises(OSError, match="Invalid username or password"):
        push(classifier, token=False)
    with pytest.raises(OSError, match="rights to create a model"):
        push(classifier, "somebody/news")
    assert hub.repositories == {}


def test_a_model_is_not_published_by_accident(hub, classifier):
    """A repository that exists keeps its visibility, so another one asked for is an error."""
    for private in (False, True):
        name = f"{OWNER}/news-{private}"
        push(classifier, name, private=private)
        with pytest.raises(InvalidValueError, match=f"`private` to be {private}, as for the repo"):
            push(classifier, name, private=not private)
        push(classifier, name, private=private)
        push(classifier, name)
        assert hub.repositories[name].private == private


def test_a_hub_out_of_reach_is_an_os_error(hub, classifier, load, tmp_path):
    """Without a connection, nothing is pushed, and only cached models are loaded."""
    push(classifier)
    load()
    hub.stop()
    with pytest.raises(OSError, match=f"{hub.url}: .* refused"):
        push(classifier)
    assert (load().predict_proba(PROBE) == classifier.predict_proba(PROBE)).all()
    with pytest.raises(OSError, match="cannot find the appropriate"):
        load(cache_dir=tmp_path / "empty")


def test_arguments_are_checked_before_anything_is_sent(hub, classifier):
    """A name or license of a wrong form, and a classifier that is not fitted, are errors."""
    for name, error in (
        ("a/b/c", InvalidValueError),
        ("-x", InvalidValueError),
        (3, InvalidTypeError),
    ):
        with pytest.raises(error, match="`repo_id` to be the name of a repository"):
            push(classifier, name)
    for license_, error in (("MIT License", InvalidValueError), (None, InvalidTypeError)):
        with pytest.raises(error, match="`license` to be an identifier of a license"):
            push(classifier, license=license_)
    with pytest.raises(InvalidValueError, match="`license`"):
        classifier.save("nowhere", license='mit"\n')
    with pytest.raises(NotFittedError):
        push(TextClassifier())
    assert hub.requests == []


@given(
    st.text("aZ9_-./é\n", max_size=8)
    | st.from_regex(r"[a-z_.-]{1,4}/[a-z_.-]{1,4}", fullmatch=True)
)
@example("a")
@example(f"{'a' * 96}/{'b' * 96}")
@example(f"a/{'b' * 97}")
@example("a/b.git")
@example("a/b\n")
def test_names_of_repositories_are_those_of_the_hub(name):
    """A name with an owner is accepted if and only if `huggingface_hub` accepts it."""
    try:
        # Before huggingface_hub 2 it overlooks a line feed at the end and takes other letters, but
        # no blank.
        validate_repo_id(re.sub(r"[\né]", " ", name) if "/" in name else "no owner")
    except HFValidationError:
        with pytest.raises(InvalidValueError, match="repo_id"):
            check_repo_id(name)
    else:
        check_repo_id(name)


def card_of(folder):
    """Return the card of a folder as the Hub reads it."""
    card = ModelCard.load(folder / "README.md")
    # Parsed, written and parsed again, the metadata are the same.
    assert ModelCard(str(card)).data.to_dict() == card.data.to_dict()
    return card


def test_the_card_has_the_metadata_that_the_hub_reads(hub, classifier, tmp_path):
    """Library, task, tags, license and results are parsed as they were written."""
    push(classifier, f"{OWNER}/1.0")
    (tmp_path / "README.md").write_bytes(
        hub.repositories[f"{OWNER}/1.0"].at("main")[1]["README.md"]
    )
    card = card_of(tmp_path)
    assert (card.data.library_name, card.data.pipeline_tag) == ("textrnn", "text-classification")
    assert card.data.tags == ["text-classification", "textrnn", "gru"]
    assert (card.data.license, card.data.model_name) == ("mit", "1.0")
    assert card.data.metrics == ["accuracy", "f1"]
    results = {each.metric_name: each for each in card.data.eval_results}
    assert results.keys() == {"accuracy", "macro f1", "weighted f1"}
    for name, result in results.items():
        assert result.metric_value == round(classifier.metrics_[name.replace(" ", "_")], 4)
        assert (result.task_type, result.dataset_name) == (
            "text-classification",
            "validation texts",
        )
    assert f'TextClassifier.from_pretrained("{OWNER}/1.0")' in card.text
    assert card.text.startswith("\n# 1.0\n")


def test_a_saved_card_has_a_license_only_if_it_is_given(classifier, tmp_path):
    """`save` invents no license, and writes the given one."""
    classifier.save(tmp_path / "model")
    card = card_of(tmp_path / "model")
    assert card.data.license is None
    assert card.data.model_name == "Text classifier"
    assert 'TextClassifier.load("this/folder")' in card.text
    classifier.save(tmp_path / "model", license="cc-by-4.0")
    assert card_of(tmp_path / "model").data.license == "cc-by-4.0"


@pytest.mark.parametrize("multi_label", [False, True])
def test_labels_cannot_change_the_metadata(tmp_path, multi_label):
    """Labels with the marks of YAML and Markdown stay in the table of labels."""
    labels = ["---", "a: b", "\n---\nlicense: mit\n", "- x", "{", "| # *&!%@`", "no", "\ud800"]
    given_labels = [[label] for label in labels] if multi_label else labels
    classifier = TextClassifier(hidden_size=4, epochs=1, ngram_order=0, progress=False)
    classifier.fit(["oil", "ball"] * 4, given_labels, eval_set=(["oil"] * 8, given_labels))
    classifier.save(tmp_path / "model")
    data = card_of(tmp_path / "model").data.to_dict()
    assert data.keys() == {"library_name", "pipeline_tag", "tags", "metrics", "model-index"}
    assert data["tags"] == ["text-classification", "textrnn", "gru"]


def test_a_card_without_results_has_none(other, tmp_path):
    """A model that was not evaluated claims nothing; a metric that is not finite is left out."""
    assert other.metrics_ == {}
    for metrics in ({}, {"accuracy": np.nan}):
        with mock.patch.dict(other._fitted.metrics, metrics):
            other.save(tmp_path / "model")
        data = card_of(tmp_path / "model").data
        assert (data.metrics, data.eval_results) == (None, None)
