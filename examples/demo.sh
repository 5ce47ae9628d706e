#!/bin/sh
# The main job on the shipped example: convert a trained ResNet, look at the mapping, train the spiking student, measure.
set -eu
cd "$(dirname "$0")/.."
out=build/demo
rm -rf "$out"
mkdir -p "$out"
show() {
  printf '\n$ %s\n' "$*"
  "$@"
}
show idsnn-convert examples/fashion_mnist_resnet14.pth --target resnet8 -o "$out/student.safetensors" \
  --report "$out/mapping.html"
show idsnn train "$out/student.safetensors" --teacher examples/fashion_mnist_resnet14.pth \
  --data fashion-mnist:examples/fashion-mnist --recipe idsnn-fast --epochs 4 --set run.batch_size=32 --out "$out/run"
printf '\nThe teacher, then its spiking student, on 1,000 test images:\n'
show idsnn evaluate examples/fashion_mnist_resnet14.pth --data fashion-mnist:examples/fashion-mnist
show idsnn evaluate "$out/run/best.safetensors" --data fashion-mnist:examples/fashion-mnist
show idsnn report "$out/run" -o "$out/run.html"
