package manifests

// APIVersion is the version of every document that offk8s reads or writes.
const APIVersion = "offk8s.dev/v1"

// Kinds of documents.
const (
	KindManifest = "Manifest" // pack.yaml
	KindLock     = "Lock"
	KindCluster  = "Cluster" // cluster.yaml
)

// Media and artifact types of the parts of a bundle (bundle/README.md).
const (
	MediaTypeBundleConfig = "application/vnd.offk8s.bundle.config.v1+json"
	MediaTypeLock         = "application/vnd.offk8s.lock.v1+json"
	MediaTypePublicKey    = "application/vnd.offk8s.public-key.v1"
	MediaTypeFile         = "application/vnd.offk8s.file.v1"
	MediaTypeFileZstd     = "application/vnd.offk8s.file.v1+zstd"

	ArtifactTypeContent    = "application/vnd.offk8s.content.v1"    // the nested index
	ArtifactTypeBundle     = "application/vnd.offk8s.bundle.v1"     // config blob and Lock
	ArtifactTypeFiles      = "application/vnd.offk8s.files.v1"      // binaries and plain files of one platform
	ArtifactTypeRepository = "application/vnd.offk8s.repository.v1" // a yum or apt repository of one distro and architecture
	ArtifactTypeTarball    = "application/vnd.offk8s.tarball.v1"    // in a registry: the members of a tarball
)

// Annotations on descriptors and manifests of a bundle.
const (
	AnnotationReadme      = "dev.offk8s.readme.digest" // on index.json: digest of README.txt
	AnnotationPlainDigest = "dev.offk8s.plain.digest"  // on a zstd-stored layer: digest of the plain content
	AnnotationPlainSize   = "dev.offk8s.plain.size"    // on a zstd-stored layer: plain size in bytes, decimal
	AnnotationGroup       = "dev.offk8s.group"         // on an artifact manifest: URL prefix on the mirror, such as "files" or "yum/rocky-9/x86_64"
)
