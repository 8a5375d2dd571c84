"""BriVL's two towers, from box pooling to the embedding. Parameter names are ours; `convert.py` has the table.

timm and transformers are imported where a tower is made of them: they take seconds, and a small BriVL has neither.
"""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from t2i_brivl.shape import Bert, BrivlShape, Ngrams
from t2icli.ground.errors import T2IError, did_you_mean


class Brivl(nn.Module):
    """Images and texts to features of one width; the embedding is their direction."""

    def __init__(self, shape: BrivlShape) -> None:
        super().__init__()
        self.shape = shape
        self.image = ImageTower(shape)
        self.text = (
            BertTower(shape.bert, shape.width) if shape.text == "bert" else NgramTower(shape.ngrams, shape.width)
        )

    def forward(self, pixels: Tensor, boxes: Tensor, n_boxes: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Unit vectors of both."""
        return F.normalize(self.image(pixels, boxes, n_boxes), dim=-1), F.normalize(self.text(ids), dim=-1)


class ImageTower(nn.Module):
    """A feature map, boxes cut out of it, a transformer over the boxes, and their mean."""

    def __init__(self, shape: BrivlShape) -> None:
        super().__init__()
        c = shape.features
        self.size, self.grid = shape.image_size, shape.grid
        self.backbone = conv_backbone(c) if shape.image == "conv" else TimmBackbone(shape.image)
        self.project = nn.Linear(c, c)
        self.attention = transformer(c, shape.top_heads, shape.top_layers) if shape.top_layers else None
        self.fc1, self.fc2 = nn.Linear(c, shape.width), nn.Linear(shape.width, shape.width)

    def forward(self, pixels: Tensor, boxes: Tensor, n_boxes: Tensor) -> Tensor:
        """(b, 3, s, s) normalised pixels, (b, m, 4) boxes in those pixels, (b,) how many are real -> (b, width)."""
        features = self.backbone(pixels)  # (b, c, h, w)
        cut = pool_boxes(features, boxes, self.grid, self.size)  # (b, m, c, g, g)
        # The original projects each point and averages then; a linear map lets the average go first, 16 times cheaper.
        x = F.normalize(self.project(cut.mean((-2, -1))), dim=-1)  # (b, m, c)
        real = torch.arange(boxes.shape[1], device=boxes.device) < n_boxes[:, None]
        return self.fc2(F.relu(self.fc1(attend_and_average(self.attention, x, real))))


class BertTower(nn.Module):
    """BERT, a transformer over its tokens, and their mean."""

    def __init__(self, shape: Bert, width: int) -> None:
        super().__init__()
        from transformers import BertConfig, BertModel

        config = BertConfig(
            vocab_size=shape.vocabulary,
            hidden_size=shape.width,
            num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads,
            intermediate_size=shape.inner,
            max_position_embeddings=shape.positions,
        )
        self.backbone = BertModel(config, add_pooling_layer=False)
        self.attention = transformer(shape.width, shape.top_heads, shape.top_layers)
        self.fc1, self.fc2 = nn.Linear(shape.width, width), nn.Linear(width, width)

    def forward(self, ids: Tensor) -> Tensor:
        """(b, l) ids, zero padded -> (b, width)."""
        return self.fc2(F.relu(self.fc1(self.tokens(ids).sum(1) / (ids != 0).sum(1, keepdim=True))))

    def tokens(self, ids: Tensor) -> Tensor:
        """(b, l, d), what is averaged; zeros for padding."""
        # The released weights were trained with BERT attending to its padding too: only the layers above mask it.
        everything = torch.ones_like(ids)
        x = self.backbone(input_ids=ids, attention_mask=everything).last_hidden_state
        x = self.attention(F.normalize(x, dim=-1), src_key_padding_mask=ids == 0)
        return x * (ids != 0)[..., None].to(x.dtype)


class NgramTower(nn.Module):
    """The mean of the vectors of a text's n-grams, and two layers."""

    def __init__(self, shape: Ngrams, width: int) -> None:
        super().__init__()
        self.gram = nn.EmbeddingBag(shape.buckets, shape.width, mode="mean", padding_idx=0)
        self.norm = nn.LayerNorm(shape.width)
        self.fc1, self.fc2 = nn.Linear(shape.width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, ids: Tensor) -> Tensor:
        return self.fc2(F.relu(self.fc1(self.norm(self.gram(ids)))))

    def tokens(self, ids: Tensor) -> Tensor:
        """(b, l, d), what is averaged; zeros for padding."""
        return F.embedding(ids, self.gram.weight) * (ids != 0)[..., None]


def pool_boxes(features: Tensor, boxes: Tensor, grid: int, size: int) -> Tensor:
    """Sample each box of a feature map at grid x grid points: (b, c, h, w), (b, m, 4) -> (b, m, c, grid, grid)."""
    b, c, h, w = features.shape
    x1, y1, x2, y2 = (boxes * (h / size)).flatten(0, 1).unbind(-1)  # in cells; one ratio for both axes
    zero = torch.zeros_like(x1)
    # A formula for aligned corners, used with corners that are not: the released weights were trained this way.
    theta = torch.stack(
        [
            torch.stack([(x2 - x1) / (w - 1), zero, (x1 + x2 - w + 1) / (w - 1)], -1),
            torch.stack([zero, (y2 - y1) / (h - 1), (y1 + y2 - h + 1) / (h - 1)], -1),
        ],
        dim=1,
    )  # (b * m, 2, 3)
    m = boxes.shape[1]
    points = F.affine_grid(theta, [b * m, c, grid, grid], align_corners=False).to(features.dtype)
    # All boxes of an image in one call: the map is read in place, not copied once for every box.
    cut = F.grid_sample(features, points.view(b, m * grid, grid, 2), align_corners=False)
    return cut.view(b, c, m, grid, grid).transpose(1, 2)


def attend_and_average(attention: nn.Module | None, x: Tensor, real: Tensor) -> Tensor:
    """(b, n, d) and which of n are real -> (b, d)."""
    if attention is not None:
        x = attention(x, src_key_padding_mask=~real)
    weight = real[..., None].to(x.dtype)
    return (x * weight).sum(1) / weight.sum(1)


def transformer(width: int, heads: int, layers: int) -> nn.TransformerEncoder:
    """torch's own layers, post-norm, with its default of 2048 for the inner width."""
    layer = nn.TransformerEncoderLayer(width, heads, batch_first=True)
    return nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)


class TimmBackbone(nn.Module):
    """A timm network up to its last feature map."""

    def __init__(self, name: str) -> None:
        super().__init__()
        import timm

        if not timm.is_model(name):
            raise T2IError(f"timm has no image network {name!r}", did_you_mean(name, timm.list_models()))
        self.network = timm.create_model(name, pretrained=False, num_classes=0)

    def forward(self, pixels: Tensor) -> Tensor:
        features: Tensor = self.network.forward_features(pixels)
        return features


def conv_backbone(channels: int) -> nn.Module:
    """Five small convolutions, for training on a CPU: 64 pixels become a map of 4 x 4."""
    widths = (3, 32, 64, 96, 128, channels)
    layers: list[nn.Module] = []
    for i, (before, after) in enumerate(itertools.pairwise(widths)):
        layers += [
            nn.Conv2d(before, after, 3, stride=1 if i == 4 else 2, padding=1, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(inplace=True),
        ]
    return nn.Sequential(*layers)
