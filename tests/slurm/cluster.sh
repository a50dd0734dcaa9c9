#!/usr/bin/env bash
# A real Slurm with several nodes on this one host, for the tests. Debian or Ubuntu, root, no systemd needed.
#
#   cluster.sh install            the packages, where they are missing
#   cluster.sh start NODES        nodes n1 ... nNODES; partitions main (preemptable), urgent, and short: ten minutes
#   cluster.sh controller stop    end the controller alone; nodes and what runs on them stay
#   cluster.sh controller start   and have it back, with what it knew
#   cluster.sh stop               end the daemons that start started, and forget their state
#
# State lives in $SLURM_TEST_CLUSTER; daemons are ended by their recorded process ids only.
set -euo pipefail
STATE=${SLURM_TEST_CLUSTER:?set SLURM_TEST_CLUSTER to a folder of its own}

install_packages() {
    local packages=(slurmctld slurmd slurm-client munge)
    dpkg -s "${packages[@]}" >/dev/null 2>&1 && return
    # Packages must not start daemons: there is no init system to do it.
    local policy=/usr/sbin/policy-rc.d
    [ -e "$policy" ] || { printf '#!/bin/sh\nexit 101\n' >"$policy"; chmod +x "$policy"; }
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
}

run_daemon() { # name, command...
    local name=$1
    shift
    setsid "$@" >"$STATE/log/$name.out" 2>&1 </dev/null &
    echo $! >"$STATE/pids/$name"
}

wait_until() { # seconds, command...
    local tries=$(($1 * 10))
    shift
    for _ in $(seq "$tries"); do
        "$@" >/dev/null 2>&1 && return
        sleep 0.1
    done
    echo "timed out: $*" >&2
    return 1
}

start_munge() {
    local folder
    for folder in /run/munge /var/log/munge /var/lib/munge /etc/munge; do
        mkdir -p "$folder"
        chown munge:munge "$folder"
    done
    # munged refuses folders that others may write to or, for its key, read.
    chmod 755 /run/munge
    chmod 700 /var/log/munge /var/lib/munge /etc/munge
    if [ ! -s /etc/munge/munge.key ]; then
        dd if=/dev/urandom of=/etc/munge/munge.key bs=1024 count=1 status=none
        chown munge:munge /etc/munge/munge.key
        chmod 400 /etc/munge/munge.key
    fi
    munge -n >/dev/null 2>&1 && return
    run_daemon munged runuser -u munge -- /usr/sbin/munged --foreground
    wait_until 10 munge -n
}

write_config() { # nodes
    local nodes=$1 host cpus memory
    host=$(hostname -s)
    cpus=$(nproc)
    memory=$(($(awk '/MemTotal/ {print $2}' /proc/meminfo) / 1024 / nodes - 256))
    cat >"$STATE/slurm.conf" <<CONFIG
ClusterName=test
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
StateSaveLocation=$STATE/save
SlurmdSpoolDir=$STATE/spool/%n
SlurmctldPidFile=$STATE/slurmctld.pid
SlurmdPidFile=$STATE/slurmd-%n.pid
SlurmctldLogFile=$STATE/log/slurmctld.log
SlurmdLogFile=$STATE/log/slurmd-%n.log
SlurmctldPort=16817
SlurmdPort=16818
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=1,sched_min_interval=20000,bf_interval=2
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
ReturnToService=2
MinJobAge=300
KillWait=2
MailProg=/bin/true
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
EnforcePartLimits=ALL
AccountingStorageType=accounting_storage/none
CONFIG
    local k
    for k in $(seq "$nodes"); do
        echo "NodeName=n$k NodeHostname=$host NodeAddr=127.0.0.1 Port=$((16900 + k)) CPUs=$cpus RealMemory=$memory" \
            >>"$STATE/slurm.conf"
    done
    echo "PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP PriorityTier=1" >>"$STATE/slurm.conf"
    echo "PartitionName=short Nodes=ALL MaxTime=10 State=UP PriorityTier=1" >>"$STATE/slurm.conf"
    echo "PartitionName=urgent Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=10 PreemptMode=OFF" >>"$STATE/slurm.conf"
}

start_controller() { # options; -i to begin without the state of an earlier one
    run_daemon slurmctld /usr/sbin/slurmctld -D "$@"
    wait_until 20 scontrol ping
}

stop_controller() {
    local pid
    pid=$(cat "$STATE/pids/slurmctld")
    kill -TERM "$pid"
    wait_until 20 ended "$pid"
}

start() {
    local nodes=$1 k
    mkdir -p "$STATE"/{log,pids,save,spool}
    start_munge
    write_config "$nodes"
    # Jobs get none of the SLURM_ variables of whoever submits them: what they run must find the file by itself.
    mkdir -p /etc/slurm
    if [ -e /etc/slurm/slurm.conf ] && [ ! -L /etc/slurm/slurm.conf ]; then
        echo "this host has a Slurm of its own: /etc/slurm/slurm.conf" >&2
        exit 3
    fi
    ln -sfn "$STATE/slurm.conf" /etc/slurm/slurm.conf
    start_controller -i
    for k in $(seq "$nodes"); do
        run_daemon "slurmd-n$k" /usr/sbin/slurmd -D -N "n$k"
    done
    wait_until 30 sh -c "sinfo -h -N -o %T | grep -c idle | grep -qx $((3 * nodes))"
}

running() { # pid; a zombie that nobody has reaped yet is not
    case "$(ps -o stat= -p "$1")" in "" | Z*) return 1 ;; esac
}

ended() { ! running "$1"; }

stop() {
    local file
    scancel --user root --hurry >/dev/null 2>&1 || true
    for file in "$STATE"/pids/*; do
        [ -e "$file" ] || continue
        # Children of a daemon are its own process group, which setsid made.
        kill -TERM -- "-$(cat "$file")" 2>/dev/null || true
    done
    for file in "$STATE"/pids/*; do
        [ -e "$file" ] || continue
        wait_until 10 ended "$(cat "$file")" || kill -KILL -- "-$(cat "$file")" || true
    done
    [ "$(readlink /etc/slurm/slurm.conf)" != "$STATE/slurm.conf" ] || rm /etc/slurm/slurm.conf
    rm -rf "$STATE"
}

case "${1:-}" in
install) install_packages ;;
start) start "${2:?number of nodes}" ;;
stop) stop ;;
controller)
    case "${2:-}" in
    stop) stop_controller ;;
    *) start_controller ;;
    esac
    ;;
*)
    sed -n '2,11p' "$0" >&2
    exit 2
    ;;
esac
