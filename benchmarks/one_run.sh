#!/bin/sh
# One run in earnest, half an hour on one core: ResNet-32 to a spiking ResNet-20, all images of CIFAR-10, three epochs, seed 0.
#   sh benchmarks/one_run.sh resnet32-d509ac18.th CIFAR10_DIR OUT
# The head is copied too, since there is no time to learn it anew. Then its accuracy, also with weights of 16 and of 8 bits.
set -e
mkdir -p "$3"
export OMP_NUM_THREADS=1
idsnn-convert "$1" --target resnet20 --head copy -o "$3/start.safetensors"
idsnn train "$3/start.safetensors" --teacher "$1" --data "cifar10:$2" --recipe idsnn-fast --set run.epochs=3 \
    --set run.precision=bfloat16 --set run.teacher_precision=bfloat16 --out "$3/run"
idsnn evaluate "$3/run/best.safetensors" --data "cifar10:$2"
idsnn evaluate "$3/run/best.safetensors" --data "cifar10:$2" --weight-bits 16
idsnn evaluate "$3/run/best.safetensors" --data "cifar10:$2" --weight-bits 8
