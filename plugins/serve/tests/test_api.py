"""OpenAI's own client against the server, over a socket."""

from __future__ import annotations

import base64
import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import openai
import pytest
from PIL import Image

from t2icli.testing import Runner, toys


def opened(b64: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(b64)))


def test_models_are_listed_with_what_they_can_be_set_to(serve: Any) -> None:
    client = serve().client()
    listed = {model.id: model for model in client.models.list()}
    assert list(listed)[:3] == ["stepped", "toy-painter", "toy"] and "toy-vectors" in listed
    assert (
        listed["toy-painter"].conditions == ["embedding", "like", "mask", "source"] and not listed["stepped"].conditions
    )
    assert listed["toy"].kinds == ["generator", "ranker", "captioner"]
    assert listed["stepped"].default_of == ["generator"]
    assert [each["name"] for each in listed["stepped"].settings] == ["size", "negative", "blue"]
    blue = listed["stepped"].settings[2]
    assert (blue["name"], blue["default"], blue["about"]) == ("blue", 0, "how blue, of 255")
    assert client.models.retrieve("toy-painter").owned_by == "toy-painter"


def test_a_served_picture_is_the_one_of_t2i_generate_and_is_replayed(serve: Any, t2i: Runner) -> None:
    answer = serve().client().images.generate(prompt="红烧牛肉面", n=3, extra_body={"seed": 7, "blue": 9})
    t2i.ok("generate", "红烧牛肉面", "-n", "3", "--seed", "7", "-m", "stepped", "-o", "blue=9", "--output", "here")
    for index, picture in enumerate(answer.data):
        content = base64.b64decode(picture.b64_json)
        assert Image.open(io.BytesIO(content)).tobytes() == Image.open(f"here/{index:03d}.png").tobytes()
        Path("served.png").write_bytes(content)
        assert "agrees in every pixel" in t2i.ok("replay", "served.png").stdout
    assert answer.size == "8x8" and answer.output_format == "png"
    assert answer.command == "t2i generate -n 3 --seed 7 -m stepped -o blue=9 红烧牛肉面".replace(
        "红烧牛肉面", "'红烧牛肉面'"
    )


def test_candidates_are_ranked_and_the_best_kept(serve: Any) -> None:
    extra = {"seed": 250, "rerank": "toy", "top": 2}
    answer = serve().client().images.generate(prompt="a", n=8, extra_body=extra)
    assert [picture.seed for picture in answer.data] == [255, 254]
    assert [picture.score for picture in answer.data] == [255.0, 254.0]
    assert len(answer.candidates) == 8
    assert {each["seed"]: each["score"] for each in answer.candidates}[250] == 250.0
    assert [each["kept"] for each in answer.candidates] == [True, True] + [False] * 6


def test_a_size_that_the_model_can_be_set_to_is_drawn(serve: Any) -> None:
    extra = {"seed": 7, "negative_prompt": "snow"}
    answer = serve().client().images.generate(prompt="a", size="20x10", extra_body=extra)
    assert answer.size == "20x10" and opened(answer.data[0].b64_json).size == (20, 10)
    assert "-o size=20x10" in answer.command and "-o negative=snow" in answer.command


def test_a_random_seed_is_reported(serve: Any) -> None:
    answer = serve().client().images.generate(prompt="a", n=2)
    assert [picture.seed for picture in answer.data] == [answer.seed, answer.seed + 1]


@pytest.mark.parametrize(("name", "kind"), [("webp", "WEBP"), ("jpeg", "JPEG"), ("png", "PNG")])
def test_formats(serve: Any, name: Any, kind: str) -> None:
    answer = serve().client().images.generate(prompt="a", output_format=name)
    assert opened(answer.data[0].b64_json).format == kind
    assert answer.output_format == name


def test_addresses_in_place_of_contents(serve: Any) -> None:
    server = serve()
    (picture,) = server.client().images.generate(prompt="a", response_format="url", extra_body={"seed": 3}).data
    assert picture.b64_json is None and picture.url.startswith(server.url)
    content = server.get(picture.url.removeprefix(server.url))
    assert content.headers["content-type"] == "image/png"
    assert Image.open(io.BytesIO(content.content)).getpixel((0, 0)) == (3, 1, 0)


def test_previews_are_streamed_then_the_picture(serve: Any) -> None:
    stream = serve().client().images.generate(prompt="a", stream=True, partial_images=2, extra_body={"seed": 5})
    events = list(stream)
    assert [type(event).__name__ for event in events] == [
        "ImageGenPartialImageEvent",
        "ImageGenPartialImageEvent",
        "ImageGenCompletedEvent",
    ]
    assert [event.partial_image_index for event in events[:2]] == [0, 1]
    assert opened(events[0].b64_json).getpixel((0, 0)) == (5, 1, 0)
    assert events[2].seed == 5 and events[2].command.startswith("t2i generate")


def test_a_ranked_stream_ends_with_the_pictures_best_first(serve: Any) -> None:
    extra = {"seed": 0, "rerank": "toy", "progress": True}
    events = list(serve().client().images.generate(prompt="a", n=3, stream=True, partial_images=1, extra_body=extra))
    assert [event.seed for event in events if event.type == "image_generation.completed"] == [2, 1, 0]
    drawn = [event for event in events if event.type == "image_generation.partial_image" and event.is_drawn]
    assert [event.candidate for event in drawn] == [0, 1, 2]
    assert [event.share for event in events if event.type == "image_generation.progress"][-1] == 1


def test_an_edit_keeps_what_the_mask_keeps_and_is_replayed(serve: Any, t2i: Runner) -> None:
    source = toys.picture("green", (8, 8))
    mask = Image.new("RGBA", (8, 8), (0, 0, 0, 255))
    mask.paste((0, 0, 0, 0), (0, 0, 4, 8))  # as OpenAI has it, the transparent part is what changes
    stream = io.BytesIO()
    mask.save(stream, "PNG")
    answer = (
        serve()
        .client()
        .images.edit(
            image=("../../x.png", source),
            mask=("m.png", stream.getvalue()),
            prompt="b",
            model="toy-painter",
            extra_body={"seed": "9"},
        )
    )
    picture = opened(answer.data[0].b64_json)
    assert picture.getpixel((1, 1))[0] == 9 and picture.getpixel((6, 1)) == (0, 128, 0)
    Path("served.png").write_bytes(base64.b64decode(answer.data[0].b64_json))
    assert "agrees in every pixel" in t2i.ok("replay", "served.png").stdout


def test_more_like_a_picture(serve: Any) -> None:
    answer = (
        serve()
        .client()
        .images.edit(image=toys.picture("green"), prompt="", model="toy-painter", extra_body={"use": "like", "seed": 1})
    )
    assert opened(answer.data[0].b64_json).getpixel((0, 0)) == (1, 128, 0)


def test_edits_are_streamed(serve: Any) -> None:
    stream = (
        serve()
        .client()
        .images.edit(image=toys.picture("green"), prompt="b", model="toy-painter", stream=True, partial_images=1)
    )
    assert [event.type for event in stream] == ["image_edit.partial_image", "image_edit.completed"]


WRONG: list[tuple[dict[str, Any], str | None, str]] = [
    ({"n": 0}, "n", "invalid_value"),
    ({"n": 1000}, "n", "invalid_value"),
    ({"size": "1024x1024", "model": "toy-painter"}, "size", "invalid_value"),
    ({"size": "9000x9000"}, "size", "invalid_value"),
    ({"extra_body": {"overlay": ["/etc/passwd"]}}, "overlay", "unknown_parameter"),
    ({"size": "large"}, "size", "invalid_value"),
    ({"prompt": "  "}, None, "invalid_value"),
    ({"prompt": "x" * 33_000}, "prompt", "string_above_max_length"),
    ({"prompt": "a\0b"}, None, "invalid_value"),
    ({"background": "transparent"}, "background", "invalid_value"),
    ({"output_format": "svg"}, "output_format", "invalid_value"),
    ({"output_compression": 50}, "output_compression", "invalid_value"),
    ({"partial_images": 4}, "partial_images", "invalid_value"),
    ({"extra_body": {"top": 1}}, "top", "invalid_value"),
    ({"extra_body": {"blue": 256}}, None, "invalid_value"),
    ({"extra_body": {"batch": 2}}, "batch", "unknown_parameter"),
    ({"extra_body": {"seed": -1}}, "seed", "invalid_value"),
]


def test_what_is_wrong_with_a_request_is_named(serve: Any) -> None:
    client = serve().client()
    for fields, param, code in WRONG:
        with pytest.raises(openai.BadRequestError) as raised:
            client.images.generate(**{"prompt": "a", **fields})
        assert (raised.value.param, raised.value.code) == (param, code), fields
        assert raised.value.type == "invalid_request_error"


def test_unknown_models_and_addresses_are_not_found(serve: Any) -> None:
    server = serve()
    client = server.client()
    for wrong in ({"model": "gpt-image-2"}, {"model": "/etc/passwd"}, {"extra_body": {"rerank": "nobody"}}):
        with pytest.raises(openai.NotFoundError) as raised:
            client.images.generate(prompt="a", **wrong)
        assert raised.value.code == "model_not_found"
    for path in ("/v1/nothing", "/pictures/../../etc/passwd", "/pictures/..%2f..%2fetc/passwd", "/page/app.py"):
        answer = server.get(path)
        assert answer.status_code == 404 and answer.json()["error"]["type"] == "not_found_error", path
    assert server.get("/v1/images/generations").json()["error"]["message"].startswith("this address does not")


@pytest.mark.parametrize(
    "body", [b"{", b"", b"[]", b'"x"', b"\xff\xfe", b'{"prompt": "\\ud800"}', b'{"prompt": 3}', b"[" * 100_000]
)
def test_bodies_that_are_no_request_are_400(serve: Any, body: bytes) -> None:
    answer = serve().post("/v1/images/generations", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["message"]


def test_pictures_that_are_none_are_400(serve: Any) -> None:
    client = serve().client()
    bomb = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(bomb, "PNG")
    for content in (b"", b"no picture", toys.picture("red")[:40], bomb.getvalue()):
        with pytest.raises(openai.BadRequestError):
            client.images.edit(image=("a.png", content), prompt="b", model="toy-painter")
    with pytest.raises(openai.BadRequestError) as raised:
        client.images.edit(image=toys.picture("red"), prompt="b", model="stepped")
    assert raised.value.param == "image" and "cannot draw with a picture to start from" in raised.value.message


def test_rankings(serve: Any) -> None:
    sent = [base64.b64encode(toys.picture(colour)).decode() for colour in ("black", "red", "maroon")]
    answer = serve().post(
        "/v1/rankings", json={"prompt": "红", "images": [*sent[:2], f"data:image/png;base64,{sent[2]}"], "model": "toy"}
    )
    assert [(each["index"], each["score"]) for each in answer.json()["data"]] == [(1, 255.0), (2, 128.0), (0, 0.0)]
    assert serve().post("/v1/rankings", json={"prompt": "红", "images": ["%%"]}).status_code == 400


def test_captions(serve: Any) -> None:
    sent = [base64.b64encode(toys.picture("red", size)).decode() for size in ((3, 4), (5, 6))]
    answer = serve().post("/v1/captions", json={"images": sent, "n": 2}).json()
    assert answer["data"][1] == {"index": 1, "captions": ["5 by 6 pixels, caption 0", "5 by 6 pixels, caption 1"]}


def test_embeddings_in_openais_shape(serve: Any) -> None:
    client = serve().client()
    one, two = client.embeddings.create(model="toy-vectors", input=["a", "b"]).data  # the client asks for base64
    assert len(one.embedding) == 16 and np.linalg.norm(one.embedding) == pytest.approx(1)
    (plain,) = client.embeddings.create(model="toy-vectors", input="b", encoding_format="float").data
    assert plain.embedding == pytest.approx(two.embedding)
    picture = {"images": [base64.b64encode(toys.picture("red")).decode()]}
    raw = serve().post("/v1/embeddings", json={**picture, "encoding_format": "base64"}).json()
    assert len(struct.unpack("<16f", base64.b64decode(raw["data"][0]["embedding"]))) == 16


def test_health_metrics_and_description(serve: Any) -> None:
    server = serve()
    server.client().images.generate(prompt="a", n=3)
    assert server.get("/healthz").json() == {"status": "ok"}
    page = server.get("/metrics").text
    assert 't2i_pictures_total{model="stepped"} 3.0' in page
    assert 't2i_requests_total{path="/v1/images/generations",status="200"} 1.0' in page
    paths = server.get("/openapi.json").json()["paths"]
    assert {"/v1/images/generations", "/v1/images/edits", "/v1/rankings", "/v1/captions", "/v1/embeddings"} <= set(
        paths
    )
    assert "multipart/form-data" in paths["/v1/images/edits"]["post"]["requestBody"]["content"]


def test_errors_are_in_the_language_of_the_browser(serve: Any) -> None:
    answer = serve().post("/v1/images/generations", json={"prompt": " "}, headers={"accept-language": "zh-CN,zh"})
    assert answer.json()["error"]["message"] == "提示词 是空的"
