package main

import (
	"fmt"
	"io"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// chineseCommands is a part of docs/zh-CN/commands.md.
type chineseCommands struct {
	title    string
	commands []chineseCommand
}

// chineseCommand has the text of a command by its English one: a text that changes takes its
// translation along.
type chineseCommand struct {
	path, short string
	text        string
	flags       string // the important ones
}

// commandsChinese has all commands, in the order in which people need them.
var commandsChinese = []chineseCommands{
	{"联网环境：打包", []chineseCommand{
		{"versions", "List the Kubernetes versions that can be packed", "列出可以打包的 Kubernetes 版本，以及各版本支持的发行版、架构和 Pod 网络", "`--catalog` 补充目录数据"},
		{"pack", "Download, check and seal everything a cluster needs into one tarball", "下载并校验集群所需的全部内容，签名后写成一个离线包", "`--version` Kubernetes 版本；`-f` pack.yaml；`--os`、`--arch` 主机的发行版和架构；`--cni` Pod 网络；`--image`、`--package`、`--add-file`、`--chart` 自己的内容；`--key` 签名密钥；`-o` 输出文件；`--dry-run` 只列出大小和来源；`--split` 分卷；`--base` 只打包与基础包的差异；`--rewrite` 从别的地址下载"},
		{"lock", "Write the exact list of artifacts that pack would pack", "写出锁定文件：pack 将会打包的内容及其摘要", "参数同 `pack`；`--version`、`-f`、`-o`"},
		{"sign", "Sign a bundle that pack --unsigned wrote", "为 `pack --unsigned` 写出的离线包签名", "`--key` 签名密钥；`--sign-exec` 用硬件中的密钥签名的程序；`-o` 输出文件"},
		{"merge", "Join a delta with its base, or the parts of a bundle, into the whole bundle", "把增量包与基础包，或把各个分卷，合并成完整的离线包", "`-o` 输出文件；`--key` 公钥；`--split` 再写成分卷；`--sign-key` 为分卷清单签名"},
		{"init", "Write a commented pack.yaml or cluster.yaml", "写出带注释的 pack.yaml 或 cluster.yaml", "`--topology` 主机的角色；`--hosts` 主机地址；`--vip` 虚拟 IP；`-o` 输出文件"},
	}},
	{"密钥", []chineseCommand{
		{"keys", "Generate, show, replace and revoke signing keys", "生成、显示、更换和吊销签名密钥", ""},
		{"keys generate", "Generate a signing key and its public key", "生成签名密钥和公钥", "`-o` 密钥文件；`--passphrase-file` 口令文件；`--no-passphrase` 不加密；`--public-key` 私钥留在别处的密钥"},
		{"keys show", "Print the fingerprints of a key file, and who replaced or revoked whom", "显示密钥文件的指纹，以及密钥的更换和吊销记录", ""},
		{"keys rotate", "Generate the key that comes after a signing key", "生成接替现有签名密钥的新密钥", "`-o` 新密钥文件；`--key` 现有密钥；`--until` 旧密钥的最后期限；`--revoke` 同时吊销旧密钥"},
		{"keys revoke", "Revoke keys: nobody accepts what they have signed", "吊销密钥：它们签过的内容不再被接受", "`--key` 执行吊销的密钥"},
	}},
	{"任何地方：校验和查看离线包", []chineseCommand{
		{"verify", "Check every byte of a bundle in place", "不解包，校验离线包的签名和每个字节", "`--key` 公钥或指纹；`--image-key` 同时校验镜像签名；`--scan-exec` 交给扫描程序检查；`--content` 连同压缩文件的内容"},
		{"inspect", "List the contents of a bundle", "列出离线包的内容", "`--kind` 类别；`--name` 名称；`--wide` 更多列；`--key` 公钥"},
		{"why", "Say why a package, image or file is in a bundle", "说明某个软件包、镜像或文件为什么在离线包中", "`--key` 公钥"},
		{"diff", "Compare two bundles", "比较两个离线包", "`--key` 公钥"},
		{"sbom", "Print the software bill of materials of a bundle", "打印离线包的软件物料清单（SBOM）", "`--spdx` 用 SPDX 格式，默认 CycloneDX；`--key` 公钥"},
		{"provenance", "Check and print where the content of a bundle came from", "校验并打印离线包内容的来源证明", "`--file` 证明文件；`--key` 公钥"},
		{"inventory", "List the content of a bundle, for a delta that is packed elsewhere", "列出离线包已有的内容，供另一处打增量包使用", "`--key` 公钥"},
		{"extract", "Write contents of a bundle to a directory", "把离线包的内容写到目录中", "`-o` 目录；`--kind`、`--name` 只取其中一部分；`--image-form` 镜像的格式"},
	}},
	{"离线网络：镜像服务器", []chineseCommand{
		{"serve", "Serve bundles as file, yum, apt and registry mirror", "不解包，以离线包提供文件、yum 源、apt 源和镜像仓库", "`--key` 公钥；`--listen` 监听地址；`--state` CA 和证书的目录；`--name` 证书中的更多名称；`--tls-cert`、`--tls-key` 自己的证书；`--htpasswd` 用户和密码；`--watch` 自动换用新的离线包；`--from` 从镜像仓库读取离线包；`--install-unit` 安装为 systemd 服务"},
		{"serve init", "Make the CA of a mirror ahead of the first serve", "在首次 `serve` 之前生成镜像服务器的 CA", "`--state` 目录；`--name` 证书中的名称"},
		{"push", "Push a bundle into an existing registry", "把离线包推送到已有的镜像仓库", "`--key` 公钥；`--ca` 仓库证书的 CA；`--jobs` 同时上传的个数"},
	}},
	{"目标主机：安装集群", []chineseCommand{
		{"plan", "Print what install would do, without connecting to any host", "打印 `install` 将要做什么，不连接任何主机", "`-f` cluster.yaml；`--key` 公钥；`--mirror` 镜像服务器；`--host` 只看一台；`--ports` 需要放行的端口；`--graph` 阶段图"},
		{"doctor", "Check the hosts and the mirror, and change nothing", "检查主机和镜像服务器，不作任何修改", "`-f` cluster.yaml；`--key` 公钥；`--ignore` 忽略的检查项"},
		{"install", "Install a cluster on the hosts in cluster.yaml", "在 cluster.yaml 中的主机上安装集群；以后用它应用修改、增减主机、续期证书", "`-f` cluster.yaml；`--key` 公钥；`--dry-run` 只打印将有的修改；`--forget` 移除不再回来的主机；`--take-over` 接管卡死的操作；`--no-drill` 首次安装后不做故障演练；`-K` 询问 sudo 密码；`--local --ticket` 主机自行安装"},
		{"ticket", "Write a sealed file per host, to install without SSH", "为每台主机写出凭单，不用 SSH 安装", "`-f` cluster.yaml；`--key` 公钥；`--host` 只为这些主机；`--valid` 有效期；`-o` 目录"},
		{"kubeconfig", "Print the kubeconfig of the cluster's administrator", "打印集群管理员的 kubeconfig", "`-f` cluster.yaml；`--state` 集群状态的目录"},
		{"logs", "Show the logs of a host's cluster services", "显示主机上集群服务的日志", "`-n` 行数；`--since` 起始时间；`--follow` 持续显示"},
		{"drill", "Stop parts of a cluster in turn, and measure the outages", "故障演练：依次停掉集群的各个部分，测量中断时间", "`--only` 只做这些；`--limit` 允许的中断；`--yes` 不询问"},
		{"rotate", "Replace the key that encrypts Secrets in etcd", "更换在 etcd 中加密 Secret 的密钥", "`-f` cluster.yaml；`--key` 公钥"},
		{"reset", "Undo install on all or some hosts", "还原 `install` 在全部或部分主机上的修改；集群随之消失", "`--host` 只还原这些主机；`--yes` 不询问；`--local` 只还原本机"},
	}},
	{"集群状态：CA 和密钥", []chineseCommand{
		{"state", "Export, import and show the CAs and keys of a cluster", "导出、导入和显示集群的 CA 和密钥", ""},
		{"state export", "Write the state of a cluster into one sealed file", "把集群状态写成一个加密文件", "`-o` 输出文件；`--passphrase-file` 口令文件"},
		{"state import", "Bring the state of a cluster to this machine", "把集群状态带到本机", "`--from` 取控制平面上的副本；`--passphrase-file` 口令文件"},
		{"state show", "Describe the state of a cluster on this machine", "显示本机上的集群状态：标识、证书期限、副本", "`--state` 目录"},
	}},
	{"说明", []chineseCommand{
		{"explain", "Describe the fields of cluster.yaml and pack.yaml", "说明 cluster.yaml 和 pack.yaml 的字段（英文；中文见[cluster.yaml](cluster-yaml.md)、[pack.yaml](pack-yaml.md)）", ""},
		{"config", "Print the JSON Schema of cluster.yaml or pack.yaml", "打印 cluster.yaml 或 pack.yaml 的 JSON Schema", ""},
		{"config schema", "Print the JSON Schema of cluster.yaml or pack.yaml", "打印 JSON Schema，供编辑器使用", ""},
		{"version", "Print the version of offk8s", "打印 offk8s 的版本", ""},
	}},
}

// globalFlagsChinese are the flags of all commands.
const globalFlagsChinese = "所有命令都有：`--format` 结果的格式（text、json 或 yaml，见[供脚本使用的输出](output.md)）；`--progress` 进度的格式；`-q` 只打印错误；`-v` 更多细节；`-h` 帮助。"

// writeCommandsChinese writes the page with all commands.
func writeCommandsChinese(w io.Writer, root *cobra.Command) error {
	fmt.Fprint(w, "# 命令\n\n<!-- Written by make golden from the commands and their Chinese words. -->\n\n[English](../commands.md)\n\n")
	fmt.Fprint(w, "每个命令的作用和常用参数。每个命令的 `--help` 和英文页有全部参数、示例和退出码。\n"+
		"每个参数都可以用环境变量 `OFFK8S_<FLAG>` 设置，例如 `--cache-dir` 是 `OFFK8S_CACHE_DIR`；命令行优先。\n\n"+globalFlagsChinese+"\n")
	for _, part := range commandsChinese {
		fmt.Fprintf(w, "\n## %s\n\n| 命令 | 作用 | 常用参数 |\n|---|---|---|\n", part.title)
		for _, c := range part.commands {
			cmd, _, err := root.Find(strings.Fields(c.path))
			if err != nil {
				return err
			}
			use := strings.TrimSuffix(cmd.UseLine(), " [flags]")
			fmt.Fprintf(w, "| `%s` | %s | %s |\n", strings.ReplaceAll(use, "|", `\|`), c.text, c.flags)
		}
	}
	return nil
}

// Every command has a translation, which names flags that the command has.
func TestCommandsInChinese(t *testing.T) {
	root := newApp(strings.NewReader(""), io.Discard, io.Discard).command()
	translated := map[string]chineseCommand{}
	for _, part := range commandsChinese {
		for _, c := range part.commands {
			if _, ok := translated[c.path]; ok {
				t.Errorf("commandsChinese has %q twice", c.path)
			}
			translated[c.path] = c
		}
	}
	err := eachCommand(root, func(cmd *cobra.Command) error {
		if cmd == root {
			checkFlagsChinese(t, cmd, globalFlagsChinese)
			return nil
		}
		path := strings.TrimPrefix(cmd.CommandPath(), "offk8s ")
		c, ok := translated[path]
		delete(translated, path)
		switch {
		case !ok:
			t.Errorf("%q: commandsChinese lacks it", path)
		case c.short != cmd.Short:
			t.Errorf("%q: commandsChinese translates %q, it says %q", path, c.short, cmd.Short)
		case c.text == "" || c.flags == "" && hasOwnFlags(cmd):
			t.Errorf("%q: commandsChinese has no text, or none of its flags", path)
		}
		checkFlagsChinese(t, cmd, c.flags)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for path := range translated {
		t.Errorf("commandsChinese: there is no command %q", path)
	}
}

func hasOwnFlags(cmd *cobra.Command) bool {
	return len(cmd.LocalNonPersistentFlags().FlagUsages()) > 0
}

var flagChinese = regexp.MustCompile("(?:`| )--?([a-z-]+|[a-zA-Z])")

// checkFlagsChinese fails the test for a flag in text that cmd does not have.
func checkFlagsChinese(t *testing.T, cmd *cobra.Command, text string) {
	t.Helper()
	cmd.InitDefaultHelpFlag()
	for _, m := range flagChinese.FindAllStringSubmatch(text, -1) {
		name := m[1]
		if len(name) > 1 && cmd.Flag(name) == nil || len(name) == 1 && cmd.Flags().ShorthandLookup(name) == nil {
			t.Errorf("%s: commandsChinese has the flag %q, the command has not", cmd.CommandPath(), name)
		}
	}
}
