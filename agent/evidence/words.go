package evidence

import (
	"regexp"
	"strings"
)

// chinese are the Chinese words for what the verifier finds most, by how the English begins.
var chinese = []struct{ start, zh string }{
	{"no trust anchor was given", "没有给出信任锚，设备无人担保：请用 --trust 指定存放其证书或其上级证书的文件夹"},
	{"the trust folder holds no", "信任文件夹中没有证书，设备无人担保：请放入其证书或其上级证书（PEM 格式，文件名以 .pem 结尾）"},
	{"none of the trust anchors", "给出的信任锚都不为这张证书担保"},
	{"no outside time before", "此处之前没有外部时间"},
	{"no outside time after", "此处之后没有外部时间"},
	{"no outside time bounds", "封存没有外部时间证明：同一份日志可能先封存过另一份清单"},
	{"no intact fragment", "没有可由外部时间界定的完好片段"},
	{"no trusted witness", "没有受信任的见证人在时限内见证"},
	{"written between", "前后两个外部时间相隔超过时限，其间仍可能被重写"},
	{"the device's clock says", "设备时钟与外部时间不符"},
	{"every witness is", "见证人都属于本单位"},
	{"certificate ", "证书在外部时间之前已被吊销"},
	{"outside proof not used", "有外部证明未被采用（信任文件夹中没有它的签发者，或其证书不合格）"},
	{"whether an amendment", "没有设备台账，无法得知其后是否还有补正被拿走"},
	{"no anchor", "不是有效的外部证明文件"},
	{"its checkpoint is not", "外部证明不是针对本设备台账的"},
	{"is no token over", "不是针对旁边签名的时间戳"},
	{"is no SM2 signature", "不是清单的国密签名"},
	{"the manifest names an SM2", "清单列有国密证书，国密签名却不在"},
	{"an amendment after it", "其后的补正在，这一份却不在"},
	{"the amendment's signature", "补正的签名不在"},
	{"its signature is here", "补正的签名在，补正却不在"},
	{"the amendment does not hold", "补正与清单或前一份补正不相符"},
	{"the amendment and its", "补正与签名不相符"},
	{"the amendment names no attachment", "补正没有按规定写明附件"},
	{"an amendment names this attachment", "补正提到这个附件，这里却没有"},
	{"is not the attachment that", "不是补正所提到的附件"},
	{"signed with another key of", "由同名设备的另一把密钥签名，无人担保"},
	{"is not the one that the ledger names", "不是台账记录的那一份补正"},
	{"the ledger names it", "台账记有这份补正，这里却没有"},
	{"signed by a later key", "由设备后来的密钥签名：仅证书说明它接替了第一把密钥，设备台账可以证明"},
	{"is the certificate of a key", "设备台账从未认可这把密钥"},
	{"two devices call", "两台设备用了同一个名称，密钥和设备号不同"},
	{"two generations", "同一设备的两代台账相互矛盾：设备被复制，或历史有分叉"},
	{"says that the generation", "对上一代台账的说法与上一代不符"},
	{"when this generation began", "本代台账开始时，见证人持有的比设备多：末尾丢失，或放回了旧镜像"},
	{"no outside time", "没有外部时间和见证；持有设备密钥者仍可能重写"},
	{"open, end unknown", "没有封存清单，终点未知"},
	{"undeclared", "未说明的缺口"},
	{"power lost", "断电"},
	{"agent stopped", "程序意外停止"},
	{"disk-failed", "磁盘全部失效"},
	{"disk-full", "磁盘已满"},
	{"battery low", "电池将耗尽，按序封存"},
	{"connection lost", "连接中断"},
	{"no data", "没有数据"},
	{"never delivered", "从未送来画面或声音"},
	{"lost with the unsigned end", "随断电前未签名的末尾丢失"},
	{"no frames", "已连接但没有图像或声音"},
	{"started late", "会话开始时尚无画面或声音"},
	{"waiting for a keyframe", "等待第一幅完整画面"},
	{"the simulated camera did not", "本机太忙，模拟摄像机没有跟上"},
	{"the simulated microphone did not", "本机太忙，模拟麦克风没有跟上"},
	{"log.jsonl: line 0: the folder is called", "文件夹被改名，请改回录制时的名称（会话编号）"},
	{"the file is not there", "文件不在"},
	{"the file ends within", "文件在为索引预留的空间内就结束了"},
	{"the file ends at", "文件在中途结束"},
	{"the samples are not", "画面或声音不是签名时的内容"},
	{"the samples are those", "内容是签名时的，但时间或次序不是"},
	{"the init", "文件头不是签名时的"},
	{"the index", "索引不是签名时的"},
	{"between lines", "日志在签名之后被改动：此后没有一处签名成立，所录内容不再能证明"},
	{"bytes behind the last signature", "已结束的日志后面还有内容"},
	{"nothing that is signed names", "没有任何已签名的内容提到这个文件"},
	{"the log was sealed", "日志已封存，清单却不在"},
	{"the signature over the manifest", "清单的签名不在"},
	{"manifest.json and its signature", "清单与签名不相符"},
	{"the ledger names this session", "台账记有这次会话，文件夹却不在"},
	{"this copy ends at", "这一份到此为止；设备台账记有更多已签名的内容：其余应在另一份上，请将两份一起核验"},
	{"this copy tells another story", "这一份的内容与另一份不同"},
	{"by appraisal ", "依鉴定清单销毁，两名具名人员批准，由受信任的鉴定人签名"},
	{"the ledger says that its destruction", "台账记载销毁已开始，尚未记载完成"},
	{"the ledger says it was destroyed", "台账记载此会话已销毁，这一份却又出现：应再次销毁"},
	{"device's word", "仅设备自称，没有受信任的鉴定人签名"},
	{"no session found", "没有找到会话"},
	{"lost with a disk", "随磁盘丢失（人工登记）"},
	{"packets lost", "数据包丢失"},
	{"the ledger says", "台账记有封存时的这个文件"},
	{"is not the one that the ledger", "不是台账记录的封存文件"},
	{"is not the log whose state", "不是台账记录其状态的那份日志"},
	{"the manifest names it", "清单中有这个文件，这里却没有"},
	{"is not the file that the manifest", "不是清单中的那个文件"},
	{"from byte", "清单的内容与日志所述不符"},
	{"the logs give no manifest", "日志不能得出清单"},
	{"there is a manifest, but this log", "有清单，日志却没有以已签名的封存行结束"},
	{"the signing time is not", "签名时间不是会话结束的时间"},
	{"not the one moof", "不是签名时的片段"},
	{"the file's SHA-256", "文件的摘要不是签名时的"},
	{"more than the device may have had", "超出断电时允许的未签名量"},
	{"this copy was sealed", "这一份以另一份清单封存"},
	{"this ledger ends after", "台账比设备签过名的状态短：其后的内容缺失，会话也可能缺失"},
	{"the ledgers name", "台账记载的会话有一些不在所给的文件夹中：请给出整块磁盘（含 sessions/ 的文件夹）以便判断"},
	{"no device ledger was given", "没有设备台账，无法得知是否有整个会话被拿走：请核验整块磁盘，或连同管理端的台账副本一起核验"},
	{"this ledger is not the one", "设备为另一份台账签过名：两段历史"},
	{"only ledgers were given", "只给出了台账：请连同磁盘或会话文件夹一起核验"},
	{"ledgers of ", "其他设备的台账没有查看：给出的会话与它们无关"},
	{"two copies of this ledger", "台账的两份说法不同"},
	{"there is nothing to grade", "没有可评定的内容"},
	{"the ledger ", "这份台账没有记载这次会话"}, // "… does not name this session"; the others stand before it
	{"outside proofs are missing", "日志提到的外部证明不在 tokens/ 中：尚未补上，或被拿走"},
	{"an index stands", "未关闭的文件里有索引"},
	{"no index of this size", "这样大小的索引容不下这些片段"},
	{"the signed index", "签过名的索引与片段不相符"},
	{"an aside line", "日志把 aside/ 之外的文件记作搁置"},
	{"a late tail after", "封存之后有迟到的末尾，却没有补正说明"},
	{"a recovery set it aside", "恢复时搁置的文件，这里却没有"},
	{"is not what the recovery", "不是恢复时搁置的内容"},
	{"names certificate file", "清单列有不该有的证书文件"},
	{"no channel has", "没有任何通道有已签名的文件"},
	{"no SM2 authority", "信任文件夹的 sm2/ 中没有国密证书机构，无人担保"},
	{"ledger: no signature holds", "手头的证书都对不上台账的签名：请一并给出该设备的会话，或用 minglu-provisioning ledger export 导出的台账"},
	{"ledger: ", "台账读不出来"},
	{"device.pem: missing", "没有设备证书 device.pem，任何签名都无法核对"},
	{"device.pem: is not", "device.pem 不是日志第一行所记的证书"},
}

// within are the Chinese words for causes that begin with the name of a file or a number, by what is in them.
var within = []struct{ part, zh string }{
	{" signed lines that the ledger knows still hold here", "台账记有更多已签名的行，这里只有一部分仍然成立：其余被改动或截去，会话的另一份或许还有"},
	{" was archived, and is not here", "会话已归档，不在这里"},
	{" pictures last longer than", "有画面停留的时间过长"},
	{" is not what the late tail is", "补正所说与迟到的末尾不符"},
	{" signed lines more: a late tail", "另一份已签名的内容更多：迟到的末尾"},
	{" is not checkable: ", "另一份无法核验"},
	{": no signature by the device's key holds", "日志中没有一处签名成立：日志在开头附近被改动，或签名者是另一把密钥"},
	{"log.jsonl: line 0", "日志的第一行不合规则，无法核验"},
	{": not a session folder", "不是会话文件夹"},
	{": a ledger set aside", "另存的台账，没有核验"},
	{" went on for ", "上一代台账还有本代开始时设备已经没有的行"},
	{"this one says it had", "手头的上一代台账比本代所说的短"},
	{"bytes behind the last signature", "最后一处签名之后的内容没有签名，不算已证明"},
	{"are no part of what is proven", "最后一个已签名片段之后的内容，不算已证明"},
	{"bytes behind the last", "最后一个已签名片段之后还有内容"},
	{"was not checked: the line that closes", "索引没有核对：关闭该文件的那一行在日志的受损部分"},
	{"its index was never written", "索引没有写入，片段完整"},
	{"does not name it (yet)", "台账（尚）未记载它"},
	{": outside proof not used", "有外部证明未被采用"},
	{": left by a desktop", "电脑桌面系统留下的文件，不属于会话"},
	{": not signed yet", "尚未签名，不算已证明"},
	{": set aside by a recovery", "未完成的恢复所搁置的文件"},
	{": holds ", "证书文件里的证书数目不对"},
	{".pem: ", "证书文件不合规则"},
	{".jsonl: ", "日志读不出来"},
	{".mp4: ", "媒体文件读不出来"},
	{"manifest.json", "清单读不出来"},
}

// forms are the Chinese words for causes that only their form tells from a person's own words.
var forms = []struct {
	form *regexp.Regexp
	zh   string
}{
	{regexp.MustCompile(`^copy \S+: \S+ \S+: `), "另一份有问题，本结论不依赖它"},
	{regexp.MustCompile(`^line \d+[: ]`), "日志或台账的这一行不合规则"},
	{regexp.MustCompile(`^V\d+: `), "文件读不出来，或种类、大小、数目超出允许"},
}

// Chinese gives the Chinese words for a cause, reason or note of a [Result], "" where there are none.
// They leave out the figures: the English, which is exact, belongs beside them.
func Chinese(cause string) string {
	for _, c := range chinese {
		if strings.HasPrefix(cause, c.start) {
			return c.zh
		}
	}
	for _, c := range within {
		if strings.Contains(cause, c.part) {
			return c.zh
		}
	}
	for _, f := range forms {
		if f.form.MatchString(cause) {
			return f.zh
		}
	}
	return ""
}

// Chinese gives the Chinese words for what r says in English, by the English.
func (r Result) Chinese() map[string]string {
	words := map[string]string{}
	add := func(causes ...string) {
		for _, c := range causes {
			if zh := Chinese(c); zh != "" {
				words[c] = zh
			}
		}
	}
	add(r.Notes...)
	for _, s := range r.Sessions {
		add(s.Why, s.Open, s.Unchecked)
		if s.SM2 != nil {
			add(s.SM2.Why)
		}
		add(s.Notes...)
		for _, sp := range s.Spans {
			add(sp.Cause)
		}
	}
	for _, l := range r.Ledgers {
		add(l.Cause, l.Unchecked)
		add(l.Notes...)
	}
	return words
}
