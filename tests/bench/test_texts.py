import itertools

from publican.bench import texts


def test_the_same_key_is_the_same_text():
    assert texts.card("a", 400) == texts.card("a", 400)
    assert texts.message("a") == texts.message("a")


def test_other_keys_have_nothing_in_common():
    first, second = texts.card("a", 400, 0), texts.card("b", 400, 1)
    assert first.split()[0] != second.split()[0]
    sentences = [set(text.split(". ")[1:]) for text in (first, second)]
    assert not sentences[0] & sentences[1]


def test_openings_are_all_different_and_the_first_seventy_in_their_first_word():
    openings = [texts.opening(i) for i in range(2_500)]
    assert len(set(openings)) == 2_500
    assert len({opening.split()[0] for opening in openings[:70]}) == 70


def test_length_follows_what_is_asked_for():
    lengths = [len(texts.card("a", n).split()) for n in (50, 100, 400, 4_000)]
    assert all(b > a for a, b in itertools.pairwise(lengths))
    assert 4_000 / 1.3 < lengths[-1] < 4_000


def test_questions_are_whole_sentences():
    for i in range(50):
        question = texts.message(str(i))
        assert question[-1] in "?."
        assert "{" not in question
        assert len(question.split()) < 12
