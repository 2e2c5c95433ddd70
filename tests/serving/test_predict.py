"""One prediction, from a folder and from a server, and the picture that shows it."""

import re
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest
from PIL import Image

from deepperception.errors import InfrastructureError, InputError
from deepperception.serving.finder import Prediction
from deepperception.serving.predict import predict
from deepperception.serving.server import claim_port

from .conftest import picture

REPLY = "<think>long ears</think><answer> raccoon(250,100),(500,900) </answer>"


class OneReply:
    """Opened like an engine; says one thing and keeps what it was asked."""

    def __init__(self, reply=REPLY):
        self.reply, self.asked, self.max_pixels, self.backend = reply, [], None, {"engine": "scripted"}

    def __call__(self, folder, *, max_pixels):
        self.max_pixels = max_pixels
        return self

    def generate(self, requests, decoding):
        for request in requests:
            self.asked.append((request.text, decoding))
            yield [self.reply]


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    path.write_bytes(picture(80, 40))
    return path


def test_a_folder_is_asked_as_its_interface_file_says(checkpoint, photo):
    engine = OneReply()
    prediction = predict(str(checkpoint), photo, "raccoon", open_engine=engine)
    assert prediction == Prediction((20, 4, 40, 36), (250, 100, 500, 900), "long ears", REPLY)
    assert engine.max_pixels == 12_544
    ((text, decoding),) = engine.asked
    assert "<|object_ref_start|>raccoon<|object_ref_end|>  Output" in text
    assert (decoding.max_new_tokens, decoding.temperature, decoding.samples) == (77, 0.0, 1)


@pytest.mark.parametrize("suffix", ["", "/", "/v1/models/deepperception:predict"])
def test_a_server_is_named_by_its_root_or_its_whole_address(server, photo, suffix):
    prediction = predict(server.url + suffix, photo, "Boeing 777")
    assert prediction.box == (20, 4, 40, 36)
    assert prediction.box_1000 == (250, 100, 500, 900)
    assert prediction.reasoning.startswith("call ")


def test_a_refusal_of_the_server_is_the_users_error_with_its_sentence(server, photo):
    photo.write_bytes(picture(1_001, 1_000))
    with pytest.raises(InputError, match=r"answered 413: instance 0: .*1,000,000 pixels"):
        predict(server.url, photo, "ant")


def test_a_failure_of_the_server_is_not_the_users(server, photo):
    with pytest.raises(InfrastructureError, match="answered 500"):
        predict(server.url, photo, "crash")


def test_no_server_is_said(photo):
    url = f"http://127.0.0.1:{claim_port('127.0.0.1', 0)}"
    with pytest.raises(InfrastructureError, match=f"{re.escape(url)}.*no server answers"):
        predict(url, photo, "ant")


@pytest.mark.parametrize(
    "url",
    [
        *("http://localhost:abc", "http://localhost:99999", "http://localhost:0", "http://[::1", "http://"),
        *("http://a b:8080", "http://a/b c", "http://a/\u00e9", "http://a..b"),
    ],
)
def test_what_is_no_address_is_the_users_error(photo, url):
    with pytest.raises(InputError, match=f"^{re.escape(repr(url))}: this is no address of a server"):
        predict(url, photo, "ant")


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n", "another protocol"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 90\r\n\r\n{", "cut off"),
        (b"HTTP/1.1 200 OK\r\n\r\n\xff", "no JSON"),
        (b'HTTP/1.1 200 OK\r\n\r\n{"predictions": []}', "another answer"),
    ],
)
def test_what_answers_like_no_server_is_said(photo, reply, why):
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as pool:

        def answer():
            connection, _ = listener.accept()
            with connection:
                connection.sendall(reply)
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(1 << 16):  # closed with data unread, it would be reset
                    pass

        pool.submit(answer)
        with pytest.raises(InfrastructureError, match="the answer is none of a deepperception server"):
            predict(f"http://127.0.0.1:{listener.getsockname()[1]}", photo, "ant")


def test_the_drawing_shows_the_box_enlarged(checkpoint, photo, tmp_path):
    out = tmp_path / "drawn.png"
    predict(str(checkpoint), photo, "raccoon", draw=out, open_engine=OneReply())
    with Image.open(out) as drawn:
        assert drawn.size == (480, 240)
        # The left side of the box, at 20 of 80 pixels; below it the picture's own colour.
        assert drawn.getpixel((121, 150)) != drawn.getpixel((300, 230)) == (46, 139, 87)


def test_without_a_box_the_picture_is_written_alone(checkpoint, photo, tmp_path):
    out = tmp_path / "drawn.png"
    assert predict(str(checkpoint), photo, "raccoon", draw=out, open_engine=OneReply("nothing there")).box is None
    with Image.open(out) as drawn:
        assert drawn.getcolors() == [(480 * 240, (46, 139, 87))]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"image": "missing.png"}, "no such file"),
        ({"entity": ""}, "empty"),
        ({"draw": "out.txt"}, "written as .png"),
        ({"draw": "photo.png/out.png"}, "cannot be written|not be written|Not a directory"),
        ({"model": "nowhere"}, "no such folder"),
    ],
)
def test_bad_arguments_get_one_sentence(checkpoint, photo, change, says):
    given = {"model": str(checkpoint), "image": photo.name, "entity": "ant", "draw": None} | change
    draw = photo.parent / given["draw"] if given["draw"] else None
    with pytest.raises(InputError, match=says):
        predict(given["model"], photo.parent / given["image"], given["entity"], draw=draw, open_engine=OneReply())
