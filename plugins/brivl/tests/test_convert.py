from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
from PIL import Image

from t2i_brivl.convert import convert, inferred, renamed, without_classifier
from t2i_brivl.model import Brivl, ImageTower
from t2i_brivl.shape import FULL, BrivlShape
from t2icli import load
from t2icli.contract.entries import Upstream
from t2icli.ground.errors import T2IError


def test_every_tensor_of_the_released_checkpoint_has_its_place(golden: Callable[[str], Path]) -> None:
    keys = json.loads(golden("brivl/full_checkpoint_keys.json").read_text())["keys"]
    with torch.device("meta"):
        state = renamed({name: torch.empty(about["shape"]) for name, about in keys.items()})
        assert inferred(state, {}) == FULL
        model = Brivl(FULL)
        state, own = without_classifier(state, model), model.state_dict()
    assert {name: tuple(value.shape) for name, value in state.items()} == {
        name: tuple(value.shape) for name, value in own.items()
    }


@pytest.mark.parametrize(
    ("network", "features", "classifier"), [("test_resnet", 96, "fc"), ("regnetx_002", 368, "head.fc")]
)
def test_other_networks_of_timm_are_imported_without_their_classifiers(
    text_files: list[Path], tmp_path: Path, network: str, features: int, classifier: str
) -> None:
    checkpoint, vocabulary, sizes, bert = text_files
    theirs = torch.load(checkpoint, weights_only=True)["learnable"]
    theirs = {name: value for name, value in theirs.items() if not name.startswith("imgencoder")}
    backbone = timm.create_model(network, pretrained=False, num_classes=7).state_dict()
    assert f"{classifier}.weight" in backbone
    theirs |= {f"imgencoder.backbone.{name}": value for name, value in backbone.items()}
    tower = ImageTower(BrivlShape(image=network, features=features, width=256, top_layers=1)).state_dict()
    for part, name in (("project", "max_pool.0"), ("attention", "imgAtt"), ("fc1", "imgFC.fc1"), ("fc2", "imgFC.fc2")):
        own = {key.removeprefix(part): value for key, value in tower.items() if key.startswith(f"{part}.")}
        theirs |= {f"imgencoder.learnable.{name}{key}": value for key, value in own.items()}
    theirs["imgencoder.learnable.max_pool.0.weight"] = tower["project.weight"][..., None, None]
    torch.save({"learnable": theirs}, tmp_path / "other.pth")
    config = sizes.read_text().replace("test_efficientnet", network)
    (tmp_path / "config.yml").write_text(config)
    files = (tmp_path / "other.pth", vocabulary, tmp_path / "config.yml", bert)
    convert(Upstream(files, {}), tmp_path / "model")
    embedder = load("embedder", "brivl", model=tmp_path / "model")
    assert embedder.embed_images([Image.new("RGB", (20, 20), "red")]).shape == (1, 256)


def test_without_its_vocabulary_the_message_says_which(text_files: list[Path], tmp_path: Path) -> None:
    with pytest.raises(T2IError, match="one vocabulary") as error:
        convert(Upstream((text_files[0],), {}), tmp_path)
    assert "vocab.txt of hfl/chinese-roberta-wwm-ext" in str(error.value.hint)


def test_a_file_of_another_model_is_refused(tmp_path: Path) -> None:
    torch.save({"learnable": {"weight": torch.zeros(2)}}, tmp_path / "x.pth")
    (tmp_path / "vocab.txt").write_text("[PAD]\n")
    with pytest.raises(T2IError, match="holds no BriVL"):
        convert(Upstream((tmp_path / "x.pth", tmp_path / "vocab.txt"), {}), tmp_path / "model")
