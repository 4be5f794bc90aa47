package main

import (
	"regexp"
	"slices"
	"testing"

	"github.com/offk8s/offk8s/manifests/fields"
)

// fieldsChinese has the descriptions of the fields in docs/zh-CN by those in English, of
// results and of files: a description that changes, or goes, takes its translation along.
var fieldsChinese = map[string]string{
	// of several commands
	"bytes":             "字节数",
	"directory":         "目录",
	"file":              "文件",
	"fingerprints":      "指纹",
	"how many":          "个数",
	"name":              "名称",
	"nanoseconds":       "纳秒",
	"sorted":            "已排序",
	"units":             "systemd 单元",
	"version":           "版本",
	"URL":               "URL",
	"UTC":               "UTC",
	"of the bundle":     "离线包的路径",
	"of the host":       "主机的地址",
	"of the key":        "签名密钥的指纹",
	"as stored":         "存储的大小",
	"names of files":    "文件名",
	"file or reference": "文件或镜像仓库中的引用",

	// errors, versions
	"exit status":          "退出码",
	"advice, may be empty": "建议，可能为空",
	`"1.36"`:               `例如 "1.36"`,
	"the patch that --version with the minor packs":                                        "--version 只写次版本时打包的补丁版本",
	"all versions that --version accepts, oldest first":                                    "--version 接受的全部版本，从旧到新",
	"day on which upstream's support ended, as 2020-09-02":                                 "上游停止支持的日期，例如 2020-09-02",
	"limits and known vulnerabilities":                                                     "限制和已知漏洞",
	"as upstream writes it":                                                                "上游的写法",
	"defaults are the values of the flags of pack that are not given.":                     "没有写出参数时，pack 采用的值",
	"distros, `cnis` and `runtimes` are the values that --os, --cni and --runtime accept.": "本字段与 `cnis`、`runtimes` 是 --os、--cni 和 --runtime 接受的值",

	// pack, lock, sign, merge
	"of the bundle; its parts have it with suffixes":    "离线包的路径；分卷在它后面加后缀",
	"digest of index.json, which identifies the bundle": "根摘要：index.json 的摘要，用来标识离线包",
	"digest of index.json":                              "根摘要：index.json 的摘要",
	"digest of index.json now":                          "签名后的根摘要：index.json 的摘要",
	"of the file, in hexadecimal":                       "离线包文件的摘要，十六进制",
	"the parts, and the list of them":                   "各个分卷，以及分卷清单",
	"the bundle, or its parts and the list of them":     "离线包，或各个分卷和分卷清单",
	"artifacts by kind":                                 "各类内容的项数",
	"names of artifacts that nothing vouched for":       "没有任何凭据、首次使用时信任的各项名称",
	"of the key; none with --unsigned":                  "签名密钥的指纹；用 --unsigned 时没有",
	"in the order of the Lock":                          "按锁定文件的顺序",
	"evidence for the digest, as offk8s inspect has it": "摘要的凭据，取值同 offk8s inspect",
	"bytes is the size of the source, of which `download` are not in the cache; 0 if it is not known. An artifact from the archive of another one has neither.": "来源的大小，其中 `download` 是缓存里没有、需要下载的部分；大小未知时为 0。取自另一项归档的内容，两者都没有",
	"the artifact whose source this one is in": "这一项取自哪一项的归档",
	"bytes is the size of all sources, of which `download` are not in the cache. Content that several artifacts share counts once. The bundle is smaller: it has files compressed, and of an archive only some members.": "全部来源的大小，其中 `download` 是缓存里没有、需要下载的部分；几项共有的内容只计一次。离线包比它小：文件经过压缩，归档只取其中几个文件",
	"unknown counts the sources whose server does not say their size.":                           "服务器不告知大小的来源有几个",
	"file that pack would write":                                                                 "pack 将写出的文件",
	"free and `cacheFree` are the bytes that can be written beside the output and in the cache.": "输出文件所在处和缓存（`cacheFree`）还能写入的字节数",
	"with a port if it is not 443 or 80":                                                         "端口不是 443 或 80 时带端口",
	"the artifacts that come from there":                                                         "从那里取得的各项内容",
	"how many it lists":                                                                          "其中列出的项数",
	"root of the bundle that was signed":                                                         "签名前的根摘要",

	// verify, inspect, why, diff, push
	"root of the bundle before it":                 "上一个离线包的根摘要",
	"of a delta":                                   "增量包的基础包",
	"fingerprint; empty unless `signatureChecked`": "签名者的指纹；`signatureChecked` 不为 true 时为空",
	"signatureChecked reports whether a trusted key made the signature.":                                                   "签名是否出自受信任的密钥",
	"claimedSigner is the fingerprint that a bundle whose signature was not checked claims; anyone may have put it there.": "未校验签名时，离线包自称的签名者指纹；任何人都可能写入",
	"assumeInstalled is \"minimal\" if the bundle lacks the packages of a minimal installation.":                           `为 "minimal" 时，离线包不含最小化安装已有的软件包`,
	"of all blobs as stored, each once":                                                        "全部 blob 存储的大小，每个只计一次",
	"kinds are those that the bundle has, with its metadata as the last one.":                  "离线包中的各类内容，最后一类是元数据",
	"as stored; for images, with all their blobs":                                              "存储的大小；镜像包括其全部 blob",
	"on the mirror, without the leading slash":                                                 "在镜像服务器上的路径，不带开头的斜杠",
	"of the plain content; for images, of the index or manifest":                               "未压缩内容的摘要；镜像则是索引或 manifest 的摘要",
	"evidence for the digest: catalog, signature, checksum-file, first-use, local or attached": "摘要的凭据：catalog（目录数据）、signature（签名）、checksum-file（校验和文件）、first-use（首次使用时信任）、local（本地文件）或 attached（随镜像附带）",
	"chain are the packages that led here, the one that requires the artifact first.":          "逐级引出它的软件包，直接依赖它的在最前",
	`"libseccomp.so.2()(64bit)"`:                                                               `例如 "libseccomp.so.2()(64bit)"`,
	"because is the reason for the artifact, or for the last package of `chain`.":              "需要它的原因，有 `chain` 时是其中最后一个软件包的原因",
	"root": "根摘要",
	"components are the parts of a cluster whose version differs, by name.": "版本不同的集群组件，按名称排列",
	"images: without the tag":   "镜像不带标签",
	"distribution and platform": "发行版和平台",
	"changed are artifacts of which both bundles have one version each, `added` and `removed` the others that only one has.":                                                     "两个离线包各有一个版本的内容；其余只在一个包中的，列在 `added` 和 `removed`",
	"newBlobs and `newBytes` count what the second bundle has and the first lacks, as stored; `bytes` is all of the second.":                                                     "第二个离线包有而第一个没有的 blob 个数，`newBytes` 是它们存储的大小；`bytes` 是第二个离线包的总大小",
	`reference is the bundle in the registry, "harbor.example/offk8s/bundle:root-<hex>".`:                                                                                        `离线包在镜像仓库中的引用："harbor.example/offk8s/bundle:root-<hex>"`,
	"reduced is set if the tag has an index with only those platforms that the bundle has, since the registry refuses the original. Mirrors on the registry serve the original.": "为 true 时，标签指向只含离线包中平台的索引，因为镜像仓库拒绝原来的索引。从这个仓库读取的镜像服务器仍提供原来的索引",
	"blobs and `bytes` are how much the bundle has, `sent` and `sentBytes` the part of it that the registry lacked.":                                                             "离线包的 blob 个数，`bytes` 是它们的大小；`sent` 和 `sentBytes` 是其中仓库没有、已上传的部分",

	// keys, serve
	`of the key that signs bundles: "sha256:<hex>"`:                          `为离线包签名的密钥的指纹："sha256:<hex>"`,
	"fingerprint of the key that signs repositories, upper-case hex":         "为软件源签名的密钥的指纹，大写十六进制",
	"file of the key that revokes":                                           "执行吊销的密钥的文件",
	"of the statement":                                                       "吊销声明的序号",
	`"sha256:<hex>" of a key that signs bundles`:                             `为离线包签名的密钥的指纹："sha256:<hex>"`,
	"upper-case hex of a key that signs repositories":                        "为软件源签名的密钥的指纹，大写十六进制",
	"of the key, oldest first":                                               "密钥的历史，从旧到新",
	"fingerprint, as `next` and those in `revoked`":                          "签名者的指纹；`next` 和 `revoked` 中的也是指纹",
	"end of the signer, if it has one":                                       "签名者的有效期，如果有",
	"fingerprint of the key":                                                 "签名密钥的指纹",
	"of its CA, for mirror.caFingerprint; - without TLS":                     "镜像服务器 CA 的指纹，填入 mirror.caFingerprint；没有 TLS 时为 -",
	"name for systemctl":                                                     "systemctl 使用的单元名",
	"of the CA, for mirror.caFingerprint; empty with a certificate of yours": "CA 的指纹，填入 mirror.caFingerprint；使用自己的证书时为空",

	// plan, doctor
	"install": "install",
	"anyOf: the first of `hosts` that is there and whose gates hold does the work for all.":         "为 true 时，`hosts` 中第一台在场且满足前置条件的主机替全体完成",
	"atATime is how many hosts may be changed at the same time, the first one alone; 0 means all.":  "最多同时修改几台主机，第一台总是单独进行；0 表示全部",
	"in order, with at least one step each unless `work` says otherwise":                            "按顺序排列；除非 `work` 另有说明，每台至少有一个步骤",
	"optional: a failure on this host does not stop the others. The rest of the run leaves it out.": "为 true 时，这台主机失败不影响其他主机，之后的阶段不再包含它",
	"on lists the hosts that can make the observation; the first that is there does.":               "可以做这项检查的主机，由第一台在场的主机执行",
	"unique in the plan": "在执行计划中唯一",
	"reason, for people": "原因，供人阅读",
	"id of the step that makes this one needless if it changes nothing":              "一个步骤的 id：它没有改变任何东西时，不必执行本步骤",
	"kind of the step, such as file or unit":                                         "步骤的类型，例如 file 或 unit",
	"settings of the step, by its kind":                                              "步骤的设置，因类型而异",
	"names of hosts, operator, or users":                                             "主机名称、operator（操作员）或 users（用户）",
	"names of hosts, or the address of a mirror":                                     "主机名称，或镜像服务器的地址",
	`"6443/tcp", "30000-32767/udp", "vrrp"`:                                          `例如 "6443/tcp"、"30000-32767/udp"、"vrrp"`,
	"how many checks pass, as `warn` and `fail`":                                     "通过的检查项数；`warn` 和 `fail` 同理",
	`"memory", as in hostPreparation.ignorePreflight`:                                `例如 "memory"，与 hostPreparation.ignorePreflight 中的写法相同`,
	"pass, warn or fail":                                                             "pass（通过）、warn（警告）或 fail（失败）",
	"found is the observed value, `want` the required one, `hint` advises the user.": "观察到的值；`want` 是要求的值，`hint` 是建议",

	// install, reset, drill, rotate
	"how many steps":                   "步骤数",
	"steps that a dry run would apply": "试运行（dry run）得出的待执行步骤数",
	"how many hosts":                   "主机数",
	"hosts":                            "主机",
	"URL of the API":                   "API 的 URL",
	"firstCertificate is the one that ends first, of those that offk8s renews.":      "由 offk8s 续期的证书中最先到期的一个",
	"host is the host that has installed itself; empty if all hosts were installed.": "自行安装的主机；安装的是全部主机时为空",
	"backUp is the directory to back up.":                                            "需要备份的目录",
	"drills are those after a first installation.":                                   "首次安装之后所做的故障演练",
	"the longest time between two acknowledged writes":                               "两次得到确认的写入之间的最长间隔，毫秒",
	"acknowledged":                      "得到确认的写入次数",
	"acknowledged, and not there later": "得到确认、之后却不存在的写入次数",
	"read, and never written":           "读到、却从未写入的次数",
	"ok, too long, not recovered, not put back, bad writes, failed, interrupted or not drilled": "ok（通过）、too long（中断过长）、not recovered（没有恢复）、not put back（没有放回原状）、bad writes（写入有误）、failed（失败）、interrupted（被打断）或 not drilled（没有演练）",
	"apply, check (dry run) or undo":                                                            "apply（执行）、check（试运行）或 undo（还原）",
	"done reports that every stage has ended, perhaps without optional hosts.":                  "全部阶段都已结束，可能少了可选的主机",
	"in the order of cluster.yaml":                                                              "按 cluster.yaml 的顺序",
	"dry run: would change":                                                                     "试运行：将会修改的步骤数",
	"error is the reason why the host failed, and `stage` where; empty if it did not.":          "主机失败的原因，`stage` 是失败的阶段；没有失败时为空",
	"steps lists the steps that were not already up to date.":                                   "原先不符合要求的步骤",
	"changed, differs or failed":                                                                "changed（已修改）、differs（有差异）或 failed（失败）",
	"stays lists the packages that reset left on purpose.":                                      "reset 有意保留的软件包",
	"gone lists the packages that apt had removed for others, and that reset does not install.": "apt 为安装其他软件包而卸载、reset 不再装回的软件包",
	"directory with the new key":                                                                "新密钥所在的目录",

	// ticket, state
	"UTC, in whole seconds, as `expires`":                   "UTC，精确到秒；`expires` 也是",
	"32 hex digits":                                         "32 位十六进制数字",
	"of the cluster, 32 hex digits":                         "集群的标识，32 位十六进制数字",
	`"sha256:<hex>", which the hosts of the cluster record`: `"sha256:<hex>"，集群的主机都有记录`,
	"content is the digest of the files. Since they have keys in them, it does not help to guess them.": "各文件的摘要。文件中有密钥，因此无法由它猜出内容",
	"files that cannot be made again": "丢失后无法重新生成的文件",
	"authorities are those of the cluster; `certificates` counts the others. `firstEnd` is the one of all that ends first. All are empty without an identity.": "集群的 CA；`certificates` 是其余证书的个数，`firstEnd` 是所有证书中最先到期的。没有集群标识时，这些都为空",
	"empty, current or out of date":                           "空、current（最新）或 out of date（已过时）",
	"copyFile is the path of the copy on the hosts `copies`.": "副本在各主机（`copies`）上的路径",

	// explain, version
	`path is the way to the field from the root of the document, such as "network.podCIDR"; the elements of the list "hosts" are "hosts[]", and those of the map "images" are "images.*".`: `从文档根部到字段的路径，例如 "network.podCIDR"；列表 "hosts" 的元素写作 "hosts[]"，映射 "images" 的元素写作 "images.*"`,
	`type is "string", "integer", "number", "boolean", "date", "object" or "any value", or "list of …" or "map of …" of one of them.`:                                                      `"string"、"integer"、"number"、"boolean"、"date"、"object" 或 "any value"，也可以是由它们组成的 "list of …" 或 "map of …"`,
	"of an object, and of the objects in a list; in the order of the type":                                                                                                                 "对象的字段，列表则是其中对象的字段；按类型中的顺序",
	"version of Go that built it": "编译它的 Go 版本",
	"such as linux/amd64":         "例如 linux/amd64",

	// pack.yaml
	"offk8s.dev/v1": "offk8s.dev/v1",
	"Manifest":      "Manifest",
	"name of the bundle; empty means \"kubernetes-<minor>\".":                                            `离线包的名称；为空表示 "kubernetes-<minor>"`,
	`kubernetes is a minor ("1.36") or a full version ("1.36.3") of the catalog.`:                        `目录数据中的次版本（"1.36"）或完整版本（"1.36.3"）`,
	`arches in Go's spelling ("amd64", "arm64") or that of uname -m; empty means the release's default.`: `架构，按 Go 的写法（"amd64"、"arm64"）或 uname -m 的写法；为空表示该版本的默认值`,
	`distros are catalog names ("centos-7"); empty means the release's default.`:                         `发行版，用目录数据中的名称（"centos-7"）；为空表示该版本的默认值`,
	"pod network of the catalog; empty means the release's default":                                      "目录数据中的 Pod 网络；为空表示该版本的默认值",
	"containerd or docker; empty means the release's default":                                            "containerd 或 docker；为空表示该版本的默认值",
	"more image references": "更多镜像",
	"attachments is which signatures, attestations and SBOMs that hang on the images in their registries come along: all (the default) or none.": "镜像在镜像仓库中附带的签名、证明和 SBOM 是否随包携带：all（全部，默认）或 none（不带）",
	"signatures are the images that need a signature by a key, of those that cosign makes.":                                                      "必须有某把密钥签名的镜像，签名由 cosign 生成",
	"images is the prefix of the names of the images: a registry, or a path in one.":                                                             "镜像名称的前缀：一个镜像仓库，或其中的路径",
	"file with the public key (PEM) that must have signed them, as cosign.pub":                                                                   "公钥文件（PEM），镜像必须由对应的私钥签名，例如 cosign.pub",
	"more OS packages, for every distribution":                                                                                                   "更多系统软件包，每个发行版都有",
	"more files": "更多文件",
	"path of the file on the mirror, below /files/": "文件在镜像服务器上的路径，在 /files/ 之下",
	"where pack downloads it":                       "pack 的下载地址",
	"sha256 or sha512, such as sha256:<hex>":        "sha256 或 sha512 摘要，例如 sha256:<hex>",
	"assumeInstalled is which OS packages every host has already, so that they and all that they need are left out: none (the default), or minimal, those of the distribution's smallest installation.": "每台主机都已安装的系统软件包，它们和它们的依赖不必打包：none（没有，默认）或 minimal（发行版最小化安装所带的）",
	"charts are Helm charts, which come with the images that they name.":                                "Helm chart，连同其中写明的镜像一起打包",
	"repository is the URL of a chart repository (https://…) or of the charts in a registry (oci://…).": "chart 仓库的 URL（https://…），或镜像仓库中 chart 的 URL（oci://…）",
	"of the chart in the repository":                                                                 "chart 在仓库中的名称",
	"exact version, such as 1.2.3":                                                                   "准确的版本，例如 1.2.3",
	"archive (.tgz) of a chart, in place of repository, name and version":                            "chart 的归档文件（.tgz），代替 repository、name 和 version",
	"digest of the archive; of a chart in a registry, that of its manifest, as helm pull prints it.": "归档文件的摘要；chart 在镜像仓库中时是其 manifest 的摘要，即 helm pull 打印的值",
	"images that the chart needs. Empty: pack looks for them in the chart (docs/own-content.md).":    "chart 需要的镜像；为空时 pack 在 chart 中查找（docs/zh-CN/own-content.md）",
	"addons are sets of Kubernetes objects, in the order in which install applies them.":             "附加组件，即成组的 Kubernetes 对象，按 install 应用它们的顺序",
	"of an addon of the catalog, or of a set of objects of yours":                                    "目录数据中附加组件的名称，或你自己的一组对象的名称",
	"files are files with YAML or JSON objects, or directories of them.":                             "含有 YAML 或 JSON 对象的文件，或放这些文件的目录",
	"rewrites replace upstream URLs and registries; digests stay as they are.":                       "替换上游的 URL 和镜像仓库；摘要不变",
	"what upstream addresses begin with":                                                             "上游地址的开头",
	"what to use instead":                                                                            "用它代替",
	"keyrings are OpenPGP keyring files by distro, in addition to the catalog's.":                    "各发行版的 OpenPGP 密钥环文件，补充目录数据中的密钥",
	"sequence grows with every bundle of the same name: hosts refuse an older one. Zero means 1.":    "序号，同名离线包每次递增：主机拒绝更旧的离线包。0 表示 1",
	"day after which offk8s warns about the bundle, UTC":                                             "过了这一天（UTC），offk8s 对这个离线包发出警告",

	// cluster.yaml
	"Cluster": "Cluster",
	"name is the name of the cluster, in lower case letters, digits and dashes.":             "集群的名称，由小写字母、数字和连字符组成",
	`kubernetes, if set, must match the bundle's version ("1.36" or "1.36.3").`:              `写出时必须与离线包的版本相符（"1.36" 或 "1.36.3"）`,
	"the mirror that the hosts fetch from":                                                   "主机取得内容的镜像服务器",
	"url is the address of offk8s serve as the hosts see it, such as https://10.0.0.5:8443.": "从主机上看 offk8s serve 的地址，例如 https://10.0.0.5:8443",
	"urls, in place of url, are the addresses of several mirrors that serve the same bundle with the same CA. Hosts use the first that answers, and the next if it stops.":              "代替 url：几个镜像服务器的地址，它们以同一个 CA 提供同一个离线包。主机使用第一个有应答的，它停掉时用下一个",
	`caFingerprint is printed by serve: "sha256:" and the SHA-256 of the CA certificate's DER in hexadecimal. If it is empty, the hosts use the trust store of their system (or http).`: `serve 打印的 CA 指纹："sha256:" 加上 CA 证书 DER 的 SHA-256，十六进制。为空时，主机使用系统信任的 CA（或 http）`,
	"how to connect to the hosts; a host may override it":                                                                                     "如何连接主机；每台主机可以另写",
	"how to connect to this host":                                                                                                             "如何连接这台主机",
	"address is a name or an address, or a Host of ~/.ssh/config; default: the host's address.":                                               "域名、IP 地址或 ~/.ssh/config 中的 Host；默认为主机的地址",
	"default: that of ~/.ssh/config, or 22":                                                                                                   "默认取自 ~/.ssh/config，否则为 22",
	"default: that of ~/.ssh/config, or root; another user needs sudo":                                                                        "默认取自 ~/.ssh/config，否则为 root；其他用户需要 sudo",
	"private key; default: ssh-agent, then those of ~/.ssh/config, or ~/.ssh/id_*":                                                            "私钥；默认先用 ssh-agent，再用 ~/.ssh/config 中的，或 ~/.ssh/id_*",
	"host keys; default ~/.ssh/known_hosts":                                                                                                   "已知的主机密钥；默认 ~/.ssh/known_hosts",
	`hostKey pins the key's fingerprint as ssh-keygen -l prints it ("SHA256:…").`:                                                             `固定主机密钥的指纹，即 ssh-keygen -l 打印的值（"SHA256:…"）`,
	`proxyJump are the bastions on the way, as "user@host:port", with commas between them; none: no bastion; default: that of ~/.ssh/config.`: `途经的跳板机，写作 "user@host:port"，用逗号分隔；none 表示没有；默认取自 ~/.ssh/config`,
	"the machines": "各台主机",
	"RFC 1123 label or subdomain, lower case; also the node name":                 "RFC 1123 标签或子域名，小写；也是节点名",
	"IP that the other hosts reach":                                               "其他主机访问它的 IP 地址",
	"secondAddress is the IPv6 address of a node that has pods of both families.": "双栈节点的 IPv6 地址",
	"control-plane, etcd, worker, load-balancer; a host may have several":         "control-plane（控制平面）、etcd、worker（工作节点）、load-balancer（负载均衡）；一台主机可以有几个角色",
	`os is the expected distribution, such as "rocky-9", or that of the bundle whose packages the host uses; if it is empty, any is accepted. offk8s plan uses it, since it does not connect to hosts.`: `预期的发行版，例如 "rocky-9"，或主机使用离线包中哪个发行版的软件包；为空时不限。offk8s plan 不连接主机，因此依据它`,
	"local marks the host that install itself runs on: no SSH.": "为 true 时，install 就在这台主机上运行，不用 SSH",
	"labels of the node":                        "节点的标签",
	`taints of the node, as "key=value:Effect"`: `节点的污点，写作 "key=value:Effect"`,
	"address ranges, DNS domain, pod network":   "地址范围、DNS 域和 Pod 网络",
	`podCIDR is the range of the pods' addresses; default 10.244.0.0/16. With a second one, as in "10.244.0.0/16,fd00:10::/56", pods have IPv6 addresses too.`: `Pod 的地址范围；默认 10.244.0.0/16。写出第二个，例如 "10.244.0.0/16,fd00:10::/56"，Pod 就同时有 IPv6 地址`,
	"serviceCIDR is the range of the services' addresses; default 10.96.0.0/16. It has as many ranges as podCIDR.":                                             "Service 的地址范围；默认 10.96.0.0/16。范围的个数与 podCIDR 相同",
	"domain of services; default cluster.local": "Service 的域名；默认 cluster.local",
	"iptables (default), ipvs or nftables":      "iptables（默认）、ipvs 或 nftables",
	`isolation "namespaces" keeps pods of other namespaces away from those of each namespace; empty: pods reach each other.`: `"namespaces" 表示各命名空间的 Pod 互相隔离；为空时 Pod 之间都能互访`,
	"options are settings of the bundle's pod network; docs/networks.md lists them.":                                         "离线包中 Pod 网络的设置，见 docs/zh-CN/networks.md",
	"the address of the API": "API 的地址",
	"endpoint is the host:port that users and, unless they have a proxy, nodes dial. If it is empty, it is that of the load balancers, or else the first control plane's address and port 6443.": "用户连接的 host:port，没有本地代理的节点也用它。为空时是负载均衡的地址，没有负载均衡时是第一个控制平面的地址和端口 6443",
	"more names and addresses for the API's certificate":                                                         "API 证书中更多的域名和地址",
	"how nodes and users reach several control planes":                                                           "节点和用户如何访问多个控制平面",
	"mode is hosts, external or node-local. If it is empty and a host has the role load-balancer, it is hosts.":  "hosts（集群的主机）、external（外部负载均衡）或 node-local（每个节点上的代理）。为空且有主机的角色是 load-balancer 时，为 hosts",
	"vip is the address that moves between the balancers.":                                                       "虚拟 IP，在负载均衡之间切换",
	"port of the balancers; default 6443, or 8443 if a balancer is a control plane too":                          "负载均衡的端口；默认 6443，有负载均衡兼作控制平面时为 8443",
	"interface gets the VIP; if it is empty, the interface with the host's address.":                             "配置虚拟 IP 的网卡；为空时是主机地址所在的网卡",
	"vrrpID is the number of the virtual router on the network, 1 to 255 (RFC 5798, section 5.2.3); default 51.": "网络中虚拟路由器的编号，1 到 255（RFC 5798 第 5.2.3 节）；默认 51",
	"topologyReason allows an even number of etcd members or control planes, or a single load balancer.":         "写明理由后，允许 etcd 成员或控制平面为偶数个，或只有一台负载均衡",
	"settings of etcd":                       "etcd 的设置",
	"settings of kube-apiserver":             "kube-apiserver 的设置",
	"settings of kube-controller-manager":    "kube-controller-manager 的设置",
	"settings of kube-scheduler":             "kube-scheduler 的设置",
	"settings of the kubelet":                "kubelet 的设置",
	"settings of kube-proxy":                 "kube-proxy 的设置",
	"flags without dashes, and their values": "启动参数及其值，参数不带开头的连字符",
	"config is merged over the generated configuration file, if the daemon has one.": "合并到生成的配置文件之上（有配置文件的服务）",
	"the container runtime": "容器运行时",
	"name is containerd or docker; if it is empty, it is that of the bundle.": "containerd 或 docker；为空时与离线包相同",
	"systemd (default) or cgroupfs":                                           "systemd（默认）或 cgroupfs",
	"config is merged over the generated configuration: containerd's config.toml, with the keys of TOML, or docker's daemon.json.": "合并到生成的配置之上：containerd 的 config.toml（用 TOML 的键），或 docker 的 daemon.json",
	"time servers and settings of chrony": "时间服务器和 chrony 的设置",
	"servers are upstream time servers of the control planes. If the field is missing, they keep those that they follow already; an empty list means none. Without any, the cluster follows the clock of a control plane.": "控制平面的上游时间服务器。没有这个字段时，沿用主机已在使用的；空列表表示没有。一个都没有时，集群以一个控制平面的时钟为准",
	`args are extra arguments of chronyd, for example ["-x"].`:                                                   `chronyd 的额外参数，例如 ["-x"]`,
	"maxSkew is the largest accepted clock difference between a host and this machine; default 60s.":             "主机与本机时钟允许的最大差值；默认 60s",
	"addons names those addons of the bundle that the cluster has. If the field is missing, it has all of them.": "集群采用离线包中的哪些附加组件；没有这个字段时全部采用",
	"what is prepared on hosts, and what is not":                                                                 "主机上准备什么、不准备什么",
	"more kernel parameters": "更多内核参数",
	`skip names groups of steps to leave out: "hostname", "hosts", "swap", "modules", "sysctl", "firewall", "selinux", "managers".`: `省去的步骤组："hostname"、"hosts"、"swap"、"modules"、"sysctl"、"firewall"、"selinux"、"managers"`,
	"persistentJournal keeps the logs of services on disk. EL7 loses them at a boot otherwise.":                                     "把服务的日志保存在磁盘上；否则 EL7 重启后日志丢失",
	"ignorePreflight names preflight checks that only warn if they fail.":                                                           "不通过时只警告的预检项",
}

// Every description of a field has one in Chinese with the same names in it, and no more are there.
func TestFieldsInChinese(t *testing.T) {
	used := map[string]bool{}
	look := func(where string, list []fields.Field) {
		eachField(list, func(f fields.Field) {
			if f.Description == "" {
				return
			}
			used[f.Description] = true
			if _, ok := fieldsChinese[f.Description]; !ok {
				t.Errorf("%s: field %q is described as %q, which fieldsChinese lacks", where, f.Path, f.Description)
			}
		})
	}
	for _, o := range append([]output{failureOutput}, outputs...) {
		look(o.name(), o.fields())
	}
	for _, d := range documents {
		look(d.file, d.fields())
	}
	names := regexp.MustCompile("`[^`]*`")
	for text, translated := range fieldsChinese {
		if !used[text] {
			t.Errorf("fieldsChinese[%q]: no field is described so", text)
		}
		a, b := names.FindAllString(text, -1), names.FindAllString(translated, -1)
		slices.Sort(a)
		slices.Sort(b)
		if translated == "" || !slices.Equal(a, b) {
			t.Errorf("fieldsChinese[%q]: found %q, want the names %q", text, translated, a)
		}
	}
}
