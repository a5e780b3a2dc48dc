#!/usr/bin/env bash
# Measure on a machine with one GPU, in less than ten minutes: the tests that need a GPU, then training steps, as
# they come and compiled, the teacher with its statistics, and evaluation.
#
#   scripts/benchmark_gpu.sh FOLDER                   # FOLDER/<part>.txt (tables, log) and FOLDER/<part>.json
#   scripts/benchmark_gpu.sh FOLDER --cpu-rehearsal   # the same parts, tiny, without a GPU
#
# It needs Python 3.11 or later, torch 2.8 or later with its torchvision, and PYTHON where that is not python3. Nothing is
# compiled or downloaded, and the package need not be installed. Beside lightning, torchmetrics, timm, scikit-learn, scipy,
# matplotlib, rich, tqdm, pyyaml, jinja2, pillow, filelock, safetensors and huggingface_hub it imports what this installs,
# which is pure Python but for regex and pydantic_core:
#
#   pip install --no-deps open_clip_torch ftfy wcwidth regex braceexpand typeguard pytest iniconfig pluggy \
#     pydantic pydantic_core annotated_types typing_inspection
#
# Each part has its own time limit; one that fails does not stop the others. The status is 1 if any did.
set -uo pipefail
[ $# -ge 1 ] || { sed -n '2,16s/^# \{0,1\}//p' "$0"; exit 2; }
mkdir -p "$1" && folder=$(cd "$1" && pwd) || exit 2
cd "$(dirname "$0")/.." || exit 2
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
python=${PYTHON:-python3}
failed=0

part() {  # name, seconds, command
  local name=$1 limit=$2 status
  shift 2
  echo "== $name"
  timeout -k 5 "$limit" "$@" > "$folder/$name.txt" 2>&1
  status=$?
  tail -n 40 "$folder/$name.txt"
  [ $status -eq 0 ] || { echo "== $name: status $status (124: longer than $limit s)"; failed=1; }
}

benchmark() {  # name, seconds, what to measure, options
  local name=$1 limit=$2
  shift 2
  part "$name" "$limit" "$python" scripts/benchmark.py "$@" --json "$folder/$name.json"
}

tests=("$python" -m pytest -o addopts= -m gpu tests/gpu)
if [ "${2:-}" = --cpu-rehearsal ]; then
  part tests 900 "${tests[@]}"
  small=(--model ViT-S-32-alt --batch-size 2 --rounds 1)
  benchmark step 900 step "${small[@]}" --steps 1
  benchmark teacher 900 teacher "${small[@]}" --steps 1
  benchmark eval 900 eval "${small[@]}" --sets 2 --images 3 --classes 2 --templates 2 --num-workers 0
else
  large=(--model ViT-B-16 --accelerator gpu --precision bf16-mixed)
  part tests 90 "${tests[@]}"
  workers=$(($(nproc) < 16 ? $(nproc) : 16))
  benchmark step 120 step "${large[@]}" --batch-size 512 --steps 5 --rounds 3
  benchmark step-compiled 210 step "${large[@]}" --batch-size 512 --steps 5 --rounds 3 --compile
  benchmark teacher 60 teacher "${large[@]}" --batch-size 512 --rounds 20
  benchmark eval 90 eval "${large[@]}" --sets 2 --images 1024 --classes 100 --templates 8 --batch-size 64 \
    --num-workers "$workers" --rounds 2
fi
exit $failed
