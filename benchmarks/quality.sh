#!/usr/bin/env bash
# Train on every 8th slice of each volume alone, super-resolve with both models, evaluate. Minutes are
# of processor time.
#     bash benchmarks/quality.sh FOLDER MINUTES [VOLUME ...]
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
data=${NAPARI_D2R_DATA:-$here/../../shared/data}
out=$1 minutes=$2
shift 2
[ $# -gt 0 ] || set -- fib25/fib25_training_sample1 fib25/fib25_training_sample2 epfl/epfl_train_crop
for volume; do
    name=$(basename "$volume")
    mkdir -p "$out/$name"
    truth=$data/$volume.tif
    napari-d2r degrade "$truth" "$out/$name/stack.tif" --factor 8 --overwrite
    napari-d2r train "$out/$name/stack.tif" "$out/$name/model" --preset quick --factor 8 \
        --set clock=processor --max-minutes "$minutes" --overwrite --json "$out/$name/train.json"
    for model in prior student; do
        napari-d2r super-resolve "$out/$name/stack.tif" "$out/$name/$model.ome.zarr" \
            --model "$out/$name/model/$model" --overwrite --json "$out/$name/$model.json"
        napari-d2r evaluate "$out/$name/$model.ome.zarr" "$truth" --factor 8 \
            --json "$out/$name/$model-report.json" --figure "$out/$name/$model.png"
    done
done
