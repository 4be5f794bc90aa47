// Package yum reads upstream yum repositories, closes package dependencies and
// writes the metadata of the repository that a bundle carries.
//
// ReadRepo fetches repomd.xml and primary through a metadata.Getter, checks the digest
// chain and, where the repository signs its metadata, the signature. Closure
// picks the packages that a list of names needs, deterministically. FromRPM
// reads the header of a downloaded package and WriteMetadata makes repodata
// from such headers, so that a bundle packed from a Lock alone and one packed
// from upstream metadata are the same bytes.
//
//	repo, err := yum.ReadRepo(ctx, getter, source, "x86_64", keyring)
//	packages, err := yum.Closure(ctx, []*yum.Repo{repo}, []string{"chrony"}, yum.ClosureOptions{Arch: "x86_64"})
//
// Of the module streams of EL8 only the default ones are taken, as dnf does when
// nobody has enabled others. Hosts need module_hotfixes=1 for the written repository
// (bundle/clientconf), since it does not describe modules. Weak dependencies (recommends, supplements) are ignored.
// The package does not download or verify packages themselves: see
// bundle/fetch and trust.VerifyRPM.
package yum
