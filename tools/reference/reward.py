"""Rewards of pairs through images, by the released formula: `reward.json`.

The images are pictures of `clip/images`, the judges the tiny CLIP of `clip/quick_gelu` and the heads of
`clip/heads`, both run here by transformers and PyTorch; each pair has two images of either prompt. The formula
is that of `get_score_batched` in Promptist's `ppo_prompter.py`. Random towers see all pictures alike, with
cosines between -1 and 1: pairs are chosen so that some lie on each side of the floor and the knee.
"""

from __future__ import annotations

from itertools import product

import torch
from PIL import Image
from transformers import CLIPImageProcessorPil, CLIPModel

from clip_heads import WIDTH, Predictor
from clip_tiny import CONTEXT_LENGTH, TEXTS, tokenizer
from golden import GOLDEN_DIR, metadata, use_one_thread, write_json

FOLDER = GOLDEN_DIR / "clip"
IMAGES_PER_PROMPT = 2


def reward(cosine: list[float], aesthetic: list[float], baseline: list[float]) -> dict[str, float]:
    """The released formula, in f64."""
    plain = sum(baseline) / len(baseline)
    relevance = [20 * max(c, 0.0) - 5.6 if max(c, 0.0) <= 0.28 else 0.0 for c in cosine]
    scores = [a - plain + r for a, r in zip(aesthetic, relevance, strict=True)]
    return {"score": sum(scores) / len(scores), "relevance": sum(relevance) / len(relevance)}


@torch.no_grad()
def main() -> None:
    use_one_thread()
    model = CLIPModel.from_pretrained(FOLDER / "quick_gelu").eval()
    head = Predictor(with_activations=False)
    head.load_state_dict(torch.load(FOLDER / "heads" / "chain.pth", weights_only=True))
    head = head.eval().double()
    processor = CLIPImageProcessorPil.from_pretrained(FOLDER / "quick_gelu")

    names = sorted(path.name for path in (FOLDER / "images").glob("*.png"))
    pictures = [Image.open(FOLDER / "images" / name).convert("RGB") for name in names]
    pixels = processor(images=pictures, return_tensors="pt")["pixel_values"]
    images = torch.nn.functional.normalize(model.get_image_features(pixel_values=pixels).pooler_output)
    assert images.shape[1] == WIDTH
    aesthetic = head(images.double()).squeeze(1)
    texts = tokenizer()(
        list(TEXTS), padding="max_length", truncation=True, max_length=CONTEXT_LENGTH, return_tensors="pt"
    )
    texts = torch.nn.functional.normalize(model.get_text_features(**texts).pooler_output)
    cosines = (texts.double() @ images.double().T).tolist()

    pairs = []
    for text_idx, (first, other) in product(range(len(TEXTS)), [(0, 4), (7, 2), (9, 12)]):
        if not TEXTS[text_idx]:
            continue
        of_x = [(first + j) % len(names) for j in range(IMAGES_PER_PROMPT)]
        of_y = [(other + j) % len(names) for j in range(IMAGES_PER_PROMPT)]
        cosine = [cosines[text_idx][i] for i in of_y]
        scores = [float(aesthetic[i]) for i in of_y]
        baseline = [float(aesthetic[i]) for i in of_x]
        pairs.append(
            {
                "user_input": f"{TEXTS[text_idx]}",
                "images_x": [names[i] for i in of_x],
                "images_y": [names[i] for i in of_y],
                "clip_cosine": cosine,
                "aesthetic": scores,
                "aesthetic_baseline": baseline,
                **reward(cosine, scores, baseline),
            }
        )
    found = [c for pair in pairs for c in pair["clip_cosine"]]
    print(min(found), max(found), [pair["score"] for pair in pairs])
    write_json(GOLDEN_DIR / "reward.json", {"metadata": metadata(41, "float32"), "pairs": pairs})


if __name__ == "__main__":
    main()
