#!/bin/sh
# Makes the fixtures of this directory again: needs rpmbuild, rpmsign, gpg and
# gpg1 (Debian: rpm gnupg gnupg1). The key is thrown away afterwards.
set -eu
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export GNUPGHOME="$work/gpg" HOME="$work"
export SOURCE_DATE_EPOCH=1717236000
mkdir -m 700 "$GNUPGHOME"
gpg1 --batch --quiet --gen-key <<KEY
Key-Type: RSA
Key-Length: 2048
Key-Usage: sign
Name-Real: offk8s fixture
Expire-Date: 0
%commit
KEY
gpg1 --batch --quiet --armor --export > key.asc
whole=
build() { # build RELEASE-SUFFIX
    rpmbuild -bb --quiet --define "_topdir $work/b" --define "rel $1" \
        --define '_buildhost fixture' --define 'use_source_date_epoch_as_buildtime 1' \
        --define 'clamp_mtime_to_source_date_epoch 1' --define '_binary_payload w9.gzdio' fixture.spec
}
sign() { # sign FILE GPG-OPTIONS...
    file=$1; shift
    rpmsign --addsign $whole --define '_gpg_name offk8s fixture' --define "__gpg $(command -v gpg1)" \
        --define "__gpg_sign_cmd %{__gpg} gpg1 --batch --no-armor $* -u '%{_gpg_name}' -sbo %{__signature_filename} %{__plaintext_filename}" \
        "$file" > /dev/null
}
build .unsigned; build .v3; build .v4; build .sha1; build .full
cp "$work"/b/RPMS/noarch/*.rpm "$work/"
rm -f ./*.rpm
for kind in unsigned v3 v4 sha1 full; do
    cp "$work"/offk8s-fixture-1.5~rc1-3.$kind.noarch.rpm $kind.rpm
done
cp "$work"/offk8s-fixture-sub-1.5~rc1-3.v4.noarch.rpm sub.rpm
sign v3.rpm --force-v3-sigs --digest-algo SHA256
sign v4.rpm --digest-algo SHA512
sign sub.rpm --digest-algo SHA512
sign sha1.rpm --digest-algo SHA1
whole=--rpmv3 # a signature over header and payload too, as EL7 has
sign full.rpm --force-v3-sigs --digest-algo SHA256
