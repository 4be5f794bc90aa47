package main

import (
	"github.com/offk8s/offk8s/bundle"
	"github.com/offk8s/offk8s/bundle/fetch"
	"github.com/offk8s/offk8s/bundle/store"
	"github.com/offk8s/offk8s/bundle/trust"
	"github.com/offk8s/offk8s/installer"
	"github.com/offk8s/offk8s/installer/agent"
	"github.com/offk8s/offk8s/installer/host"
	"github.com/offk8s/offk8s/manifests"
	"github.com/offk8s/offk8s/manifests/strict"
)

// classes is the whole mapping of errors to exit codes; the first match wins,
// so the more specific class stands before the general one.
var classes = []class{
	{as[*strict.Error], exitUsage, "fix the lines above; offk8s init writes a commented example"},
	{as[*installer.PreflightError], exitPreflight, "mend the hosts, or list a check under hostPreparation.ignorePreflight to make it a warning"},
	{is(agent.ErrLocked), exitLocked, "another offk8s works on that host; wait for it to end"},
	{is(agent.ErrPolicy), exitPolicy, "--allow-downgrade accepts an older bundle"},
	{is(agent.ErrVerify), exitVerify, "the mirror serves something else than the key signed; compare key, fingerprint and bundle"},
	{is(installer.ErrPartial), exitPartial, "mend what failed and run the same command again; it goes on where it stopped"},
	{is(host.ErrUnknownHost), exitError, "log in once with ssh and compare the fingerprint, or write it as ssh.hostKey into cluster.yaml"},
	{is(host.ErrChangedHost), exitError, "find out why the key changed before you accept it; somebody may stand between"},
	{is(trust.ErrPassphrase), exitPassphrase, "check the passphrase; without it the key cannot be used"},
	{is(store.ErrLocked), exitLocked, "another pack uses this cache; wait for it or give --cache-dir"},
	{is(trust.ErrNoKey), exitPolicy, "give the public key with --key; it comes from the packing machine on another way than the bundle"},
	{is(trust.ErrUnsigned), exitPolicy, "get a signed bundle; --insecure-allow-unsigned accepts this one"},
	{is(trust.ErrUnknownKey), exitVerify, "compare the fingerprint of your public key (offk8s keys show) with the packer's"},
	{is(trust.ErrBadSignature), exitVerify, "do not use this bundle; copy it again from the source"},
	{is(bundle.ErrPolicy), exitPolicy, ""},
	{is(manifests.ErrExpired), exitPolicy, "pack a newer one; without --require-fresh it is used with a warning"},
	{is(manifests.ErrClock), exitPolicy, "set this machine's clock; without --require-fresh the bundle is used with a warning"},
	{is(fetch.ErrNoArchive), exitUsage, "--rewrite apt:ARCHIVE=https://… names it; without, the apt sources of this machine are used if it runs that distribution"},
	{is(bundle.ErrVerify), exitVerify, "do not use what is named above; fetch or copy it again from the source"},
	{is(bundle.ErrInput), exitUsage, "offk8s versions lists what can be packed; --catalog adds to it, --self ARCH=FILE names the offk8s binary of another architecture"},
	{as[*bundle.PartialError], exitPartial, "run the same command again; what was fetched is kept"},
}
