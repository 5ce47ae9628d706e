#!/bin/sh
# All speed benchmarks on this machine's processors, about 20 minutes on two idle cores:
#   sh benchmarks/run_cpu.sh [PYTHON]
# The peers are measured if they are installed: pip install spikingjelly snntorch
set -e
cd "$(dirname "$0")/.."
python=${1:-python3}
export PYTHONPATH=. OMP_WAIT_POLICY=passive
# bfloat16 with more threads than free cores is several times slower, so every run is told how many there are.
cores=$(nproc)
run() { echo "== $*" && OMP_NUM_THREADS=$threads "$python" "$@"; }
threads=$cores
run benchmarks/train_step.py --threads "$cores" --rounds 7 --teacher
run benchmarks/memory.py --threads "$cores"
run benchmarks/inference.py --threads "$cores" --rounds 9
threads=1
run benchmarks/train_step.py --threads 1 --batch 8 --clock cpu --rounds 7
run benchmarks/scaling.py --threads 1 --clock cpu --rounds 5
