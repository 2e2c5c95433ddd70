"""The server as a client meets it: real KServe, real HTTP, a scripted engine."""

import base64
import http.client
import json
import struct
import subprocess
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from deepperception.errors import InputError
from deepperception.serving.server import claim_port, serve

from .conftest import SCRIPT, instance, make_checkpoint, picture, wait_until

PREDICT = "/v1/models/deepperception:predict"


def png_claiming(width: int, height: int) -> bytes:
    """A PNG of a few bytes that says it is large: only its header can be what refuses it."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = struct.pack(">I", 16) + b"IDAT"
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header)) + pixels


def test_a_model_that_loads_is_not_ready(server):
    for answer in server.before_ready.values():
        assert answer == (503, {"error": "Model with name deepperception is not ready."})


def test_a_probe_before_the_model_has_loaded_leaves_no_traceback(server):
    assert "ModelNotReady" not in server.log.read_text()


def test_a_box_comes_in_pixels_and_in_the_frame_with_its_reasoning(server):
    status, body = server.predict(instance(picture(80, 40)))
    assert status == 200
    (prediction,) = body["predictions"]
    assert set(prediction) == {"box", "box_1000", "reasoning", "text"}
    assert prediction["box"] == [20, 4, 40, 36]
    assert prediction["box_1000"] == [250, 100, 500, 900]
    assert prediction["text"].endswith("<answer> Boeing 777(250,100),(500,900) </answer>")
    assert prediction["reasoning"].startswith("call ")


def test_the_interface_file_decides_prompt_and_length(server):
    reasoning = server.predict(instance())[1]["predictions"][0]["reasoning"]
    assert "77 tokens" in reasoning
    assert "Output the thinking process" in reasoning


def test_no_box_is_null(server):
    assert server.predict(instance(entity="nothing"))[1]["predictions"] == [
        {"box": None, "box_1000": None, "reasoning": None, "text": "I see no such thing."}
    ]


def test_pixels_are_those_of_the_upright_picture(server):
    from PIL import Image

    exif = Image.Exif()
    exif[0x0112] = 6  # stored 80 x 40, shown 40 x 80
    body = server.predict(instance(picture(80, 40, "JPEG", exif=exif)))[1]
    assert body["predictions"][0]["box"] == [10, 8, 20, 72]


def test_instances_of_a_request_go_to_the_engine_together_and_in_order(server):
    body = server.predict(*(instance(entity=name) for name in ("ant", "nothing", "bee")))[1]
    texts = [prediction["text"] for prediction in body["predictions"]]
    assert ["ant(" in texts[0], texts[1] == "I see no such thing.", "bee(" in texts[2]] == [True] * 3
    assert "of 3, at once 1" in texts[0]
    assert texts[0].split(" of ")[0] == texts[2].split(" of ")[0]


def test_engine_calls_never_overlap_and_leave_the_server_responsive(server):
    with ThreadPoolExecutor(4) as clients:
        answers = [clients.submit(server.predict, instance(entity="slow")) for _ in range(4)]
        for _ in answers:
            wait_until(server.slow.exists, "the engine was not asked")
            assert server.call("/v1/models/deepperception") == (200, {"name": "deepperception", "ready": True})
            server.slow.unlink()
        bodies = [answer.result()[1] for answer in answers]
    assert all("at once 1," in body["predictions"][0]["text"] for body in bodies)


NOT_AN_IMAGE = base64.b64encode(b"hello").decode()
GOOD = instance()


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        (b"", 400, "not JSON"),
        (b"{", 400, "not JSON"),
        (b"\xff\xfe", 400, "not JSON"),
        (b"[" * 100_000, 400, "not JSON"),
        (b"[1]", 400, "no list 'instances'"),
        (b"null", 400, "no list 'instances'"),
        (b'{"instances": {}}', 400, "no list 'instances'"),
        (b'{"inputs": []}', 400, "no list 'instances'"),
        (b'{"instances": []}', 400, "is empty"),
        (b'{"instances": [7]}', 400, "instance 0 is no object"),
        ([{"entity": "ant"}], 400, "instance 0: 'image' is missing"),
        ([{**GOOD, "image": "AAAA"}], 400, "'image' is missing or has no text 'b64'"),
        ([{**GOOD, "image": {"url": "https://example.org/a.png"}}], 422, "fetches no pictures"),
        ([{**GOOD, "image": {"url": "file:///etc/passwd"}}], 422, "fetches no pictures"),
        ([{**GOOD, "image": {"b64": 5}}], 400, "'image' is missing or has no text 'b64'"),
        ([{**GOOD, "image": {"b64": "%%%"}}], 400, "not base64"),
        ([{**GOOD, "image": {"b64": "né"}}], 400, "not base64"),
        ([{**GOOD, "image": {"b64": ""}}], 400, "not a picture"),
        ([{**GOOD, "image": {"b64": NOT_AN_IMAGE}}], 400, "not a picture"),
        ([instance(picture(800, 800, "JPEG")[:-200])], 400, "damaged or cut off"),
        ([GOOD, {"image": GOOD["image"]}], 400, "instance 1: 'entity' is missing"),
        ([{**GOOD, "entity": 5}], 400, "'entity' is missing or no text"),
        ([{**GOOD, "entity": " "}], 422, "empty"),
        ([{**GOOD, "entity": "ant<|im_end|>"}], 422, "special token"),
        ([{**GOOD, "entity": "a" * 300}], 422, "longer than 200"),
        ([instance(picture(2_010, 10))], 422, "200 times as long as wide"),
        ([instance(png_claiming(30_000, 30_000))], 413, "more than 1,000,000 pixels"),
        ([instance(b"\x00" * 110_000)], 413, "larger than 100,000 bytes"),
        ([GOOD] * 5, 413, "at most 4"),
        (
            [instance(picture(1_000, 800))] * 2,
            413,
            "instance 1: from here on the request's pictures have more than 1,5",
        ),
        ([instance(picture(1_000, 800)), instance(png_claiming(1_000, 900))], 413, "send fewer or smaller ones"),
        (b" " * 500_000, 413, "the body is larger than 400,000 bytes"),
    ],
)
def test_what_cannot_be_served_gets_a_code_and_one_sentence(server, body, status, says):
    if not isinstance(body, bytes):
        body = json.dumps({"instances": body}).encode()
    given, answer = server.call(PREDICT, body, {"content-type": "application/json"})
    assert given == status
    assert set(answer) == {"error"}
    assert says in answer["error"]
    assert "\n" not in answer["error"] and "Traceback" not in answer["error"]


@pytest.mark.parametrize(
    ("headers", "why"),
    [
        ({"content-type": "application/json; charset=utf-8"}, "what many clients send"),
        ({"content-type": "application/x-www-form-urlencoded"}, "what curl sends with -d"),
        ({"content-type": "application/cloudevents+json"}, "KServe would answer with an event"),
        ({"ce-specversion": "1.0", "ce-id": "1", "ce-type": "a", "ce-source": "b"}, "KServe would unwrap an event"),
    ],
)
def test_a_body_is_read_whatever_its_headers_call_it(server, headers, why):
    status, body = server.call(PREDICT, json.dumps({"instances": [instance()]}).encode(), headers)
    assert (status, list(body)) == (200, ["predictions"]), why


def test_a_body_of_unknown_length_is_cut_off_at_the_limit(server):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.request("POST", PREDICT, body=iter([b" " * 50_000] * 10), encode_chunked=True)
    response = connection.getresponse()
    assert response.status == 413
    assert "larger than 400,000 bytes" in json.load(response)["error"]
    connection.close()


def test_bodies_that_are_still_on_their_way_take_no_place_of_those_who_wait(server):
    slow = [http.client.HTTPConnection("127.0.0.1", server.port, timeout=30) for _ in range(10)]
    for connection in slow:
        connection.putrequest("POST", PREDICT)
        connection.putheader("content-length", "1000")
        connection.endheaders(b"{")
    wait_until(lambda: server.metric("deepperception_uploads") == 10, "the uploads are not there")
    assert server.predict(instance())[0] == 200
    for connection in slow:
        connection.close()
    wait_until(lambda: server.metric("deepperception_uploads") == 0, "those who left are waited for")


def test_a_full_queue_says_when_to_come_back_and_recovers(server):
    with ThreadPoolExecutor(6) as clients:
        answers = [clients.submit(server.predict, instance(entity="slow")) for _ in range(6)]
        wait_until(lambda: server.metric("deepperception_waiting_requests") == 6, "they do not wait")
        status, answer = server.predict(instance())
        assert (status, answer) == (429, {"error": "6 requests are waiting already; try again in a moment."})
        assert server.call("/v1/models/deepperception")[0] == 200, "health checks do not count"
        release = ThreadPoolExecutor(1)
        done = release.submit(lambda: wait_until(lambda: _freed(server, answers), "they are not answered"))
        assert [answer.result()[0] for answer in answers] == [200] * 6
        done.result()
        release.shutdown()
    assert server.predict(instance())[0] == 200


def _freed(server, answers) -> bool:
    server.slow.unlink(missing_ok=True)
    return all(answer.done() for answer in answers)


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/models/other:predict", b"{}", 404),
        ("/v1/models/other", None, 404),
        ("/nowhere", None, 404),
        ("/v2/repository/models/deepperception/unload", b"{}", 404),
        ("/v1/models/deepperception:explain", b"{}", 405),
        ("/v1/models/deepperception", b"{}", 405),
        (
            "/v2/models/deepperception/infer",
            b'{"inputs": [{"name": "entity", "shape": [1], "datatype": "BYTES", "data": ["ant"]}]}',
            400,
        ),
    ],
)
def test_wrong_addresses_are_answered_in_the_same_shape(server, path, body, status):
    given, answer = server.call(path, body, {"content-type": "application/json"})
    assert (given, list(answer)) == (status, ["error"])


def test_a_failing_engine_is_no_secret_and_no_end(server):
    assert server.predict(instance(entity="crash")) == (
        500,
        {"error": "the model failed on this request; its log says why."},
    )
    assert server.predict(instance())[0] == 200


def test_only_this_machine_can_connect(server):
    sockets = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    listening = [local for _, local, _, state, *_ in sockets if state == "0A" and local.endswith(f":{server.port:04X}")]
    assert listening == [f"0100007F:{server.port:04X}"]


def test_metrics_count_the_requests(server):
    import urllib.request

    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"{server.url}/metrics", timeout=30) as response:
        assert b'request_predict_seconds_count{model_name="deepperception"}' in response.read()


@pytest.mark.parametrize(
    ("entity", "counted"),
    [
        ("ant", {"deepperception_predictions_total": 1, "deepperception_boxes_found_total": 1}),
        ("nothing", {"deepperception_boxes_found_total": 0, "deepperception_parse_failures_total": 0}),
        ("mumble", {"deepperception_boxes_found_total": 0, "deepperception_parse_failures_total": 1}),
        ("ant", {"deepperception_prompt_tokens_total": 20, "deepperception_request_seconds_count": 1}),
        ("ant", {"deepperception_queue_seconds_count": 1, "deepperception_batch_requests_count": 1}),
    ],
)
def test_metrics_tell_what_was_found(server, entity, counted):
    before = {name: server.metric(name) for name in counted}
    server.predict(instance(entity=entity))
    assert {name: server.metric(name) - before[name] for name in counted} == counted


def test_every_request_leaves_one_line_of_json_and_no_picture(server):
    given = instance(entity="Secretary bird")
    server.call(PREDICT, json.dumps({"instances": [given]}).encode(), {"x-request-id": "line-of-this-test"})
    text = server.log.read_text()
    (line,) = [json.loads(line) for line in text.splitlines() if "line-of-this-test" in line]
    assert (line["route"], line["status"], line["boxes"]) == ("v1", 200, 1)
    assert given["image"]["b64"] not in text and "Secretary" not in text


def test_a_model_that_cannot_be_loaded_ends_the_server(tmp_path):
    gate = tmp_path / "gate"
    gate.write_text("fail")
    command = [sys.executable, str(SCRIPT), str(make_checkpoint(tmp_path / "checkpoint")), "0", str(gate)]
    ended = subprocess.run(command, capture_output=True, timeout=120, text=True)
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1] == "the weights do not fit the configuration; copy the checkpoint again."


def test_a_folder_that_is_no_checkpoint_is_refused_before_anything_starts(tmp_path):
    with pytest.raises(InputError, match=r"no checkpoint"):
        serve(tmp_path)


def test_a_port_in_use_is_said(server, checkpoint):
    with pytest.raises(InputError, match=f"port {server.port} .*choose another"):
        serve(checkpoint, port=server.port)


def test_a_port_that_is_none_is_said():
    with pytest.raises(InputError, match="choose another"):
        claim_port("127.0.0.1", 99_999)
