#!/bin/sh
# All that is to be measured on a GPU, in slices that can be run alone:
#   sh benchmarks/gpu/run.sh [PYTHON]
# Never run so far: no GPU was at hand when these were written. The whole method, in slices: paper.py beside this file.
set -e
cd "$(dirname "$0")/../.."
python=${1:-python3}
export PYTHONPATH=.:benchmarks
"$python" benchmarks/gpu/kernels.py
"$python" benchmarks/gpu/steps.py --arch resnet18 --batch 256
"$python" benchmarks/gpu/steps.py --arch resnet18 --batch 64
"$python" benchmarks/gpu/steps.py --arch resnet20 --batch 256
