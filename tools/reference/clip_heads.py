"""Aesthetic heads with random weights, as `torch.save` writes them, and their scores: `clip/heads/`.

`chain.pth` is built as the paper's predictor (christophschuhmann/improved-aesthetic-predictor), dropouts and
all, for features of the tiny models; `linear.pth` is a single layer, as LAION's. `activations.pth` has ReLUs,
which no reader of weights can see but for the gaps in its numbering.
"""

from __future__ import annotations

import torch
from torch import nn

from golden import GOLDEN_DIR, metadata, save_tensors, use_one_thread, write_tensors

SEED = 47
WIDTH = 28
FOLDER = GOLDEN_DIR / "clip" / "heads"


class Predictor(nn.Module):
    """The paper's predictor, narrower."""

    def __init__(self, with_activations: bool) -> None:
        super().__init__()
        widths = (WIDTH, 40, 12, 6, 3, 1)
        layers: list[nn.Module] = []
        for idx, (d_in, d_out) in enumerate(zip(widths, widths[1:], strict=False)):
            layers.append(nn.Linear(d_in, d_out))
            if with_activations and idx < 4:
                layers.append(nn.ReLU())
            if idx < 3:
                layers.append(nn.Dropout(0.2))
        self.layers = nn.Sequential(*layers)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.layers(features)


@torch.no_grad()
def main() -> None:
    use_one_thread()
    FOLDER.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(SEED)
    about = metadata(SEED, "float32")
    features = nn.functional.normalize(torch.randn(6, WIDTH))
    tensors = {"features": features}
    heads = {
        "chain": Predictor(with_activations=False),
        "linear": nn.Linear(WIDTH, 1),
        "activations": Predictor(with_activations=True),
    }
    for name, head in heads.items():
        for parameter in head.parameters():
            parameter.normal_(0.0, 0.6)
        torch.save(head.state_dict(), FOLDER / f"{name}.pth")
        tensors[name] = head.eval().double()(features.double()).float().squeeze(1)
    chain = {name: tensor.float() for name, tensor in heads["chain"].state_dict().items()}
    save_tensors(FOLDER / "chain.safetensors", chain, about)
    write_tensors(FOLDER / "scores.safetensors", tensors, about)
    print(tensors["chain"], tensors["linear"], tensors["activations"], list(heads["activations"].state_dict()))


if __name__ == "__main__":
    main()
