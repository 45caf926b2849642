#!/usr/bin/env bash
# Stacks that are blurred along Z (Gaussian of sigma 4, every 8th slice; Lee and Jeong 2023): learn from
# each alone to undo a blur that is known, or that may be anything up to the width of the gap (blind),
# restore and evaluate. Minutes are of processor time.
#     bash benchmarks/blurred.sh FOLDER MINUTES [VOLUME ...]
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
data=${NAPARI_D2R_DATA:-$here/../../shared/data}
out=$1 minutes=$2
shift 2
[ $# -gt 0 ] || set -- fib25/fib25_training_sample1 fib25/fib25_training_sample2
blur=(--degradation gaussian --sigma 4)
any=(--degradation gaussian --sigma 2 --set degradation.spread=4)  # sigma from 1/2 to 8
regressor=(--preset quick --set student=null --set prior.optimizer.share=1)
known=("${blur[@]}")
blind=("${any[@]}")
for volume; do
    folder=$out/$(basename "$volume")
    mkdir -p "$folder"
    truth=$data/$volume.tif stack=$folder/stack.tif
    napari-d2r degrade "$truth" "$stack" --factor 8 "${blur[@]}" --overwrite
    for method in known blind; do
        declare -n settings=$method
        napari-d2r train "$stack" "$folder/$method" "${regressor[@]}" \
            "${settings[@]}" --factor 8 --set clock=processor --max-minutes "$minutes" --overwrite
        napari-d2r super-resolve "$stack" "$folder/$method.ome.zarr" --model "$folder/$method" \
            --overwrite
        napari-d2r evaluate "$folder/$method.ome.zarr" "$truth" --factor 8 "${blur[@]}" \
            --json "$folder/$method.json"
    done
done
