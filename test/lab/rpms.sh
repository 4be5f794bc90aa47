#!/bin/bash
# Makes the RPM repositories that stand in for an EL distribution.
# usage: rpms.sh OUT
# Debian's programs, repackaged as RPMs under the names an EL user asks for, with
# dependencies generated from the real sonames. Result (hard links into the cache):
#   OUT/RPM-GPG-KEY-lab
#   OUT/rocky-9/{BaseOS,AppStream}/x86_64/os      OpenPGP v4 signatures
#   OUT/centos-7/{os,updates,extras}/x86_64       OpenPGP v3 signatures, as EL 7 has them
# Each has repodata (gz) with a signed repomd.xml. Needs no root; tools: lab.sh deps.
set -euo pipefail

cache=${OFFK8S_LAB:-${XDG_CACHE_HOME:-$HOME/.cache}/offk8s-lab}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
jobs=${JOBS:-2}
uid="offk8s lab (test key) <lab@offk8s.invalid>"

say() { echo "lab: rpms: $*" >&2; }

# What a host asks for, by Debian name. Libraries follow by themselves.
wanted="chrony conntrack socat ebtables ipset iptables ethtool iproute2 kmod e2fsprogs xfsprogs nftables ipvsadm
  libseccomp2 libdevmapper1.02.1 libnss3 openssl curl rsync tar unzip bash-completion keepalived haproxy
  libatm1" # tc loads libatm1 when it is there, so Debian only recommends it

# EL's name of a Debian package, where it is another one.
declare -A el=(
  [conntrack]=conntrack-tools [iproute2]=iproute [libseccomp2]=libseccomp [libdevmapper1.02.1]=device-mapper-libs
  [libnss3]=nss [libc6]=glibc [libgcc-s1]=libgcc [libstdc++6]=libstdc++ [zlib1g]=zlib [libssl3]=openssl-libs
  [libcurl4]=libcurl [libmnl0]=libmnl [libnfnetlink0]=libnfnetlink [libnetfilter-conntrack3]=libnetfilter_conntrack
  [libcap2]=libcap [libedit2]=libedit [libgnutls30]=gnutls [libnettle8]=nettle [libselinux1]=libselinux
  [libtirpc3]=libtirpc [libkmod2]=kmod-libs [libxtables12]=iptables-libs [libipset13]=ipset-libs
)

# Packages that are not in the first repository of the distribution; the rest is.
appstream=" conntrack-tools socat container-selinux keepalived haproxy nss "
extras=" container-selinux "

# closure NAME...: the packages and the libraries below them. Debian's other
# dependencies (debconf, adduser, perl) serve maintainer scripts, which are left out.
closure() {
  apt-cache depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces --no-enhances "$@" |
    awk -v first="$*" '
      /^[a-z0-9]/ { p = $1 }
      $1 ~ /^\|?(Pre)?Depends:$/ && $2 ~ /^(lib|zlib1g)/ && $2 !~ /-perl$|^libc-bin/ { to[p] = to[p] " " $2 }
      END {
        n = split(first, q)
        for (i = 1; i <= n; i++) seen[q[i]] = 1
        for (i = 1; i <= n; i++) { m = split(to[q[i]], t); for (j = 1; j <= m; j++) if (!seen[t[j]]++) q[++n] = t[j] }
        for (i = 1; i <= n; i++) print q[i]
      }' | sort
}

# spec NAME VERSION RELEASE ARCH: the head that all specs share. Only what the
# dynamic linker needs becomes a requirement: no script interpreters, no pkg-config.
spec() {
  cat <<EOF
%global debug_package %{nil}
%global __os_install_post %{nil}
%global _build_id_links none
%global __requires_exclude ^(/|perl|python|pkgconfig)
%global __provides_exclude ^(perl|python|pkgconfig|mimehandler|application|metainfo)
Name: $1
Version: $2
Release: $3
Summary: Lab stand-in for $1
License: see the Debian package
Vendor: offk8s lab
$([[ $4 != noarch ]] || echo "BuildArch: noarch")
EOF
}

# build SPEC ROOT: rpmbuild with a ready root; the RPM lands in $work/rpms.
build() {
  local arch=x86_64
  grep -q '^BuildArch: noarch' "$1" && arch=noarch
  rpmbuild -bb --quiet --target "$arch-linux" --buildroot "$2" --define "_topdir $2.top" --define "_rpmdir $work/rpms" \
    --define "_rpmfilename %{NAME}-%{VERSION}-%{RELEASE}.%{ARCH}.rpm" --define "_binary_payload w3.zstdio" \
    --define "_dbpath $work/db" --define "_buildhost lab" --define "use_source_date_epoch_as_buildtime 1" \
    --define "_source_filedigest_algorithm 8" --define "_binary_filedigest_algorithm 8" "$1" >"$2.log" 2>&1 ||
    { tail -20 "$2.log" >&2; return 1; }
}

# meta NAME VERSION LINES: an RPM without files.
meta() {
  mkdir -p "$work/b/$1"
  { spec "$1" "$2" 1 noarch; printf '%s\n' "$3"; printf '%%description\nLab stand-in.\n%%files\n'; } >"$work/b/$1.spec"
  build "$work/b/$1.spec" "$work/b/$1"
}

# convert DEB: one Debian package file.
convert() {
  local deb=$1 p v r name root provides="" scripts="" d arch
  p=$(dpkg-deb -f "$deb" Package) v=$(dpkg-deb -f "$deb" Version) v=${v#*:}
  name=${el[$p]:-$p} root=$work/b/$p arch=x86_64
  [[ $(dpkg-deb -f "$deb" Architecture) != all ]] || arch=noarch
  if [[ $v == *-* ]]; then r=${v##*-} v=${v%-*}; else r=1; fi
  mkdir -p "$root"
  dpkg-deb -x "$deb" "$root"
  # The hosts have /bin, /sbin and /lib as links into /usr.
  for d in bin sbin lib lib64; do
    [[ -d $root/$d ]] || continue
    mkdir -p "$root/usr/$d"
    cp -a "$root/$d/." "$root/usr/$d/"
    rm -rf "${root:?}/$d"
  done
  rm -rf "$root"/usr/share/{doc,man,locale,lintian,bug,info,apport}
  case $name in
    glibc) provides="Provides: rtld(GNU_HASH)" ;;
    conntrack-tools) provides="Provides: conntrack = $v-$r" ;;
    chrony) chrony "$root"; scripts=$(service_scripts chronyd _chrony /var/lib/chrony /var/log/chrony) ;;
    haproxy) haproxy "$root"; scripts=$(service_scripts haproxy haproxy /var/lib/haproxy) ;;
    keepalived) keepalived "$root"; scripts=$(service_scripts keepalived) ;;
    # Debian chooses between variants in maintainer scripts; EL has the nft ones.
    iptables)
      provides="Provides: iptables-nft = $v-$r"
      for d in iptables iptables-save iptables-restore ip6tables ip6tables-save ip6tables-restore arptables; do
        ln -sf xtables-nft-multi "$root/usr/sbin/$d"
      done
      ;;
    ebtables)
      for d in ebtables ebtables-save ebtables-restore; do ln -sf xtables-nft-multi "$root/usr/sbin/$d"; done
      provides="Requires: iptables" # the program behind these links
      ;;
  esac
  {
    spec "$name" "${v//-/.}" "$r" "$arch"
    printf '%s\n%%description\nLab stand-in.\n%s\n%%files\n' "$provides" "$scripts"
    # Directories stay unowned unless they are empty: parents belong to the system.
    (cd "$root" && find . -mindepth 1 \( -type d -empty -printf '%%dir "/%P"\n' \) -o \( ! -type d -path './etc/*' -printf '%%config(noreplace) "/%P"\n' \) -o \( ! -type d -printf '"/%P"\n' \))
  } >"$work/b/$p.spec"
  build "$work/b/$p.spec" "$root"
  rm -rf "$root" "$root.top"
}

# chrony ROOT: Debian's daemon where EL keeps it: chronyd.service, /etc/chrony.conf, /etc/sysconfig/chronyd.
chrony() {
  local r=$1
  rm -rf "$r"/etc/{chrony,init.d,default,dhcp,ppp,network,NetworkManager,apparmor.d,logrotate.d} "$r"/usr/lib/systemd/system "$r"/usr/lib/sysusers.d
  mkdir -p "$r"/etc/sysconfig "$r"/usr/lib/{systemd/system,sysusers.d,tmpfiles.d} "$r"/var/{lib,log}/chrony
  cat >"$r/usr/lib/systemd/system/chronyd.service" <<'EOF'
[Unit]
Description=NTP client/server
Conflicts=ntpd.service systemd-timesyncd.service
After=network.target

[Service]
Type=forking
PIDFile=/run/chrony/chronyd.pid
EnvironmentFile=-/etc/sysconfig/chronyd
ExecStart=/usr/sbin/chronyd -f /etc/chrony.conf $OPTIONS

[Install]
WantedBy=multi-user.target
EOF
  printf 'OPTIONS=""\n' >"$r/etc/sysconfig/chronyd"
  printf 'pool pool.invalid iburst\ndriftfile /var/lib/chrony/drift\nmakestep 1.0 3\nlogdir /var/log/chrony\n' >"$r/etc/chrony.conf"
  # The daemon was compiled with Debian's user name.
  printf 'u _chrony - "chrony daemon" /var/lib/chrony\nu chrony - "chrony daemon" /var/lib/chrony\n' >"$r/usr/lib/sysusers.d/chrony.conf"
}
# haproxy ROOT: as in EL 9: configuration in two places, options in sysconfig, no /run/haproxy.
haproxy() {
  local r=$1
  rm -rf "$r"/etc/{init.d,default,logrotate.d,rsyslog.d} "$r"/etc/haproxy/errors "$r"/usr/lib/{systemd/system,tmpfiles.d} "$r"/var/lib/haproxy/dev
  mkdir -p "$r"/etc/sysconfig "$r"/etc/haproxy/conf.d "$r"/usr/lib/{systemd/system,sysusers.d} "$r"/var/lib/haproxy
  cat >"$r/usr/lib/systemd/system/haproxy.service" <<'EOF'
[Unit]
Description=HAProxy Load Balancer
After=network-online.target
Wants=network-online.target

[Service]
EnvironmentFile=-/etc/sysconfig/haproxy
Environment="CONFIG=/etc/haproxy/haproxy.cfg" "PIDFILE=/run/haproxy.pid" "CFGDIR=/etc/haproxy/conf.d"
ExecStartPre=/usr/sbin/haproxy -f $CONFIG -f $CFGDIR -c -q $OPTIONS
ExecStart=/usr/sbin/haproxy -Ws -f $CONFIG -f $CFGDIR -p $PIDFILE $OPTIONS
ExecReload=/usr/sbin/haproxy -f $CONFIG -f $CFGDIR -c -q $OPTIONS
ExecReload=/bin/kill -USR2 $MAINPID
KillMode=mixed
SuccessExitStatus=143
Type=notify

[Install]
WantedBy=multi-user.target
EOF
  printf 'OPTIONS=""\n' >"$r/etc/sysconfig/haproxy"
  printf 'u haproxy - "haproxy" /var/lib/haproxy\n' >"$r/usr/lib/sysusers.d/haproxy.conf"
  # A default that serves nothing of ours, as the distribution's does.
  printf '%s\n' global '    chroot /var/lib/haproxy' '    user haproxy' '    group haproxy' '    stats socket /var/lib/haproxy/stats' \
    defaults '    mode http' '    timeout connect 10s' '    timeout client 1m' '    timeout server 1m' \
    'frontend main' '    bind *:5000' '    default_backend app' 'backend app' '    server app1 127.0.0.1:5001 check' >"$r/etc/haproxy/haproxy.cfg"
}

# keepalived ROOT: as in EL 9. The default configuration claims addresses, as the distribution's does.
keepalived() {
  local r=$1
  rm -rf "$r"/etc/{init.d,default} "$r"/etc/keepalived/* "$r"/usr/lib/systemd/system
  mkdir -p "$r"/etc/sysconfig "$r"/usr/libexec/keepalived "$r"/usr/lib/systemd/system
  cat >"$r/usr/lib/systemd/system/keepalived.service" <<'EOF'
[Unit]
Description=LVS and VRRP High Availability Monitor
After=network-online.target syslog.target
Wants=network-online.target

[Service]
Type=forking
PIDFile=/run/keepalived.pid
KillMode=process
EnvironmentFile=-/etc/sysconfig/keepalived
ExecStart=/usr/sbin/keepalived $KEEPALIVED_OPTIONS
ExecReload=/bin/kill -HUP $MAINPID

[Install]
WantedBy=multi-user.target
EOF
  printf 'KEEPALIVED_OPTIONS="-D"\n' >"$r/etc/sysconfig/keepalived"
  printf '%s\n' 'vrrp_instance VI_1 {' '    state MASTER' '    interface eth0' '    virtual_router_id 51' '    priority 100' \
    '    virtual_ipaddress {' '        192.168.200.16' '    }' '}' >"$r/etc/keepalived/keepalived.conf"
}

# service_scripts UNIT [USER DIR...]: what EL's packages do: the user of sysusers.d and its
# directories. Chrony is enabled by EL's presets, the others are not.
service_scripts() {
  local unit=$1 user=${2:-}
  echo "%post"
  if [[ -n $user ]]; then
    echo "systemd-sysusers ${unit/chronyd/chrony}.conf >/dev/null 2>&1 || :"
    echo "chown $user: ${*:3} || :"
  fi
  [[ $unit != chronyd ]] || echo "if [ \$1 -eq 1 ]; then systemctl --no-reload enable $unit.service >/dev/null 2>&1 || :; fi"
  echo "%preun"
  echo "if [ \$1 -eq 0 ]; then systemctl --no-reload disable --now $unit.service >/dev/null 2>&1 || :; fi"
}

# key: the lab's own key, made once; in gpg 1's form too, the one program that
# still writes v3 signatures.
key() {
  gpg=$cache/rpm-key
  [[ ! -e $gpg/public.asc ]] || return 0
  rm -rf "$gpg"
  mkdir -p -m 700 "$gpg" "$gpg/v4" "$gpg/v3"
  chmod 700 "$gpg"/v?
  gpg --homedir "$gpg/v4" --batch --quiet --pinentry-mode loopback --passphrase '' --quick-gen-key "$uid" rsa3072 sign never 2>/dev/null
  gpg --homedir "$gpg/v4" --batch --quiet --export-secret-keys --pinentry-mode loopback --passphrase '' | gpg1 --homedir "$gpg/v3" --batch --quiet --no-tty --import 2>/dev/null
  gpg --homedir "$gpg/v4" --batch --armor --export >"$gpg/public.tmp"
  gpgconf --homedir "$gpg/v4" --kill all
  mv "$gpg/public.tmp" "$gpg/public.asc"
}

# sign v3|v4 RPM...: v3 also gets the signature over header and payload that EL 7 still has.
sign() {
  local form=$1 cmd
  shift
  case $form in
    v3) cmd="/usr/bin/gpg1 gpg1 --homedir $gpg/v3 --force-v3-sigs" ;;
    v4) cmd="/usr/bin/gpg gpg --homedir $gpg/v4" ;;
  esac
  cmd+=" --batch --no-tty --quiet --no-armor --no-secmem-warning --digest-algo sha256 -sbo %{__signature_filename} -- %{__plaintext_filename}"
  rpmsign --define "_gpg_name lab" --define "__gpg_sign_cmd $cmd" --define "_dbpath $work/db" \
    $([[ $form != v3 ]] || echo --rpmv3) --addsign "$@" >"$work/sign.log" 2>&1 || { tail -5 "$work/sign.log" >&2; return 1; }
}

# repository v3|v4 DIR: metadata over what lies in DIR, and its signature.
repository() {
  mkdir -p "$2"
  createrepo_c --quiet --no-database --compress-type=gz --workers "$jobs" "$2" 2>/dev/null
  case $1 in
    v3) gpg1 --homedir "$gpg/v3" --batch --no-tty --quiet --force-v3-sigs --digest-algo sha256 --armor --detach-sign "$2/repodata/repomd.xml" ;;
    v4) gpg --homedir "$gpg/v4" --batch --quiet --digest-algo sha256 --armor --detach-sign "$2/repodata/repomd.xml" ;;
  esac
}

main() {
  local out=$1 v dir f n began=$SECONDS
  local -a names
  # shellcheck disable=SC2086
  mapfile -t names < <(closure $wanted)
  v=$({ cat "$here/rpms.sh"; apt-cache policy "${names[@]}" | grep -E '^[a-z0-9]|Candidate'; } | sha256sum | cut -c1-12)
  dir=$cache/rpms-$v
  mkdir -p "$cache"
  exec 9>"$cache/.lock-rpms"
  flock 9
  if [[ ! -e $dir ]]; then
    say "${#names[@]} packages"
    work=$(mktemp -d "$cache/.tmp-rpms-XXXXXX")
    # shellcheck disable=SC2064
    trap "rm -rf '$work'" EXIT
    mkdir -p "$work"/{deb,b,rpms,db,repo}
    key
    chmod 755 "$work" "$work/deb"
    (cd "$work/deb" && apt-get -qq -o APT::Sandbox::User=root download "${names[@]}")
    # rpm reads the caller's ~/.rpmmacros and, as Debian builds it, keeps a database there.
    export work HOME=$work SOURCE_DATE_EPOCH=1700000000
    printf '%s\0' "$work"/deb/*.deb | xargs -0 -n 4 -P "$jobs" nice -n "${OFFK8S_LAB_NICE:-10}" bash "$here/rpms.sh" _convert
    # What a minimal EL system has in its database and a lab host, whose database is
    # empty, has not. chrony's scripts need the shell.
    meta basesystem 11 "$(printf 'Provides: %s\n' /bin/sh /bin/bash /usr/bin/sh /usr/bin/bash bash coreutils filesystem setup shadow-utils systemd util-linux)"
    meta rocky-release 9.4 'Provides: system-release = 9.4
Provides: system-release(releasever) = 9'
    meta centos-release 7 'Provides: system-release = 7
Provides: system-release(releasever) = 7'
    for n in container-selinux policycoreutils policycoreutils-python policycoreutils-python-utils; do meta "$n" 2.229.0 ''; done
    mkdir -p "$work"/repo/rocky-9/{BaseOS,AppStream}/x86_64/os "$work"/repo/centos-7/{os,updates,extras}/x86_64
    for f in "$work"/rpms/*.rpm; do
      n=${f##*/} n=${n%-*-*}
      if [[ $n != centos-release ]]; then
        v=$work/repo/rocky-9/BaseOS/x86_64/os/Packages/${n:0:1}
        [[ $appstream != *" $n "* ]] || v=${v/BaseOS/AppStream}
        mkdir -p "$v" && cp "$f" "$v/"
      fi
      if [[ $n != rocky-release ]]; then
        v=$work/repo/centos-7/os/x86_64/Packages
        [[ $extras != *" $n "* ]] || v=${v/7\/os/7/extras}
        mkdir -p "$v" && cp "$f" "$v/"
      fi
    done
    mapfile -t names < <(find "$work/repo/rocky-9" -name '*.rpm')
    sign v4 "${names[@]}"
    mapfile -t names < <(find "$work/repo/centos-7" -name '*.rpm')
    sign v3 "${names[@]}"
    for f in "$work"/repo/rocky-9/*/x86_64/os; do repository v4 "$f"; done
    for f in "$work"/repo/centos-7/*/x86_64; do repository v3 "$f"; done
    gpgconf --homedir "$gpg/v4" --kill all
    cp "$gpg/public.asc" "$work/repo/RPM-GPG-KEY-lab"
    mv -T "$work/repo" "$dir"
    say "made in $((SECONDS - began)) s"
  fi
  mkdir -p "$out"
  cp -rlf "$dir/." "$out/" 2>/dev/null || cp -rf "$dir/." "$out/"
}

case ${1:-} in
  '' | -h | --help) sed -n 2,9p "$0"; exit 2 ;;
  _convert) shift; for f; do convert "$f"; done ;;
  *) main "$1" ;;
esac
