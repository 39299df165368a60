#!/usr/bin/env bash
# Writes every golden file anew.
#
#   tools/reference/regenerate.sh PYTHON PYTHON_DIVERSE PYTHON_STATISTICS [TOKENIZERS]
#
# PYTHON is the interpreter of requirements.txt, PYTHON_DIVERSE that of requirements-diverse.txt,
# PYTHON_STATISTICS that of requirements-statistics.txt.
# TOKENIZERS is the folder with GPT-2's and CLIP's vocabularies; without it, the files of their ids stay.
set -euo pipefail

python=$1
python_diverse=$2
python_statistics=$3
tokenizers=${4:-${PROMPTIST_DATA:-$(dirname "$0")/../../../shared/data}/tokenizers}
here=$(cd "$(dirname "$0")" && pwd)
export OMP_NUM_THREADS=1

"$python" "$here/tiny_models.py"
"$python" "$here/logits.py"
"$python" "$here/beam_search.py"
"$python_diverse" "$here/diverse_beam_search.py"
"$python" "$here/toy_beam.py"
"$python_diverse" "$here/toy_beam.py"
"$python" "$here/sampling.py"
"$python" "$here/sft.py"
"$python" "$here/ppo.py"
"$python" "$here/ppo_round.py"
"$python" "$here/schedulers.py"
"$python" "$here/tiny_diffusion.py"
"$python" "$here/unet.py"
"$python" "$here/vae.py"
"$python" "$here/pipeline.py"
"$python" "$here/checkpoints.py"
"$python" "$here/hostile_pickles.py"
"$python" "$here/clip_tiny.py"
"$python" "$here/clip_images.py"
"$python" "$here/clip_heads.py"
"$python_statistics" "$here/stats.py"
if [[ -d $tokenizers ]]; then
    "$python" "$here/tokenizer.py" "$tokenizers"
    "$python" "$here/clip_tokenizer.py" "$tokenizers"
    "$python" "$here/target_tokens.py" "$tokenizers"
else
    echo "no $tokenizers: tokenizer.json, clip/tokenizer.json and target_tokens/ stay as they are" >&2
fi
