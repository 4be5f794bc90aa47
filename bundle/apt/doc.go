// Package apt reads Debian-style archives, closes package dependencies and
// writes the small repository that a bundle carries.
//
// ReadSuite fetches a suite's InRelease through a metadata.Getter, checks its signature
// and the digest chain to the Packages indexes. Closure picks the packages
// that a list of names needs, deterministically, the newest version over all
// suites. FromDeb reads the control file of a downloaded package and
// WriteMetadata makes dists/ from such files, so that packing from a Lock alone
// and packing from upstream metadata give the same bytes. SourcesFromHost reads
// the apt configuration of the packing machine, since the catalog names archives
// without a host.
//
// Recommends and Suggests are ignored. The package does not download or verify
// packages themselves: bundle/fetch checks a .deb against the digest in the
// signed index.
package apt
