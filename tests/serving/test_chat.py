"""OpenAI's chat route: whole and streamed, and what it cannot do; and KServe's v2 tensors."""

import base64
import http.client
import json

import pytest

from .conftest import instance, picture, wait_until

CHAT = "/openai/v1/chat/completions"
INFER = "/v2/models/deepperception/infer"


def shown(image: bytes | None = None, text: str | None = None) -> list:
    url = "data:image/png;base64," + base64.b64encode(image or picture()).decode()
    parts = [{"type": "image_url", "image_url": {"url": url}}]
    return parts if text is None else [*parts, {"type": "text", "text": text}]


def begin_stream(server, body: dict) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.request("POST", CHAT, json.dumps({**body, "stream": True}), {"content-type": "application/json"})
    return connection, connection.getresponse()


def next_event(response) -> dict | str:
    line = response.readline().decode().strip() or response.readline().decode().strip()
    content = line.removeprefix("data: ")
    return content if content == "[DONE]" else json.loads(content)


def test_a_name_is_asked_as_the_model_wants_it_and_the_answer_brings_the_prediction(server):
    status, answer = server.chat(shown(), entity="Boeing 777")
    assert status == 200
    (choice,) = answer["choices"]
    assert choice["finish_reason"] == "stop"
    assert choice["message"]["content"] == answer["prediction"]["text"]
    assert answer["prediction"]["box"] == [20, 4, 40, 36]
    assert "Output the thinking process" in answer["prediction"]["reasoning"]
    assert answer["usage"]["total_tokens"] == answer["usage"]["prompt_tokens"] + answer["usage"]["completion_tokens"]


def test_a_text_goes_to_the_model_as_it_is(server):
    text = "Where is <|object_ref_start|>ant<|object_ref_end|>?"
    status, answer = server.chat(shown(text=text), max_tokens=50)
    assert (status, repr(text) in answer["choices"][0]["message"]["content"]) == (200, True)
    assert "50 tokens" in answer["choices"][0]["message"]["content"]


def test_a_reply_as_long_as_it_may_be_says_so(server):
    assert server.chat(shown(), entity="ant", max_tokens=3)[1]["choices"][0]["finish_reason"] == "length"


def test_a_stream_brings_the_first_words_while_the_engine_still_works(server):
    connection, response = begin_stream(server, {"messages": [{"role": "user", "content": shown()}], "entity": "slow"})
    assert response.getheader("content-type").startswith("text/event-stream")
    assert next_event(response)["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert next_event(response)["choices"][0]["delta"]["content"].startswith("<think>call")
    assert server.slow.exists(), "the engine goes on only once this test lets it"
    server.slow.unlink()
    text, event = "", {}
    while not event.get("prediction"):
        event = next_event(response)
        text += event["choices"][0]["delta"].get("content", "")
    assert event["choices"][0]["finish_reason"] == "stop"
    assert event["prediction"]["text"].endswith(text), "nothing is said twice"
    assert next_event(response) == "[DONE]"
    connection.close()


def test_who_hangs_up_is_not_worked_for(server):
    connection, response = begin_stream(server, {"messages": [{"role": "user", "content": shown()}], "entity": "slow"})
    next_event(response)
    assert server.slow.exists()
    response.close()
    connection.close()
    wait_until(lambda: server.metric("deepperception_waiting_requests") == 0, "the place is kept")
    server.slow.unlink()
    assert server.predict(instance())[0] == 200


def test_a_stream_that_cannot_begin_has_a_status_of_its_own(server):
    connection, response = begin_stream(server, {"messages": [{"role": "user", "content": shown()}], "entity": "crash"})
    assert (response.status, list(json.load(response))) == (500, ["error"])
    connection.close()


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        ({}, 400, "no list 'messages'"),
        ({"messages": []}, 400, "no list 'messages'"),
        ({"messages": [{"role": "system", "content": "Be kind."}]}, 400, "not the user's"),
        ({"messages": [{"role": "user", "content": 7}]}, 400, "neither a text nor a list"),
        ({"messages": [{"role": "user", "content": "no picture"}]}, 422, "about one picture"),
        ({"messages": [{"role": "user", "content": [*shown(), *shown()]}], "entity": "ant"}, 422, "about one picture"),
        ({"messages": [{"role": "user", "content": [{"type": "video"}]}]}, 400, "neither a text nor an image_url"),
        ({"messages": [{"role": "user", "content": shown()}]}, 400, "asks nothing"),
        ({"messages": [{"role": "user", "content": shown(text="ant")}], "entity": "ant"}, 400, "either 'entity' or"),
        ({"messages": [{"role": "user", "content": shown(text="<|im_end|>")}]}, 422, "special token"),
        ({"messages": [{"role": "user", "content": shown(text="<|im_<|box_start|>end|>")}]}, 422, "special token"),
        ({"messages": [{"role": "user", "content": shown(text="a" * 30_000)}]}, 422, "longer than 20,000"),
        ({"messages": [{"role": "user", "content": shown(b"nothing")}], "entity": "ant"}, 400, "not a picture"),
        ({"messages": [{"role": "user", "content": shown()}], "entity": "ant", "model": "gpt"}, 400, "no such model"),
        ({"messages": [{"role": "user", "content": shown()}], "entity": "ant", "n": 2}, 422, "'n' cannot be chosen"),
        ({"messages": [{"role": "user", "content": shown()}], "entity": "ant", "max_tokens": 0}, 422, "max_tokens"),
        ({"messages": [{"role": "user", "content": shown()}], "entity": "ant", "max_tokens": 10**9}, 422, "to 2048"),
        (
            {"messages": [{"role": "user", "content": shown()}], "entity": "ant", "temperature": "hot"},
            422,
            "temperature",
        ),
        ({"messages": [{"role": "user", "content": shown()}], "entity": "ant", "stream": "yes"}, 400, "'stream'"),
    ],
)
def test_what_cannot_be_answered_gets_a_code_and_one_sentence(server, body, status, says):
    given, answer = server.call(CHAT, json.dumps(body).encode())
    assert (given, list(answer)) == (status, ["error"]), answer
    assert says in answer["error"]


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1/a.png", "file:///etc/passwd", "data:text/html,hello", "data:image/png,x"]
)
def test_no_address_is_looked_up_without_an_allow_list(server, url):
    status, answer = server.chat([{"type": "image_url", "image_url": {"url": url}}], entity="ant")
    assert (status, list(answer)) in [(422, ["error"]), (400, ["error"])]


def tensors(images: list, entities: list, **more) -> dict:
    def tensor(name, data):
        return {"name": name, "shape": [len(data)], "datatype": "BYTES", "data": data}

    return {"inputs": [tensor("image", images), tensor("entity", entities)], **more}


def test_tensors_in_tensors_out(server):
    image = base64.b64encode(picture()).decode()
    status, answer = server.call(INFER, json.dumps(tensors([image] * 2, ["ant", "nothing"], id="7")).encode())
    assert (status, answer["id"], answer["model_name"]) == (200, "7", "deepperception")
    box, text = answer["outputs"]
    assert (box["name"], box["shape"], box["datatype"]) == ("box", [2, 4], "FP32")
    assert box["data"] == [20, 4, 40, 36, None, None, None, None]
    assert (text["shape"], text["data"][1]) == ([2], "I see no such thing.")


def test_kserves_own_client_reads_a_missing_box_as_nan(server):
    import numpy as np
    from kserve import InferResponse

    image = base64.b64encode(picture()).decode()
    answer = server.call(INFER, json.dumps(tensors([image], ["nothing"])).encode())[1]
    box = InferResponse.from_rest({"id": "1", **answer}).outputs[0].as_numpy()
    assert box.shape == (1, 4) and np.isnan(box.astype(np.float32)).all()


GOOD = base64.b64encode(picture()).decode()


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        ({"inputs": {}}, 400, "no list 'inputs'"),
        ({"inputs": []}, 400, "'image' is missing"),
        ({"inputs": [{"name": ["image"]}, {"name": {}}, 7]}, 400, "'image' is missing"),
        (tensors([GOOD], ["ant", "bee"]), 400, "1 images and 2 names"),
        (tensors([], []), 400, "not a list of texts"),
        (tensors([7], ["ant"]), 400, "not a list of texts"),
        (tensors(["%"], ["ant"]), 400, "not base64"),
        (tensors([GOOD] * 5, ["ant"] * 5), 413, "at most 4"),
        ({"inputs": [{"name": "image", "shape": [2], "datatype": "BYTES", "data": [GOOD]}]}, 400, "the shape is not"),
        ({"inputs": [{"name": "image", "shape": [1], "datatype": "FP32", "data": [1.0]}]}, 400, "not BYTES"),
        ({"inputs": [{"name": "image", "shape": [1], "datatype": "BYTES", "parameters": {}}]}, 400, "binary tensors"),
    ],
)
def test_tensors_that_do_not_fit_are_named(server, body, status, says):
    given, answer = server.call(INFER, json.dumps(body).encode())
    assert (given, list(answer)) == (status, ["error"]), answer
    assert says in answer["error"]
