# shellcheck shell=bash
# Owns the end of a cluster: afterwards no process, mount, device, cgroup or iptables chain of it is left.

down() {
	[[ $EUID -eq 0 ]] || fail "down needs root"
	local owner
	owner=$(cat "$RUN/owner" 2>/dev/null || true)
	if [[ -n $owner && $owner != "$DIR" ]]; then
		note "nothing is up in $DIR"
		return 0
	fi
	clean_machine
	remove_state
	[[ ! -e $RUN ]] || fail "could not remove $RUN"
}

# Removes what is outside DIR, and ends every process.
clean_machine() {
	local name
	for name in kubelet volume-provisioner coredns kube-proxy kube-scheduler kube-controller-manager; do
		halt "$name" 3 &
	done
	wait
	end_pods
	halt containerd 5
	end_shims
	halt kube-apiserver 1 2>/dev/null &
	halt etcd 3 &
	wait
	! any_alive "$DIR" || fail "a component of $DIR does not end; see $DIR/pids"
	unmount_below "$RUN"
	unmount_below "$DIR"
	remove_network
	remove_cgroups
	restore_kernel_settings
	# The CNI plugins and the kubelet keep these outside the folders that they were given.
	rm -rf /var/lib/cni/results/bolide-cluster-*
	[[ ! -d /var/log/containers ]] || find /var/log/containers -type l -lname "$DIR/*" -delete
	rm -rf "$RUN"
}

remove_state() {
	unmount_below "$DIR"
	rm -rf "$DIR"/{etcd,containerd,kubelet,volumes,pki,conf,pids,kubeconfig}
}

pod_processes() {
	local folder
	while read -r folder; do
		[[ ! -d $folder ]] || find "$folder" -name cgroup.procs -exec cat {} + 2>/dev/null
	done < <(cgroup_folders) | sort -un
}

no_pod_processes() {
	local processes
	mapfile -t processes < <(pod_processes)
	[[ ${#processes[@]} -gt 0 ]] || return 0
	kill -KILL "${processes[@]}" 2>/dev/null || true
	return 1
}

# Ends the processes of all pods by their cgroup, then lets containerd forget them, which ends their shims.
end_pods() {
	local tasks
	within 20 "pods end" no_pod_processes || true
	alive containerd || return 0
	mapfile -t tasks < <(timeout 10 ctr --address "$SOCKET" --namespace k8s.io tasks list -q 2>/dev/null)
	[[ ${#tasks[@]} -gt 0 ]] || return 0
	timeout 60 ctr --address "$SOCKET" --namespace k8s.io tasks remove --force "${tasks[@]}" >/dev/null 2>&1 || true
}

shims() {
	local folder words
	for folder in /proc/[0-9]*; do
		mapfile -d '' -t words 2>/dev/null <"$folder/cmdline" || continue
		if [[ ${words[0]:-} == *containerd-shim* && " ${words[*]} " == *" $SOCKET "* ]]; then
			echo "${folder##*/}"
		fi
	done
}

no_shims() {
	local processes
	mapfile -t processes < <(shims)
	[[ ${#processes[@]} -gt 0 ]] || return 0
	kill -KILL "${processes[@]}" 2>/dev/null || true
	return 1
}

end_shims() {
	within 10 "shims end" no_shims
}

mounts_below() {
	awk -v folder="$1/" 'index($5 "/", folder) == 1 { print $5 }' /proc/self/mountinfo | sort -r
}

unmount_below() {
	local path
	while read -r path; do
		umount "$path" 2>/dev/null || umount --lazy "$path" || note "could not unmount $path"
	done < <(mounts_below "$1")
}

remove_network() {
	local tool rules
	if ip link show cni0 >/dev/null 2>&1; then
		ip link delete cni0
	fi
	for tool in iptables ip6tables; do
		rules=$("$tool-save" 2>/dev/null) || continue
		if [[ $rules == *KUBE-* || $rules == *CNI-* ]]; then
			grep -vE 'KUBE-|CNI-' <<<"$rules" | "$tool-restore" --wait 5
		fi
	done
}

remove_cgroups() {
	local folder
	while read -r folder; do
		[[ ! -d $folder ]] || find "$folder" -depth -type d -exec rmdir {} \; 2>/dev/null || true
	done < <(cgroup_folders)
}
