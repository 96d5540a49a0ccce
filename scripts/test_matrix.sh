#!/usr/bin/env bash
# docs/results/test_matrix: the fast tests on the oldest and the newest Python and torch, with each of the instruction sets
# that torch (ATen) and oneDNN choose between, on one thread and on two. Hours on 2 CPU cores, so CI does not run it.
#
# Six of the 24 combinations: any value of one setting meets any value of another in one of them.
# Records are of the commit. Cells that have one are skipped, so after an interruption the same command goes on.
# The two environments are made beside the records (PIP_ARGS goes to pip) or named: OLDEST=FOLDER NEWEST=FOLDER.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
folder=outputs/test_matrix

#      environment  ATEN_CPU_CAPABILITY  DNNL_MAX_CPU_ISA  threads
cells='oldest       default              AVX2              1
       oldest       avx2                 DEFAULT           2
       oldest       avx512               AVX2              2
       newest       default              DEFAULT           2
       newest       avx2                 AVX2              1
       newest       avx512               DEFAULT           1'

if ! git diff --quiet HEAD; then
    echo "the working tree has uncommitted changes: records are of a commit, so commit first" >&2
    exit 2
fi
records=$folder/$(git rev-parse --short HEAD)
mkdir -p "$records"

make_environment() { # FOLDER PYTHON PACKAGE...
    [ ! -e "$1/.made" ] || return 0
    "$2" -m venv "$1"
    # shellcheck disable=SC2086 # several arguments in one variable
    "$1/bin/python" -m pip install --quiet --editable '.[test]' "${@:3}" ${PIP_ARGS:-}
    touch "$1/.made"
}
[ -n "${OLDEST:-}" ] || make_environment $folder/oldest python3.11 'torch==2.11.*' 'torchvision==0.26.*'
[ -n "${NEWEST:-}" ] || make_environment $folder/newest python3.13
oldest=${OLDEST:-$folder/oldest}
newest=${NEWEST:-$folder/newest}

run_tests() { # OUTPUT ENVIRONMENT ATEN_CPU_CAPABILITY DNNL_MAX_CPU_ISA THREADS
    # Compiled code is of one instruction set: in a cache of several, headers of one do not compile for another.
    PYTHONPATH=$PWD TORCHINDUCTOR_CACHE_DIR=$PWD/$1.compiled \
        ATEN_CPU_CAPABILITY=$3 DNNL_MAX_CPU_ISA=$4 OMP_NUM_THREADS=$5 \
        "$2/bin/python" -m pytest -q -n 2 -p no:cacheprovider >"$1" 2>&1 </dev/null || [ $? = 1 ] # 1: some fail
    rm -rf "$1.compiled"
}

while read -r name capability isa threads; do
    cell=$records/$name-$capability-$isa-$threads
    [ ! -e "$cell.row" ] || continue
    versions='import platform, torch; print(platform.python_version(), "|", torch.__version__)'
    has='import torch; print(torch.backends.cpu.get_cpu_capability().lower())'
    case $capability:$("${!name}/bin/python" -c "$has") in
    default:* | avx2:avx2 | avx2:avx512 | avx512:avx512)
        echo "running $cell, see its .txt" >&2
        run_tests "$cell.txt" "${!name}" "$capability" "$isa" "$threads"
        outcome=$(tail -n 1 "$cell.txt")
        ;;
    *) outcome="not run: this processor has no $capability" ;;
    esac
    row="| $("${!name}/bin/python" -c "$versions") | $capability | $isa | $threads | $outcome |"
    echo "$row" >"$cell.row"
done <<<"$cells"

echo "$(date +%F), commit ${records##*/}, $(sed -n 's/^model name\s*: //p' /proc/cpuinfo 2>/dev/null | head -n 1)"
echo
echo "| Python | torch | ATEN_CPU_CAPABILITY | DNNL_MAX_CPU_ISA | threads | outcome |"
echo "|---|---|---|---|---|---|"
while read -r name capability isa threads; do
    cat "$records/$name-$capability-$isa-$threads.row"
done <<<"$cells"
! grep -HE '^(FAILED|ERROR) ' "$records"/*.txt
