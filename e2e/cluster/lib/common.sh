# shellcheck shell=bash
# Owns the processes of a cluster: each is recorded in DIR/pids/NAME as "pid start-time", so that a number
# which the kernel has given to another program since is never touched.

fail() {
	echo "cluster: $*" >&2
	exit 1
}

note() {
	echo "cluster: $*" >&2
}

# The components that a wait expects to stay alive: those that this run has started.
EXPECTED=()

# within SECONDS WHAT COMMAND...: repeats the command, quietly, until it succeeds. Gives up early when a component has ended.
within() {
	local seconds=$1 what=$2 end name
	shift 2
	end=$((SECONDS + seconds))
	until "$@" >/dev/null 2>&1; do
		for name in "${EXPECTED[@]}"; do
			alive "$name" || {
				note "$what: $name has ended"
				return 1
			}
		done
		if ((SECONDS >= end)); then
			note "$what: not within $seconds s"
			return 1
		fi
		sleep 0.2
	done
}

# The time in clock ticks at which a process started; fails when there is none.
start_time() {
	local line fields
	line=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
	# The program's name comes before the last bracket and may hold spaces; the state is the first field after it.
	read -ra fields <<<"${line##*) }"
	[[ ${fields[0]} != Z ]] || return 1
	echo "${fields[19]}"
}

# The pid of a component, when it is the process that we started.
pid_of() {
	local pid started
	read -r pid started 2>/dev/null <"$DIR/pids/$1" || return 1
	[[ $(start_time "$pid") == "$started" ]] || return 1
	echo "$pid"
}

alive() {
	pid_of "$1" >/dev/null
}

# launch NAME COMMAND...: starts a component in its own session, with its own log file.
launch() {
	local name=$1 pid
	shift
	setsid "$@" >>"$DIR/log/$name.log" 2>&1 </dev/null &
	pid=$!
	disown "$pid"
	echo "$pid $(start_time "$pid" || echo 0)" >"$DIR/pids/$name"
	EXPECTED+=("$name")
}

# halt NAME SECONDS: asks a component to end, and ends it when it has not after that time.
halt() {
	local name=$1 seconds=$2 pid
	if pid=$(pid_of "$name"); then
		kill -TERM "$pid" 2>/dev/null || true
		kill -CONT "$pid" 2>/dev/null || true
		if ! within "$seconds" "$name ends" gone "$name"; then
			kill -KILL "$pid" 2>/dev/null || true
			within 5 "$name is ended" gone "$name" || return 1
		fi
	fi
	rm -f "$DIR/pids/$name"
}

gone() {
	! alive "$1"
}
