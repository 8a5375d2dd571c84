from __future__ import annotations

from t2i_starter import Settings, t2i_models
from t2i_starter.source import Plates
from t2icli.pictures.vocabulary import unknown


def test_every_caption_is_made_of_known_words() -> None:
    (known, *_) = {source.words for source in t2i_models()}
    assert known is not None
    plates = Plates(Settings(things=0.3))
    captions = [caption for at in range(1000) for caption in plates.invented(at).captions]
    assert [(caption, words) for caption in captions if (words := unknown(caption, known()))] == []


def test_what_is_no_plate_is_not_known() -> None:
    known = t2i_models()[0].words
    assert known is not None
    assert unknown("sunset over the sea", known()) == ["sunset", "over"]
    assert unknown("山间的湖", known()) == ["山间", "湖"]
