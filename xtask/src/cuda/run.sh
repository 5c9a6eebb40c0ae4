#!/bin/sh
# Finds CUDA's libraries and checks training on the device here, in under 8 minutes:
#
#     ./run.sh [DIR] [OPTIONS]        DIR for the results: results.md, results.json [default: results]
#
# OPTIONS are those of `sog cuda check`, for instance --quick, --minutes 4, --device candle.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
out=results
case ${1:-} in
'' | -*) ;;
*) out=$1 && shift ;;
esac

# cuBLAS and cuRAND of the version that the program was built with lie in a toolkit, or in the wheels
# that come with PyTorch.
cublas_so=libcublas.so.MAJOR
curand_so=libcurand.so.10
python=${PYTHON:-python3}
directories() {
    for root in "${CUDA_HOME:-}" "${CUDA_PATH:-}" /usr/local/cuda /usr/local/cuda-*; do
        [ -z "$root" ] || printf '%s\n' "$root"/lib64 "$root"/lib "$root"/targets/*/lib
    done
    "$python" - 2>/dev/null <<'END' || true
import glob, os, sys
for root in filter(None, sys.path):
    for path in sorted(glob.glob(os.path.join(root, "nvidia", "*", "lib"))):
        print(path)
END
}
cublas='' curand='' path=''
for dir in $(directories); do
    if [ -z "$cublas" ] && [ -e "$dir/$cublas_so" ]; then cublas=$dir; fi
    if [ -z "$curand" ] && [ -e "$dir/$curand_so" ]; then curand=$dir; fi
done
for dir in "$cublas" "$curand"; do
    [ -z "$dir" ] || path=$path:$dir
done
# The driver's library, where the loader does not know its place.
for dir in /usr/local/nvidia/lib64 /usr/lib/x86_64-linux-gnu /usr/lib64 /usr/lib/wsl/lib; do
    if [ -e "$dir/libcuda.so.1" ]; then path=$path:$dir && break; fi
done
echo "cuBLAS: ${cublas:-where the loader finds it}; cuRAND: ${curand:-where the loader finds it}" >&2

# PyTorch shall find its own.
SOG_OUTER_LIBRARY_PATH=${LD_LIBRARY_PATH:-}
LD_LIBRARY_PATH=$here/lib$path${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
export LD_LIBRARY_PATH SOG_OUTER_LIBRARY_PATH
exec "$here/bin/sog" cuda check --out "$out" --python "$python" \
    --torch-script "$here/pytorch.py" "$@"
