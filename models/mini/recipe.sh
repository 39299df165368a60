#!/usr/bin/env bash
# Trains models/mini from the text in PROMPTIST_DATA (default ../shared/data): about an hour on two
# quiet cores. Every step is a command of the program; run it from the repository's root.
#
#   models/mini/recipe.sh OUT
#
# OUT gets the data, the runs with their checkpoints and curves, and OUT/mini, the model folder. A run
# that was interrupted goes on where it stopped.
set -euo pipefail
out=${1:?usage: models/mini/recipe.sh OUT}
data=${PROMPTIST_DATA:-../shared/data}
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$out"

cargo build --release --no-default-features --features flex
promptist=${CARGO_TARGET_DIR:-target}/release/promptist

targets=("$data"/train/engineered_strict.jsonl "$data"/train/engineered_lenient.jsonl)
eval_sets=("$data"/eval/*.txt)

# 1. Text. Nothing of the evaluation sets, and nothing of the targets held out for validation and test.
"$promptist" data pairs --targets "${targets[@]}" --exclude "${eval_sets[@]}" --seed 1 \
    --artist-share 0.1 --late-content move-up --min-modifiers 2 --out "$out/pairs"
"$promptist" data text --inputs "$out/pairs/train.jsonl" "$data"/train/user_plain.jsonl \
    "$data"/train/user_mid.jsonl "$data"/train/coco_captions.txt \
    --exclude "${eval_sets[@]}" "$out/pairs/validation.jsonl" "$out/pairs/test.jsonl" --out "$out/text.txt"
"$promptist" data text --inputs "$out/pairs/validation.jsonl" --out "$out/text-validation.txt"
"$promptist" data tokenizer --text "$out/text.txt" --vocab-size 8192 --out "$out/tokenizer"

# 2. Pairs whose answers open with the user's words. The seed, and so the split, is the same.
"$promptist" data pairs --targets "${targets[@]}" --exclude "${eval_sets[@]}" --seed 1 \
    --artist-share 0.05 --late-content move-up --min-modifiers 3 --keep-exact --out "$out/pairs-exact"
"$promptist" data pairs --targets "${targets[@]}" --exclude "${eval_sets[@]}" --seed 1 \
    --artist-share 0.05 --late-content move-up --min-modifiers 3 --keep-exact --subsample 0.002 --out "$out/pairs-thin"

# 3. A language model, then the prompter.
train() { # name
    sed "s|OUT|$out|g" "$here/$1.toml" > "$out/$1.toml"
    [ -d "$out/$1/model" ] && return
    if [ -d "$out/$1" ]; then resume=--resume; else resume=; fi
    "$promptist" train sft --config "$out/$1.toml" --out "$out/$1" $resume
}
train language-model
train prompter
train prompter-thin

# 4. Half the bytes: f16 keeps what matters of weights this size.
"$promptist" model convert "$out/prompter-thin/model" --dtype f16 --out "$out/mini"
cp "$here/generation_config.json" "$out/mini/"

# 5. What the decoder may round: measured, for --precision auto to go by.
"$promptist" model precision "$out/mini" --input "$data"/eval/{coco300,lexica300,parti}.txt
"$promptist" train report "$out"/{language-model,prompter,prompter-thin} \
    --output "$out/report.html" --curve "$out/learning-curve.svg"
echo "$out/mini"
