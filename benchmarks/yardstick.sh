#!/usr/bin/env bash
# What the recipe of the bundled student is worth on a volume it has not seen: learn from one
# FIB-25 sample, super-resolve every 8th slice of the other, evaluate; both ways.
#
#     bash benchmarks/yardstick.sh OUT [STEPS]
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
out=$1 steps=${2:-5000}
data=${NAPARI_D2R_DATA:-$here/../../shared/data}
mkdir -p "$out"
for learned in 1 2; do
    other=$((3 - learned))
    model=$out/$learned truth=$data/fib25/fib25_training_sample$other.tif
    if [ ! -f "$model/models.json" ]; then
        python "$here/../scripts/train_bundled.py" "$data" "$model" \
            --samples $learned --steps "$steps" --roles student
    fi
    napari-d2r degrade "$truth" "$out/stack$other.tif" --factor 8 --overwrite
    napari-d2r super-resolve "$out/stack$other.tif" "$out/result$other.ome.zarr" \
        --model "$model" --overwrite
    napari-d2r evaluate "$out/result$other.ome.zarr" "$truth" --factor 8 \
        --json "$out/sample$other.json"
done
