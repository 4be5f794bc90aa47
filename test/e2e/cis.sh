#!/bin/sh
# cis.sh MINOR looks at processes and files of a host, as the automated rules of the CIS
# benchmark 1.12 do. It prints a line for each rule that fails, then the number of rules.
n=0
rule() { n=$((n+1)); [ "$2" = "$3" ] || echo "FAIL $1: found $2, want $3"; }
pid() { pgrep -of "^/usr/local/bin/$1 "; }
args() { tr '\0' '\n' </proc/$(pid "$1")/cmdline; }
flag() { p=$(args "$2" | sed -n "s/^--$3=//p"); rule "$1 $2 --$3" "$p" "$4"; }
there() { for f in $3; do args "$2" | grep -q "^--$f=." && v=set || v=unset; rule "$1 $2 --$f" $v "${4:-set}"; done; }
has() { args "$2" | sed -n "s/^--$3=//p" | tr , '\n' | grep -qx "$4" && v=yes || v=no; rule "$1 $2 --$3 has $4" $v "${5:-yes}"; }
file() { for f in $3; do rule "$1 $f" "$(stat -c '%a %U:%G' $f)" "$2"; done; }
runs() { pid "$1" >/dev/null; }
U=/etc/systemd/system K=/etc/kubernetes
if runs kube-apiserver; then
  file 1.1.1-6 "600 root:root" "$U/kube-apiserver.service $U/kube-controller-manager.service $U/kube-scheduler.service"
  file 1.1.13-18 "600 root:root" "$K/admin.conf $K/super-admin.conf $K/controller-manager.conf $K/scheduler.conf"
  file 1.1.19-21 "600 root:root" "$(find $K/pki -type f)"; file 1.1.19 "700 root:root" $K/pki
  flag 1.2.1 kube-apiserver anonymous-auth false
  there 1.2.2 kube-apiserver "token-auth-file basic-auth-file insecure-bind-address disable-admission-plugins" unset
  there 1.2.4-26 kube-apiserver "kubelet-client-certificate kubelet-client-key kubelet-certificate-authority audit-log-path audit-policy-file service-account-key-file etcd-certfile etcd-keyfile etcd-cafile tls-cert-file tls-private-key-file client-ca-file encryption-provider-config"
  flag 1.2.6-8 kube-apiserver authorization-mode Node,RBAC
  has 1.2.14 kube-apiserver enable-admission-plugins NodeRestriction
  has 1.2.10 kube-apiserver enable-admission-plugins AlwaysAdmit no
  flag 1.2.15 kube-apiserver profiling false
  flag 1.2.17 kube-apiserver audit-log-maxage 30; flag 1.2.18 kube-apiserver audit-log-maxbackup 10; flag 1.2.19 kube-apiserver audit-log-maxsize 100
  there 1.2.21 kube-apiserver service-account-lookup unset
  if [ "$1" -ge 32 ]; then flag 1.2.30 kube-apiserver service-account-extend-token-expiration false; fi
  if [ "$1" -ge 21 ]; then has 1.2.3 kube-apiserver enable-admission-plugins DenyServiceExternalIPs; fi
  if [ "$1" -ge 23 ]; then there 5.2 kube-apiserver admission-control-config-file; fi
  if [ "$1" -lt 20 ]; then flag 1.2.19-of-1.6 kube-apiserver insecure-port 0; fi
  if [ "$1" -lt 19 ]; then flag 1.3.6-of-1.6 kube-controller-manager feature-gates RotateKubeletServerCertificate=true; fi
  rule "1.2.28 provider" "$(sed -n '/providers:/{n;s/[ :-]//g;p;}' $K/encryption-config.yaml)" secretbox
  rule "audit log" "$(stat -c %a /var/log/kubernetes)" 700
  there 1.3.1-5 kube-controller-manager "terminated-pod-gc-threshold service-account-private-key-file root-ca-file"
  flag 1.3.2 kube-controller-manager profiling false; flag 1.3.3 kube-controller-manager use-service-account-credentials true
  flag 1.3.7 kube-controller-manager bind-address 127.0.0.1
  flag 1.4.1 kube-scheduler profiling false; flag 1.4.2 kube-scheduler bind-address 127.0.0.1
fi
if runs etcd; then
  file 1.1.7-8 "600 root:root" $U/etcd.service
  file 1.1.11-12 "700 etcd:etcd" /var/lib/etcd
  rule "1.1.12 user of etcd" "$(ps -o user= -p $(pid etcd))" etcd
  there 2.1-7 etcd "cert-file key-file peer-cert-file peer-key-file trusted-ca-file"
  flag 2.2 etcd client-cert-auth true; flag 2.5 etcd peer-client-cert-auth true
  there 2.3-6 etcd "auto-tls peer-auto-tls" unset
fi
if runs kubelet; then
  file 4.1.1-2 "600 root:root" $U/kubelet.service
  file 4.1.3-10 "600 root:root" "$K/kube-proxy.conf /var/lib/kubelet/kubeconfig $K/pki/ca.crt $K/kubelet.json"
  conf() { tr -d ' \n' <$K/kubelet.json | grep -qF "$2" && v=yes || v=no; rule "$1 kubelet.json has $2" $v yes; }
  conf 4.2.1 '"anonymous":{"enabled":false}'; conf 4.2.2 '"authorization":{"mode":"Webhook"}'; conf 4.2.3 '"clientCAFile":"/etc/kubernetes/pki/ca.crt"'
  conf 4.2.4 '"readOnlyPort":0'; conf 4.2.10 '"rotateCertificates":true'; conf 4.2.12 '"tlsMinVersion":"VersionTLS12"'
  if [ "$1" -ge 25 ]; then conf 4.2.14 '"seccompDefault":true'; fi
  rule "4.3.1 kube-proxy metrics" "$(ss -Hltn 'sport = :10249' | awk '{print $4}')" 127.0.0.1:10249
fi
echo "rules $n"
