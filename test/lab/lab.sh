#!/bin/bash
# Systemd hosts on one machine: each a container with its own init, network address
# and cgroup subtree, close enough to a server to run a kubelet and be installed over SSH.
# usage:
#   lab.sh deps                       install what the lab needs on this Debian machine
#   lab.sh base [debian|rpm|managed]  make the base trees (default the first two), once
#   lab.sh up NAME CIDR [OS] [WAY]    boot a host; OS: debian-12 (default), rocky-9, centos-7,
#                                     debian-12-managed, with firewalls, NetworkManager and cloud-init
#                                     WAY, the default route: host0 (default), none, or host1,
#                                     a second interface on a second bridge, where nobody answers
#   lab.sh in NAME CMD...             run a command inside a host, in the host's cgroup
#   lab.sh ssh FROM NAME CMD...       the same over SSH, from the namespace or host FROM
#   lab.sh stop NAME [hard]           power off, or cut the power; disk and address stay
#   lab.sh start NAME                 boot a stopped host again
#   lab.sh down NAME                  end a host or namespace and remove it
#   lab.sh netns NAME CIDR            a bare namespace with an address on the same bridge
#   lab.sh clean                      end and remove everything; the cache stays
# Directories: cache ${OFFK8S_LAB:-~/.cache/offk8s-lab}, running hosts ${LAB:-$OFFK8S_LAB/run}.
# Needs root. Nothing leaves the namespaces: the bridge has no way to the machine's network.
set -euo pipefail

cache=${OFFK8S_LAB:-${XDG_CACHE_HOME:-$HOME/.cache}/offk8s-lab}
LAB=${LAB:-$cache/run}
bridge=lab          # namespace that holds the bridge
gateway=10.66.0.1   # the bridge's own address; /24
gateway1=10.67.0.1  # the second bridge's; the two do not forward to each other
cgroups=/sys/fs/cgroup

# Left out on purpose: chrony, conntrack, socat, ebtables, ipset, ethtool, iptables and
# nftables, so that offk8s has something to install.
packages=systemd,systemd-sysv,dbus,iproute2,kmod,procps,openssh-server,ca-certificates,curl,libseccomp2,sudo
rpm_packages="dnf rpm gnupg"
managed_packages="firewalld ufw network-manager cloud-init unattended-upgrades"
suite=bookworm

say() { echo "lab: $*" >&2; }
die() { say "$*"; exit 1; }
root() { ((EUID == 0)) || die "needs root"; }

deps() {
  root
  # iptables and conntrack on the machine itself let tests look at a host's rules from outside.
  local want="systemd-container debootstrap iproute2 iptables nftables conntrack openssh-client procps rpm dnf createrepo-c gnupg gnupg1 gcc libc6-dev xz-utils"
  # shellcheck disable=SC2086
  dpkg-query -W -f '${db:Status-Status}\n' $want 2>/dev/null | grep -c '^installed$' |
    grep -qx "$(wc -w <<<"$want")" && return
  apt-get update -qq
  # shellcheck disable=SC2086
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $want >/dev/null
}

# mirror: the Debian archive that this machine itself uses.
mirror() {
  apt-get indextargets --format '$(REPO_URI) $(CODENAME)' 'Created-By: Packages' |
    awk -v s="$suite" '$2 == s { print $1; exit }'
}

# basedir KIND: where a base is; the name changes with the recipe.
basedir() {
  local key="2 $suite $packages"
  case $1 in rpm) key+=" $rpm_packages" ;; managed) key+=" $managed_packages" ;; esac
  echo "$cache/bases/$1-$(sha256sum <<<"$key" | cut -c1-12)"
}

base() {
  local kind=$1 dir tmp
  root
  dir=$(basedir "$kind")
  [[ -e $dir ]] && return
  mkdir -p "$cache/bases"
  exec 8>"$cache/bases/.lock-$kind"
  flock 8
  [[ -e $dir ]] && return
  say "making base $kind (about a minute)"
  rm -rf "$cache/bases/.tmp-$kind"
  tmp=$cache/bases/.tmp-$kind
  if [[ $kind == debian ]]; then
    debootstrap --variant=minbase --include=$packages $suite "$tmp" "$(mirror)" >"$cache/bases/$kind.log" 2>&1 ||
      { tail -5 "$cache/bases/$kind.log" >&2; die "debootstrap"; }
    # Every host makes keys of its own, and must not wait for anybody's network.
    rm -f "$tmp"/etc/ssh/ssh_host_* "$tmp"/var/cache/apt/archives/*.deb
    : >"$tmp/etc/resolv.conf"
    printf '127.0.0.1 localhost\n' >"$tmp/etc/hosts"
    printf 'PermitRootLogin prohibit-password\nPasswordAuthentication no\nUseDNS no\nMaxStartups 100\n' >"$tmp/etc/ssh/sshd_config.d/lab.conf"
  elif [[ $kind == managed ]]; then
    onto_debian "$managed_packages"
    # A host switches on what it has to have. Its udev may not ask for the machine's devices.
    chroot "$tmp" systemctl mask systemd-udev-trigger >>"$cache/bases/$kind.log" 2>&1
    chroot "$tmp" systemctl disable firewalld ufw NetworkManager NetworkManager-wait-online NetworkManager-dispatcher \
      cloud-init cloud-init-local cloud-config cloud-final cloud-init-hotplugd.socket unattended-upgrades >>"$cache/bases/$kind.log" 2>&1
  else
    onto_debian "$rpm_packages"
    # Nothing may mistake this for a Debian host.
    rm -rf "$tmp"/usr/bin/{apt,apt-get,apt-cache,apt-mark,apt-key,dpkg,dpkg-query,dpkg-deb} "$tmp"/etc/{debian_version,apt} \
      "$tmp"/var/lib/apt/lists/* "$tmp/var/lib/rpm"
    ln -sf dnf "$tmp/usr/bin/yum"
    mkdir -p "$tmp/etc/yum.repos.d" "$tmp/etc/sysconfig" "$tmp/etc/rpm"
    # Debian's rpm keeps a database per user.
    echo '%_dbpath /var/lib/rpm' >"$tmp/etc/rpm/macros"
    chroot "$tmp" rpm --initdb
  fi
  mv -T "$tmp" "$dir"
}

# onto_debian PACKAGES: the Debian base with more packages, in $tmp of base.
onto_debian() {
  (base debian)
  cp -a "$(basedir debian)" "$tmp"
  cp /etc/resolv.conf "$tmp/etc/resolv.conf"
  chroot "$tmp" sh -c "apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $1 && apt-get clean" >"$cache/bases/$kind.log" 2>&1 ||
    { tail -5 "$cache/bases/$kind.log" >&2; die "$kind base"; }
  : >"$tmp/etc/resolv.conf"
}

# dress ROOT OS: what tells the distributions apart. The package source configured
# on a host is one that cannot answer, as on a closed network: an installer that
# uses it instead of its own fails.
dress() {
  local r=$1
  case $2 in
    debian-12*)
      rm -rf "$r"/etc/apt/sources.list.d
      echo "deb http://archive.invalid/debian $suite main" >"$r/etc/apt/sources.list"
      return
      ;;
    rocky-9)
      printf '%s\n' 'NAME="Rocky Linux"' 'VERSION="9.4 (Blue Onyx)"' 'ID="rocky"' 'ID_LIKE="rhel centos fedora"' 'VERSION_ID="9.4"' \
        'PLATFORM_ID="platform:el9"' 'PRETTY_NAME="Rocky Linux 9.4 (Blue Onyx)"' 'CPE_NAME="cpe:/o:rocky:rocky:9::baseos"' >"$r/usr/lib/os-release"
      echo "Rocky Linux release 9.4 (Blue Onyx)" >"$r/etc/rocky-release"
      ln -sf rocky-release "$r/etc/redhat-release"
      ;;
    centos-7)
      printf '%s\n' 'NAME="CentOS Linux"' 'VERSION="7 (Core)"' 'ID="centos"' 'ID_LIKE="rhel fedora"' 'VERSION_ID="7"' \
        'PRETTY_NAME="CentOS Linux 7 (Core)"' 'CPE_NAME="cpe:/o:centos:centos:7"' >"$r/usr/lib/os-release"
      echo "CentOS Linux release 7.9.2009 (Core)" >"$r/etc/centos-release"
      ln -sf centos-release "$r/etc/redhat-release"
      ;;
  esac
  ln -sf ../usr/lib/os-release "$r/etc/os-release"
  printf '[base]\nname=unreachable\nbaseurl=http://archive.invalid/$releasever/os/$basearch/\ngpgcheck=1\n' >"$r/etc/yum.repos.d/base.repo"
}

# known KIND NAME: fails unless NAME was made here (and is of that kind).
known() { [[ -e $LAB/$2/kind ]] && [[ -z $1 || $(cat "$LAB/$2/kind") == "$1" ]] || die "no ${1:-host or namespace} $2"; }

fresh() {
  # Interface names end at 15 characters.
  [[ $1 =~ ^[a-z][a-z0-9-]{0,12}$ && $1 != ssh && $1 != "$bridge" ]] || die "bad name $1"
  [[ $2 =~ ^[0-9.]+/[0-9]+$ ]] || die "bad address $2, want A.B.C.D/24"
  [[ ! -e $LAB/$1 && ! -e /run/netns/$1 ]] || die "$1 already exists"
}

# One file with a line per host is written by several runs at once.
locked() { (flock 7; "$@") 7>"$LAB/.lock"; }

# switch: the namespace with the bridge, the lab's SSH key and a note of the sysctls,
# which are the machine's own: a kubelet in a host sets some of them for everybody.
switch() {
  [[ -e $LAB/ssh/id_ed25519 ]] || { mkdir -p "$LAB/ssh"; ssh-keygen -q -t ed25519 -N '' -C lab -f "$LAB/ssh/id_ed25519"; }
  [[ -e $LAB/sysctl ]] || sysctl -e vm.overcommit_memory vm.panic_on_oom vm.swappiness vm.max_map_count kernel.panic \
    kernel.panic_on_oops kernel.pid_max fs.inotify.max_user_watches fs.inotify.max_user_instances fs.file-max \
    kernel.keys.root_maxkeys kernel.keys.root_maxbytes net.netfilter.nf_conntrack_max >"$LAB/sysctl" 2>/dev/null || true
  if [[ ! -e /run/netns/$bridge ]]; then
    ip netns add $bridge
    ip -n $bridge link set lo up
  fi
  local br
  for br in br0:$gateway br1:$gateway1; do
    ! ip -n $bridge link show "${br%:*}" >/dev/null 2>&1 || continue
    ip -n $bridge link add "${br%:*}" type bridge
    ip -n $bridge addr add "${br#*:}/24" dev "${br%:*}"
    ip -n $bridge link set "${br%:*}" up
  done
  ip netns exec $bridge sysctl -q -w net.ipv4.ip_forward=0
  : >"$LAB/.bridge"
}

# plug NAME CIDR [WAY]: namespace NAME with an address on the bridge.
plug() {
  ip netns add "$1"
  ip -n "$1" link set lo up
  wire "$1" "v-$1" br0 host0 "$2"
  case ${3:-host0} in
    host0) ip -n "$1" route add default via $gateway ;;
    host1)
      wire "$1" "w-$1" br1 host1 "${gateway1%.*}.${2##*.}"
      ip -n "$1" route add default via $gateway1
      ;;
  esac
}

# wire NAME PORT BRIDGE CARD CIDR: an interface of a namespace on a bridge, named like a
# server's network card, so that nothing learns to depend on veth.
wire() {
  ip link add "$2" netns $bridge type veth peer name "$4" netns "$1"
  ip -n $bridge link set "$2" master "$3" up
  # The same card for the same address, so that neighbours survive a host made anew.
  # shellcheck disable=SC2046
  ip -n "$1" link set "$4" address "$(printf '02:00:%02x:%02x:%02x:%02x' $(sed 's,/.*,,; s/[.]/ /g' <<<"$5"))"
  ip -n "$1" addr add "$5" dev "$4"
  ip -n "$1" link set "$4" up
}

netns() {
  root
  fresh "$1" "$2"
  mkdir -p "$LAB/$1"
  echo netns >"$LAB/$1/kind"
  echo "$2" >"$LAB/$1/cidr"
  locked switch
  plug "$1" "$2"
}

up() {
  local n=$1 cidr=$2 os=${3:-debian-12} way=${4:-host0} d=$LAB/$1 kind=rpm v
  root
  fresh "$n" "$cidr"
  case $os in debian-12) kind=debian ;; debian-12-managed) kind=managed ;; rocky-9 | centos-7) ;; *) die "unknown system $os" ;; esac
  case $way in host0 | host1 | none) ;; *) die "unknown way $way" ;; esac
  base "$kind"
  # The note comes first: whatever happens next, clean finds it.
  mkdir -p "$d"/{up,work,root}
  echo host >"$d/kind"
  echo "$cidr" >"$d/cidr"
  # Overlay on overlay does not work, so what holds image layers, volumes and
  # databases lies on the disk itself.
  for v in containerd kubelet etcd docker; do mkdir -p "$d/var/$v"; done
  locked switch
  plug "$n" "$cidr" "$way"
  mount -t overlay overlay -o "lowerdir=$(basedir $kind),upperdir=$d/up,workdir=$d/work" "$d/root"
  dress "$d/root" "$os"
  echo "$n" >"$d/root/etc/hostname"
  rm -f "$d/root/etc/machine-id"
  tr -d - </proc/sys/kernel/random/uuid >"$d/root/etc/machine-id"
  ssh-keygen -q -t ed25519 -N '' -C "$n" -f "$d/root/etc/ssh/ssh_host_ed25519_key"
  install -d -m 700 "$d/root/root/.ssh"
  install -m 600 "$LAB/ssh/id_ed25519.pub" "$d/root/root/.ssh/authorized_keys"
  locked remember "$n"
  boot "$n"
}

# remember and forget: the host's line in the known_hosts file that callers use.
remember() { echo "$1,$(sed 's,/.*,,' "$LAB/$1/cidr") $(cut -d' ' -f1,2 "$LAB/$1/root/etc/ssh/ssh_host_ed25519_key.pub")" >>"$LAB/known_hosts"; }
forget() {
  [[ -e $LAB/known_hosts ]] || return 0
  grep -v "^$1," "$LAB/known_hosts" >"$LAB/known_hosts.new" || true
  mv "$LAB/known_hosts.new" "$LAB/known_hosts"
}

# trees NAME: the host's directory in every cgroup hierarchy of the machine.
trees() {
  if [[ -e $cgroups/cgroup.procs ]]; then echo "$cgroups/lab-$1"; return; fi
  local c
  for c in "$cgroups"/*/; do [[ ! -e $c/cgroup.procs || -L ${c%/} ]] || echo "${c}lab-$1"; done
}

# boot NAME: starts the host's init and waits until systemd has settled.
boot() {
  local n=$1 d=$LAB/$1 t f l state="" v
  local -a binds=()
  known host "$n"
  mountpoint -q "$d/root" || die "$n has no root; take it down"
  for t in $(trees "$n"); do
    mkdir -p "$t"
    # A new cpuset is empty, and an empty one takes no process.
    for f in cpuset.cpus cpuset.mems; do [[ ! -e ${t%/*}/$f || $t != */cpuset/* ]] || cat "${t%/*}/$f" >"$t/$f"; done
  done
  for v in fuse kmsg; do [[ ! -e /dev/$v ]] || binds+=("--bind=/dev/$v"); done
  [[ ! -d /lib/modules ]] || binds+=("--bind-ro=$(realpath /lib/modules):/lib/modules")
  for v in "$d"/var/*; do binds+=("--bind=$v:/var/lib/${v##*/}"); done
  (
    # Started inside its own cgroups, so that the container's cgroup namespace has its
    # root there and two kubelets do not share one /kubepods.
    for t in $(trees "$n"); do echo "$BASHPID" >"$t/cgroup.procs"; done
    export SYSTEMD_NSPAWN_API_VFS_WRITABLE=1
    exec setsid systemd-nspawn --quiet -b -D "$d/root" -M "$n" --register=no --keep-unit --network-namespace-path="/run/netns/$n" \
      --capability=all --system-call-filter='@known bpf add_key keyctl' --resolv-conf=off --timezone=off --link-journal=no \
      "${binds[@]}" >>"$d/console.log" 2>&1 </dev/null 7>&- 8>&-
  ) &
  echo $! >"$d/pid"
  for _ in $(seq 600); do
    l=$(leader "$n") && state=$(nsenter -t "$l" -a systemctl is-system-running 2>/dev/null) || true
    [[ $state != running && $state != degraded ]] || break
    # Not alive(): until its exec the child still has bash's command line.
    kill -0 "$(cat "$d/pid")" 2>/dev/null || { tail -5 "$d/console.log" >&2; die "$n: init ended"; }
    sleep 0.3
  done
  [[ $state == running || $state == degraded ]] || die "$n: not up after 180 s: $state"
  # A plain remount is busy; kubelet and containerd make cgroups of their own.
  nsenter -t "$l" -a sh -c 'for c in /sys/fs/cgroup /sys/fs/cgroup/*; do ! mountpoint -q $c || mount -o remount,bind,rw $c; done' 2>/dev/null || true
  say "$n is $state, $(cat "$d/cidr")"
}

# alive NAME: whether the recorded process is still the nspawn we started.
alive() { [[ -e $LAB/$1/pid ]] && grep -qa systemd-nspawn "/proc/$(cat "$LAB/$1/pid")/cmdline" 2>/dev/null; }
# The subshell that becomes nspawn has bash's command line for a moment, hence pgrep on the parent.
leader() { [[ -e $LAB/$1/pid ]] && pgrep -P "$(cat "$LAB/$1/pid")" | head -1 | grep .; }

inside() {
  local n=$1 l
  shift
  known host "$n"
  l=$(leader "$n") || die "$n is not running"
  # nsenter alone would leave the command outside the host's cgroup.
  exec nsenter -t "$l" -a systemd-run --quiet --wait --pipe --collect --setenv=HOME=/root -- "$@"
}

over_ssh() {
  local from=$1 n=$2
  shift 2
  known "" "$from"
  known host "$n"
  exec ip netns exec "$from" ssh -i "$LAB/ssh/id_ed25519" -o IdentitiesOnly=yes -o UserKnownHostsFile="$LAB/known_hosts" \
    -o StrictHostKeyChecking=yes -o BatchMode=yes -o ConnectTimeout=10 "root@$(sed 's,/.*,,' "$LAB/$n/cidr")" -- "$@"
}

# stop NAME [hard]: ends the host's processes; leaves its disk, address and cgroups.
stop() {
  local n=$1 l p t
  l=$(leader "$n" || true)
  if [[ ${2:-} != hard && -n $l ]] && alive "$n"; then
    kill -s RTMIN+4 "$l" 2>/dev/null || true # systemd's own signal for "power off"
    for _ in $(seq 60); do alive "$n" || break; sleep 0.25; done
  fi
  if [[ -n $l ]] && alive "$n"; then kill -9 "$l" 2>/dev/null || true; fi
  # What a crash left: nobody but this host is in these cgroups.
  for t in $(trees "$n"); do
    [[ -d $t ]] || continue
    for _ in 1 2 3 4 5 6 7 8; do
      p=$(find "$t" -name cgroup.procs -exec cat {} + 2>/dev/null | grep -vx 0 || true)
      [[ -n $p ]] || break
      # shellcheck disable=SC2086
      kill -9 $p 2>/dev/null || true
      sleep 0.25
    done
  done
  rm -f "$LAB/$n/pid"
}

# unplug NAME: ends what still runs in a namespace (a server that a test left), removes it.
unplug() {
  local p
  [[ -e /run/netns/$1 ]] || return 0
  p=$(ip netns pids "$1" 2>/dev/null || true)
  # shellcheck disable=SC2086
  [[ -z $p ]] || kill -9 $p 2>/dev/null || true
  ip netns del "$1" 2>/dev/null || true
  # The kernel takes a namespace down when it likes, and its ports until then.
  for p in "v-$1" "w-$1"; do ip -n $bridge link del "$p" 2>/dev/null || true; done
}

down() {
  local n=$1 d=$LAB/$1 t m
  root
  known "" "$n"
  if [[ $(cat "$d/kind") == host ]]; then
    stop "$n"
    # A killed nspawn leaves its lock, named after the root's device and inode.
    [[ ! -d $d/root ]] || rm -f "/run/systemd/nspawn/locks/inode-$(stat -c %d:%i "$d/root")"
    # Mounts under the directory, the deepest first.
    while read -r m; do umount "$m" 2>/dev/null || umount -l "$m" || true; done < <(awk -v d="$d/" 'index($5, d) == 1 { print $5 }' /proc/self/mountinfo | sort -r)
    for t in $(trees "$n"); do
      for _ in 1 2 3 4 5 6 7 8; do
        [[ -d $t ]] || break
        find "$t" -depth -type d -exec rmdir {} \; 2>/dev/null || true
        [[ ! -d $t ]] || sleep 0.25
      done
    done
    rm -rf "/run/systemd/nspawn/propagate/$n" "/run/systemd/nspawn/unix-export/$n"
    locked forget "$n"
  fi
  unplug "$n"
  if grep -q " $d/" /proc/self/mountinfo; then die "$n: still mounted below $d"; fi
  rm -rf --one-file-system "$d"
}

clean() {
  local k
  root
  for k in "$LAB"/*/kind; do
    [[ ! -e $k ]] || { k=${k%/kind}; down "${k##*/}"; }
  done
  # Hosts of another LAB directory may still be plugged in.
  if [[ -e $LAB/.bridge && -z $(ip -n $bridge link show master br0 2>/dev/null) ]]; then unplug $bridge; fi
  [[ ! -s $LAB/sysctl ]] || sysctl -q -e -p "$LAB/sysctl" >/dev/null 2>&1 || true
  rm -rf --one-file-system "$LAB"/{ssh,known_hosts,sysctl,.bridge,.lock}
  [[ ! -d $LAB ]] || rmdir "$LAB" 2>/dev/null || say "left in $LAB: $(ls -A "$LAB")"
}

cmd=${1:-}
[[ $# -eq 0 ]] || shift
case $cmd in
  deps) deps ;;
  base) for k in "${@:-debian}"; do base "$k"; done; (($#)) || base rpm ;;
  up) up "$@" ;;
  in) inside "$@" ;;
  ssh) over_ssh "$@" ;;
  stop) root; known host "$1"; stop "$@" ;;
  start) root; boot "$@" ;;
  down) down "$@" ;;
  netns) netns "$@" ;;
  clean) clean ;;
  *) sed -n 4,18p "$0"; exit 2 ;;
esac
