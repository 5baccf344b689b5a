"""`TextClassifier(vectors=...)`: word vectors of a file, in the network and the linear model."""

import copy
import gzip
import json
import pickle
import shutil

import numpy as np
import pytest
from sklearn.base import clone

from textrnn import TextClassifier, runtime
from textrnn.cli import main
from textrnn.errors import CorruptFileError, InvalidTypeError, InvalidValueError

TEXTS = ["good fine movie", "bad awful movie", "fine good day .", "awful bad day ."] * 10
LABELS = ["pos", "neg"] * 20
GLOVE = """good 1 0.1 0 0
fine 0.9 0 0.2 0
superb 0.95 0 0.1 0.1
bad -1 0 0 0.1
awful -0.9 0.1 0 0
dreadful -0.9 0 0.1 0
Movie 0 1 0 0
day 0 0 1 0
New_York 0 0 0 1
Superb 0 0 0 1
"""
PROBE = ["superb", "dreadful dreadful", "unheard", "", "a superb day . " * 40, *TEXTS[:4]]


@pytest.fixture(scope="module", name="path")
def _path(tmp_path_factory):
    """Return a file of GloVe."""
    path = tmp_path_factory.mktemp("vectors") / "glove.txt"
    path.write_text(GLOVE)
    return path


@pytest.fixture(scope="module", name="fitted")
def _fitted(path):
    return small(path).fit(TEXTS, LABELS)


def small(vectors, **arguments):
    """Return a small classifier with vectors."""
    fast = {"hidden_size": 6, "epochs": 2, "device": "cpu", "progress": False}
    return TextClassifier(vectors=vectors, **fast | arguments)


def test_a_word_without_texts_is_classified_by_its_vector(fitted):
    """Words near good ones are good, and those near bad ones are bad."""
    assert fitted.predict(["superb", "dreadful"]).tolist() == ["pos", "neg"]
    plain = small(None, spelling=False).fit(TEXTS, LABELS)
    same = plain.predict_proba(["superb", "dreadful"])
    np.testing.assert_allclose(same[0], same[1], atol=1e-6)


@pytest.mark.parametrize("form", ["word2vec", "fasttext", "gzip", "str"])
def test_every_format_gives_the_same_classifier(fitted, path, tmp_path, form):
    """A header, blanks at the ends of lines and compression change nothing."""
    other = tmp_path / "other"
    if form == "str":
        other = str(path)
    elif form == "gzip":
        other.write_bytes(gzip.compress(GLOVE.encode()))
    else:
        text = "10 4\n" + GLOVE
        other.write_text(text.replace("\n", " \n") if form == "fasttext" else text)
    found = small(other).fit(TEXTS, LABELS)
    np.testing.assert_array_equal(found.predict_proba(PROBE), fitted.predict_proba(PROBE))


def test_the_vocabulary_has_the_words_of_the_file(fitted):
    """Words of the texts come first; those of the file are split and lower-cased as texts are."""
    words = [".", "awful", "bad", "day", "fine", "good", "movie", "dreadful", "new_york", "superb"]
    assert fitted.vocabulary_.tokens[4:] == tuple(words)
    assert fitted.vocabulary_.counts[-4:] == (20, 0, 0, 0)
    names = small(fitted.vectors, tokenizer=str.split, epochs=1).fit(TEXTS, LABELS).vocabulary_
    assert {"New_York", "superb", "Superb", "Movie"} <= set(names)
    weight = fitted.network_.recurrent.embedding.weight
    vocabulary = fitted.vocabulary_
    assert not weight[[0, 1, 2, 3, vocabulary["."]]].any()
    assert weight[vocabulary["movie"]].tolist() == pytest.approx([0, 0.2, 0, 0])
    assert fitted.settings_["embedding_size"] == 4
    assert not weight.requires_grad


def test_the_vocabulary_is_limited(path, monkeypatch):
    """The first words of the file fill the room that the texts leave, rare ones too."""
    kept = small(path, max_vocab_size=12).fit(TEXTS, LABELS).vocabulary_
    assert kept.tokens[11:] == ("superb",)
    assert small(path, max_vocab_size=11).fit(TEXTS, LABELS).vocabulary_.counts[-1] > 0
    texts = [*TEXTS[:-2], "good rare fine", "unique superb bad"]
    rare = small(path, min_freq=2).fit(texts, LABELS).vocabulary_
    assert ("superb" in rare, "rare" in rare) == (True, False)
    assert rare.counts[rare.unk_id] == 2
    assert rare.counts[rare["superb"]] == 1
    monkeypatch.setattr("textrnn.estimator.vectors._MAX_MORE_WORDS", 1)
    assert "dreadful" not in small(path).fit(TEXTS, LABELS).vocabulary_


@pytest.mark.parametrize("weights", ["fp32", "fp16", "int8"])
@pytest.mark.parametrize("options", [{}, {"ngram_order": 0}, {"network": False}])
def test_a_saved_classifier_needs_no_file(path, tmp_path, weights, options):
    """It predicts the same after loading, with and without PyTorch; the vectors are there once."""
    file = tmp_path / "vectors.txt"
    shutil.copy(path, file)
    classifier = small(file, **options).fit(TEXTS, LABELS)
    classifier.save(tmp_path / "model", weights=weights)
    file.unlink()
    loaded = TextClassifier.load(tmp_path / "model", device="cpu")
    found = loaded.predict_proba(PROBE * 4)  # more texts are computed by PyTorch
    exact = weights == "fp32"
    np.testing.assert_allclose(
        found, classifier.predict_proba(PROBE * 4), atol=0 if exact else 0.05
    )
    light = runtime.load(tmp_path / "model")
    np.testing.assert_allclose(light.predict_proba(PROBE * 4), found, atol=1e-6)
    assert (loaded.vectors, loaded.data_) == (None, classifier.data_)
    assert loaded.data_["vectors"]["file"] == "vectors.txt"
    loaded.save(tmp_path / "again", weights=weights)
    assert str(tmp_path) not in (tmp_path / "again" / "training.json").read_text()
    card = (tmp_path / "model" / "README.md").read_text()
    alone = weights == "int8" and "network" in options
    assert ("The word vectors are 8-bit integers" in card) == alone
    if not options:
        assert loaded.network_.ngrams.vectors is loaded.network_.recurrent.embedding.weight


def test_copies_are_complete(fitted):
    """Copies predict the same; a clone has the parameter."""
    expected = fitted.predict_proba(PROBE)
    pickled = pickle.loads(pickle.dumps(fitted))  # noqa: S301 # made here
    for other in (pickled, copy.deepcopy(fitted)):
        np.testing.assert_allclose(other.predict_proba(PROBE), expected, atol=1e-7)
        assert other.network_.ngrams.vectors is other.network_.recurrent.embedding.weight
    assert clone(fitted).get_params() == fitted.get_params()
    assert clone(fitted).vectors == fitted.vectors


@pytest.mark.parametrize("spelling", [True, False])
def test_explanations_add_up(path, spelling):
    """Only the network's part, an integral, is approximate."""
    classifier = small(path, spelling=spelling).fit(TEXTS, LABELS)
    texts = [*PROBE, "superb superb superb bad day", "superb unheard bad"]
    explanations = classifier.explain(texts, "pos")
    probabilities = classifier.predict_proba(texts)
    for explanation, row in zip(explanations, probabilities, strict=True):
        assert abs(explanation.residual) < 1e-2
        assert explanation.probability == pytest.approx(row[1], abs=1e-5)
    words = classifier.explain(["superb dreadful"], "pos")[0].weights
    assert words[0] > 0.1
    assert words[1] < -0.1
    classifier.network_.scales[0] = 0.0
    assert (
        max(abs(each.residual) for each in classifier.explain(texts)) < 1e-5
    )  # of the linear part


def test_pretraining_keeps_the_vectors(path, fitted):
    """An encoder may be pretrained over vectors, which stay."""
    more = ["superb day", "dreadful day"] * 5
    found = small(path, pretrain_epochs=1).fit(TEXTS, LABELS, unlabelled=more)
    weight = found.network_.recurrent.embedding.weight
    row = weight[found.vocabulary_["superb"]].tolist()
    expected = fitted.network_.recurrent.embedding.weight[fitted.vocabulary_["superb"]]
    assert row == expected.tolist()


def test_training_goes_on_with_the_same_vectors(path, tmp_path):
    """Neither the file nor the parameter is needed then; another file is an error."""
    classifier = small(path, warm_start=True).fit(TEXTS, LABELS)
    before = classifier.network_.recurrent.embedding.weight.clone()
    for vectors in (path, None):
        classifier.set_params(vectors=vectors).fit(TEXTS[:8], LABELS[:8])
        assert classifier.settings_["embedding_size"] == 4
        assert classifier.data_["vectors"]["file"] == "glove.txt"
        assert (classifier.network_.recurrent.embedding.weight == before).all()
        assert classifier.network_.ngrams.vectors is classifier.network_.recurrent.embedding.weight
    rule = r"`vectors` to be None or 'glove\.txt', as in the earlier fit"
    with pytest.raises(InvalidValueError, match=rf"{rule}, but got 'other'"):
        classifier.set_params(vectors=tmp_path / "other").fit(TEXTS, LABELS)
    plain = small(None, warm_start=True).fit(TEXTS, LABELS)
    rule = r"`vectors` to be None where training continues \(warm_start\) without vectors"
    with pytest.raises(InvalidValueError, match=rf"{rule}, but got 'glove\.txt'"):
        plain.set_params(vectors=path).fit(TEXTS, LABELS)
    assert plain.predict(["good"]).tolist() == ["pos"]


def test_wrong_vectors_leave_the_classifier_as_it_was(path, tmp_path):
    """A missing or damaged file, another type and another size are errors."""
    classifier = small(None).fit(TEXTS, LABELS)
    damaged = tmp_path / "damaged.txt"
    damaged.write_text("good 1 2\nbad 1\n")
    wrong = [
        ({"vectors": tmp_path / "none"}, FileNotFoundError, "none"),
        ({"vectors": damaged}, CorruptFileError, r"damaged\.txt.*line 2 has 1 components"),
        ({"vectors": 3}, InvalidTypeError, "`vectors` to be the path of a file or None, but got 3"),
        (
            {"vectors": path, "embedding_size": 8},
            InvalidValueError,
            "`embedding_size` to be None or the dimension of the vectors, 4, but got 8",
        ),
    ]
    for params, error, message in wrong:
        with pytest.raises(error, match=message):
            clone(classifier).set_params(**params).fit(TEXTS, LABELS)
        with pytest.raises(error, match=message):
            classifier.set_params(**{"embedding_size": None, **params}).fit(TEXTS, LABELS)
        assert classifier.data_["vectors"] is None
    small(path, embedding_size=4, epochs=1).fit(TEXTS, LABELS)


def test_a_file_that_knows_few_words_gives_a_warning(tmp_path, fitted):
    """Coverage counts the words of the training texts, punctuation included."""
    assert fitted.data_["vectors"] == {
        "file": "glove.txt",
        "size": 4,
        "coverage": pytest.approx(6 / 7),
    }
    other = tmp_path / "other.txt"
    other.write_text("movie 1 2\nfilm 2 3\n")
    message = r"Only 14\.3% of the words of the training texts have a vector in other\.txt\."
    with pytest.warns(UserWarning, match=message) as caught:
        small(other, epochs=1).fit(TEXTS, LABELS)
    assert caught[0].filename == __file__


def test_the_card_names_the_vectors(fitted, tmp_path):
    """A reader sees the file and its coverage, not its folder."""
    fitted.save(tmp_path / "model")
    card = (tmp_path / "model" / "README.md").read_text()
    assert "character n-grams of words and the sum of their vectors, trained with the word" in card
    assert "of glove.txt, which were not changed, on 40 texts" in card
    assert "| words of the training texts that have a vector | 85.7% |" in card
    assert "trained from scratch" not in card


def test_the_command_line_reads_vectors(path, tmp_path, capsys):
    """`--vectors` trains with a file, `info` names it, and `--warm-start` goes on without it."""
    table, model = tmp_path / "train.csv", tmp_path / "model"
    rows = [f"{text},{label}" for text, label in zip(TEXTS, LABELS, strict=True)]
    table.write_text("text,label\n" + "\n".join(rows) + "\n")
    arguments = ["train", "--train", str(table), "--output", str(model), "--quiet", "--epochs", "1"]
    assert main([*arguments, "--hidden-size", "4", "--vectors", str(path)]) == 0
    assert main(["info", str(model)]) == 0
    assert "glove.txt, for 85.7% of the words of the training texts" in capsys.readouterr().out
    assert main([*arguments, "--warm-start", str(model)]) == 0
    facts = json.loads((model / "training.json").read_text())["data"]["vectors"]
    assert facts["file"] == "glove.txt"
    assert main([*arguments, "--vectors", str(tmp_path / "none")]) == 1
    assert "none: No such file" in capsys.readouterr().err
