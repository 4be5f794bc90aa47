package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/offk8s/offk8s/bundle"
	"github.com/offk8s/offk8s/bundle/durable"
	"github.com/offk8s/offk8s/bundle/trust"
	"github.com/offk8s/offk8s/manifests"
)

// packOptions are the flags of pack.
type packOptions struct {
	file     string
	manifest manifests.Manifest
	rewrites []string
	addons   []string
	// imageLists are files of --images-from.
	imageLists []string
	extra      extraFlags
	catalog    string
	lock       string
	signer     signerOptions
	scan       scanOptions
	unsigned   bool
	output     string
	cache      string
	self       []string
	require    string
	parallel   int
	reread     bool
	dryRun     bool
	hosts      bool // list them
	private    bool
	rate       sizeFlag
	split      splitFlag
	imageKeys  []string
	base       string
	since      string
}

func (a *app) packCommand() *cobra.Command {
	var o packOptions
	cmd := &cobra.Command{
		Use:   "pack --version VERSION",
		Short: "Download, check and seal everything a cluster needs into one tarball",
		Long: `Resolves a Kubernetes version to exact artifacts (binaries, OS packages with their
dependencies, container images), downloads them in parallel with resume, checks
every digest and signature, and seals one signed bundle. It also
writes BUNDLE.lock.json (packing with --lock and the same key gives the same bytes) and
BUNDLE.sha256 for sha256sum -c, which shows a bad copy but not who made it, and
BUNDLE.provenance.json, the signed record of where everything came from (offk8s provenance).

With --split, a bundle that is larger than one file may be becomes BUNDLE.part-001, …
and BUNDLE.parts.json, their signed list. All commands read the parts as they lie: name
one of them, or BUNDLE. cat BUNDLE.part-* is the bundle in one file.

With --base OLD, the bundle is a delta without the content that OLD has: all commands
take DELTA OLD, and offk8s merge makes the whole bundle of them. --since FILE does the
same where OLD is not at hand; offk8s inventory OLD writes the file.

With --scan-exec, a program of yours, which may run trivy or clamscan, looks at the finished
bundle before it gets its name; if the program refuses it, no bundle is left.

With --unsigned, no signing key is needed here: offk8s sign signs the bundle on another
machine.

Run an interrupted pack again: it does not fetch what is in the cache. Hosts that
cannot be reached are listed before any download. A download that fails later is
tried again after a pause, as long as the server asks for, with a line on stderr.

Exit status: 0 done; 2 usage or configuration; 3 some artifacts failed, listed;
4 an artifact or the metadata of a repository does not match its digest or signature;
5 refused by --require or by the program of --scan-exec; 11 cache in use; 12 wrong passphrase.`,
		Example: `  offk8s pack --version 1.36
  offk8s pack --version 1.16 --arch amd64 --os centos-7 -o site-a.tar --key offk8s.key
  offk8s pack -f pack.yaml --rewrite registry.k8s.io=registry.example.com/k8s
  offk8s pack --version 1.36 -o /media/stick/kubernetes-1.36.tar --split 700MiB
  offk8s pack --version 1.36 -o delta.tar --base kubernetes-1.36.tar --sequence 2
  offk8s pack --version 1.36 --image docker.io/library/nginx:1.29 \
    --chart https://kubernetes.github.io/ingress-nginx/ingress-nginx:4.13.3
  offk8s pack --version 1.36 --scan-exec ./scan.sh
  offk8s pack --version 1.36 --list-hosts`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return packError(a.pack(cmd.Context(), o)) },
	}
	o.contentFlags(cmd)
	o.sealFlags(cmd)
	return cmd
}

// contentFlags are the flags that choose the content, and where to get it.
func (o *packOptions) contentFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVarP(&o.file, "file", "f", "", "pack.yaml (see offk8s init pack); flags override it")
	f.StringVar(&o.manifest.Kubernetes, "version", "", "Kubernetes minor or version, as offk8s versions lists them")
	f.StringVar(&o.manifest.Name, "name", "", "name of the bundle (default kubernetes-<minor>)")
	f.StringSliceVar(&o.manifest.Arches, "arch", nil, "architectures (default: the release's)")
	f.StringSliceVar(&o.manifest.Distros, "os", nil, "distributions of the hosts (default: the release's)")
	f.StringVar(&o.manifest.CNI, "cni", "", "pod network (default: the release's)")
	f.StringVar(&o.manifest.Runtime, "runtime", "", "container runtime, containerd or docker (default: the release's)")
	f.StringSliceVar(&o.manifest.Images, "image", nil, "additional images")
	f.StringArrayVar(&o.imageLists, "images-from", nil, "file with more images: one on each line, or Kubernetes objects (YAML); - for stdin")
	f.StringVar(&o.manifest.Attachments, "attachments", "", "signatures, attestations and SBOMs of the images that come along: all or none (default all)")
	imageKeyFlag(cmd, &o.imageKeys)
	f.StringSliceVar(&o.manifest.Packages, "package", nil, "additional OS packages, with their dependencies, for every distribution")
	f.StringVar(&o.manifest.AssumeInstalled, "assume-installed", "", "OS packages that all hosts have and pack leaves out: none or minimal (default none)")
	o.extra.flags(cmd)
	f.StringSliceVar(&o.addons, "addon", nil, "addons of the catalog, such as metrics-server")
	f.Int64Var(&o.manifest.Sequence, "sequence", 0, "number that grows with every bundle of this name (default 1)")
	f.StringArrayVar(&o.rewrites, "rewrite", nil, "FROM=TO: fetch URLs or registries that begin with FROM from TO instead")
	f.BoolVar(&o.private, "allow-private-upstreams", false, "follow redirects of upstreams to loopback, link-local and private addresses")
	f.StringVar(&o.catalog, "catalog", "", "directory with catalog entries that add to or override the built-in ones")
	f.StringVar(&o.cache, "cache-dir", "", "directory of the download cache (default $XDG_CACHE_HOME/offk8s)")
	f.StringArrayVar(&o.self, "self", nil, "ARCH=FILE: the offk8s binary for another architecture than this machine's")
	f.StringVar(&o.require, "require", "", `"pinned": refuse artifacts without a known digest or a vendor's signature; "signed": also images outside the catalog that no --image-key vouches for`)
	f.Var(&o.rate, "limit-rate", "download at most this many bytes a second in all, such as 2M")
}

// sealFlags are the flags for the bundle that is written.
func (o *packOptions) sealFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&o.lock, "lock", "", "pack exactly this Lock instead of resolving")
	o.signer.flags(cmd)
	o.scan.flags(cmd)
	f.BoolVar(&o.unsigned, "unsigned", false, "do not sign the bundle; offk8s sign does it later")
	f.StringVarP(&o.output, "output", "o", "", "bundle to write (default ./NAME.tar)")
	f.StringVar(&o.base, "base", "", "write a delta: leave out what this earlier bundle has, signed by the same key")
	f.StringVar(&o.since, "since", "", "write a delta as --base does, by the output of offk8s inventory for the earlier bundle")
	f.Var(&o.split, "split", "write parts of at most this size, such as 4GiB or 700MiB; auto: what the file system allows, on FAT 4 GiB less a byte")
	f.IntVar(&o.parallel, "parallel", 4, "number of downloads at a time")
	f.BoolVar(&o.reread, "verify-after-write", true, "read the bundle back and verify it before it is renamed")
	f.BoolVar(&o.dryRun, "dry-run", false, "print every artifact with its size and source, totals and free space; download only metadata")
	f.BoolVar(&o.hosts, "list-hosts", false, "print the upstream hosts that are needed, for a firewall's rules; connect to none")
}

func (a *app) pack(ctx context.Context, o packOptions) error {
	src, err := a.openSources(o)
	if err != nil {
		return err
	}
	defer src.end()
	if o.hosts {
		return a.listHosts(ctx, src.manifest, o, src.client)
	}
	var key *trust.KeyPair // nil for --dry-run and --unsigned
	if !o.dryRun && !o.unsigned {
		if key, err = a.signingKey(ctx, o.signer); err != nil {
			return err
		}
	}
	base, err := o.baseInventory(ctx, key)
	if err != nil {
		return err
	}
	lock, err := src.lock(ctx, o)
	if err != nil {
		return err
	}
	defer src.store.Close()
	if o.dryRun {
		return a.dryRun(ctx, src, lock, o)
	}
	var ready func() error
	if key == nil && !o.unsigned {
		if key, ready, err = a.firstKey(); err != nil {
			return err
		}
	}
	if key != nil {
		if err := checkKeyTime(key, lock); err != nil {
			return err
		}
	}
	output := cmp.Or(o.output, lock.Name+".tar")
	if o.base != "" && replaces(output, o.base) {
		return withHint(usagef("--base %q is the output: the delta would take the place of its base", o.base), "give another -o")
	}
	split, err := o.split.limit(output)
	if err != nil {
		return err
	}
	res, err := bundle.Pack(ctx, lock, bundle.PackOptions{
		Client: src.client, Store: src.store, Key: key, Unsigned: o.unsigned, Output: output, Split: split, Base: base, Parallel: o.parallel, SelfBinaries: src.self,
		Check: o.scan.checkFunc(key, o.base, a.outputBeside(src.progress)), VerifyAfterWrite: o.reread, Ready: ready, ImageSigners: src.signers, Require: bundle.Require(o.require), Progress: src.progress, Log: a.log(),
	})
	if err != nil {
		return err
	}
	if err := writeBeside(output, lock, res.Files); err != nil {
		return err
	}
	if key != nil {
		if err := writeProvenance(output, lock, res.Root, key); err != nil {
			return err
		}
	}
	if !o.reread {
		a.notef("the bundle was not read back; run offk8s verify where it arrives")
	}
	if base != nil {
		a.notef("this is a delta of %s; it needs its base, %s", bundle.FormatSize(res.Size), base.Bundle)
	}
	return a.printPacked(res, key)
}

// writeBeside writes the Lock and the checksums of a bundle beside it.
func writeBeside(path string, lock *manifests.Lock, files []bundle.SealedFile) error {
	if err := durable.WriteFile(path+".lock.json", lock.Encode(), 0o644); err != nil {
		return err
	}
	return writeSums(path, files)
}

// writeSums writes the file beside a bundle that sha256sum -c reads.
func writeSums(path string, files []bundle.SealedFile) error {
	var sums strings.Builder
	for _, f := range files {
		fmt.Fprintf(&sums, "%s  %s\n", f.Digest.Encoded(), filepath.Base(f.Path))
	}
	return durable.WriteFile(path+".sha256", []byte(sums.String()), 0o644)
}

// baseInventory returns the content of the earlier bundle of --base or --since, nil
// without these flags.
func (o packOptions) baseInventory(ctx context.Context, key *trust.KeyPair) (*bundle.Inventory, error) {
	switch {
	case o.since != "":
		data, err := readInput(o.since)
		if err != nil {
			return nil, usageError{err}
		}
		i, err := bundle.ReadInventory(data)
		if err != nil {
			return nil, withHint(usagef("--since %q: %w", o.since, err), "offk8s inventory BUNDLE writes one")
		}
		return i, nil
	case o.base == "":
		return nil, nil
	case o.unsigned:
		return nil, withHint(usagef("--base %q: the base must be signed by the same key, and --unsigned has none", o.base), "give --since with the output of offk8s inventory")
	case key == nil:
		return nil, withHint(usagef("--base %q: there is no signing key yet, and the base must be signed by it", o.base), "give --key")
	}
	keys, err := key.History.Keys() // of this key and those before it
	if err != nil {
		return nil, err
	}
	b, err := bundle.Open(ctx, []string{o.base}, bundle.OpenOptions{Keys: append(keys, key.Public())})
	if err != nil {
		return nil, fmt.Errorf("--base: %w", err)
	}
	return b.Inventory(), b.Close()
}

// buildManifest merges the flags over the Manifest of --file.
func (a *app) buildManifest(o packOptions) (manifests.Manifest, error) {
	m := manifests.Manifest{APIVersion: manifests.APIVersion, Kind: manifests.KindManifest}
	if o.file != "" {
		b, err := readInput(o.file)
		if errors.Is(err, os.ErrNotExist) {
			return m, withHint(usageError{err}, "offk8s init pack writes a commented one")
		}
		if err != nil {
			return m, usageError{err}
		}
		loaded, err := manifests.LoadManifest(o.file, b)
		if err != nil {
			return m, withHint(err, "%s", hintForKind(err, manifests.KindCluster, "this is a cluster.yaml: offk8s plan and install take it", "offk8s init pack -o - prints a commented example"))
		}
		m = *loaded
	}
	m.Kubernetes = cmp.Or(o.manifest.Kubernetes, m.Kubernetes)
	m.Name = cmp.Or(o.manifest.Name, m.Name)
	m.CNI = cmp.Or(o.manifest.CNI, m.CNI)
	m.Runtime = cmp.Or(o.manifest.Runtime, m.Runtime)
	if len(o.manifest.Arches) > 0 {
		m.Arches = o.manifest.Arches
	}
	if len(o.manifest.Distros) > 0 {
		m.Distros = o.manifest.Distros
	}
	m.Attachments = cmp.Or(o.manifest.Attachments, m.Attachments)
	m.AssumeInstalled = cmp.Or(o.manifest.AssumeInstalled, m.AssumeInstalled)
	m.Images = append(m.Images, o.manifest.Images...)
	m.Packages = append(m.Packages, o.manifest.Packages...)
	for _, file := range o.imageLists {
		list, err := a.imagesFrom(file)
		if err != nil {
			return m, err
		}
		m.Images = append(m.Images, list...)
	}
	for _, name := range o.addons {
		m.Addons = append(m.Addons, manifests.ManifestAddon{Name: name})
	}
	m.Sequence = cmp.Or(o.manifest.Sequence, m.Sequence)
	errs := []error{o.extra.addTo(&m)}
	var rewrites []manifests.Rewrite // before those of the file: the first of two with the same From wins
	for _, s := range o.rewrites {
		from, to, ok := strings.Cut(s, "=")
		if !ok || from == "" || to == "" {
			errs = append(errs, fmt.Errorf("--rewrite %q: want FROM=TO", s))
			continue
		}
		rewrites = append(rewrites, manifests.Rewrite{From: from, To: to})
	}
	m.Rewrites = append(rewrites, m.Rewrites...)
	signatures, err := parseImageKeys(o.imageKeys)
	m.Signatures = append(m.Signatures, signatures...)
	errs = append(errs, err)
	return m, errors.Join(append(errs, o.check(m)...)...)
}

// manifestFlags are the flags that set fields of the Manifest, by field.
var manifestFlags = map[string]string{
	"kubernetes": "--version", "name": "--name", "arches": "--arch", "distros": "--os", "cni": "--cni", "runtime": "--runtime",
	"images": "--image", "attachments": "--attachments", "signatures": "--image-key", "packages": "--package", "assumeInstalled": "--assume-installed", "charts": "--chart", "files": "--add-file", "addons": "--addon", "sequence": "--sequence", "rewrites": "--rewrite",
}

// requirements are the values of --require.
var requirements = []string{string(bundle.RequirePinned), string(bundle.RequireSigned)}

// check returns all problems that can be found offline. The file was validated
// when it was loaded, so the problems of m come from flags.
func (o packOptions) check(m manifests.Manifest) []error {
	var errs []error
	if m.Kubernetes == "" && o.lock == "" {
		errs = append(errs, errors.New("no Kubernetes version: give --version (offk8s versions lists them) or -f pack.yaml"))
	}
	for _, p := range m.Validate() {
		field, _, _ := strings.Cut(p.Path, "[")
		if field == "kubernetes" && m.Kubernetes == "" {
			continue
		}
		errs = append(errs, fmt.Errorf("%s: %s", cmp.Or(manifestFlags[field], p.Path), p.Message))
	}
	if o.require != "" && !slices.Contains(requirements, o.require) {
		errs = append(errs, fmt.Errorf("--require %q: want %s", o.require, strings.Join(requirements, " or ")))
	}
	if o.base != "" && o.since != "" {
		errs = append(errs, errors.New("--base and --since exclude each other"))
	}
	if o.unsigned && o.signer.key != "" {
		errs = append(errs, errors.New("--unsigned and --key exclude each other"))
	}
	if o.parallel < 1 {
		errs = append(errs, fmt.Errorf("--parallel %d: want 1 or more", o.parallel))
	}
	return append(errs, o.scan.check(), checkOutput(o.output))
}

// created returns the time of a new Lock: SOURCE_DATE_EPOCH if it is set, else now.
func created() time.Time {
	if s, err := strconv.ParseInt(os.Getenv("SOURCE_DATE_EPOCH"), 10, 64); err == nil {
		return time.Unix(s, 0).UTC()
	}
	return time.Now().UTC()
}

// selfBinaries returns the offk8s binaries by architecture: this program and those of --self.
func selfBinaries(flags []string) (map[string]string, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	self := map[string]string{runtime.GOARCH: exe}
	for _, s := range flags {
		arch, file, ok := strings.Cut(s, "=")
		if !ok || arch == "" || file == "" {
			return nil, usagef("--self %q: want ARCH=FILE", s)
		}
		if goArch, ok := manifests.MachineArch(arch); ok {
			arch = goArch
		}
		self[arch] = file
	}
	return self, nil
}

// writtenFiles describes the files of a bundle in results.
type writtenFiles struct {
	SHA256 string              `json:"sha256,omitempty"` // of the file, in hexadecimal
	Parts  []bundle.SealedFile `json:"parts,omitempty"`  // the parts, and the list of them
}

// written describes files, and tells the user of parts.
func (a *app) written(files []bundle.SealedFile) writtenFiles {
	n := len(files)
	if n == 1 {
		return writtenFiles{SHA256: files[0].Digest.Encoded()}
	}
	a.notef("the bundle is in %s; carry all of them and %s", count(n-1, "part"), filepath.Base(files[n-1].Path))
	return writtenFiles{Parts: files}
}

// packed is the result of pack.
type packed struct {
	Path string `json:"path"` // of the bundle; its parts have it with suffixes
	Root string `json:"root"` // digest of index.json, which identifies the bundle
	Size int64  `json:"size"` // bytes
	writtenFiles
	Counts      map[manifests.ArtifactKind]int `json:"counts"`                // artifacts by kind
	FirstUse    []string                       `json:"firstUse,omitempty"`    // names of artifacts that nothing vouched for
	Fingerprint string                         `json:"fingerprint,omitempty"` // of the key; none with --unsigned
}

// printPacked prints path and digest of the bundle, and the artifacts trusted on first use.
func (a *app) printPacked(res bundle.PackResult, key *trust.KeyPair) error {
	if n := len(res.FirstUse); n > 0 {
		a.notef("%s had no pinned digest; the Lock records what was seen now: %s", count(n, "artifact"), strings.Join(res.FirstUse, ", "))
	}
	v := packed{Path: res.Path, Root: res.Root.String(), Size: res.Size, writtenFiles: a.written(res.Files), Counts: res.Counts, FirstUse: res.FirstUse}
	if key == nil {
		a.notef("the bundle is not signed: no mirror serves it before offk8s sign has signed it")
	} else {
		v.Fingerprint = key.Fingerprint()
	}
	return a.result(v, func(w io.Writer) error { return printLines(w, v.Path, v.Root) })
}
