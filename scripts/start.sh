#!/bin/sh
set -eu
cd "$(dirname "$0")/.."
sh scripts/setup.sh
exec ./holdfast start
