#!/bin/sh
# Measures what README.md's figures say, on this machine: pairs of a bare and a
# contained run, in turns. Needs root, Go and a writable cgroup2 hierarchy.
#
#   strategies/linux/figures.sh [PAIRS OF STARTS [PAIRS OF KILLS [REPETITIONS]]]
#
# At most about 1,100 processes run at a time, each asleep.
set -eu
cd "$(dirname "$0")"
starts=${1:-500} kills=${2:-15} times=${3:-3}

echo "machine:    $(uname -srm), $(nproc) CPUs, $(sed -n 's/^model name[^:]*: *//p' /proc/cpuinfo | head -n 1)"
echo "toolchain:  $(go version)"
echo "load:       $(cut -d ' ' -f 1-3 /proc/loadavg) before"
echo "pairs:      $starts starts, $kills kills, $times times each"

out=$(mktemp)
binary=$(mktemp)
trap 'rm -f "$out" "$binary"' EXIT
go test -c -o "$binary" .
measure() {
	"$binary" -test.run '^$' -test.bench "$1" -test.benchtime "$2x" -test.count "$times" >>"$out" || { cat "$out"; exit 1; }
}
measure '^BenchmarkStart$' "$starts"
measure '^BenchmarkOwnerKilled$' "$kills"
measure '^BenchmarkSupervisorMemory$' 1
echo "load:       $(cut -d ' ' -f 1-3 /proc/loadavg) after"
echo

# One line for each repetition: value and unit alternate from the third field on.
awk '
/^Benchmark/ {
	name = $1; sub(/^Benchmark/, "", name); sub(/-[0-9]+$/, "", name)
	delete v
	for (i = 3; i < NF; i += 2) v[$(i+1)] = $i
	if ("ratio" in v)
		printf "%-50s bare %6.2f ms  contained %6.2f ms  ratio %.2f, middle half of the pairs %.2f to %.2f\n",
			name, v["bare-µs"] / 1000, v["contained-µs"] / 1000, v["ratio"], v["ratio-q1"], v["ratio-q3"]
	else if ("PSS-KiB" in v)
		printf "%-50s %d supervisor(s), PSS %.1f MiB\n", name, v["supervisors"], v["PSS-KiB"] / 1024
	else
		print
}
/SKIP|^---/ { print }
' "$out"
