#!/bin/sh
# Runs the pipeline with the arguments given, and again while the output root is busy (exit status 75), for a scheduler
# that cannot tell one status from another. Ends with the status of the last attempt.
#   PIPELINE_TRIES=4 PIPELINE_PAUSE=600     attempts, and the seconds between them
project=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd) || exit 1
cd "$project" || exit 1
left=${PIPELINE_TRIES:-4}
while :; do
    # In the background, so that a SIGTERM reaches the run and not this shell alone.
    .venv/bin/python local_runner.py "$@" &
    run=$!
    trap 'kill -TERM "$run" 2>/dev/null' TERM HUP INT
    wait "$run"
    status=$?
    # A signal ends the first wait, not the run.
    while kill -0 "$run" 2>/dev/null; do wait "$run"; status=$?; done
    trap - TERM HUP INT
    left=$((left - 1))
    [ "$status" -eq 75 ] && [ "$left" -gt 0 ] || exit "$status"
    sleep "${PIPELINE_PAUSE:-600}"
done
