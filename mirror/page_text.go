package mirror

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// texts are the words of the pages in one language, by the name that the templates
// use.
type texts map[string]string

// languages are those of the pages, by the value of the parameter lang.
var languages = map[string]texts{
	"en": {
		"code": "en", "other": "简体中文", "otherCode": "zh", "otherTag": "zh-Hans",
		"title": "offk8s mirror", "search": "Search", "hint": "image, file or package; version or digest",
		"found": "found.", "all": "Show everything", "parts": "network, runtime", "hosts": "hosts", "packed": "packed",
		"sequence": "sequence", "expires": "expires", "expired": "expired", "content": "content", "root": "root digest",
		"signature": "signature", "signer": "signed by", "unchecked": "signed, but not checked: serve has no key for it", "unsigned": "not signed",
		"trust": "Fingerprints", "compare": "Compare them with the terminal in which offk8s serve runs: this page is as trustworthy as the server that sent it.",
		"ca": "CA of this mirror", "clients": "Set up a client", "copy": "Copy", "copied": "Copied", "root0": "Run the commands as root, except where they say otherwise.",
		"step-ca": "1. Trust the CA of this mirror", "step-password": "User and password", "step-offk8s": "offk8s itself", "step-yum": "Packages with dnf or yum: ", "step-apt": "Packages with apt: ",
		"step-images": "Images: containerd, docker, podman, skopeo", "step-charts": "Charts: Helm",
		"images": "Images", "files": "Files", "packages": "Packages", "name": "name", "version": "version", "size": "size", "digest": "digest",
		"ranges": "Sizes are those in the bundle, where programs are compressed.",
		"image":  "images", "file": "files", "attachment": "attachments of images", "chart": "charts", "rpm": "RPMs", "deb": "debs", "metadata": "files of repositories",
		"image1": "image", "file1": "file", "attachment1": "attachment of an image", "chart1": "chart", "rpm1": "RPM", "deb1": "deb", "metadata1": "file of repositories",
		"now": "now", "host": "host", "allHosts": "all hosts", "began": "began", "client": "client", "sent": "sent", "transfers": "Transfers",
		"noTransfer": "Nobody downloads anything at the moment.", "noRun": "There is no run yet.",
		"moreHosts": "%d more hosts have done their part or wait.", "moreTransfers": "%d more transfers.",
		"run-done": "done", "run-failed": "failed with exit status %d", "run-silent": "no event for %d minutes", "run-work": "running",
		"cell-done": "done", "cell-work": "running", "cell-fail": "failed", "cell-steps": "steps: %d, changed: %d",
		"comma": ", ", "today": "today", "yesterday": "1 day ago", "days": "%d days ago",
	},
	"zh": {
		"code": "zh-Hans", "other": "English", "otherCode": "en", "otherTag": "en",
		"title": "offk8s 镜像站", "search": "搜索", "hint": "镜像、文件或软件包；版本或摘要",
		"found": "项匹配。", "all": "显示全部", "parts": "网络、运行时", "hosts": "主机", "packed": "打包时间",
		"sequence": "序号", "expires": "有效期至", "expired": "已过期", "content": "内容", "root": "根摘要",
		"signature": "签名", "signer": "签名者", "unchecked": "已签名，但未校验：serve 没有对应的公钥", "unsigned": "未签名",
		"trust": "指纹", "compare": "请与运行 offk8s serve 的终端所显示的指纹核对：本页的可信程度不会高于发送它的服务器。",
		"ca": "本镜像站的 CA", "clients": "配置客户端", "copy": "复制", "copied": "已复制", "root0": "除另有说明外，请以 root 身份执行这些命令。",
		"step-ca": "1. 信任本镜像站的 CA", "step-password": "用户和密码", "step-offk8s": "offk8s 程序", "step-yum": "用 dnf 或 yum 安装软件包：", "step-apt": "用 apt 安装软件包：",
		"step-images": "镜像：containerd、docker、podman、skopeo", "step-charts": "Chart：Helm",
		"images": "镜像", "files": "文件", "packages": "软件包", "name": "名称", "version": "版本", "size": "大小", "digest": "摘要",
		"ranges": "大小为离线包中的大小，程序以压缩形式存储。",
		"image":  "个镜像", "file": "个文件", "attachment": "个镜像附件", "chart": "个 chart", "rpm": "个 RPM", "deb": "个 deb", "metadata": "个软件源文件",
		"image1": "个镜像", "file1": "个文件", "attachment1": "个镜像附件", "chart1": "个 chart", "rpm1": "个 RPM", "deb1": "个 deb", "metadata1": "个软件源文件",
		"now": "当前", "host": "主机", "allHosts": "所有主机", "began": "开始于", "client": "客户端", "sent": "已发送", "transfers": "传输",
		"noTransfer": "目前没有下载。", "noRun": "还没有运行。",
		"moreHosts": "另有 %d 台主机已完成或在等待。", "moreTransfers": "另有 %d 个传输。",
		"run-done": "已完成", "run-failed": "失败，退出码 %d", "run-silent": "%d 分钟没有新事件", "run-work": "运行中",
		"cell-done": "已完成", "cell-work": "运行中", "cell-fail": "失败", "cell-steps": "步骤：%d，更改：%d",
		"comma": "，", "today": "今天", "yesterday": "1 天前", "days": "%d 天前",
	},
}

// language returns the language for a request: that of the parameter lang, or the
// one that the browser prefers, or English. chosen is the parameter if it is valid.
func language(r *http.Request) (t texts, chosen string) {
	if t := languages[r.URL.Query().Get("lang")]; t != nil {
		return t, r.URL.Query().Get("lang")
	}
	best, weight := "en", 0.0
	for item := range strings.SplitSeq(strings.Join(r.Header["Accept-Language"], ","), ",") {
		tag, parameter, _ := strings.Cut(strings.TrimSpace(item), ";")
		primary, _, _ := strings.Cut(strings.ToLower(tag), "-")
		q := 1.0
		if value, ok := strings.CutPrefix(strings.TrimSpace(parameter), "q="); ok {
			var err error
			if q, err = strconv.ParseFloat(value, 64); err != nil {
				continue
			}
		}
		if languages[primary] != nil && q > weight {
			best, weight = primary, q
		}
	}
	return languages[best], ""
}

// count returns a number of artifacts of a kind in words.
func (t texts) count(n int, kind string) string {
	if n == 1 {
		kind += "1"
	}
	return fmt.Sprint(n, " ", t[kind])
}

// age returns how long ago something was, in days.
func (t texts) age(then, now time.Time) string {
	switch days := int(now.Sub(then).Hours() / 24); {
	case days <= 0:
		return t["today"]
	case days == 1:
		return t["yesterday"]
	default:
		return fmt.Sprintf(t["days"], days)
	}
}
