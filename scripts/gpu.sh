#!/usr/bin/env bash
# All that has to be looked at on a GPU, in under 8 minutes: the tests marked gpu, an epoch of Table 1's ODE-Net in float32
# and in bf16, and bench's odenet, cnf and latent eager, compiled and by CUDA graphs. Ends with one table.
#
#     scripts/gpu.sh [--device cpu] [--dry-run] FOLDER
#
# FOLDER gets table.md, parts.tsv, race.csv and records.tar.gz (each part's words, and the runs) anew after each part, so
# that a kill leaves what was found. A part that fails or takes too long is told in the table, and the next one follows.
# --device cpu rehearses: the same parts, of few samples and steps. --dry-run prints the commands and their limits.
# PYTHON=FILE is the interpreter (else .venv's, or python3); this checkout is what it imports. WHEELS=FOLDER: of wheels
# that it lacks, put beside it for this time (hydra-core, omegaconf, antlr4, ...). NODEBENCH_DATA=FOLDER holds
# MNIST/raw. IN_ALL_S=SECONDS is another limit of all than 460; those of the parts grow with it.
set -uo pipefail
device=cuda dry='' folder=''
while [ $# -gt 0 ]; do
    case $1 in
    --device) device=${2:-} && shift $(($# > 1 ? 2 : 1)) ;;
    --dry-run) dry=yes && shift ;;
    *) folder=$1 && shift ;;
    esac
done
if [ -z "$folder" ] || { [ "$device" != cuda ] && [ "$device" != cpu ]; }; then
    echo "usage: scripts/gpu.sh [--device cuda|cpu] [--dry-run] FOLDER" >&2
    exit 2
fi
in_all_s=${IN_ALL_S:-460}
[ -n "$dry" ] || mkdir -p "$folder" || exit 1
case $folder in /*) ;; *) folder=$PWD/$folder ;; esac
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
python=${PYTHON:-.venv/bin/python}
[ -x "$(command -v "$python")" ] || python=python3

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
if [ -n "${WHEELS:-}" ] && [ -z "$dry" ]; then
    "$python" -m pip install --quiet --no-index --no-deps --target "$work/site" "$WHEELS"/*.whl || exit 1
    export PYTHONPATH="$PYTHONPATH:$work/site"
fi
mkdir "$work/records"
machine='import platform, sys, torch
if sys.argv[1] == "cuda" and not torch.cuda.is_available():
    sys.exit("torch sees no CUDA device here; --device cpu rehearses")
name = torch.cuda.get_device_name() if sys.argv[1] == "cuda" else platform.machine()
print(f"On {name}, torch {torch.__version__}, Python {platform.python_version()}.")'
[ -n "$dry" ] || "$python" -c "$machine" "$device" >"$work/records/machine.txt" || exit 1
race=$work/records/race.csv
quick='' train=(training.epochs=1)
if [ "$device" = cpu ]; then
    quick=--quick
    train+=(data.limit_train=256 data.limit_test=100)
fi

keep() { # what there is by now, in the folder
    "$python" scripts/gpu_table.py "$work/records" >"$work/table.md" && cp "$work/table.md" "$folder"
    cp "$work/records/parts.tsv" "$folder"
    [ ! -e "$race" ] || cp "$race" "$folder"
    tar -C "$work" --exclude checkpoints -czf "$work/records.tar.gz" records && cp "$work/records.tar.gz" "$folder"
}

part() { # NAME LIMIT_S COMMAND...
    local name=$1 limit=$(($2 * in_all_s / 460)) left=$((in_all_s - SECONDS)) start=$SECONDS outcome code
    shift 2
    if [ -n "$dry" ]; then
        echo "$name, at most $limit s: $*"
        return
    fi
    [ "$limit" -le "$left" ] || limit=$left
    if [ "$limit" -lt 10 ]; then
        outcome='not begun: no time was left'
    else
        echo "$name ..." >&2
        timeout --kill-after=5 "$limit" "$@" >"$work/records/$name.txt" 2>&1 </dev/null
        code=$?
        case $code in
        0) outcome=done ;;
        124 | 137) outcome="stopped after $limit s" ;;
        *) outcome="failed ($code): $(tail -n 1 "$work/records/$name.txt" | tr -d '\t|' | cut -c -120)" ;;
        esac
    fi
    printf '%s\t%s\t%s\n' "$name" "$((SECONDS - start))" "$outcome" >>"$work/records/parts.tsv"
    keep
}

mapfile -t of_gpu < <(grep -rl --include='*.py' 'mark\.gpu' tests)
part tests 75 "$python" -m pytest -q -m gpu -p no:cacheprovider "${of_gpu[@]}"
for precision in float32 bf16; do
    part "epoch_$precision" 75 "$python" -m nodebench train experiment=table1_odenet "${train[@]}" "precision=$precision" \
        "device=$device" "output_dir=$work/records/$precision"
done
for workload in odenet cnf latent; do
    for execution in eager compiled graphs; do
        part "${workload}_$execution" 90 "$python" scripts/gpu_race.py "$workload" "$execution" "$device" "$race" $quick
    done
done
[ -n "$dry" ] || cat "$folder/table.md"
