"""Company for a picture: look-alikes preferred where a table knows them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from random import Random

import pytest

from deepperception.errors import InputError
from deepperception.synthesis.config import LookAlikeConfig
from deepperception.synthesis.look_alikes import LookAlikes, read_look_alikes

ENTITIES = ["crow", "raven", "owl", "heron", "stork"]
TABLE = "entity,other,similarity\ncrow,raven,1\nstork,heron,0.9\n"


def table(folder: Path, text: str = TABLE, preference: float = 0.8) -> LookAlikes:
    (folder / "alike.csv").write_text(text)
    read = read_look_alikes(LookAlikeConfig(path=folder / "alike.csv", preference=preference))
    assert read is not None
    return read


def pairs(look_alikes: LookAlikes, times: int = 600) -> Counter[frozenset[str]]:
    return Counter(frozenset(look_alikes.choose(ENTITIES, 2, Random(seed))) for seed in range(times))


def test_look_alikes_stand_together_more_often(tmp_path: Path) -> None:
    preferred, even = pairs(table(tmp_path)), pairs(table(tmp_path, preference=0))
    crows, herons = frozenset(("crow", "raven")), frozenset(("heron", "stork"))
    assert preferred[crows] > 2 * even[crows] and preferred[herons] > 2 * even[herons]
    assert len(preferred) == len(even) == 10, "every pair is still drawn at times"


def test_with_full_preference_only_look_alikes_are_drawn_where_there_are_any(tmp_path: Path) -> None:
    found = pairs(table(tmp_path, preference=1))
    assert set(found) == {frozenset(("crow", "raven")), frozenset(("heron", "stork"))} | {
        frozenset(("owl", other)) for other in ENTITIES if other != "owl"
    }


def test_all_are_different_and_the_same_seed_draws_the_same(tmp_path: Path) -> None:
    look_alikes = table(tmp_path, preference=1)
    for seed in range(50):
        drawn = look_alikes.choose(ENTITIES, 5, Random(seed))
        assert sorted(drawn) == sorted(ENTITIES)
        assert look_alikes.choose(ENTITIES, 5, Random(seed)) == drawn
    assert len({look_alikes.choose(ENTITIES, 5, Random(seed))[0] for seed in range(50)}) == 5, "in any order"


@pytest.mark.parametrize(
    "text, told",
    [
        ("entity,other\ncrow,raven\n", "the column 'similarity' is missing"),
        (TABLE.replace("0.9", "1.9"), "line 3: the similarity should be a number from 0 to 1 and is '1.9'"),
        (TABLE.replace("0.9", "much"), "line 3: the similarity should be a number from 0 to 1 and is 'much'"),
    ],
)
def test_a_faulty_table_is_told_with_its_line(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(InputError, match=told):
        table(tmp_path, text)


def test_no_table_is_no_preference() -> None:
    assert read_look_alikes(LookAlikeConfig()) is None
