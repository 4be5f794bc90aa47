#!/bin/bash
# Builds or fetches the programs that the lab's clusters are made of.
# usage: build.sh NAME...|all|list
#   all are the components of CI; the others are made by name. It
#   prints one line per component, NAME<TAB>DIRECTORY; the directory holds the programs.
#   An existing directory is used as it is, so a second run builds nothing.
#   Two at a time (OFFK8S_LAB_JOBS): while one waits for downloads the other compiles.
# Results go to ${OFFK8S_LAB:-${XDG_CACHE_HOME:-~/.cache}/offk8s-lab}/components.
# Sources: the Go module of each component (pinned by <name>/go.mod and go.sum), and
# Debian packages, unpacked but not installed, for what has no buildable module.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${OFFK8S_LAB:-${XDG_CACHE_HOME:-$HOME/.cache}/offk8s-lab}/components
# The helper modules are no part of the caller's module or workspace, and the
# caller's flags (race, tags) must not change what a version means.
export GOWORK=off GOFLAGS=-buildvcs=false

# The longest first, so that none is left to run alone at the end.
modules="kubernetes-1.36 kubernetes-1.16 coredns containerd coredns-1.8 etcd flannel cfssl cni-plugins flannel-cni"
debs="runc etcd-3.4 containerd-1.6"
more_modules="helm kubernetes-1.34 kubernetes-1.29 kube-router etcd-3.5"
more_debs="docker"

say() { echo "lab: components: $*" >&2; }

# required MODULE DIR: the version of MODULE that DIR/go.mod requires, without its v.
required() { awk -v m="$1" '{ sub(/^require /, "") } $1 == m && $2 ~ /^v/ { print substr($2, 2); exit }' "$2/go.mod"; }

# main NAME: the module that gives the component its version.
main() {
  case $1 in
    cfssl) echo github.com/cloudflare/cfssl ;;
    etcd | etcd-*) echo go.etcd.io/etcd/server/v3 ;;
    containerd) echo github.com/containerd/containerd/v2 ;;
    cni-plugins | flannel-cni) echo github.com/containernetworking/plugins ;;
    flannel) echo github.com/flannel-io/flannel ;;
    helm) echo helm.sh/helm/v3 ;;
    kube-router) echo github.com/cloudnativelabs/kube-router/v2 ;;
    coredns | coredns-*) echo github.com/coredns/coredns ;;
    kubernetes-*) echo k8s.io/kubernetes ;;
  esac
}

# stamp VERSION PACKAGE...: linker flags that write a Kubernetes version into packages.
stamp() {
  local v=$1 p minor
  shift
  minor=${v#*.}
  for p; do
    printf ' -X %s' "$p.gitVersion=v$v" "$p.gitMajor=${v%%.*}" "$p.gitMinor=${minor%%.*}" "$p.gitTreeState=clean"
  done
}

# compile NAME VERSION OUT: runs in a copy of the helper module.
compile() {
  local name=$1 v=$2 out=$3 ld="-s -w" cgo=0 tags=""
  case $name in
    cfssl) ld+=" -X github.com/cloudflare/cfssl/cli/version.version=$v" ;;
    containerd)
      ld+=" -X github.com/containerd/containerd/v2/version.Version=v$v"
      tags=no_btrfs # the btrfs snapshotter is the one part that needs a C compiler
      ;;
    cni-plugins | flannel-cni) ld+=" -X github.com/containernetworking/plugins/pkg/utils/buildversion.BuildVersion=v$v" ;;
    flannel)
      # Without cgo its UDP backend does not compile; linked statically it still runs
      # in an image that holds nothing else.
      ld+=" -extldflags -static -X github.com/flannel-io/flannel/version.Version=v$v"
      cgo=1 tags=netgo,osusergo
      ;;
    kube-router) ld+=" -X github.com/cloudnativelabs/kube-router/v2/pkg/version.Version=v$v" ;;
    coredns-1.8) ld+=" -checklinkname=0" ;; # a dependency calls into the runtime as Go once allowed
    kubernetes-1.29 | kubernetes-1.34 | kubernetes-1.36) ld+=$(stamp "$v" k8s.io/component-base/version k8s.io/client-go/pkg/version) ;;
    kubernetes-1.16)
      compile_1_16 "$v" "$out"
      return
      ;;
  esac
  CGO_ENABLED=$cgo go build -trimpath -tags "$tags" -ldflags "$ld" -o "$out/" tool
  case $name in
    etcd | etcd-*) mv "$out/server" "$out/etcd" ;;
    flannel) mv "$out/flannel" "$out/flanneld" ;;
  esac
}

# compile_1_16 VERSION OUT: the module of this release lacks one generated file and the
# module cache cannot be written, so: vendor tree, make the file there, build from there.
compile_1_16() {
  local v=$1 out=$2 src=$PWD p ld cgo
  local -a inputs programs
  go mod vendor -e 2>vendor.log # -e: modules needed on Windows alone cannot be had
  go build -mod=vendor -o openapi-gen k8s.io/kube-openapi/cmd/openapi-gen
  # The generator predates modules: it wants a GOPATH, and aliases as plain types.
  mkdir gopath
  ln -s ../vendor gopath/src
  : >empty
  mapfile -t inputs < <(cd vendor && grep -rl --include='*.go' '+k8s:openapi-gen=' k8s.io |
    xargs -n1 dirname | sort -u | grep -vE '^k8s.io/(gengo|kube-openapi)(/|$)')
  (
    cd gopath/src
    GO111MODULE=off GOFLAGS='' GOPATH=${PWD%/src} GODEBUG=gotypesalias=0 "$src/openapi-gen" \
      -i "$(IFS=,; echo "${inputs[*]}")" -p k8s.io/kubernetes/pkg/generated/openapi -O zz_generated.openapi \
      -h "$src/empty" -r "$src/report" --output-base .
  ) >openapi.log 2>&1 || { tail openapi.log >&2; return 1; }
  ld="-s -w -checklinkname=0$(stamp "$v" k8s.io/kubernetes/pkg/version k8s.io/component-base/version k8s.io/client-go/pkg/version k8s.io/kubectl/pkg/version)"
  mapfile -t programs < <(awk '$1 ~ /^k8s.io\/kubernetes\/cmd\// { print $1 }' go.mod)
  for p in "${programs[@]}"; do
    cgo=0
    [[ $p == */kubelet ]] && cgo=1 # as upstream ships it: the kubelet alone is dynamic
    CGO_ENABLED=$cgo go build -mod=vendor -trimpath -ldflags "$ld" -o "$out/" "$p"
  done
}

# publish TMP DIR: renames a finished directory to its place.
publish() {
  chmod 755 "$1"
  rm -rf "$2"
  mv -T "$1" "$2"
}

module() {
  local name=$1 v key dir tmp began=$SECONDS
  v=$(required "$(main "$name")" "$here/$name")
  dir=$cache/${name%-[0-9]*}-$v
  key=$(cat "$here/$name"/go.{mod,sum} | sha256sum | cut -d' ' -f1)
  if [[ $(cat "$dir/.recipe" 2>/dev/null) != "$key" ]]; then
    say "building $name $v"
    tmp=$(mktemp -d "$cache/.tmp-XXXXXX")
    # shellcheck disable=SC2064 # the directory of this call, not of a later one
    trap "rm -rf '$tmp'" EXIT
    mkdir "$tmp/out" "$tmp/src"
    cp "$here/$name"/go.{mod,sum} "$tmp/src/"
    (cd "$tmp/src" && nice -n "${OFFK8S_LAB_NICE:-10}" bash "$here/build.sh" _compile "$name" "$v" "$tmp/out")
    echo "$key" >"$tmp/out/.recipe"
    publish "$tmp/out" "$dir"
    say "built $name $v in $((SECONDS - began)) s"
  fi
  printf '%s\t%s\n' "$name" "$dir"
}

# deb NAME: programs out of Debian packages. They are linked to glibc, and runc to
# libseccomp too; the lab's hosts have both. dockerd's library lies beside it.
deb() {
  local name=$1 v dir tmp p began=$SECONDS
  local -a pkgs=("$name") more=()
  case $name in
    etcd-3.4) pkgs=(etcd-server etcd-client) ;;
    containerd-1.6) pkgs=(containerd) ;;
    docker) pkgs=(docker.io) more=(containerd runc tini libdevmapper1.02.1) ;;
  esac
  v=$(apt-cache policy "${pkgs[0]}" | awk '$1 == "Candidate:" { print $2 }')
  [[ -n $v ]] || { say "no Debian package ${pkgs[0]}; run lab.sh deps"; return 1; }
  v=${v#*:} v=${v%%[~+-]*}
  [[ $name != *-* || $v == "${name##*-}".* ]] || { say "Debian has ${pkgs[0]} $v, want ${name##*-}"; return 1; }
  dir=$cache/${name%-[0-9]*}-$v
  if [[ ! -e $dir/.recipe ]]; then
    tmp=$(mktemp -d "$cache/.tmp-XXXXXX")
    # shellcheck disable=SC2064
    trap "rm -rf '$tmp'" EXIT
    chmod 755 "$tmp" # apt fetches as a user of its own
    mkdir "$tmp/out" "$tmp/root"
    (cd "$tmp" && apt-get -qq -o APT::Sandbox::User=root download "${pkgs[@]}" "${more[@]}")
    for p in "$tmp"/*.deb; do dpkg-deb -x "$p" "$tmp/root"; done
    find "$tmp/root/usr" -path '*/usr/*bin/*' -type f -exec cp {} "$tmp/out/" \;
    [[ $name != docker ]] || docker_static "$tmp/root" "$tmp/out"
    printf '%s\n' "${pkgs[@]}" >"$tmp/out/.recipe"
    publish "$tmp/out" "$dir"
    say "unpacked $name $v in $((SECONDS - began)) s"
  fi
  printf '%s\t%s\n' "$name" "$dir"
}

# docker_static ROOT OUT: the names of docker's static archive. runc's is for the lab's own,
# which calls this one (test/e2e/upstream/runc).
docker_static() {
  mv "$2/tini-static" "$2/docker-init"
  mv "$2/runc" "$2/runc.real"
  cp "$1"/lib/*/libdevmapper.so.* "$2/"
}

one() (
  # One builder per component: a second caller waits, and then finds the result.
  exec 9>"$cache/.lock-$1"
  flock 9
  case " $debs $more_debs " in *" $1 "*) deb "$1" ;; *) module "$1" ;; esac
)

case ${1:-} in
  '' | -h | --help) sed -n 2,10p "$0"; exit 2 ;;
  list) echo $modules $debs $more_modules $more_debs | tr ' ' '\n'; exit ;;
  _compile) shift; compile "$@"; exit ;;
  all) set -- $debs $modules ;;
esac
known="$modules $debs $more_modules $more_debs"
for n; do
  [[ " $known " == *" $n "* ]] || { say "unknown component $n; known: $known"; exit 2; }
done
mkdir -p "$cache"
(($# > 1)) || { one "$1"; exit; }
printf '%s\0' "$@" | xargs -0 -n 1 -P "${OFFK8S_LAB_JOBS:-2}" bash "$here/build.sh"
