"""The stage: from a benchmark and a model, or a file of replies, to an evaluation folder."""

import dataclasses
import io
import itertools
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from deepperception.artifacts import read_cases, read_manifest, read_metrics
from deepperception.artifacts.datasets import read_rows, rows_or_faults, write_rows
from deepperception.errors import InputError
from deepperception.evaluation.config import EvaluationConfig
from deepperception.evaluation.run import evaluate_model, evaluate_predictions
from deepperception.inference.engine import Decoding
from deepperception.settings import parse

from .conftest import MadeUpModel, make_checkpoint, make_context, make_sample

CASES = 48


@pytest.fixture
def checkpoint(tmp_path):
    return make_checkpoint(tmp_path / "model")


@pytest.fixture
def evaluate(benchmark, checkpoint, tmp_path):
    def run(config=None, *, model=None, folder=checkpoint, out="out", log=None, **options):
        model = model or MadeUpModel(benchmark, seen=0.8, unseen=0.5)
        config = config or EvaluationConfig()
        context = make_context(log)
        return evaluate_model(config, benchmark, folder, tmp_path / out, context, open_engine=model, **options), model

    return run


def test_the_folder_says_what_was_scored_and_how(evaluate, benchmark, tmp_path):
    manifest, _ = evaluate()
    result = read_metrics(tmp_path / "out")
    cases = read_cases(tmp_path / "out")
    assert [case.question_id for case in cases] == [sample.question_id for sample in read_rows(benchmark)]
    assert sum(case.correct for case in cases) == result["official"]["all"]["correct"]
    assert 0.2 < result["official"]["all"]["accuracy"] < 0.9
    assert result["benchmark"]["file"] == "test.parquet"
    assert result["benchmark"]["digest"].startswith("sha256:")
    assert result["benchmark"]["cases"] == CASES
    assert result["backend"] == {
        "engine": "made-up",
        "version": "1.0",
        "dtype": "float32",
        "prompt": "r1",
        "decoding": {"max_new_tokens": 77, "temperature": 0.0, "samples": 1, "seed": 0},
        "max_pixels": 12_544,
    }
    assert manifest.kind == "evaluation"
    assert set(manifest.inputs) == {"benchmark", "model"}


def test_the_interface_file_decides_unless_the_recipe_does(evaluate):
    _, model = evaluate()
    assert model.decodings == {Decoding(max_new_tokens=77)}
    assert model.opened_with["max_pixels"] == 12_544
    assert "Output the thinking process" in model.texts[0]

    manifest, model = evaluate(EvaluationConfig(prompt="bare", max_new_tokens=9, max_pixels=50_176), out="other")
    assert model.decodings == {Decoding(max_new_tokens=9)}
    assert model.texts[0].endswith("<|object_ref_end|>")
    assert model.opened_with["max_pixels"] == manifest.backend["max_pixels"] == 50_176


def test_rows_are_read_as_the_engine_draws_them(evaluate, benchmark, monkeypatch):
    read = [0]

    def counted(path, **options):
        for row in rows_or_faults(path, **options):
            read[0] += 1
            yield row

    class FiveAtATime(MadeUpModel):
        most_ahead = 0

        def generate(self, requests, decoding):
            answered = 0
            source = iter(requests)
            while some := list(itertools.islice(source, 5)):
                for replies in super().generate(some, decoding):
                    self.most_ahead = max(self.most_ahead, read[0] - answered)
                    answered += 1
                    yield replies

    monkeypatch.setattr("deepperception.evaluation.run.rows_or_faults", counted)
    _, model = evaluate(model=FiveAtATime(benchmark, seen=1, unseen=1))
    assert sum(model.calls) == CASES
    assert model.most_ahead == 5, "no row is read before the engine wants it"


def test_the_same_twice_is_one_evaluation_and_two_equal_ones(evaluate):
    first, _ = evaluate()
    again, idle = evaluate()
    assert again == first
    assert idle.calls == []
    elsewhere, _ = evaluate(EvaluationConfig(batch_size=7), out="elsewhere")
    assert elsewhere.digest == first.digest


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"config": EvaluationConfig(max_new_tokens=5)}, "decoding"),
        ({"config": EvaluationConfig(prompt="bare")}, "prompt"),
        ({"config": EvaluationConfig(max_pixels=50_176)}, "size of pictures"),
        ({"backend": {"engine": "made-up", "version": "1.0", "dtype": "bfloat16"}}, "number format"),
        ({"backend": {"engine": "made-up", "version": "1.1", "dtype": "float32"}}, "version"),
        ({"seen": ["stars"]}, "what counts as seen"),
    ],
)
def test_what_changes_the_scores_makes_them_again(evaluate, change, why):
    evaluate()
    _, model = evaluate(**change)
    assert model.calls, why


def test_another_model_makes_them_again(evaluate, checkpoint):
    evaluate()
    (checkpoint / "generation_config.json").write_text("{}")
    _, model = evaluate()
    assert model.calls


def test_a_real_checkpoint_is_scored_again_where_another_backend_awaits_it(
    random_checkpoint, benchmark, tmp_path, monkeypatch
):
    def score():
        log = io.StringIO()
        config = EvaluationConfig(max_new_tokens=1)
        evaluate_model(config, benchmark, random_checkpoint, tmp_path / "out", make_context(log))
        return log.getvalue()

    score()
    assert "reusing" in score()
    there = {"engine": "transformers", "version": "0.0", "dtype": "bfloat16"}
    monkeypatch.setattr("deepperception.inference.open.transformers_backend", lambda: there)
    assert "made again" in score()


def test_a_picture_that_cannot_be_read_is_wrong_counted_and_named(random_checkpoint, tmp_path):
    path = tmp_path / "kvg.parquet"
    samples = [make_sample(number, "fish") for number in range(4)]
    samples[2] = dataclasses.replace(samples[2], image=b"no picture")
    write_rows(path, samples)
    log = io.StringIO()
    config = EvaluationConfig(max_new_tokens=1)
    evaluate_model(config, path, random_checkpoint, tmp_path / "out", make_context(log))
    about = read_metrics(tmp_path / "out")["benchmark"]
    assert (about["cases"], about["left_out"], about["unreadable_pictures"]) == (4, 0, 1)
    (fault,) = about["faults"]
    assert "kvg.parquet, question_id 'fish/2': this is not a picture" in fault
    assert fault in log.getvalue()
    case = read_cases(tmp_path / "out")[2]
    assert (case.correct, case.form) == (False, "missing")


def rewritten(path, out, **columns):
    """The benchmark with some cells changed: column -> {row from 0: value}; a column of None is dropped."""
    table = pq.read_table(path)
    for name, cells in columns.items():
        place = table.schema.get_field_index(name)
        if cells is None:
            table = table.remove_column(place)
            continue
        values = [cells.get(row, value) for row, value in enumerate(table.column(name).to_pylist())]
        table = table.set_column(place, name, pa.array(values, table.schema.field(name).type))
    pq.write_table(table, out)
    return out


@pytest.mark.parametrize(
    ("column", "value", "why"),
    [
        ("answer", "the left one", "the answer 'the left one' holds no box"),
        ("answer", "<|box_start|>(1,2),(3,1004)<|box_end|>", "leaves the frame"),
        ("answer", "<|box_start|>(9,2),(3,4)<|box_end|>", "is reversed or empty"),
        ("answer", None, "the column 'answer' is empty"),
        ("question_id", None, "the column 'question_id' is empty"),
        ("objects", [{"entity": "kite", "box": [0.0, float("nan"), 5.0, 5.0]}], "leaves the frame"),
    ],
)
@pytest.mark.parametrize("given", [True, False])
def test_a_row_that_cannot_be_scored_is_left_out_counted_and_named(
    benchmark, checkpoint, tmp_path, column, value, why, given
):
    bad = rewritten(benchmark, tmp_path / "bad.parquet", **{column: {2: value}})
    log = io.StringIO()
    if given:
        rows = [row for row in replies(benchmark) if row["question_id"] != "blobs/2"]
        path = write_predictions(tmp_path / "predictions.jsonl", rows)
        evaluate_predictions(bad, path, tmp_path / "out", make_context(log))
    else:
        model = MadeUpModel(benchmark, seen=0.8, unseen=0.5)
        evaluate_model(EvaluationConfig(), bad, checkpoint, tmp_path / "out", make_context(log), open_engine=model)
    about = read_metrics(tmp_path / "out")["benchmark"]
    assert (about["cases"], about["left_out"]) == (CASES - 1, 1)
    assert "bad.parquet, row 3: " in about["faults"][0] and why in about["faults"][0]
    assert "1 rows of the benchmark left out: " in log.getvalue()


def test_where_no_row_can_be_scored_there_is_no_score(benchmark, checkpoint, tmp_path):
    bad = rewritten(benchmark, tmp_path / "bad.parquet", answer=dict.fromkeys(range(CASES), "nowhere"))
    for column, says in (
        (None, r"no row can be scored \(.*row 1: the answer 'nowhere' holds no box"),
        ("image", "'image'"),
    ):
        path = rewritten(bad, tmp_path / "worse.parquet", **({column: None} if column else {}))
        model = MadeUpModel(benchmark, seen=1, unseen=1)
        with pytest.raises(InputError, match=says):
            evaluate_model(EvaluationConfig(), path, checkpoint, tmp_path / "out", make_context(), open_engine=model)
        assert not (tmp_path / "out").exists()


def test_progress_tells_the_running_accuracy(evaluate):
    log = io.StringIO()
    manifest, _ = evaluate(log=log)
    last = [line for line in log.getvalue().splitlines() if "scoring test" in line][-1]
    assert last == f"test: scoring test: {CASES}/{CASES}, 0 s left accuracy {manifest.metrics['all']:.3f}"


def test_seen_can_be_said(evaluate, tmp_path):
    evaluate(seen=["stars"])
    scores = read_metrics(tmp_path / "out")["official"]
    assert (scores["seen"]["cases"], scores["unseen"]["cases"]) == (8, 40)


def test_a_folder_that_is_no_checkpoint_is_refused(evaluate, tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        evaluate(folder=tmp_path / "nowhere")


def test_a_benchmark_needs_rows_of_different_ids(checkpoint, tmp_path):
    for name, rows, says in (
        (
            "twice",
            [make_sample(1, "fish"), make_sample(2, "fish"), make_sample(1, "fish")],
            "row 3: .*'fish/1'.* row 1",
        ),
        ("empty", [], "no rows"),
    ):
        path = tmp_path / f"{name}.parquet"
        write_rows(path, rows)
        engine = MadeUpModel(path, seen=1, unseen=1)
        with pytest.raises(InputError, match=says):
            evaluate_model(EvaluationConfig(), path, checkpoint, tmp_path / name, make_context(), open_engine=engine)
        assert not (tmp_path / name).exists()


def write_predictions(path, rows):
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows) + "\n")
    return path


def replies(benchmark):
    model = MadeUpModel(benchmark, seen=0.8, unseen=0.5)
    return [{"question_id": sample.question_id, "text": model.reply(sample)} for sample in read_rows(benchmark)]


def test_replies_from_a_file_score_as_the_model_that_made_them(evaluate, benchmark, tmp_path):
    evaluate()
    path = write_predictions(tmp_path / "predictions.jsonl", reversed(replies(benchmark)))
    evaluate_predictions(benchmark, path, tmp_path / "scored", make_context())
    assert read_cases(tmp_path / "scored") == read_cases(tmp_path / "out")
    result = read_metrics(tmp_path / "scored")
    assert result["predictions"] == {
        "rows": CASES,
        "missing": 0,
        "missing_ids": [],
        "unknown": 0,
        "unknown_ids": [],
        "repeated": 0,
    }
    assert result["backend"]["engine"] == "predictions"
    assert read_manifest(tmp_path / "scored").kind == "evaluation"


def test_a_missing_reply_is_wrong_counted_and_named(benchmark, tmp_path):
    rows = [row for row in replies(benchmark) if row["question_id"] not in ("fish/3", "stars/0")]
    log = io.StringIO()
    path = write_predictions(tmp_path / "predictions.jsonl", rows)
    evaluate_predictions(benchmark, path, tmp_path / "out", make_context(log))
    result = read_metrics(tmp_path / "out")
    assert result["official"]["all"]["cases"] == CASES
    given = result["predictions"]
    assert (given["rows"], given["missing"], given["missing_ids"]) == (46, 2, ["fish/3", "stars/0"])
    assert result["robust"]["forms"]["missing"] == 2
    assert "no reply to 2 of the questions, counted as wrong: fish/3, stars/0" in log.getvalue()


GOOD = {"question_id": "fish/0", "text": "x"}
OTHER = GOOD | {"text": "y"}


def test_replies_that_nobody_asked_for_and_repeats_are_counted_and_named(benchmark, tmp_path):
    rows = [*replies(benchmark), {"question_id": "cow/1", "text": ""}]
    rows.append(rows[0])
    log = io.StringIO()
    path = write_predictions(tmp_path / "predictions.jsonl", rows)
    evaluate_predictions(benchmark, path, tmp_path / "out", make_context(log))
    given = read_metrics(tmp_path / "out")["predictions"]
    assert (given["missing"], given["unknown"], given["repeated"]) == (0, 1, 1)
    assert given["unknown_ids"] == [f"{path}, row {CASES + 1}, question_id 'cow/1'"]
    assert "1 replies to questions that the benchmark has not, left out: " in log.getvalue()


def test_half_a_character_spoils_no_file(benchmark, tmp_path):
    path = write_predictions(
        tmp_path / "predictions.jsonl", ['{"question_id": "fish/0", "text": "\\ud800(1,2),(3,4)"}']
    )
    evaluate_predictions(benchmark, path, tmp_path / "out", make_context())
    assert [case.text for case in read_cases(tmp_path / "out") if case.text] == ["\ufffd(1,2),(3,4)"]


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([GOOD, {"question_id": "fish/1", "text": ""}, OTHER, OTHER], r"row 3: .*'fish/0'.* in row 1 already"),
        ([GOOD | {"text": float("nan")}], "row 1: 'text' is NaN"),
        (["{"], "row 1: this is not JSON"),
        ([GOOD, "", "[]"], "row 3: this is no object"),
        ([GOOD, "[" * 100_000], "row 2: this is not JSON"),
        ([{"question_id": "fish/0"}], "row 1: 'text' is missing"),
        ([{"question_id": "fish/0", "text": None}], "row 1: 'text' is null"),
        ([{"question_id": 5, "text": "x"}], "row 1: 'question_id' is 5"),
    ],
)
def test_rows_that_cannot_be_scored_are_named(benchmark, tmp_path, rows, says):
    path = write_predictions(tmp_path / "predictions.jsonl", rows)
    with pytest.raises(InputError, match=rf"predictions\.jsonl, {says}"):
        evaluate_predictions(benchmark, path, tmp_path / "out", make_context())
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("rows", [[], [{"question_id": f"cow/{n}", "text": ""} for n in range(7)]])
def test_replies_to_another_benchmark_are_no_score(benchmark, tmp_path, rows):
    path = write_predictions(tmp_path / "predictions.jsonl", rows)
    with pytest.raises(InputError, match=r"predictions\.jsonl: no row answers any of the 48 questions \("):
        evaluate_predictions(benchmark, path, tmp_path / "out", make_context())
    assert not (tmp_path / "out").exists()


def test_line_breaks_inside_a_reply_end_no_row(benchmark, tmp_path):
    rows = [json.dumps({"question_id": "fish/0", "text": "a\u2028b\x85c"}, ensure_ascii=False)]
    path = write_predictions(tmp_path / "predictions.jsonl", rows)
    evaluate_predictions(benchmark, path, tmp_path / "out", make_context())
    assert [case.text for case in read_cases(tmp_path / "out") if case.text] == ["a\u2028b\x85c"]


def test_a_file_that_cannot_be_read_is_said(benchmark, tmp_path):
    with pytest.raises(InputError, match=r"nowhere\.jsonl: cannot be read"):
        evaluate_predictions(benchmark, tmp_path / "nowhere.jsonl", tmp_path / "out", make_context())


class Talkative(MadeUpModel):
    """Replies as often as it is asked to, and remembers how."""

    def generate(self, requests, decoding):
        self.asked = getattr(self, "asked", [])
        for request in requests:
            self.asked.append((request, decoding))
            (replies,) = super().generate([request], decoding)
            yield replies + ["nothing"] * (decoding.samples - 1)


def test_several_replies_are_drawn_scored_and_read_back(evaluate, benchmark, tmp_path):
    drawn = EvaluationConfig(temperature=0.7, samples=3, sampling_seed=5, batch_size=20)
    manifest, model = evaluate(drawn, model=Talkative(benchmark, seen=1, unseen=1))
    assert manifest.backend["decoding"] == {"max_new_tokens": 77, "temperature": 0.7, "samples": 3, "seed": 5}
    assert len({request.seed for request, _ in model.asked}) == CASES, "each question has chances of its own"
    case = read_cases(tmp_path / "out")[0]
    assert [other.text for other in case.others] == ["nothing", "nothing"]
    assert case.right_replies == 1
    sampled = read_metrics(tmp_path / "out")["sampled"]["all"]
    assert (sampled["accuracy"], sampled["pass_at"]["3"]) == (pytest.approx(1 / 3), 1)
    again = Talkative(benchmark, seen=1, unseen=1)
    evaluate(drawn.model_copy(update={"batch_size": 7}), model=again, out="again")
    seeds = [{request.text: request.seed for request, _ in each.asked} for each in (model, again)]
    assert seeds[0] == seeds[1], "which do not depend on how many are asked at once"


def test_a_description_comes_first_where_the_prompt_wants_one(evaluate, benchmark, tmp_path):
    _, model = evaluate(EvaluationConfig(prompt="cot-kvg"), model=Talkative(benchmark, seen=1, unseen=1))
    asked_at = next(place for place, (request, _) in enumerate(model.asked) if request.before)
    described, asked = model.asked[0][0], model.asked[asked_at][0]
    assert described.before == () and described.text.startswith("Which object in this image is")
    ((question, reply),) = asked.before
    assert question == described.text
    assert asked.text.startswith("Based on the description") and asked.image == described.image
    case = read_cases(tmp_path / "out")[0]
    assert case.description == reply
    assert case.correct


def test_the_same_reply_several_times_is_refused():
    with pytest.raises(InputError, match="need a temperature above 0"):
        parse({"samples": 2}, EvaluationConfig, where="evaluate")
