"""Many pictures at once: folders and lists, bad ones named, a busy server asked again."""

import http.server
import json
import threading
from contextlib import contextmanager

import pytest
from click.testing import CliRunner

from deepperception.cli import cli
from deepperception.errors import InfrastructureError, InputError
from deepperception.serving.client import ask_server
from deepperception.serving.many import predict_many, read_tasks

from .conftest import picture
from .test_predict import OneReply


@pytest.fixture
def photos(tmp_path):
    """Two good pictures, one damaged, and a file that is none."""
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    (folder / "a.png").write_bytes(picture())
    (folder / "b.jpg").write_bytes(b"damaged")
    (folder / "more" / "c.PNG").write_bytes(picture(40, 80))
    (folder / "notes.txt").write_text("none")
    return folder


def names(tasks) -> list[tuple[str, str]]:
    return [(task.name, task.entity) for task in tasks]


def test_a_folder_is_all_its_pictures(photos):
    assert names(read_tasks(photos, "ant")) == [("a.png", "ant"), ("b.jpg", "ant"), ("more/c.PNG", "ant")]


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("list.csv", "image,entity\na.png,ant\nmore/c.PNG,\n"),
        ("list.csv", "\ufeffentity,image\nant,a.png\n,more/c.PNG\n"),
        ("list.jsonl", '{"image": "a.png", "entity": "ant"}\n\n{"image": "more/c.PNG"}\n'),
    ],
)
def test_a_list_names_pictures_beside_it(photos, file, content):
    (photos / file).write_text(content, encoding="utf-8")
    assert names(read_tasks(photos / file, "bee")) == [("a.png", "ant"), ("more/c.PNG", "bee")]


@pytest.mark.parametrize(
    ("file", "content", "says"),
    [
        ("list.csv", "image,entity\na.png,\n", "entry 1: there is no 'entity'"),
        ("list.csv", "picture,entity\na.png,ant\n", "entry 1: there is no 'image'"),
        ("list.csv", "", "no pictures in it"),
        ("list.jsonl", "{}\n", "entry 1: there is no 'image'"),
        ("list.jsonl", '{"image": "a.png", "entity": "x"}\n{\n', "line 2: this is not JSON"),
        ("list.jsonl", "[1]\n", "entry 1: there is no 'image'"),
        ("missing.csv", None, "no such file"),
    ],
)
def test_a_list_that_cannot_be_read_is_said(photos, file, content, says):
    if content is not None:
        (photos / file).write_text(content)
    with pytest.raises(InputError, match=says):
        read_tasks(photos / file, None)


def test_a_folder_needs_a_name_and_pictures(photos, tmp_path):
    with pytest.raises(InputError, match="give --entity"):
        read_tasks(photos, None)
    with pytest.raises(InputError, match="no pictures in it"):
        read_tasks(_empty(tmp_path), "ant")


def _empty(tmp_path):
    (tmp_path / "empty").mkdir()
    return tmp_path / "empty"


@pytest.mark.parametrize("where", ["folder", "server"])
def test_a_bad_picture_is_named_and_the_rest_goes_on(photos, checkpoint, tmp_path, request, where):
    model = str(checkpoint) if where == "folder" else request.getfixturevalue("server").url
    tasks, drawn = read_tasks(photos, "ant"), tmp_path / "drawn"
    results = list(predict_many(model, tasks, clients=2, draw=drawn, open_engine=OneReply()))
    assert [result.task.name for result in results] == ["a.png", "b.jpg", "more/c.PNG"]
    assert [result.prediction.box if result.prediction else None for result in results] == [
        (20, 4, 40, 36),
        None,
        (10, 8, 20, 72),
    ]
    assert "not a picture" in results[1].to_json()["error"]
    assert sorted(path.name for path in drawn.iterdir()) == ["00001-a.png", "00003-c.png"]


def test_the_command_prints_a_line_each_and_counts(server, photos, tmp_path):
    given = [
        "predict",
        "--model",
        server.url,
        "--image",
        str(photos),
        "--entity",
        "ant",
        "--draw",
        str(tmp_path / "out"),
    ]
    ended = CliRunner().invoke(cli, given)
    lines = [json.loads(line) for line in ended.stdout.splitlines()]
    assert [line["image"] for line in lines] == ["a.png", "b.jpg", "more/c.PNG"]
    assert ended.exit_code == 1, "not everything could be done"
    assert "2 predictions, 2 with a box" in ended.stderr
    assert "1 pictures could not be used" in ended.stderr


def test_without_a_server_the_first_failure_is_the_last(photos):
    with pytest.raises(InfrastructureError, match="no server answers"):
        list(predict_many("http://127.0.0.1:1", read_tasks(photos, "ant"), clients=1))


@contextmanager
def answering(*answers):
    """A server that gives these (status, headers, body) by turns; yields its URL and what it was asked."""
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["content-length"]))
            status, headers, body = answers[min(len(asked), len(answers) - 1)]
            asked.append(self.headers.get("authorization"))
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def log_message(self, *_):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


FOUND = (200, {}, {"predictions": [{"box": None, "box_1000": None, "reasoning": None, "text": "no"}]})
BUSY = (429, {"retry-after": "0"}, {"error": "busy."})


@pytest.mark.parametrize(
    ("answers", "retries", "attempts"),
    [
        ([BUSY, BUSY, FOUND], 5, 3),
        ([(503, {"retry-after": "0"}, {"error": "not ready."}), FOUND], 1, 2),
        ([FOUND], 0, 1),
    ],
)
def test_a_busy_server_is_asked_again(answers, retries, attempts):
    with answering(*answers) as (url, asked):
        assert ask_server(url, picture(), "ant", retries=retries, token="key").text == "no"
    assert asked == ["Bearer key"] * attempts


@pytest.mark.parametrize(
    ("answer", "retries", "attempts", "kind"),
    [
        (BUSY, 2, 3, InfrastructureError),
        ((401, {}, {"error": "a token, please."}), 5, 1, InputError),
        ((422, {}, {"error": "empty."}), 5, 1, InputError),
        ((500, {}, {"error": "failed."}), 5, 1, InfrastructureError),
    ],
)
def test_not_forever_and_not_where_it_is_no_use(answer, retries, attempts, kind):
    with answering(answer) as (url, asked), pytest.raises(kind, match=f"answered {answer[0]}"):
        ask_server(url, picture(), "ant", retries=retries)
    assert len(asked) == attempts
