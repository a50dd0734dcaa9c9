#!/bin/sh
# Deletes jobs, in the background: Snakemake kills what takes more than two seconds, as a busy server's qdel does.
setsid qdel "$@" >/dev/null 2>&1 </dev/null &
