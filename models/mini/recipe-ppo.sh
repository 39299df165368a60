#!/usr/bin/env bash
# The second stage of models/mini: fits the text rewards, then PPO from the first stage's weights, three
# seeds, and compares before and after. Run it from the repository's root after recipe.sh:
#
#   models/mini/recipe-ppo.sh OUT
#
# OUT is recipe.sh's. A run that was interrupted goes on where it stopped.
set -euo pipefail
out=${1:?usage: models/mini/recipe-ppo.sh OUT}
here=$(cd "$(dirname "$0")" && pwd)
promptist=${CARGO_TARGET_DIR:-target}/release/promptist

# 1. What is paid for, by two families, and what is watched, fitted on the other half of the targets.
fit() { # name, config, edit
    [ -d "$out/$1/model" ] && return
    sed "s|runs/mini|$out|g; $3" "configs/$2.toml" > "$out/$1.toml"
    if [ -d "$out/$1" ]; then resume=--resume; else resume=; fi
    "$promptist" train reward --config "$out/$1.toml" --out "$out/$1" $resume
}
fit reward reward ""
fit reward-ngrams reward-heldout 's|^half = "b"|half = "a"|'
fit reward-heldout reward-heldout ""

# 2. The policy starts from the first stage, with settings under which it is itself: no guidance.
mkdir -p "$out/ppo-start"
cp "$here"/{config.json,model.safetensors,tokenizer.json,tokenizer_config.json} "$out/ppo-start/"
cp "$here/ppo-generation_config.json" "$out/ppo-start/generation_config.json"
sed "s|OUT|$out|g" "$here/ppo.toml" > "$out/ppo.toml"
for seed in 1 2 3; do
    [ -d "$out/ppo-$seed/model" ] && continue
    if [ -d "$out/ppo-$seed" ]; then resume=--resume; else resume=; fi
    "$promptist" train ppo --config "$out/ppo.toml" --seed "$seed" --out "$out/ppo-$seed" $resume
done
"$promptist" train report "$out/ppo-1" --output "$out/ppo-1.html"

# 3. Before and after, on prompts of evaluation sets.
sed "s|OUT|$out|g" "$here/compare.toml" > "$out/compare.toml"
"$promptist" eval --config "$out/compare.toml" --out "$out/compare"
